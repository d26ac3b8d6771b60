//! What judges incoming mail.

use super::section;

section! {
    /// Checks of incoming mail.
    pub struct Filter {
        /// Who this service is in Authentication-Results (RFC 8601 §2.5); empty for `hostname`. Fields of that name that come in are removed.
        authserv_id: String = String::new(),
        /// SPF, DKIM, DMARC, ARC and reverse names.
        authentication: Authentication = Authentication::default(),
        /// Rates of clients and bans.
        limits: ClientLimits = ClientLimits::default(),
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

section! {
    /// Rates of clients, and bans, counted over all processes.
    pub struct ClientLimits {
        /// Whether clients are banned for what they do.
        bans: bool = true,
    }
}

section! {
    /// Programs that scan messages.
    pub struct Scanners {
    }
}
