//! What MAIL and RCPT say, to a server that may know fewer extensions than ours.

use serde::{Deserialize, Serialize};

/// What the body contains (RFC 6152). Binary bodies are converted when they come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyType {
    /// Octets under 128 only.
    #[default]
    SevenBit,
    /// Octets over 127 too.
    EightBitMime,
}

/// What a failure notification brings back (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

/// When to notify the sender (RFC 3461 §4.1). All false is `NEVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// `SUCCESS`
    pub success: bool,
    /// `FAILURE`
    pub failure: bool,
    /// `DELAY`
    pub delay: bool,
}

impl Notify {
    /// Without a NOTIFY parameter: of failures, and of delays if the server likes to (RFC 3461 §4.1).
    pub const DEFAULT: Self = Self { success: false, failure: true, delay: true };
    /// `NEVER`
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

/// ORCPT: the recipient as the sender named it (RFC 3461 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalRecipient {
    /// `rfc822`, `utf-8`, ...
    pub address_type: String,
    /// The address, as xtext still: it is only ever handed on.
    pub address: String,
}

/// BY: by when it must be delivered (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverBy {
    /// When, in seconds since the epoch.
    pub deadline: u64,
    /// Mode `R`: return it after that; otherwise (`N`) only tell the sender.
    pub or_return: bool,
}

/// What MAIL says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where failures are reported to; `None` for `<>`.
    pub reverse_path: Option<String>,
    /// `RET`
    pub ret: Option<Return>,
    /// `ENVID`, decoded.
    pub envelope_id: Option<String>,
    /// What the body contains.
    pub body: BodyType,
    /// Whether the message needs SMTPUTF8 (RFC 6531): its header or an address is not ASCII.
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689)
    pub require_tls: bool,
    /// `MT-PRIORITY` (RFC 6710), -9 to 9; 0 by default.
    pub priority: i8,
    /// `BY`
    pub deliver_by: Option<DeliverBy>,
}

/// What RCPT says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// `NOTIFY`; `None` if it was not given.
    pub notify: Option<Notify>,
    /// `ORCPT`
    pub original: Option<OriginalRecipient>,
}
