//! The processes of the cluster, and the features that they agreed on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// Whether a process works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It renews its leases.
    Alive,
    /// It stopped to renew its leases without saying good-bye.
    Dead,
}

/// A process that uses the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Another one each time that a process starts.
    #[schema(example = "0199f2ab84d0c1d2e3f405162738495a")]
    pub id: String,
    /// Whether it works.
    pub state: NodeState,
    /// Since when it is known that it does not.
    pub dead_since: Option<u64>,
    /// Whether it is the one that answers.
    pub answers: bool,
    /// The host that it runs on; in Kubernetes, the pod. Empty, as all of the following, for a process of a release that does not say.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// Its release.
    pub version: String,
    /// Its region, by its configuration.
    pub region: String,
    /// When it started.
    pub started: u64,
    /// Where it listens, as protocol and address.
    pub listeners: Vec<String>,
    /// The features that it understands.
    pub features: Vec<String>,
    /// What it does for all.
    pub leads: Vec<NodeWork>,
}

/// Work that a process does for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeWork {
    /// The kind of work.
    #[schema(example = "queue")]
    pub group: String,
    /// The parts of that work.
    pub names: Vec<String>,
}

/// A form of data that not every release understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterFeature {
    /// Its name.
    #[schema(example = "segmented-bodies")]
    pub name: String,
    /// Whether it is written; it is never taken back.
    pub active: bool,
    /// Since when.
    pub since: Option<u64>,
    /// The release that made it active.
    pub version: Option<String>,
    /// The ids of the processes that do not understand it, and keep it back.
    pub waits_for: Vec<String>,
}

impl Client {
    /// The processes that use the store: those that work, and those that died lately.
    pub async fn list_nodes(&self) -> Result<Page<Node>> {
        self.list(&["nodes"], &PageQuery::default()).await
    }

    /// One process, by its id or the beginning of it.
    pub async fn node(&self, id: &str) -> Result<Node> {
        self.get(&["nodes", id]).await
    }

    /// The features that the cluster knows.
    pub async fn list_features(&self) -> Result<Page<ClusterFeature>> {
        self.list(&["cluster", "features"], &PageQuery::default()).await
    }
}
