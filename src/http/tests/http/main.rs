//! The admin API and the public pages, as their clients see them.
#![allow(clippy::unwrap_used)]

mod admin_api;
mod bans;
mod bodies;
mod certificates;
mod dkim;
mod keys;
mod locks;
mod nodes;
mod public_pages;
mod queue;
mod reports;
mod support;
mod usage;
