//! TLS reports (RFC 8460 §4), by mail (§5.3) and HTTPS (§5.4).

use std::collections::{BTreeMap, BTreeSet};

use ekitei_directory::EmailAddress;
use mail_auth::report::tlsrpt::{
    DateRange, FailureDetails, Policy, PolicyDetails, PolicyType, ResultType, Summary, TlsReport,
};
use serde_json::Value;

use super::compose::{added_up, digest, report_id, small};
use super::destination::TlsDestination;
use super::{Done, Group, Outcome, Turn};
use crate::collect::{TlsBatch, TlsFailure, TlsPolicy};
use crate::error::{Error, Result};
use crate::reports::Reports;
use crate::rows::{self, Collected};

/// The destination in the rows of what was handed over that stands for all addresses.
const MAIL: &str = "mail";

impl Reports {
    /// `is_late`: nothing more is waited for.
    pub(super) async fn send_tls(&self, group: &Group, is_late: bool, turn: &Turn<'_>) -> Result<Outcome> {
        let batches: Vec<TlsBatch> =
            group.batches.iter().map(|row| rows::decode(&row.value)).collect::<Result<_>>()?;
        let destinations = self.wanting_tls(&group.domain).await?;
        if batches.is_empty() || destinations.is_empty() || !self.inner.live.load().reports.send {
            return Ok(Outcome::Dropped);
        }
        let from = self.sender().await?;
        let report = self.tls_report(group, batches, &from.to_wire());
        let packed = pack(&report)?;
        if packed.len() as u64 > self.inner.live.load().reports.max_report_size.get() {
            tracing::info!(domain = group.domain, size = packed.len(), "a TLS report is too large");
            return Ok(Outcome::Dropped);
        }
        let (addresses, urls) = TlsDestination::divided(destinations);
        let mut missing = 0;
        for url in urls {
            missing += usize::from(!self.post_tls(group, &url, &packed, turn).await?);
        }
        let is_complete = missing == 0 || is_late;
        if addresses.is_empty() || self.is_handed_over(group, MAIL).await? {
            // What was posted is noted; the batches go when there is nothing left to wait for.
            if !is_complete {
                return Ok(Outcome::Deferred);
            }
            if missing > 0 && addresses.is_empty() {
                return Ok(Outcome::Dropped);
            }
            self.drop_group(group, turn).await?;
            return Ok(Outcome::HandedOver);
        }
        let message = message(&group.domain, &report, &packed, &from, &addresses)?;
        let done = if is_complete {
            Done::with(group)
        } else {
            Done::noting(rows::handed_over(group.day, &group.domain, MAIL))
        };
        let is_ours = self.hand_over(message, &from, addresses, done, turn).await?;
        Ok(if is_ours && is_complete { Outcome::HandedOver } else { Outcome::Deferred })
    }

    /// Posts the report, unless that was done; false if it did not succeed.
    async fn post_tls(&self, group: &Group, url: &str, packed: &[u8], turn: &Turn<'_>) -> Result<bool> {
        let name = format!("{:032x}", u128::from_be_bytes(digest([url.as_bytes()])));
        if self.is_handed_over(group, &name).await? {
            return Ok(true);
        }
        if let Err(reason) = self.inner.post.post(url, packed.to_vec()).await {
            tracing::info!(domain = group.domain, reason, "a TLS report is not taken");
            return Ok(false);
        }
        let key = &rows::handed_over(group.day, &group.domain, &name);
        self.inner
            .database
            .transact(|tx| async move {
                turn.check(&tx).await?;
                tx.set(key, b"");
                Ok::<_, Error>(())
            })
            .await?;
        Ok(true)
    }

    async fn is_handed_over(&self, group: &Group, destination: &str) -> Result<bool> {
        let key = &rows::handed_over(group.day, &group.domain, destination);
        let found = self.inner.database.read(|tx| async move { Ok::<_, Error>(tx.get(key).await?) }).await?;
        Ok(found.is_some())
    }

    fn tls_report(&self, group: &Group, batches: Vec<TlsBatch>, contact: &str) -> TlsReport {
        let most = usize::try_from(self.inner.live.load().reports.max_records).unwrap_or(usize::MAX);
        let (begin, end) = group.period();
        let time = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let mut policies: BTreeMap<TlsPolicy, Vec<TlsBatch>> = BTreeMap::new();
        for batch in batches {
            policies.entry(batch.policy.clone()).or_default().push(batch);
        }
        TlsReport {
            organization_name: Some(self.organization()),
            date_range: DateRange::from_timestamps(time(begin), time(end)),
            contact_info: Some(contact.to_owned()),
            report_id: report_id(group),
            policies: policies
                .into_iter()
                .map(|(policy, batches)| converted(&group.domain, policy, batches, most))
                .collect(),
        }
    }

    /// Of what was collected about TLS, what somebody wants to hear of: most domains do not, and nothing of them is written.
    pub(crate) async fn without_unwanted(&self, rows: Vec<crate::collect::Row>) -> Vec<crate::collect::Row> {
        let mut wanted: BTreeMap<String, bool> = BTreeMap::new();
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            if row.kind == Collected::Tls && !wanted.contains_key(&row.domain) {
                // What cannot be looked up now is looked up again when the report is sent.
                let unwanted = self.wanting_tls(&row.domain).await.is_ok_and(|wanting| wanting.is_empty());
                wanted.insert(row.domain.clone(), !unwanted);
            }
            if row.kind == Collected::Dmarc || wanted.get(&row.domain).copied().unwrap_or(true) {
                kept.push(row);
            }
        }
        kept
    }
}

fn converted(domain: &str, policy: TlsPolicy, batches: Vec<TlsBatch>, most: usize) -> Policy {
    let successes: u64 = batches.iter().map(|batch| batch.successes).sum();
    let hosts: BTreeSet<String> = batches.iter().flat_map(|batch| batch.hosts.clone()).collect();
    let unknown: u64 = batches.iter().map(|batch| batch.left_out).sum();
    let (failures, more) = added_up(batches.into_iter().flat_map(|batch| batch.failures), most);
    let failed: u64 = failures.iter().map(|(_, count)| count).sum::<u64>() + unknown + more;
    let mut details = PolicyDetails::new(policy_type(&policy.policy_type), domain);
    // Of MTA-STS the names that the policy has (RFC 8460 §4.4), whichever of them was met.
    details.mx_host = match &*policy.policy_type {
        "sts" => policy.lines.iter().filter_map(|line| mx_pattern(line)).collect(),
        _ => hosts.into_iter().collect(),
    };
    details.policy_string = policy.lines;
    Policy {
        policy: details,
        summary: Summary { total_success: small(successes), total_failure: small(failed) },
        failure_details: failures
            .into_iter()
            .map(|(failure, count)| failure_details(failure, count))
            .collect(),
    }
}

/// The name in a line `mx: name` of an MTA-STS policy.
fn mx_pattern(line: &str) -> Option<String> {
    let (key, name) = line.split_once(':')?;
    (key.trim() == "mx").then(|| name.trim().to_owned())
}

fn failure_details(failure: TlsFailure, count: u64) -> FailureDetails {
    FailureDetails {
        result_type: result_type(&failure.result_type),
        sending_mta_ip: failure.source,
        receiving_mx_hostname: (!failure.mx_host.is_empty()).then_some(failure.mx_host),
        receiving_mx_helo: None,
        receiving_ip: failure.remote,
        failed_session_count: small(count),
        additional_information: None,
        failure_reason_code: (!failure.detail.is_empty()).then_some(failure.detail),
    }
}

fn policy_type(word: &str) -> PolicyType {
    match word {
        "tlsa" => PolicyType::Tlsa,
        "sts" => PolicyType::Sts,
        _ => PolicyType::NoPolicyFound,
    }
}

fn result_type(word: &str) -> ResultType {
    match word {
        "starttls-not-supported" => ResultType::StartTlsNotSupported,
        "certificate-host-mismatch" => ResultType::CertificateHostMismatch,
        "certificate-expired" => ResultType::CertificateExpired,
        "certificate-not-trusted" => ResultType::CertificateNotTrusted,
        "tlsa-invalid" => ResultType::TlsaInvalid,
        "dnssec-invalid" => ResultType::DnssecInvalid,
        "dane-required" => ResultType::DaneRequired,
        "sts-policy-fetch-error" => ResultType::StsPolicyFetchError,
        "sts-policy-invalid" => ResultType::StsPolicyInvalid,
        "sts-webpki-invalid" => ResultType::StsWebpkiInvalid,
        _ => ResultType::ValidationFailure,
    }
}

/// The mail that brings a report (RFC 8460 §5.3).
fn message(
    domain: &str,
    report: &TlsReport,
    packed: &[u8],
    from: &EmailAddress,
    to: &[EmailAddress],
) -> Result<String> {
    let to: Vec<String> = to.iter().map(EmailAddress::to_wire).collect();
    let mut message = Vec::new();
    report
        .write_rfc5322_from_bytes(
            domain,
            from.domain().as_ascii(),
            from.to_wire(),
            to.iter().map(String::as_str),
            packed,
            &mut message,
        )
        .map_err(|error| Error::Compose(error.to_string()))?;
    let message = String::from_utf8(message).map_err(|error| Error::Compose(error.to_string()))?;
    // RFC 8460 §3: a report has to arrive even where TLS, which it is about, fails (RFC 8689 §5).
    Ok(format!("TLS-Required: No\r\n{message}"))
}

/// The report as JSON in gzip. Members without a value are left out: RFC 8460 §4.4 knows no `null`.
fn pack(report: &TlsReport) -> Result<Vec<u8>> {
    let mut json = serde_json::to_value(report).map_err(|error| Error::Compose(error.to_string()))?;
    remove_nulls(&mut json);
    let text = serde_json::to_vec(&json).map_err(|error| Error::Compose(error.to_string()))?;
    let mut encoder =
        mail_auth::flate2::write::GzEncoder::new(Vec::new(), mail_auth::flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &text).map_err(|error| Error::Compose(error.to_string()))?;
    encoder.finish().map_err(|error| Error::Compose(error.to_string()))
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
