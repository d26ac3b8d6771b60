//! The IMAP4rev2 and IMAP4rev1 server (RFC 9051, RFC 3501).
//!
//! [`Server`] is the way in: it implements [`ekitei_net::Handler`], so a listener gives it one connection for each client.
//!
//! | to know | see |
//! |---|---|
//! | how octets become commands, and responses octets | [`proto`], which knows nothing of storage |
//! | the life of a connection | `session`, and `wire` for the way out with its backpressure |
//! | which command is allowed when, and when changes are told | `dispatch` |
//! | message numbers | `numbering`, and `selected` for the responses that change them |
//! | one command | the module of its name |

pub mod proto;

mod append;
mod capability;
mod copy;
mod dispatch;
mod expunge;
mod fetch;
mod headers;
mod idle;
mod learning;
mod list;
mod login;
mod mailboxes;
mod metrics;
mod numbering;
mod quota;
mod reply;
mod search;
mod select;
mod selected;
mod server;
mod session;
mod status;
mod store;
mod structure;
mod transfer;
mod wire;

pub use server::{Server, ServerContext};
