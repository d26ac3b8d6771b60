//! DMARC aggregate reports (RFC 9990 §3).

use mail_auth::report::{
    ActionDisposition, Alignment, AuthResult, DKIMAuthResult, DateRange, Discovery, Disposition, DkimResult,
    DmarcResult, Identifier, PolicyEvaluated, PolicyOverride, PolicyOverrideReason, PolicyPublished, Record,
    Report, ReportMetadata, Row, SPFAuthResult, SPFDomainScope, SpfResult,
};

use super::compose::{added_up, report_id, small};
use super::{Done, Group, Outcome, Turn};
use crate::collect::{DmarcBatch, DmarcRecord, PublishedPolicy};
use crate::error::{Error, Result};
use crate::reports::Reports;
use crate::rows;

impl Reports {
    pub(super) async fn send_dmarc(&self, group: &Group, turn: &Turn<'_>) -> Result<Outcome> {
        let batches: Vec<DmarcBatch> =
            group.batches.iter().map(|row| rows::decode(&row.value)).collect::<Result<_>>()?;
        // All of a day name the same policy, unless it changed.
        let Some(policy) = batches.last().map(|batch| batch.policy.clone()) else {
            return Ok(Outcome::Dropped);
        };
        let wanting = self.wanting_dmarc(&group.domain, &policy.rua).await?;
        if wanting.is_empty() || !self.inner.live.load().reports.send {
            return Ok(Outcome::Dropped);
        }
        let from = self.sender().await?;
        let submitter = from.domain().as_ascii().to_owned();
        let report = self.dmarc_report(group, policy, batches, &from.to_wire());
        let compose = |to: &[String]| {
            let to = to.iter().map(String::as_str);
            let message = report.to_rfc5322(&submitter, from.to_wire(), to);
            message.map_err(|error| Error::Compose(error.to_string()))
        };
        // RFC 9989 §4.7: a size in `rua` is of the report as it is sent.
        let most = self.inner.live.load().reports.max_report_size.get();
        let everyone: Vec<String> = wanting.iter().map(|(address, _)| address.to_wire()).collect();
        let size = compose(&everyone)?.len() as u64;
        let fits = |limit: u64| size <= most && (limit == 0 || size <= limit);
        let (to, refusing): (Vec<_>, Vec<_>) = wanting.into_iter().partition(|(_, limit)| fits(*limit));
        if !refusing.is_empty() {
            tracing::info!(
                domain = group.domain,
                size,
                refusing = refusing.len(),
                "a report is too large for who wants it"
            );
        }
        if to.is_empty() {
            return Ok(Outcome::Dropped);
        }
        let to: Vec<_> = to.into_iter().map(|(address, _)| address).collect();
        let message = compose(&to.iter().map(|address| address.to_wire()).collect::<Vec<_>>())?;
        let is_ours = self.hand_over(message, &from, to, Done::with(group), turn).await?;
        Ok(if is_ours { Outcome::HandedOver } else { Outcome::Deferred })
    }

    fn dmarc_report(
        &self,
        group: &Group,
        policy: PublishedPolicy,
        batches: Vec<DmarcBatch>,
        contact: &str,
    ) -> Report {
        let most = usize::try_from(self.inner.live.load().reports.max_records).unwrap_or(usize::MAX);
        let mut left_out: u64 = batches.iter().map(|batch| batch.left_out).sum();
        let (records, more) = added_up(batches.into_iter().flat_map(|batch| batch.records), most);
        left_out += more;
        let (begin, end) = group.period();
        Report {
            version: 1.0,
            report_metadata: ReportMetadata {
                org_name: self.organization(),
                email: contact.to_owned(),
                extra_contact_info: None,
                report_id: report_id(group),
                date_range: DateRange { begin, end },
                error: match left_out {
                    0 => Vec::new(),
                    some => {
                        vec![format!("{some} messages are not in this report, since it would be too long")]
                    }
                },
                generator: Some(concat!("Ekitei ", env!("CARGO_PKG_VERSION")).to_owned()),
            },
            policy_published: published(&group.domain, &policy),
            record: records.into_iter().map(|(record, count)| converted(record, count)).collect(),
            extensions: Vec::new(),
        }
    }
}

fn published(domain: &str, policy: &PublishedPolicy) -> PolicyPublished {
    let alignment = |strict| if strict { Alignment::Strict } else { Alignment::Relaxed };
    PolicyPublished {
        domain: domain.to_owned(),
        version_published: None,
        adkim: alignment(policy.strict_dkim),
        aspf: alignment(policy.strict_spf),
        p: disposition(&policy.p),
        sp: disposition(&policy.sp),
        np: disposition(&policy.np),
        testing: policy.testing,
        discovery_method: Discovery::Treewalk,
        fo: Some(policy.failure_options.to_string()),
    }
}

fn disposition(word: &str) -> Disposition {
    match word {
        "none" => Disposition::None,
        "quarantine" => Disposition::Quarantine,
        "reject" => Disposition::Reject,
        _ => Disposition::Unspecified,
    }
}

fn converted(record: DmarcRecord, count: u64) -> Record {
    let passed = |passed| if passed { DmarcResult::Pass } else { DmarcResult::Fail };
    let reason = |(word, comment): (crate::collect::Word, String)| PolicyOverrideReason {
        type_: match &*word {
            "local_policy" => PolicyOverride::LocalPolicy,
            "mailing_list" => PolicyOverride::MailingList,
            "policy_test_mode" => PolicyOverride::PolicyTestMode,
            "trusted_forwarder" => PolicyOverride::TrustedForwarder,
            _ => PolicyOverride::Other,
        },
        comment: (!comment.is_empty()).then_some(comment),
    };
    let spf = record.spf.map(|(domain, is_helo, result)| SPFAuthResult {
        domain,
        scope: if is_helo { SPFDomainScope::Helo } else { SPFDomainScope::MailFrom },
        result: spf_result(&result),
        human_result: None,
    });
    Record {
        row: Row {
            source_ip: Some(record.source),
            count: small(count),
            policy_evaluated: PolicyEvaluated {
                disposition: match &*record.disposition {
                    "pass" => ActionDisposition::Pass,
                    "quarantine" => ActionDisposition::Quarantine,
                    "reject" => ActionDisposition::Reject,
                    _ => ActionDisposition::None,
                },
                dkim: passed(record.dkim_aligned),
                spf: passed(record.spf_aligned),
                reason: record.reasons.into_iter().map(reason).collect(),
            },
        },
        identifiers: Identifier {
            envelope_to: record.envelope_to,
            envelope_from: record.envelope_from.unwrap_or_default(),
            header_from: record.header_from,
        },
        auth_results: AuthResult {
            dkim: record
                .dkim
                .into_iter()
                .map(|(domain, selector, result)| DKIMAuthResult {
                    domain,
                    selector,
                    result: dkim_result(&result),
                    human_result: None,
                })
                .collect(),
            spf: spf.into_iter().collect(),
        },
        extensions: Vec::new(),
    }
}

fn dkim_result(word: &str) -> DkimResult {
    match word {
        "pass" => DkimResult::Pass,
        "fail" => DkimResult::Fail,
        "policy" => DkimResult::Policy,
        "neutral" => DkimResult::Neutral,
        "temperror" => DkimResult::TempError,
        "permerror" => DkimResult::PermError,
        _ => DkimResult::None,
    }
}

fn spf_result(word: &str) -> SpfResult {
    match word {
        "pass" => SpfResult::Pass,
        "fail" => SpfResult::Fail,
        "softfail" => SpfResult::SoftFail,
        "neutral" => SpfResult::Neutral,
        "temperror" => SpfResult::TempError,
        "permerror" => SpfResult::PermError,
        _ => SpfResult::None,
    }
}
