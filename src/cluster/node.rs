//! A process of the cluster, as it introduces itself.

use std::fmt;
use std::str::FromStr;

use ekitei_kv::lease::MemberId;
use serde::{Deserialize, Serialize};

/// The id of a process: that of its member of the leases, in hexadecimal. Another one each time that a process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) MemberId);

impl NodeId {
    /// The node of a member of the leases.
    pub fn of_member(member: MemberId) -> Self {
        Self(member)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl FromStr for NodeId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 32 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| ())
    }
}

/// What a process says of itself. In its row as JSON: later releases may add members, which earlier ones do not look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Description {
    /// The name of the host that it runs on; in Kubernetes, of the pod.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// The release.
    pub version: String,
    /// The region that the configuration gives it; may be empty.
    pub region: String,
    /// When it started, in seconds since the epoch.
    pub started: u64,
    /// Where it listens, as `protocol address:port`.
    pub listeners: Vec<String>,
}

/// Whether a process works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It renews its leases.
    Alive,
    /// It stopped to renew its leases without saying good-bye. Since this many seconds after the epoch, by the clock of the process that noticed.
    Dead {
        /// When that was noticed.
        since: u64,
    },
}

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What it says of itself; `None` of a process of a release that did not do so.
    pub description: Option<Description>,
    /// The names of the features that it understands.
    pub features: Vec<String>,
    /// Whether it works.
    pub state: NodeState,
    /// The work that it leads: leases that it holds, as group and name, in their order.
    pub leads: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read() {
        let id = NodeId([0xAB; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "ab", "+bababababababababababababababab", &"ab".repeat(17)] {
            assert_eq!(wrong.parse::<NodeId>(), Err(()), "{wrong}");
        }
    }
}
