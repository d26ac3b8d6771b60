//! Milters: programs that are asked about each step of a connection and may change the message (protocol of Sendmail, versions 2 to 6).
//!
//! [`Chain`] is the MTA's side for one connection and all configured milters. [`codec`] turns frames into values and back; it knows
//! nothing of sockets.

mod chain;
pub mod codec;
mod connection;
mod content;
mod macros;
mod session;
#[cfg(test)]
mod tests;

pub use chain::{Chain, Milled};
pub use content::edited;
