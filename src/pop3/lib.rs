//! The POP3 server: RFC 1939 with STLS (RFC 2595), CAPA (RFC 2449), SASL (RFC 5034), response codes (RFC 2449 §8, RFC
//! 3206) and UTF8 and LANG (RFC 6856).
//!
//! A session sees the INBOX as it was at login, holds it alone by a lease, and deletes only at QUIT. [`proto`]
//! knows the protocol, `session` the states, `maildrop` the numbers and marks, `lease` the lock.

mod lease;
mod maildrop;
mod metrics;
pub mod proto;
mod reply;
mod server;
mod session;
mod wire;

pub use server::Pop3Server;
