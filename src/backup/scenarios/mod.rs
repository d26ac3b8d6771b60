//! What is promised of backups, as scenarios over stores in memory.
#![allow(clippy::unwrap_used)]

mod consistency;
mod crashes;
mod damage;
mod incremental;
mod jobs;
mod model;
mod partial;
mod sharing;
mod support;
