//! Reports: DMARC aggregate reports (RFC 9990) and TLS reports (RFC 8460), collected and sent once a day to who asks for them, and those
//! that others send, parsed and kept for `ekitei report`.
//!
//! [`Ears`] hear of every message and every TLS session; [`Reports::run`] writes that down, sends it when the day is over, and reads what came,
//! of which [`Reports::received`] is told by whoever takes mail.

mod collect;
mod error;
mod metrics;
mod model;
mod receive;
mod reports;
mod rows;
#[cfg(test)]
mod scenarios;
mod send;
mod view;

pub use error::{Error, Result};
pub use model::{Kind, Received, ReceivedRecord, ReceivedRow, ReportId, Summary};
pub use receive::{Limits, Parsed, parse};
pub use reports::{Ears, Parts, Reports};
pub use send::{Days, Sent, Turn};
pub use view::ReceivedFilter;
