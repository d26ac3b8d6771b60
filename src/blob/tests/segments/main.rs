//! What is promised of segments: bodies move, are read all the same, and nothing is left behind, wherever a process dies.
#![allow(clippy::unwrap_used, missing_docs)]

mod away;
mod compaction;
mod crash;
mod obstacles;
mod packing;
mod restore;
mod scrub;
mod support;
mod throughput;
