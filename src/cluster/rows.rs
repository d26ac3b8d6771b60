//! The rows of nodes and features.
//!
//! | key after the subspace | value |
//! |---|---|
//! | `"node", id` (16 octets) | [`NodeRow`] as JSON |
//! | `"feature", name` | [`FeatureRow`] as JSON: the feature is active |
//! | `"features"` | a counter that rises with each feature that becomes active: watched by every process |

use std::collections::{BTreeMap, BTreeSet};

use ekitei_kv::keys::subspace::CLUSTER;
use ekitei_kv::keys::{key, range};
use ekitei_kv::{Error, RangeOptions, Result, Transaction};
use foundationdb_tuple::unpack;
use serde::{Deserialize, Serialize};

use crate::node::{Description, NodeId};

/// A process, as its row has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeRow {
    #[serde(flatten)]
    pub(crate) description: Description,
    /// Names of the features that it understands.
    pub(crate) features: BTreeSet<String>,
    /// When another process found that it is dead, in seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_since: Option<u64>,
}

/// A feature that is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FeatureRow {
    /// Since when, in seconds since the epoch.
    pub since: u64,
    /// The release of the process that saw that all understand it.
    pub version: String,
}

pub(crate) fn node_key(id: NodeId) -> Vec<u8> {
    key(&(CLUSTER, "node", id.0.as_slice()))
}

/// Writes the row of a process.
///
/// # Errors
/// It cannot be written as JSON, which no row is.
pub(crate) fn set_node(transaction: &Transaction, id: NodeId, row: &NodeRow) -> Result<()> {
    transaction.set(&node_key(id), &encode(row)?);
    Ok(())
}

/// The rows of all processes; without a read conflict if `snapshot`. One that is damaged says nothing: its process understands no feature, and is removed when it is dead.
pub(crate) async fn nodes(transaction: &Transaction, snapshot: bool) -> Result<BTreeMap<NodeId, NodeRow>> {
    let options = RangeOptions { snapshot, ..RangeOptions::default() };
    let mut nodes = BTreeMap::new();
    for row in transaction.get_range(range(&(CLUSTER, "node")), options).await? {
        let (_, _, id): (u32, String, Vec<u8>) =
            unpack(&row.key).map_err(|_| Error::Corrupt("the key of a node".into()))?;
        let id = NodeId(id.try_into().map_err(|_| Error::Corrupt("the key of a node".into()))?);
        let row = serde_json::from_slice(&row.value).unwrap_or_else(|error| {
            tracing::warn!(node = %id, %error, "the row of a process is damaged");
            NodeRow::default()
        });
        nodes.insert(id, row);
    }
    Ok(nodes)
}

/// The features that are active, by name, also those that this release does not know.
pub(crate) async fn features(transaction: &Transaction) -> Result<BTreeMap<String, FeatureRow>> {
    let mut features = BTreeMap::new();
    for row in transaction.get_range(range(&(CLUSTER, "feature")), RangeOptions::default()).await? {
        let (_, _, name): (u32, String, String) =
            unpack(&row.key).map_err(|_| Error::Corrupt("the key of a feature".into()))?;
        let row = serde_json::from_slice(&row.value);
        features.insert(name, row.map_err(|_| Error::Corrupt("the row of a feature".into()))?);
    }
    Ok(features)
}

/// Makes a feature active.
pub(crate) fn activate(transaction: &Transaction, name: &str, row: &FeatureRow) -> Result<()> {
    transaction.set(&key(&(CLUSTER, "feature", name)), &encode(row)?);
    transaction.add(&activations(), 1);
    Ok(())
}

/// Changes with each feature that becomes active.
pub(crate) fn activations() -> Vec<u8> {
    key(&(CLUSTER, "features"))
}

fn encode(row: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(row).map_err(|_| Error::Misuse("a row that is no JSON"))
}
