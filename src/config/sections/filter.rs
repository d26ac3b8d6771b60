//! What judges incoming mail.

use super::{ClientLimits, DnsLists, Greylist, Scanners, section};

section! {
    /// Checks of incoming mail.
    pub struct Filter {
        /// Who this service is in Authentication-Results (RFC 8601 §2.5); empty for `hostname`. Fields of that name that come in are removed.
        authserv_id: String = String::new(),
        /// SPF, DKIM, DMARC, ARC and reverse names.
        authentication: Authentication = Authentication::default(),
        /// Rates of clients and bans.
        limits: ClientLimits = ClientLimits::default(),
        /// Putting off the mail of senders that nobody knows.
        greylist: Greylist = Greylist::default(),
        /// Lists of addresses and domains in the DNS.
        dns_lists: DnsLists = DnsLists::default(),
        /// Programs that scan messages.
        scanners: Scanners = Scanners::default(),
    }
}

section! {
    /// SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 9989), ARC (RFC 8617) and reverse names (RFC 8601 §3).
    pub struct Authentication {
        /// Whether they are checked.
        enabled: bool = true,
    }
}
