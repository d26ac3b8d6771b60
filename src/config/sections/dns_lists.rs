//! DNS lists of addresses and domains.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section;
use crate::{Cidr, Duration};

section! {
    /// Lists in the DNS (RFC 5782) of addresses and domains that send spam, or that do not. A list that does not answer counts as one that
    /// does not list.
    pub struct DnsLists {
        /// The lists; all are asked at the same time.
        lists: Vec<DnsList> = Vec::new(),
        /// How long to wait for all answers; lists that have not answered by then count as not listing.
        timeout: Duration = Duration::seconds(4),
        /// The sum of scores at which a client is refused, `550 5.7.1` with the lists' own words. `0` is never: the score is then only noted.
        reject_score: u32 = 10,
        /// The sum of scores at which mail goes to Junk. `0` is never.
        junk_score: u32 = 5,
        /// How long a list that said that it does not serve us (127.255.255.x, 127.0.0.1, 127.0.0.255) is left alone.
        error_pause: Duration = Duration::minutes(10),
    }
}

/// One list. `zone` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsList {
    /// Where it is in the DNS, as `zen.spamhaus.org`.
    pub zone: String,
    /// What it lists.
    #[serde(default)]
    pub kind: DnsListKind,
    /// The score of what it lists, whatever the answer; negative for lists of those to be trusted. Only where `answers` does not say otherwise.
    #[serde(default = "default_score")]
    pub score: i32,
    /// The scores of particular answers. If there are any, other answers count nothing.
    #[serde(default)]
    pub answers: Vec<DnsListAnswer>,
}

/// What an answer of a list means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsListAnswer {
    /// The address that the list answers with, or a network of such, as `127.0.0.2` or `127.0.0.8/29`.
    pub address: Cidr,
    /// What it counts.
    pub score: i32,
}

/// What a list has entries for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DnsListKind {
    /// Clients' addresses.
    #[default]
    Address,
    /// Domains: in HELO, of senders, in messages.
    Domain,
}

impl DnsList {
    /// Whether `answers` names just this answer, not only a network that it is in.
    pub fn names(&self, answer: Ipv4Addr) -> bool {
        self.answers.iter().any(|named| named.address == Cidr::around(answer.into(), 32))
    }
}

fn default_score() -> i32 {
    10
}
