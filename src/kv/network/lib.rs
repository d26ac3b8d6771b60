//! Starts FoundationDB's network thread, once per process.
//!
//! The client library can be booted only by an `unsafe` call, and all our other crates forbid unsafe code; so that call is
//! alone here, with what makes it sound. Without the feature `foundationdb` the crate is empty.

#[cfg(feature = "foundationdb")]
mod network;

#[cfg(feature = "foundationdb")]
pub use network::{start, stop};
