//! The processes of a cluster: who they are, and what all of them understand.
//!
//! A process is a member of the leases (`ekitei_kv::lease`), with a beat that tells that it lives. Here it has a row beside it that says who it is
//! ([`Node`]), and which new forms of data it understands ([`Feature`]). A form is written only once every live process understands it; from then on it is
//! *active*, for ever, and a release that does not know it refuses to start ([`JoinError::UnknownFeatures`]). So releases can be exchanged one
//! process at a time.
//!
//! What need not be done by every process is a job ([`Jobs`]): one process at a time does it, under a lease, and another takes it up when that one dies.
//!
//! [`Locks`] are for programs outside that share something else.
//!
//! [`Cluster::join`] before anything of the store is read, [`Cluster::follow`] in a task of its own, [`Cluster::leave`] at the end. What writes
//! new forms asks [`Features::is_active`], which is one atomic load.

mod cluster;
mod feature;
mod features;
mod jobs;
mod locks;
mod metrics;
mod node;
mod rows;

pub use cluster::{Cluster, FeatureState, JoinError, Parts, Settings, UnknownFeatures};
pub use feature::{Feature, FeatureSet};
pub use features::Features;
pub use jobs::{Jobs, Outcome, outcome};
pub use locks::{Lock, LockError, LockLimits, Locks};
pub use node::{Description, Node, NodeId, NodeState};
pub use rows::FeatureRow;
