//! Signatures: DKIM keys and signatures (RFC 6376, 8463), ARC seals (RFC 8617), and the rewritten senders of forwarded mail (SRS).
//!
//! [`Signing`] has the keys of all domains, stored encrypted , each in a stage of its life ([`Stage`]). A message gets one signature for each key
//! that signs ([`Signing::sign`]); forwarded mail gets an ARC set and a sender of ours.

mod arc;
mod dkim;
mod error;
mod fields;
mod key;
mod lifecycle;
mod maintenance;
mod metrics;
mod model;
mod record;
mod rows;
mod selector;
mod signing;
mod srs;
mod tags;
pub mod transfer;
mod vault;

pub use error::{Error, Result};
pub use key::Algorithm;
pub use maintenance::Maintained;
pub use model::{Activation, KeyInfo, NewKey, Stage};
pub use record::KeyRecord;
pub use signing::{Parts, Signing};
