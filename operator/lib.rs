//! The Kubernetes operator: it turns objects of `ekitei.dev` into DNS records, certificates and MX replicas.
//!
//! Begin with [`controller`]: what runs, and what is the same for all kinds of objects. Each kind has a folder with a [`controller::Reconciler`]: its steps, one file each,
//! rules apart from what asks and writes. [`context::Context`] is what they share. Nothing is kept in memory that is needed after a restart: every step begins from spec, status
//! and the world. `docs/design/0014-operator.md` says why.

pub mod account;
pub mod apply;
pub mod backoff;
pub mod certificate_objects;
pub mod clock;
pub mod context;
pub mod controller;
pub mod domain;
pub mod error;
pub mod events;
pub mod fail;
pub mod finalizer;
pub mod health;
pub mod leader;
pub mod metrics;
pub mod options;
pub mod provider;
pub mod publish;
pub mod region;
pub mod run;
pub mod services;

pub use context::Context;
pub use controller::{Outcome, Reconciler};
pub use error::{Error, Optional, Result};
