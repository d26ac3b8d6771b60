//! Reports of other services, and to them.

use std::time::Duration;

use axum::extract::State;
use ekitei_api::{
    Page, Problem, Report, ReportDetail, ReportKind, ReportQuery, ReportRecord, ReportSummary, SendReports,
    SentReports, SummaryQuery,
};
use ekitei_directory::PageRequest;
use ekitei_reports::{Days, Error, Kind, Received, ReceivedFilter, ReceivedRecord, ReportId, Sent, Summary};

use super::convert;
use crate::extract::{Json, Path, Query};
use crate::problem::Result;
use crate::state::AppState;

/// How long an order to send is waited for; less than `http.requestTimeout`.
const PATIENCE: Duration = Duration::from_secs(20);

fn kind(kind: Kind) -> ReportKind {
    match kind {
        Kind::Dmarc => ReportKind::Dmarc,
        Kind::Tls => ReportKind::Tls,
        Kind::Feedback => ReportKind::Feedback,
        Kind::Unreadable => ReportKind::Unreadable,
    }
}

fn kind_asked(asked: ReportKind) -> Kind {
    match asked {
        ReportKind::Dmarc => Kind::Dmarc,
        ReportKind::Tls => Kind::Tls,
        ReportKind::Feedback => Kind::Feedback,
        ReportKind::Unreadable => Kind::Unreadable,
    }
}

fn report(Received { id, head }: Received) -> Report {
    Report {
        id: id.to_string(),
        kind: kind(head.kind),
        received: head.received,
        recipient: head.recipient,
        organization: head.organization,
        report_id: head.report_id,
        domain: head.domain,
        begin: head.begin,
        end: head.end,
        total: head.total,
        good: head.good,
        quarantined: head.quarantined,
        rejected: head.rejected,
        records: head.records,
        problem: head.problem,
    }
}

fn record(record: ReceivedRecord) -> ReportRecord {
    let ReceivedRecord { source, count, subject, result, dkim, spf, detail } = record;
    ReportRecord { source, count, subject, result, dkim, spf, detail }
}

fn summary(summary: Summary) -> ReportSummary {
    ReportSummary {
        domain: summary.domain,
        kind: kind(summary.kind),
        reports: summary.reports,
        total: summary.total,
        good: summary.good,
        quarantined: summary.quarantined,
        rejected: summary.rejected,
    }
}

/// Received reports, the latest first. A page may be short, or empty, and still have a next one.
#[utoipa::path(get, path = "/api/v1/reports", tag = "reports", params(ReportQuery), responses(
    (status = 200, description = "A page of reports.", body = Page<Report>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(query): Query<ReportQuery>,
) -> Result<axum::Json<Page<Report>>> {
    let filter = ReceivedFilter { domain: query.domain, kind: query.kind.map(kind_asked) };
    let page = PageRequest { after: query.after, limit: query.limit.unwrap_or_default() };
    Ok(convert::page(state.parts.reports.list(&filter, &page).await?, report))
}

/// Sends the reports to other domains without waiting for their hour, and waits for that for some seconds.
#[utoipa::path(post, path = "/api/v1/reports/send", tag = "reports", request_body = SendReports, responses(
    (status = 200, description = "What became of it.", body = SentReports),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn send(
    State(state): State<AppState>,
    Json(order): Json<SendReports>,
) -> Result<axum::Json<SentReports>> {
    let days = if order.now { Days::UntilNow } else { Days::Over };
    let sent = state.parts.reports.order(days, PATIENCE).await?;
    let Sent { handed_over, dropped, deferred } = sent.unwrap_or_default();
    Ok(axum::Json(SentReports { done: sent.is_some(), handed_over, dropped, deferred }))
}

/// A received report with its records.
#[utoipa::path(get, path = "/api/v1/reports/{id}", tag = "reports", params(("id" = String, Path)), responses(
    (status = 200, description = "The report.", body = ReportDetail),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<axum::Json<ReportDetail>> {
    let id = ReportId::parse(&id).ok_or(Error::NoSuchReport(id))?;
    let (received, records) = state.parts.reports.show(id).await?;
    let records = records.into_iter().map(record).collect();
    Ok(axum::Json(ReportDetail { report: report(received), records }))
}

/// What received reports say about each domain.
#[utoipa::path(get, path = "/api/v1/report-summary", tag = "reports", params(SummaryQuery), responses(
    (status = 200, description = "All domains.", body = Page<ReportSummary>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn summarize(
    State(state): State<AppState>,
    Query(query): Query<SummaryQuery>,
) -> Result<axum::Json<Page<ReportSummary>>> {
    let since = query.since.unwrap_or_default();
    let found = state.parts.reports.summary(query.domain.as_deref(), since).await?;
    Ok(axum::Json(Page { items: found.into_iter().map(summary).collect(), next: None }))
}
