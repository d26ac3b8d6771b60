//! The server as its clients see it: whole dialogues over in-memory streams, with a real mailstore and directory.
#![allow(clippy::unwrap_used, missing_docs)]

mod content;
mod limits;
mod lmtp;
mod mx;
mod submission;
mod support;
mod tls;
