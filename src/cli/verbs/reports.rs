//! `ekitei report`

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Subcommand, ValueEnum};
use ekitei_api::{
    Client, Report, ReportKind, ReportQuery, ReportRecord, ReportSummary, SendReports, SummaryQuery,
};

use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, json, or_dash, print, time};

/// Reports asked for at once.
const PAGE: usize = 1000;

/// What to do with reports.
#[derive(Subcommand)]
pub enum Verb {
    /// List the reports that came, the latest first.
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show a report with its records.
    Show {
        /// Its id, as the list has it.
        id: String,
    },
    /// Send the reports to other domains now, without waiting for their hour.
    Send {
        /// Also what was collected today until now.
        #[arg(long)]
        now: bool,
    },
    /// Add up what reports say about each domain.
    Summary {
        /// Only this domain.
        #[arg(long)]
        domain: Option<String>,
        /// Only reports of the last so many days.
        #[arg(long, default_value_t = 30)]
        days: u64,
    },
}

/// Which reports.
#[derive(clap::Args)]
pub struct Which {
    /// Only about this domain.
    #[arg(long)]
    domain: Option<String>,
    /// Only of this kind.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

/// A kind of reports.
#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    /// DMARC aggregate reports.
    Dmarc,
    /// TLS reports.
    Tls,
    /// Complaints.
    Feedback,
    /// What could not be read.
    Unreadable,
}

impl From<Kind> for ReportKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Dmarc => Self::Dmarc,
            Kind::Tls => Self::Tls,
            Kind::Feedback => Self::Feedback,
            Kind::Unreadable => Self::Unreadable,
        }
    }
}

fn name(kind: ReportKind) -> String {
    match kind {
        ReportKind::Dmarc => "dmarc",
        ReportKind::Tls => "tls",
        ReportKind::Feedback => "feedback",
        ReportKind::Unreadable => "unreadable",
    }
    .to_owned()
}

impl Columns for Report {
    const HEAD: &'static [&'static str] =
        &["ID", "RECEIVED", "KIND", "DOMAIN", "FROM", "BEGIN", "TOTAL", "GOOD", "REJECTED", "PROBLEM"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            time(self.received),
            name(self.kind),
            self.domain.clone(),
            self.organization.clone(),
            time(self.begin),
            self.total.to_string(),
            self.good.to_string(),
            self.rejected.to_string(),
            or_dash(self.problem.as_ref()),
        ]
    }
}

impl Columns for ReportRecord {
    const HEAD: &'static [&'static str] = &["COUNT", "SOURCE", "SUBJECT", "RESULT", "DKIM", "SPF", "DETAIL"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.count.to_string(),
            or_dash(self.source.as_ref()),
            or_dash(self.subject.as_ref()),
            self.result.clone(),
            or_dash(self.dkim.as_ref()),
            or_dash(self.spf.as_ref()),
            self.detail.clone(),
        ]
    }
}

impl Columns for ReportSummary {
    const HEAD: &'static [&'static str] =
        &["DOMAIN", "KIND", "REPORTS", "TOTAL", "GOOD", "QUARANTINED", "REJECTED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.domain.clone(),
            name(self.kind),
            self.reports.to_string(),
            self.total.to_string(),
            self.good.to_string(),
            self.quarantined.to_string(),
            self.rejected.to_string(),
        ]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::List { which, limit } => format.list(&list(client, which, limit).await?),
        Verb::Show { id } => {
            let detail = client.report(&id).await?;
            match format {
                Format::Json => json(&detail),
                Format::Table => {
                    format.show(&detail.report)?;
                    print("\n")?;
                    format.list(&detail.records)
                }
            }
        }
        Verb::Send { now } => {
            let sent = client.send_reports(&SendReports { now }).await?;
            match (format, sent.done) {
                (Format::Json, _) => json(&sent),
                (Format::Table, true) => print(&format!(
                    "{} reports are sent, {} are wanted by nobody, and {} are tried again.\n",
                    sent.handed_over, sent.dropped, sent.deferred
                )),
                (Format::Table, false) => print("It is being done.\n"),
            }
        }
        Verb::Summary { domain, days } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let query = SummaryQuery { domain, since: Some(now.saturating_sub(days.saturating_mul(86_400))) };
            format.list(&client.summarize_reports(&query).await?.items)
        }
    }
}

async fn list(client: &Client, which: Which, limit: usize) -> Outcome<Vec<Report>> {
    let Which { domain, kind } = which;
    let mut query =
        ReportQuery { domain, kind: kind.map(Into::into), after: None, limit: Some(limit.clamp(1, PAGE)) };
    let mut items = Vec::new();
    loop {
        let page = client.list_reports(&query).await?;
        items.extend(page.items);
        items.truncate(limit);
        match page.next {
            Some(next) if items.len() < limit => query.after = Some(next),
            _ => return Ok(items),
        }
    }
}
