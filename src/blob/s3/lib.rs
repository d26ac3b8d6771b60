//! Message bodies in S3, and in what speaks its protocol: SeaweedFS, MinIO, Garage, Ceph, R2.
//!
//! One request here is one request to the store, or one for each part of a large object: time limits and retries belong to
//! [`ekitei_blob::Resilient`], and the retries of Amazon's library are off. So are checksums that only Amazon's servers know, since bodies have
//! their own.

pub mod aws;
mod error;
mod multipart;
mod store;

pub use store::{S3Store, ServerEncryption, Settings};
