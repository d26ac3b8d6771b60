//! The store of bodies in S3, against a real server (SeaweedFS, skipped where it is not installed) and a hostile network before it.
#![allow(clippy::unwrap_used, missing_docs)]

mod bucket;
mod hostile;
mod support;
