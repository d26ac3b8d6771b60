//! Reports to and from other domains.

use super::section;

section! {
    /// DMARC aggregate reports (RFC 9990) and TLS reports (RFC 8460).
    pub struct Reports {
        /// Whether reports are sent to domains that ask for them.
        send: bool = true,
        /// The name of the organisation in reports; empty for `hostname`.
        organization: String = String::new(),
    }
}
