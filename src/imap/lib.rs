//! The IMAP4rev2 and IMAP4rev1 server.

pub mod proto;
