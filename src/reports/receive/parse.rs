//! Reading reports: DMARC aggregate reports (RFC 9990, and RFC 7489 before it), TLS reports (RFC 8460), feedback (RFC 5965, RFC 6591).

use mail_auth::report::tlsrpt::TlsReport;
use mail_auth::report::{ActionDisposition, DmarcResult, Feedback, Record, Report};
use mail_parser::MessageParser;

use super::unpack::{Candidate, Form, candidates};
use crate::collect::shortened;
use crate::model::{Kind, ReceivedRecord, ReceivedRow};

/// Octets of a text that is kept.
const TEXT: usize = 255;
/// More records than any report has: each takes much more memory than it takes in the message.
const RECORDS: usize = 100_000;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets that may come out of the archives of a message.
    pub unpacked: usize,
    /// Records that are kept.
    pub records: usize,
}

/// What was read; the times and the recipient of the message are the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What it says in all.
    pub head: ReceivedRow,
    /// What it says in detail.
    pub records: Vec<ReceivedRecord>,
}

impl Parsed {
    fn new(kind: Kind) -> Self {
        let head = ReceivedRow {
            kind,
            received: 0,
            recipient: String::new(),
            organization: String::new(),
            report_id: String::new(),
            domain: String::new(),
            begin: 0,
            end: 0,
            total: 0,
            good: 0,
            quarantined: 0,
            rejected: 0,
            records: 0,
            kept: 0,
            problem: None,
        };
        Self { head, records: Vec::new() }
    }

    pub(crate) fn unreadable(problem: &str) -> Self {
        let mut parsed = Self::new(Kind::Unreadable);
        parsed.head.problem = Some(clean(problem));
        parsed
    }

    /// Adds a record; beyond `limit` it is only counted.
    fn add(&mut self, record: ReceivedRecord, limit: usize) {
        self.head.records += 1;
        if self.records.len() < limit {
            self.records.push(record);
            self.head.kept += 1;
        }
    }
}

/// Reads a message as a report. Never fails: what is none is [`Kind::Unreadable`], with the reason.
pub fn parse(message: &[u8], limits: Limits) -> Parsed {
    let Some(message) = MessageParser::new().parse(message) else {
        return Parsed::unreadable("it is no message");
    };
    let mut found = None;
    let mut problem = None;
    let searched = candidates(&message, limits.unpacked, |candidate| {
        match read(&candidate, limits) {
            Ok(parsed) => found = Some(parsed),
            Err(reason) => problem = Some(reason),
        }
        found.is_some()
    });
    match (found, searched) {
        (Some(parsed), _) => parsed,
        (None, Err(trouble)) => Parsed::unreadable(&trouble.to_string()),
        (None, Ok(())) => {
            Parsed::unreadable(&problem.unwrap_or_else(|| "nothing in it is a report".to_owned()))
        }
    }
}

fn read(candidate: &Candidate, limits: Limits) -> Result<Parsed, String> {
    let octets = &candidate.octets;
    match candidate.form {
        Form::Xml => {
            bounded(octets, b"<record")?;
            Ok(dmarc(Report::parse_xml(octets)?, limits.records))
        }
        Form::Json => {
            bounded(octets, b"\"policy-type\"")?;
            bounded(octets, b"\"result-type\"")?;
            let report = TlsReport::parse_json(octets);
            Ok(tls(report.map_err(|error| format!("{error:?}"))?, limits.records))
        }
        Form::Feedback => match Feedback::parse_arf(octets) {
            Some(report) => Ok(feedback(&report, limits.records)),
            None => Err("it is no feedback report".to_owned()),
        },
    }
}

/// Refuses what would become too many objects.
fn bounded(octets: &[u8], mark: &[u8]) -> Result<(), String> {
    let first = mark.first().copied().unwrap_or_default();
    let mut rest = octets;
    let mut count = 0;
    while let Some(at) = rest.iter().position(|&octet| octet == first) {
        rest = &rest[at..];
        count += usize::from(rest.starts_with(mark));
        rest = &rest[1..];
        if count > RECORDS {
            return Err(format!("it has more than {RECORDS} records"));
        }
    }
    Ok(())
}

fn dmarc(report: Report, limit: usize) -> Parsed {
    let mut parsed = Parsed::new(Kind::Dmarc);
    parsed.head.organization = clean(report.org_name());
    parsed.head.report_id = clean(report.report_id());
    parsed.head.domain = clean(report.domain());
    parsed.head.begin = report.date_range_begin();
    parsed.head.end = report.date_range_end();
    for record in report.records() {
        let count = u64::from(record.row.count);
        let evaluated = &record.row.policy_evaluated;
        let passed = evaluated.dkim == DmarcResult::Pass || evaluated.spf == DmarcResult::Pass;
        parsed.head.total += count;
        parsed.head.good += if passed { count } else { 0 };
        match evaluated.disposition {
            ActionDisposition::Quarantine => parsed.head.quarantined += count,
            ActionDisposition::Reject => parsed.head.rejected += count,
            _ => {}
        }
        parsed.add(dmarc_record(record, count), limit);
    }
    parsed
}

fn dmarc_record(record: &Record, count: u64) -> ReceivedRecord {
    let evaluated = &record.row.policy_evaluated;
    let result = |result| {
        Some(match result {
            DmarcResult::Pass => "pass".to_owned(),
            DmarcResult::Fail => "fail".to_owned(),
            DmarcResult::Unspecified => return None,
        })
    };
    let dkim = record.auth_results.dkim.iter().map(|dkim| {
        format!("dkim={} d={} s={}", format!("{:?}", dkim.result).to_lowercase(), dkim.domain, dkim.selector)
    });
    let spf = record
        .auth_results
        .spf
        .iter()
        .map(|spf| format!("spf={} {}", format!("{:?}", spf.result).to_lowercase(), spf.domain));
    let reasons = evaluated.reason.iter().map(|reason| {
        let comment = reason.comment.as_deref().unwrap_or_default();
        format!("{} {comment}", format!("{:?}", reason.type_).to_lowercase())
    });
    let detail: Vec<String> = dkim.chain(spf).chain(reasons).take(10).collect();
    ReceivedRecord {
        source: record.row.source_ip.map(|address| address.to_string()),
        count,
        subject: Some(clean(&record.identifiers.header_from)),
        result: match evaluated.disposition {
            ActionDisposition::Pass => "pass",
            ActionDisposition::Quarantine => "quarantine",
            ActionDisposition::Reject => "reject",
            ActionDisposition::None | ActionDisposition::Unspecified => "none",
        }
        .to_owned(),
        dkim: result(evaluated.dkim),
        spf: result(evaluated.spf),
        detail: clean(&detail.join("; ")),
    }
}

fn tls(report: TlsReport, limit: usize) -> Parsed {
    let mut parsed = Parsed::new(Kind::Tls);
    parsed.head.organization = clean(report.organization_name.as_deref().unwrap_or_default());
    parsed.head.report_id = clean(&report.report_id);
    let time = |time: &mail_parser::DateTime| u64::try_from(time.to_timestamp()).unwrap_or_default();
    parsed.head.begin = time(&report.date_range.start_datetime);
    parsed.head.end = time(&report.date_range.end_datetime);
    let domain = report.policies.first().map(|policy| policy.policy.policy_domain.as_str());
    parsed.head.domain = clean(domain.unwrap_or_default());
    for policy in &report.policies {
        let (good, bad) = (u64::from(policy.summary.total_success), u64::from(policy.summary.total_failure));
        parsed.head.total += good + bad;
        parsed.head.good += good;
        let name = serde_json::to_value(policy.policy.policy_type).unwrap_or_default();
        let name = clean(name.as_str().unwrap_or_default());
        if good > 0 {
            let result = "success".to_owned();
            let subject = Some(clean(&policy.policy.mx_host.join(" ")));
            parsed.add(
                ReceivedRecord { count: good, subject, result, detail: name.clone(), ..Default::default() },
                limit,
            );
        }
        for failure in &policy.failure_details {
            let kind = serde_json::to_value(failure.result_type).unwrap_or_default();
            let reason = failure.failure_reason_code.as_deref().unwrap_or_default();
            let more = failure.additional_information.as_deref().unwrap_or_default();
            parsed.add(
                ReceivedRecord {
                    source: failure.sending_mta_ip.map(|address| address.to_string()),
                    count: u64::from(failure.failed_session_count),
                    subject: failure.receiving_mx_hostname.as_deref().map(clean),
                    result: clean(kind.as_str().unwrap_or_default()),
                    dkim: None,
                    spf: None,
                    detail: clean(format!("{name} {reason} {more}").trim()),
                },
                limit,
            );
        }
    }
    parsed
}

fn feedback(report: &Feedback<'_>, limit: usize) -> Parsed {
    let mut parsed = Parsed::new(Kind::Feedback);
    let text = |text: Option<&str>| clean(text.unwrap_or_default());
    parsed.head.organization = text(report.reporting_mta().or(report.user_agent()));
    parsed.head.domain = text(report.reported_domain().first().map(|domain| &**domain));
    parsed.head.total = u64::from(report.incidents());
    let arrived = report.arrival_date().and_then(|time| u64::try_from(time).ok()).unwrap_or_default();
    (parsed.head.begin, parsed.head.end) = (arrived, arrived);
    let from = text(report.original_mail_from());
    let kind = format!("{:?}", report.feedback_type()).to_lowercase();
    parsed.add(
        ReceivedRecord {
            source: report.source_ip().map(|address| address.to_string()),
            count: u64::from(report.incidents()),
            subject: report.original_rcpt_to().map(clean),
            result: clean(&kind),
            dkim: None,
            spf: None,
            detail: clean(&format!("from {from}")),
        },
        limit,
    );
    parsed
}

/// A text of a stranger, to be stored and shown: one short line without control characters.
fn clean(text: &str) -> String {
    let text: String = shortened(text, TEXT).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}
