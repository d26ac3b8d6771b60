//! The receiving server: MX, submission and LMTP.
//!
//! Make one [`Server`] from a [`ServerContext`] and give it to every listener for SMTP, submission and LMTP; it is a
//! [`Handler`](ekitei_net::Handler) and reads from the listener's protocol what to be:
//!
//! ```ignore
//! let smtp = Arc::new(Server::new(ServerContext {
//!     live, tls, shutdown, directory, limits, mailstore,
//!     clock: Arc::new(move || clock.now()),
//!     metrics: Metrics::new(&registry),
//! }));
//! listener.serve(smtp.clone()).await;
//! ```
//!
//! The path of a message: [`proto`] turns octets into commands and message data; [`session`] decides what a command may do; a conversation
//! carries that out: recipients are resolved when they are named, the body is collected within the memory budget, checked, given
//! its trace fields, and delivered to all recipients in one call of the mailstore. `250` is said after that returned, and
//! never before.

mod binary;
mod body;
mod conversation;
mod deliver;
mod header;
mod io;
mod judge;
mod message;
mod metrics;
mod outgoing;
mod patience;
pub mod proto;
mod recipients;
mod server;
pub mod session;
mod trace;

pub use metrics::Metrics;
pub use server::{Server, ServerContext, WallClock};
