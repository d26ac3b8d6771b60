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
        /// Validate DNSSEC, which DANE needs (RFC 7672 §2.1). The resolvers asked must hand on DNSSEC records.
        dnssec: bool = true,
        /// Trust anchors as DNSKEY records in a zone file, in place of the root's that are built in.
        trust_anchors: Option<PathBuf> = None,
    }
}
