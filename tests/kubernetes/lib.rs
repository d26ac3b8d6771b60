//! The harness of the Kubernetes tests: a real API server and etcd, Knot DNS, Pebble, the service and the operator, each a process on loopback.
//!
//! The programs are those in `KUBEBUILDER_ASSETS`, else what `make kubernetes-tools` built. [`Cluster::lease`] reports the test as skipped where they are not.
#![allow(clippy::unwrap_used)]

mod cluster;
mod knot;
mod operator;
mod pebble;
mod process;
mod scratch;
mod service;

pub use cluster::{Cluster, Lease};
pub use knot::{Knot, Tsig};
pub use operator::Operator;
pub use pebble::Pebble;
pub use process::{Process, built, free_port, installed, skip, tool, wait_until};
pub use service::Service;
