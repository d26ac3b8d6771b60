//! What is collected for TLS reports (RFC 8460 §4).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ekitei_relay::{TlsResult, TlsSession};
use serde::{Deserialize, Serialize};

use super::{Row, Word, shortened};
use crate::error::Result;
use crate::rows::{self, Collected};

/// Octets of a text that a record keeps.
const TEXT: usize = 255;
/// Lines of a policy that are kept.
const POLICY_LINES: usize = 50;
/// MX hosts of a domain that are named.
const HOSTS: usize = 50;

/// A policy that was in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TlsPolicy {
    pub(crate) policy_type: Word,
    pub(crate) lines: Vec<String>,
}

/// What tells one kind of failure from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TlsFailure {
    pub(crate) result_type: Word,
    pub(crate) mx_host: String,
    pub(crate) source: Option<IpAddr>,
    pub(crate) remote: Option<IpAddr>,
    pub(crate) detail: String,
}

/// What a process counted under one policy between two flushes, for one domain and day; or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TlsBatch {
    pub(crate) policy: TlsPolicy,
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) successes: u64,
    pub(crate) failures: Vec<(TlsFailure, u64)>,
    /// Failed sessions that are in no record, since there were too many kinds.
    pub(crate) left_out: u64,
}

/// What is counted, by day, domain and policy.
#[derive(Default)]
pub(crate) struct TlsGroups {
    groups: HashMap<(u64, String, TlsPolicy), Group>,
    /// Groups, and kinds of failures in all of them.
    records: usize,
}

#[derive(Default)]
struct Group {
    hosts: BTreeSet<String>,
    successes: u64,
    failures: HashMap<TlsFailure, u64>,
    left_out: u64,
}

impl TlsGroups {
    /// Counts a session at `now` (seconds since the epoch); false if there was no room for it.
    pub(crate) fn add(&mut self, session: TlsSession, now: u64, limit: usize) -> bool {
        let text = |text: &str| shortened(text, TEXT).to_owned();
        let policy = TlsPolicy {
            policy_type: session.policy_type.into(),
            lines: session.policy.iter().take(POLICY_LINES).map(|line| text(line)).collect(),
        };
        let key = (now / 86_400, text(&session.domain), policy);
        let is_full = self.records >= limit;
        if is_full && !self.groups.contains_key(&key) {
            return false;
        }
        let group = self.groups.entry(key).or_insert_with(|| {
            self.records += 1;
            Group::default()
        });
        let host = text(&session.mx_host);
        if !host.is_empty() && group.hosts.len() < HOSTS {
            group.hosts.insert(host.clone());
        }
        let TlsResult::Failure { result_type, detail } = session.result else {
            group.successes += 1;
            return true;
        };
        let failure = TlsFailure {
            result_type: result_type.into(),
            mx_host: host,
            source: session.source,
            remote: session.remote,
            detail: text(&detail),
        };
        if let Some(count) = group.failures.get_mut(&failure) {
            *count += 1;
        } else if is_full {
            group.left_out += 1;
            return false;
        } else {
            group.failures.insert(failure, 1);
            self.records += 1;
        }
        true
    }

    pub(crate) fn into_rows(self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for ((day, domain, policy), group) in self.groups {
            let Group { hosts, mut successes, failures, mut left_out } = group;
            let mut parts = rows::in_parts(failures)?;
            if parts.is_empty() {
                parts.push(Vec::new());
            }
            for failures in parts {
                let batch = TlsBatch {
                    policy: policy.clone(),
                    hosts: hosts.clone(),
                    successes: std::mem::take(&mut successes),
                    failures,
                    left_out: std::mem::take(&mut left_out),
                };
                rows.push(Row {
                    kind: Collected::Tls,
                    key: Collected::Tls.batch(day, &domain, rand::random()),
                    domain: domain.clone(),
                    value: rows::encode(&batch)?,
                });
            }
        }
        Ok(rows)
    }
}
