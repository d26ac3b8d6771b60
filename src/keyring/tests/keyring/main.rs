//! What is promised of data keys and of the bodies that they encrypt.
#![allow(clippy::unwrap_used, missing_docs)]

mod bodies;
mod keys;
mod support;
