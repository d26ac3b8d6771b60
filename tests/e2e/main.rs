//! The service as its users meet it: the real `ekitei` binary, over sockets, with programs nobody here wrote.
//!
//! Every test starts a service of its own on loopback ports with an empty data directory (`support::Server`).
//! A test that needs a program which is not installed says so by name in the skip report and returns.
#![allow(clippy::unwrap_used)] // A test that cannot go on should say where.

mod support;

mod arriving;
mod backup;
mod bans;
mod certificates;
mod command_line;
mod concurrent_clients;
mod crash;
mod demo;
mod dkimpy;
mod encryption;
mod forwarding;
mod imap_clients;
mod load;
mod mime_fixtures;
mod mta_sts;
mod notifications;
mod object_store;
#[path = "../observability/proof.rs"]
mod observability;
mod packing;
mod pods;
mod pop3_clients;
mod published_records;
mod relay;
mod reporting;
mod reports;
mod scanners;
mod sending;
mod shutdown;
mod smtp_clients;
mod smuggling;
mod tls;
mod traces;
mod upgrade;
