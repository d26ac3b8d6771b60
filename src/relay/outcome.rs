//! What became of a recipient, and of TLS on the way.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::proto::status::Status;

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientOutcome {
    /// The other server took responsibility.
    Sent {
        /// The server: `host [address]`.
        remote: String,
        /// Its last reply with its code, as one line.
        reply: String,
        /// It knows DSN (RFC 3461) and was asked for what the sender wants; otherwise a success notification is ours to make, as `relayed`.
        notifies: bool,
    },
    /// Not now: try again later.
    Deferred(Failure),
    /// Never: return it to the sender.
    Failed(Failure),
}

/// Why a recipient did not get the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed.
    pub kind: FailureKind,
    /// The enhanced status code: the server's, or ours.
    pub status: Status,
    /// The reply code, if a server gave one.
    pub code: Option<u16>,
    /// What the server said, without its codes, or what went wrong: one line, at most 1,000 octets.
    pub text: String,
    /// The server: `host [address]`; `None` if there was none to ask.
    pub remote: Option<String>,
}

/// What failed, which tells whose concern it is: the whole destination's, the message's, or one recipient's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// The destination cannot be found in DNS, or takes no mail.
    Dns,
    /// No host of the destination answers.
    Connection,
    /// TLS as the destination's policy, a rule or the sender wants it is not to be had.
    Tls,
    /// The server refuses us: at the greeting, EHLO, AUTH, or with 421.
    Host,
    /// The server refuses the sender.
    Sender,
    /// The server refuses the recipient.
    Recipient,
    /// The server refuses the message, or lacks an extension that it needs.
    Message,
    /// The server did not keep to the protocol.
    Protocol,
    /// Somebody else may have taken the work over; nothing was sent.
    Fenced,
}

/// One TLS session with another server that was tried, for reports (RFC 8460).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// The domain that mail went to.
    pub domain: String,
    /// The MX host.
    pub mx_host: String,
    /// The address that it was sent from, if known.
    pub source: Option<IpAddr>,
    /// The host's address.
    pub remote: Option<IpAddr>,
    /// Which policy was in force: `sts`, `tlsa`, `no-policy-found` (RFC 8460 §4.2).
    pub policy_type: &'static str,
    /// The policy as text lines (RFC 8460 §4.4 `policy-string`).
    pub policy: Vec<String>,
    /// What came of it.
    pub result: TlsResult,
}

/// What came of a TLS session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsResult {
    /// It was as the policy has it.
    Success,
    /// It was not.
    Failure {
        /// The type, in the words of RFC 8460 §4.3: `starttls-not-supported`, `certificate-host-mismatch`, ...
        result_type: &'static str,
        /// More about it.
        detail: String,
    },
}

/// Hears of TLS sessions. Must not block.
pub trait TlsReporter: Send + Sync {
    /// A session was tried.
    fn session(&self, session: TlsSession);
}
