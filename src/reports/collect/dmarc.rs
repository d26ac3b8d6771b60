//! What is collected for DMARC aggregate reports (RFC 9990 §3.1).

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use ekitei_filter::{DmarcOutcome, SpfScope};
use serde::{Deserialize, Serialize};

use super::{Row, shortened};
use crate::error::Result;
use crate::rows::{self, Collected};

/// A word of the standard.
pub(crate) type Word = Cow<'static, str>;

/// Octets of a text from a message that a record keeps.
const TEXT: usize = 255;
/// Signatures and reasons that a record names, and addresses that a policy does.
const SIGNATURES: usize = 10;
/// Octets of an address that wants reports.
const URI: usize = 500;

/// `policy_published`, and who wants to hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishedPolicy {
    pub(crate) p: Word,
    pub(crate) sp: Word,
    pub(crate) np: Word,
    pub(crate) strict_dkim: bool,
    pub(crate) strict_spf: bool,
    pub(crate) testing: bool,
    pub(crate) failure_options: Word,
    pub(crate) rua: Vec<(String, u64)>,
}

/// Everything that tells one record of a report from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct DmarcRecord {
    pub(crate) source: IpAddr,
    pub(crate) header_from: String,
    pub(crate) envelope_from: Option<String>,
    pub(crate) envelope_to: Option<String>,
    pub(crate) disposition: Word,
    pub(crate) dkim_aligned: bool,
    pub(crate) spf_aligned: bool,
    /// Type and comment.
    pub(crate) reasons: Vec<(Word, String)>,
    /// Domain, selector, result.
    pub(crate) dkim: Vec<(String, String, Word)>,
    /// Domain, whether it is that of HELO, result.
    pub(crate) spf: Option<(String, bool, Word)>,
}

/// What a process counted between two flushes, for one domain and day; or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DmarcBatch {
    pub(crate) policy: PublishedPolicy,
    pub(crate) records: Vec<(DmarcRecord, u64)>,
    /// Messages that are in no record, since there were too many.
    pub(crate) left_out: u64,
}

/// What is counted, by day and policy domain.
#[derive(Default)]
pub(crate) struct DmarcGroups {
    groups: HashMap<(u64, String), Group>,
    /// Records of all groups.
    records: usize,
}

struct Group {
    policy: PublishedPolicy,
    records: HashMap<DmarcRecord, u64>,
    left_out: u64,
}

impl DmarcGroups {
    /// Counts a message; false if there was no room for it as a new record.
    pub(crate) fn add(&mut self, outcome: DmarcOutcome, limit: usize) -> bool {
        let group_key = (outcome.time.as_secs() / 86_400, shortened(&outcome.policy.domain, TEXT).to_owned());
        let is_full = self.records >= limit;
        if is_full && !self.groups.contains_key(&group_key) {
            return false;
        }
        let policy = policy(&outcome);
        let group = self.groups.entry(group_key).or_insert_with(|| Group {
            policy: policy.clone(),
            records: HashMap::new(),
            left_out: 0,
        });
        // The last one that was seen counts.
        group.policy = policy;
        let record = record(outcome);
        if let Some(count) = group.records.get_mut(&record) {
            *count += 1;
        } else if is_full {
            group.left_out += 1;
            return false;
        } else {
            group.records.insert(record, 1);
            self.records += 1;
        }
        true
    }

    pub(crate) fn into_rows(self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for ((day, domain), Group { policy, records, mut left_out }) in self.groups {
            for records in rows::in_parts(records)? {
                let batch =
                    DmarcBatch { policy: policy.clone(), records, left_out: std::mem::take(&mut left_out) };
                rows.push(Row {
                    kind: Collected::Dmarc,
                    key: Collected::Dmarc.batch(day, &domain, rand::random()),
                    domain: domain.clone(),
                    value: rows::encode(&batch)?,
                });
            }
        }
        Ok(rows)
    }
}

fn policy(outcome: &DmarcOutcome) -> PublishedPolicy {
    let policy = &outcome.policy;
    PublishedPolicy {
        p: policy.p.into(),
        sp: policy.sp.into(),
        np: policy.np.into(),
        strict_dkim: policy.strict_dkim,
        strict_spf: policy.strict_spf,
        testing: policy.testing,
        failure_options: policy.failure_options.into(),
        rua: policy.rua.iter().filter(|(uri, _)| uri.len() <= URI).take(SIGNATURES).cloned().collect(),
    }
}

fn record(outcome: DmarcOutcome) -> DmarcRecord {
    let text = |text: &str| shortened(text, TEXT).to_owned();
    DmarcRecord {
        source: outcome.source,
        header_from: text(&outcome.header_from),
        envelope_from: outcome.envelope_from.as_deref().map(text),
        envelope_to: outcome.envelope_to.as_deref().map(text),
        disposition: outcome.disposition.name().into(),
        dkim_aligned: outcome.aligned.dkim,
        spf_aligned: outcome.aligned.spf,
        reasons: outcome
            .reasons
            .iter()
            .take(SIGNATURES)
            .map(|reason| (reason.reason.name().into(), text(&reason.comment)))
            .collect(),
        dkim: outcome
            .dkim
            .iter()
            .take(SIGNATURES)
            .map(|dkim| (text(&dkim.domain), text(&dkim.selector), dkim.result.into()))
            .collect(),
        spf: outcome.spf.map(|spf| (text(&spf.domain), spf.scope == SpfScope::Helo, spf.result.into())),
    }
}
