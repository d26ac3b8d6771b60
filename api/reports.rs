//! Reports of other services: DMARC aggregate reports, TLS reports, feedback.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::client::{Client, Result};
use crate::types::Page;

/// What kind of report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// A DMARC aggregate report (RFC 9990).
    Dmarc,
    /// A TLS report (RFC 8460).
    Tls,
    /// A complaint, or the report of one failure (RFC 5965, RFC 6591).
    Feedback,
    /// It could not be read.
    Unreadable,
}

/// A report that somebody sent, without its records. Its texts are those of the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Its name here.
    pub id: String,
    /// What it is.
    pub kind: ReportKind,
    /// When it came.
    pub received: u64,
    /// The address that it was sent to.
    pub recipient: String,
    /// Who reports.
    pub organization: String,
    /// How they call it.
    pub report_id: String,
    /// The domain that it is about.
    pub domain: String,
    /// The beginning of the time that it is about.
    pub begin: u64,
    /// The end of that time.
    pub end: u64,
    /// Messages (DMARC), sessions (TLS), incidents (feedback).
    pub total: u64,
    /// Of these: that passed (DMARC), that succeeded (TLS).
    pub good: u64,
    /// Of these: that were quarantined.
    pub quarantined: u64,
    /// Of these: that were rejected.
    pub rejected: u64,
    /// Records that it has.
    pub records: u64,
    /// Why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A report with its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportDetail {
    /// What it says in all.
    pub report: Report,
    /// What it says in detail, as far as it is kept.
    pub records: Vec<ReportRecord>,
}

/// One record of a report; which members it has depends on the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportRecord {
    /// Where mail came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How often.
    pub count: u64,
    /// The domain of From (DMARC), the MX host (TLS), the recipient (feedback).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was done (DMARC), the kind of success or failure (TLS), the type of feedback.
    pub result: String,
    /// Whether DKIM passed, aligned: `pass` or `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<String>,
    /// Whether SPF passed, aligned: `pass` or `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<String>,
    /// The rest, for people.
    pub detail: String,
}

/// What the reports of some time say about one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportSummary {
    /// The domain.
    pub domain: String,
    /// What kind of reports.
    pub kind: ReportKind,
    /// How many.
    pub reports: u64,
    /// See [`Report::total`].
    pub total: u64,
    /// See [`Report::good`].
    pub good: u64,
    /// See [`Report::quarantined`].
    pub quarantined: u64,
    /// See [`Report::rejected`].
    pub rejected: u64,
}

/// An order to send reports to other domains without waiting for their hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendReports {
    /// Also what was collected today until now; what comes later today makes another report. Otherwise only what was collected on days that are over.
    #[serde(default)]
    pub now: bool,
}

/// What became of an order to send reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SentReports {
    /// Whether it is carried out; otherwise that takes longer, and goes on.
    pub done: bool,
    /// Reports that were queued, and posted.
    pub handed_over: usize,
    /// Reports that nobody wants any more.
    pub dropped: usize,
    /// Reports whose destination cannot be looked up or reached now; they are tried again.
    pub deferred: usize,
}

/// Which reports, and which page of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// Only about this domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Only of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub kind: Option<ReportKind>,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Reports on the page: 100 if absent, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What a summary is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SummaryQuery {
    /// Only this domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Only reports that came since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

impl Client {
    /// One page of the received reports, the latest first.
    pub async fn list_reports(&self, query: &ReportQuery) -> Result<Page<Report>> {
        self.json(self.request(reqwest::Method::GET, &["reports"])?.query(query)).await
    }

    /// A received report with its records.
    pub async fn report(&self, id: &str) -> Result<ReportDetail> {
        self.get(&["reports", id]).await
    }

    /// Has reports to other domains sent now; waits for that for a while.
    pub async fn send_reports(&self, order: &SendReports) -> Result<SentReports> {
        self.json(self.request(reqwest::Method::POST, &["reports", "send"])?.json(order)).await
    }

    /// What received reports say about each domain.
    pub async fn summarize_reports(&self, query: &SummaryQuery) -> Result<Page<ReportSummary>> {
        self.json(self.request(reqwest::Method::GET, &["report-summary"])?.query(query)).await
    }
}
