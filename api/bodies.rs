//! Message bodies: how many wait in the metadata store, how full segments are, and what checking them found.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, Result};

/// How the store of bodies is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobStatus {
    /// Whether small bodies are moved into segments: it is configured, and all processes can read segments.
    pub packing: bool,
    /// Whether the object store does not answer the process that you asked.
    pub away: bool,
    /// Bodies in the metadata store that wait to be moved.
    pub hot_bodies: u64,
    /// Octets of these.
    pub hot_octets: u64,
    /// Octets above which new bodies become objects, or are refused while the object store is away.
    pub hot_limit: u64,
    /// The age of the oldest of these, in seconds.
    pub hot_oldest: Option<u64>,
    /// Segments.
    pub segments: u64,
    /// Octets of all segments.
    pub segment_octets: u64,
    /// Octets of segments that are needed.
    pub live_octets: u64,
    /// Bodies in segments.
    pub live_bodies: u64,
    /// The same for each group of accounts whose bodies are packed together, and for mail in transit.
    pub groups: Vec<BlobGroup>,
    /// What waits for the collector and compaction.
    pub backlog: BlobBacklog,
    /// How checking bodies goes.
    pub scrub: BlobScrub,
}

/// What there is of one group of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobGroup {
    /// Its name.
    #[schema(example = "accounts-3")]
    pub group: String,
    /// Bodies that wait.
    pub hot_bodies: u64,
    /// Octets of these.
    pub hot_octets: u64,
    /// The age of the oldest of these, in seconds.
    pub hot_oldest: Option<u64>,
    /// Segments.
    pub segments: u64,
    /// Octets of these.
    pub segment_octets: u64,
    /// Octets of these that are needed.
    pub live_octets: u64,
}

/// What waits; at most 10,000 of each are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobBacklog {
    /// Bodies that lost an owner.
    pub bodies: u64,
    /// Objects of single bodies that are being written, or wait to be deleted.
    pub objects: u64,
    /// Segments that are being written, or wait to be deleted.
    pub segments: u64,
    /// Segments that compaction is to look at.
    pub hints: u64,
}

/// How checking bodies goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobScrub {
    /// `idle`, or what is being checked: `segments`, `bodies`, `index`, `objects`.
    #[schema(example = "idle")]
    pub phase: String,
    /// When the current round, or the last one, began.
    pub began: Option<u64>,
    /// When the last round ended.
    pub ended: Option<u64>,
    /// Octets read in the round.
    pub octets: u64,
    /// Segments read.
    pub segments: u64,
    /// Bodies looked at.
    pub bodies: u64,
    /// Objects listed.
    pub objects: u64,
    /// Rows that follow from others and were put right.
    pub repaired: u64,
    /// What is damaged, missing or left over; at most 1000.
    pub findings: Vec<BlobFinding>,
}

/// Something that checking found. Nothing is deleted because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobFinding {
    /// `damaged`, `missing`, `orphan`, `unreferenced` or `refused`.
    #[schema(example = "damaged")]
    pub kind: String,
    /// The body's id or the object's name.
    pub name: String,
    /// What does not fit.
    pub what: String,
}

impl Client {
    /// How the store of bodies is.
    pub async fn blob_status(&self) -> Result<BlobStatus> {
        self.get(&["blobs"]).await
    }

    /// Lets all small bodies be moved into segments now.
    pub async fn pack_blobs(&self) -> Result<()> {
        self.answer(self.request(Method::POST, &["blobs", "pack"])?).await.map(drop)
    }

    /// Lets all bodies be checked now.
    pub async fn scrub_blobs(&self) -> Result<()> {
        self.answer(self.request(Method::POST, &["blobs", "scrub"])?).await.map(drop)
    }
}
