//! What the administrator sees of received reports.

use std::collections::BTreeMap;

use ekitei_directory::{Page, PageRequest};
use ekitei_kv::{RangeOptions, Transaction};

use crate::error::{Error, Result};
use crate::model::{Kind, Received, ReceivedRecord, ReceivedRow, ReportId, Summary};
use crate::reports::Reports;
use crate::rows;

/// Domains that a summary tells apart: the names are those of strangers.
const DOMAINS: usize = 1_000;
/// Rows that are looked at for one page of a listing that is filtered.
const LOOKED_AT: usize = 10_000;

/// Which reports of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedFilter {
    /// About this domain, as the report names it.
    pub domain: Option<String>,
    /// Of this kind.
    pub kind: Option<Kind>,
}

impl ReceivedFilter {
    fn takes(&self, head: &ReceivedRow) -> bool {
        self.domain.as_deref().is_none_or(|domain| head.domain.eq_ignore_ascii_case(domain))
            && self.kind.is_none_or(|kind| head.kind == kind)
    }
}

impl Reports {
    /// Received reports, the latest first. A page ends early where many are passed over.
    ///
    /// # Errors
    /// `Invalid` for a page that none of our pages named; when the store fails.
    pub async fn list(&self, filter: &ReceivedFilter, page: &PageRequest) -> Result<Page<Received>> {
        let limit = match page.limit {
            0 => PageRequest::DEFAULT_LIMIT,
            some => some.min(PageRequest::MAX_LIMIT),
        };
        let mut range = rows::all_received();
        if let Some(after) = &page.after {
            let after = ReportId::parse(after);
            let after = after.ok_or_else(|| Error::Invalid("that is not where a page ends".to_owned()))?;
            range.end = rows::received(after);
        }
        let mut items = Vec::new();
        let mut looked_at = 0;
        loop {
            let (from, options) = (&range, RangeOptions { limit: limit + 1, reverse: true, snapshot: true });
            let read =
                |tx: Transaction| async move { Ok::<_, Error>(tx.get_range(from.clone(), options).await?) };
            let found = self.inner.database.read(read).await?;
            let is_last = found.len() <= limit;
            for row in found.iter().take(limit) {
                let id = rows::report_of(&row.key)?;
                let head: ReceivedRow = rows::decode(&row.value)?;
                looked_at += 1;
                range.end = row.key.to_vec();
                if filter.takes(&head) {
                    items.push(Received { id, head });
                }
                if items.len() == limit || looked_at == LOOKED_AT {
                    return Ok(Page { items, next: Some(id.to_string()) });
                }
            }
            if is_last {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// A received report with its records.
    ///
    /// # Errors
    /// `NoSuchReport`; when the store fails.
    pub async fn show(&self, id: ReportId) -> Result<(Received, Vec<ReceivedRecord>)> {
        let read = |tx: Transaction| async move {
            let head = tx.get(&rows::received(id)).await?;
            let parts = tx.get_range(rows::all_records(id), RangeOptions::default()).await?;
            Ok::<_, Error>((head, parts))
        };
        let (head, parts) = self.inner.database.read(read).await?;
        let head = rows::decode(&head.ok_or_else(|| Error::NoSuchReport(id.to_string()))?)?;
        let mut records = Vec::new();
        for part in &parts {
            records.extend(rows::decode::<Vec<ReceivedRecord>>(&part.value)?);
        }
        Ok((Received { id, head }, records))
    }

    /// What reports since `since` (seconds since the epoch) said of each domain; domains that are too many are `other`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn summary(&self, domain: Option<&str>, since: u64) -> Result<Vec<Summary>> {
        let filter = ReceivedFilter { domain: domain.map(str::to_owned), kind: None };
        let begin = rows::received(ReportId::first_of(since.saturating_mul(1000)));
        let mut sums: BTreeMap<(String, Kind), Summary> = BTreeMap::new();
        self.inner
            .database
            .scan(begin..rows::all_received().end, |page| {
                for row in &page {
                    let head: ReceivedRow = rows::decode(&row.value)?;
                    if filter.takes(&head) {
                        add(&mut sums, &head);
                    }
                }
                Ok::<_, Error>(())
            })
            .await?;
        Ok(sums.into_values().collect())
    }
}

fn add(sums: &mut BTreeMap<(String, Kind), Summary>, head: &ReceivedRow) {
    let mut key = (head.domain.to_ascii_lowercase(), head.kind);
    if sums.len() >= DOMAINS && !sums.contains_key(&key) {
        key.0 = "other".to_owned();
    }
    let sum = sums.entry(key.clone()).or_insert_with(|| Summary {
        domain: key.0,
        kind: key.1,
        reports: 0,
        total: 0,
        good: 0,
        quarantined: 0,
        rejected: 0,
    });
    sum.reports += 1;
    sum.total += head.total;
    sum.good += head.good;
    sum.quarantined += head.quarantined;
    sum.rejected += head.rejected;
}
