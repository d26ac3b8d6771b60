//! The server as its clients see it: whole dialogues over in-memory streams, with a real mailstore and directory.
#![allow(clippy::unwrap_used, missing_docs)]

mod away;
mod bans;
mod content;
mod filter;
mod limits;
mod lmtp;
mod mx;
mod outgoing;
mod reports;
mod submission;
mod support;
mod tls;
