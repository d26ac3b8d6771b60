//! The operator and the chart against a real API server. `make test-kubernetes` runs this, whole.
#![allow(clippy::unwrap_used)]

mod account;
mod certificate;
mod death;
mod definitions;
mod domain;
#[path = "../../observability/operator.rs"]
mod observability;
mod provider;
mod provider_end;
mod region;
mod region_network;
mod scene;
mod service_failures;
