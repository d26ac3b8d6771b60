//! Segments: objects that hold many bodies. The packer moves hot bodies into them, by group of owners and under the group's lease; compaction rewrites
//! those of which little lives. Docs: `docs/design/0008-segments.md`.

mod build;
mod compact;
mod pack;
mod plan;
mod rows;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use compact::Compacted;
pub(crate) use compact::Living;
pub use pack::Packed;
pub(crate) use rows::{Extent, SegmentRow, bury, has_no_extents, read_segment, settle_alone};

use crate::owner::Group;
use crate::{Blobs, Error, Result};
use ekitei_kv::lease::Lease;

/// How hot bodies are packed into segments.
#[derive(Clone, Debug)]
pub struct Packing {
    /// Whether it is done at all. Without, there is no limit to hot bodies either.
    pub enabled: bool,
    /// Whether all processes of the cluster can read what it makes.
    pub gate: Gate,
    /// Younger bodies are left alone: many of them are deleted soon.
    pub min_age: Duration,
    /// Older bodies do not wait until they fill a segment. Bodies that no account has are left alone until then.
    pub max_age: Duration,
    /// Octets of a segment, at most; one body may be larger.
    pub segment_size: u64,
    /// Segments with less than this share of live octets are rewritten.
    pub compact_below: f64,
    /// Octets of all hot bodies above which new ones become objects.
    pub hot_limit: u64,
}

impl Default for Packing {
    fn default() -> Self {
        Self {
            enabled: true,
            gate: Gate::default(),
            min_age: Duration::from_secs(300),
            max_age: Duration::from_secs(24 * 3600),
            segment_size: 16 << 20,
            compact_below: 0.5,
            hot_limit: 4 << 30,
        }
    }
}

impl Packing {
    /// Whether hot bodies are entered into the index, and packed.
    pub(crate) fn is_active(&self) -> bool {
        self.enabled && self.gate.is_open()
    }
}

/// A question that is asked before something new is written; open if nothing else is said.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> bool + Send + Sync>);

impl Gate {
    /// A gate that is open when `is_open` says so. It is asked often.
    pub fn new(is_open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_open))
    }

    /// Whether it is open now.
    pub fn is_open(&self) -> bool {
        (self.0)()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(|| true)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.is_open()).finish()
    }
}

/// The work on segments of one process: packing and compaction. Its steps are called by who has the lease of a group.
#[derive(Clone)]
pub struct Packer {
    blobs: Blobs,
}

impl Packer {
    /// The group of leases that names the work: one lease for each [`Group`].
    pub const LEASES: &'static str = "packer";

    /// The packer of a body store.
    pub fn new(blobs: Blobs) -> Self {
        Self { blobs }
    }

    /// The group that a lease is for.
    fn group(lease: &Lease) -> Result<Group> {
        Group::of_lease(lease.name()).ok_or(Error::Store(ekitei_kv::Error::Fenced))
    }

    fn settings(&self) -> &Packing {
        &self.blobs.inner.settings.packing
    }

    /// Whether there is nothing to be done now: packing is off, or not allowed yet, or the object store is away.
    fn rests(&self) -> bool {
        !self.settings().is_active() || self.blobs.inner.objects.is_away()
    }
}
