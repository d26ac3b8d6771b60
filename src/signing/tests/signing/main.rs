//! What signing promises, by example: on the in-memory store, verified by `mail-auth`, whose signatures are not ours.

#![allow(clippy::unwrap_used)]

mod chains;
mod keys;
mod signatures;
mod support;
