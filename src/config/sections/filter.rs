//! What judges incoming mail.

use super::{
    Authentication, ClientLimits, DnsLists, DomainPolicy, FilterFailure, FilterPolicy, Greylist, HelloChecks,
    Scanners, section,
};

section! {
    /// Checks of incoming mail.
    pub struct Filter {
        /// Who this service is in Authentication-Results (RFC 8601 §2.5); empty for `hostname`. Fields of that name that come in are removed.
        authserv_id: String = String::new(),
        /// What becomes of a message when the filter itself fails.
        on_error: FilterFailure = FilterFailure::Tempfail,
        /// Whether clients on this host (127.0.0.0/8, ::1) are looked at as others are: authentication, EHLO, lists, greylisting. Their address says
        /// nothing of where mail comes from; scanners see their mail in any case.
        check_loopback: bool = false,
        /// Whether mail that is judged as junk goes on to other hosts, where an alias or group leads there; they would take us for its sender. If not, who has a
        /// mailbox here gets it all the same; where nobody has, and for mail of users that a milter puts into quarantine, it is refused: `550 5.7.1`.
        forward_junk: bool = false,
        /// SPF, DKIM, DMARC, ARC and reverse names.
        authentication: Authentication = Authentication::default(),
        /// The name in EHLO.
        hello: HelloChecks = HelloChecks::default(),
        /// What follows from what was found out.
        policy: FilterPolicy = FilterPolicy::default(),
        /// Other policies for some of our domains. A message for several domains is refused if all of their policies refuse it; where only some do, it goes to
        /// Junk there.
        domains: Vec<DomainPolicy> = Vec::new(),
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
