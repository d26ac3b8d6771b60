//! Message bodies: hot tier, object stores, checksums, references and the collector.
//!
//! A body is cut into blocks, each compressed where that pays and checked with BLAKE3 when it is read. A small body
//! ("hot") is stored as rows in the same transaction as its metadata; a large one goes to the object store first,
//! under an intent row that lets the [collector](Blobs::collect) remove what a crash orphaned. Owners hold a body by
//! reference rows; a body without one is deleted after a grace period.

mod blobs;
mod block;
mod cache;
mod collector;
pub mod compression;
mod directory_store;
mod encryption;
mod error;
mod hot;
mod id;
#[cfg(any(test, feature = "testing"))]
mod memory_store;
mod object_error;
mod object_store;
mod operation;
mod owner;
mod reader;
mod record;
pub mod resilience;
mod rows;
mod scrub;
mod segments;
mod status;
mod usage;
mod writer;

pub use blobs::{Blobs, Settings};
pub use cache::{CacheSettings, CachedStore, PageFile, PageFolder, PageFolderFuture};
pub use collector::Collected;
pub use directory_store::DirectoryStore;
pub use encryption::{DATA_KEY_OCTETS, DataKey, DataKeys, KeyError, KeyFuture, KeyScope};
pub use error::Error;
pub use hot::Figures;
pub use id::{BodyId, DataKeyId, SegmentId};
#[cfg(any(test, feature = "testing"))]
pub use memory_store::{Fault, Faults, MemoryStore, Rates, ScriptedFaults, SeededFaults};
pub use object_error::{ObjectError, ObjectErrorKind};
pub use object_store::{MAX_NAME, ObjectFuture, ObjectInfo, ObjectStore, check_name};
pub use operation::Operation;
pub use owner::{Group, Owner};
pub use resilience::Resilient;
pub use rows::{add_reference, is_stored, remove_reference};
pub use scrub::{Finding, FindingKind, ScrubPhase, ScrubReport, ScrubTally, Scrubbed, Scrubber};
pub use segments::{Compacted, Gate, Packed, Packer, Packing};
pub use status::{Backlog, BlobStatus, GroupStatus};
pub use usage::body_under;
pub use writer::Prepared;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
