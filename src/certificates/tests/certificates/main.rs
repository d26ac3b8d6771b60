//! Certificates in the store, and in force in several processes.
#![allow(clippy::unwrap_used)]

mod following;
mod storing;
mod support;
