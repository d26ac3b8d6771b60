//! What is promised of segments: bodies move, are read all the same, and nothing is left behind, wherever a process dies.
#![allow(clippy::unwrap_used, missing_docs)]

mod away;
mod compaction;
mod crash;
mod late;
mod obstacles;
mod packing;
mod refused;
mod restore;
mod scrub;
mod sealed;
mod support;
mod throughput;
