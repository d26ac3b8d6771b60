//! The admin API and the public pages, as their clients see them.
#![allow(clippy::unwrap_used)]

mod admin_api;
mod public_pages;
mod support;
