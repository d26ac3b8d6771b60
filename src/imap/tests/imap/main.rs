//! The IMAP server as its clients see it: dialogues over a real mailstore and directory in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod appending;
mod bans;
mod budgets;
mod changing;
mod failing;
mod fetching;
mod idling;
mod learning;
mod listing;
mod login;
mod mailboxes;
mod model;
mod numbers;
mod searching;
mod selecting;
mod sharing;
mod support;
mod tls;
