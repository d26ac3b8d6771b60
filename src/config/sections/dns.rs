//! How names are looked up.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::section;
use crate::Duration;

section! {
    /// The resolver: for MX, addresses, DANE, SPF, DKIM, DMARC, DNS lists.
    pub struct Dns {
        /// The recursive resolvers to ask, as `127.0.0.1:53`; empty for those of the system (`/etc/resolv.conf`).
        servers: Vec<SocketAddr> = Vec::new(),
        /// How long to wait for one answer.
        timeout: Duration = Duration::seconds(5),
        /// How often a question is asked again before the answer counts as missing for now.
        attempts: u32 = 2,
        /// Answers kept in memory.
        cache_entries: u32 = 20_000,
        /// Records of one answer that are looked at; of MX records these are the most preferred. Longer answers are not cached.
        max_records: u32 = 100,
        /// Validate DNSSEC, which DANE needs (RFC 7672 §2.1). If the resolvers asked do not hand on DNSSEC records, a warning says so, and
        /// nothing counts as secure. The way to the resolvers must be safe: best is one on the same machine.
        dnssec: bool = true,
        /// Trust anchors as DNSKEY records in a zone file, in place of the root's that are built in; of another zone than the root, all keys that it has.
        trust_anchors: Option<PathBuf> = None,
    }
}
