//! Receiving: mail to the addresses that our records name is read as a report.
//!
//! The row that a message is to be read is written with its delivery, and refers to its body, so that none is forgotten; reading is done later, by one process of the
//! cluster, and never holds up mail.

mod parse;
mod unpack;

use std::sync::Arc;

use ekitei_blob::BodyId;
use ekitei_directory::EmailAddress;
use ekitei_kv::{KeyValue, RangeOptions, Transaction, Watch};
use ekitei_mailstore::Companion;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{Kind, ReceivedRow, ReportId};
use crate::reports::Reports;
use crate::rows;
use crate::send::digest;
pub use parse::{Limits, Parsed, parse};

/// Messages that are read in one round before it is asked whether to go on.
const PAGE: usize = 50;
/// Reports removed in one transaction.
const REMOVED: usize = 50;
/// Octets at the beginning of a message that are looked through for a sign of a report about abuse.
const HEADER: usize = 64 << 10;

/// A message that came and is to be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingRow {
    recipient: String,
    /// Seconds since the epoch.
    received: u64,
    /// With the fields that were put in front of the message when it came.
    body: BodyId,
}

/// Writes a [`PendingRow`] with a delivery.
#[derive(Debug)]
struct Pending {
    id: ReportId,
    recipient: String,
    received: u64,
}

impl Companion for Pending {
    fn row_size(&self) -> usize {
        1_000 + self.recipient.len()
    }

    fn write(&self, transaction: &Transaction, body: BodyId) {
        let Self { id, recipient, received } = self;
        let row = PendingRow { recipient: recipient.clone(), received: *received, body };
        // A row of texts and numbers can always be written.
        if let Ok(value) = rows::encode(&row) {
            transaction.set(&rows::pending(*id), &value);
            ekitei_blob::add_reference(transaction, body, id.body_owner());
            transaction.set_versionstamped_value(&rows::last_pending(), &[0; 10], 0);
        }
    }
}

impl Reports {
    /// What has to be written with the delivery of `message` so that it is read as a report; `None` if it is none by its `recipient`, an address of ours. To be called once for a message, with
    /// the first recipient that gives something.
    pub fn received(&self, recipient: &EmailAddress, message: &[u8]) -> Option<Arc<dyn Companion>> {
        let local = recipient.local();
        let is_report = local.is_for_reports() || (local.folded() == "abuse" && looks_like_feedback(message));
        let config = self.inner.live.load();
        if !is_report || message.len() as u64 > config.reports.max_received_size.get() {
            return None;
        }
        Some(Arc::new(Pending {
            id: ReportId::generate(&*self.inner.clock),
            recipient: recipient.to_wire(),
            received: self.now(),
        }))
    }

    /// Completes when another message came.
    pub(crate) async fn watch_pending(&self) -> Result<Watch> {
        let tx = self.inner.database.begin();
        let watch = tx.watch(&rows::last_pending());
        tx.commit().await?;
        Ok(watch)
    }

    /// Reads the messages that came, as long as `go_on` says; returns how many.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn read_pending(&self, go_on: &(dyn Fn() -> bool + Send + Sync)) -> Result<usize> {
        let mut read = 0;
        while go_on() {
            let options = RangeOptions { limit: PAGE, snapshot: true, ..RangeOptions::default() };
            let page = |tx: Transaction| async move {
                Ok::<_, Error>(tx.get_range(rows::all_pending(), options).await?)
            };
            let page = self.inner.database.read(page).await?;
            for row in &page {
                self.read_one(row).await?;
                read += 1;
            }
            if page.len() < PAGE {
                break;
            }
        }
        Ok(read)
    }

    async fn read_one(&self, row: &KeyValue) -> Result<()> {
        let (id, pending) = (rows::report_of(&row.key)?, rows::decode::<PendingRow>(&row.value)?);
        let parsed = match self.inner.blobs.read(pending.body, 0..u64::MAX).await {
            Ok(message) => {
                let limits = self.limits();
                let parsed = tokio::task::spawn_blocking(move || parse(&message, limits)).await;
                parsed.unwrap_or_else(|_| Parsed::unreadable("it cannot be read"))
            }
            // The next attempt would find the same.
            Err(error @ (ekitei_blob::Error::NotFound(_) | ekitei_blob::Error::Damaged { .. })) => {
                Parsed::unreadable(&error.to_string())
            }
            Err(error) => return Err(error.into()),
        };
        self.inner.metrics.received(parsed.head.kind.name());
        tracing::info!(report = %id, kind = parsed.head.kind.name(), "a report was read");
        self.store(id, &pending, parsed).await
    }

    fn limits(&self) -> Limits {
        let config = self.inner.live.load();
        Limits {
            unpacked: config.reports.max_unpacked_size.as_usize(),
            records: usize::try_from(config.reports.max_received_records).unwrap_or(usize::MAX),
        }
    }

    /// Stores what was read, in place of the row that it is to be read; a report that is here already only loses the latter.
    async fn store(&self, id: ReportId, pending: &PendingRow, parsed: Parsed) -> Result<()> {
        let Parsed { head, records } = parsed;
        let head = ReceivedRow { received: pending.received, recipient: pending.recipient.clone(), ..head };
        let parts = rows::in_parts(records)?;
        let (head_row, parts): (Vec<u8>, Vec<Vec<u8>>) =
            (rows::encode(&head)?, parts.iter().map(rows::encode).collect::<Result<_>>()?);
        // Who reports without names cannot be told apart.
        let names = [head.kind.name(), &head.organization, &head.report_id, &head.domain];
        let known =
            (!head.report_id.is_empty()).then(|| rows::known(digest(names.into_iter().map(str::as_bytes))));
        let (known, head_row, parts, now) = (&known, &head_row, &parts, self.inner.clock.now());
        self.inner
            .database
            .transact(|tx| async move {
                if tx.get(&rows::pending(id)).await?.is_none() {
                    return Ok(());
                }
                tx.clear(&rows::pending(id));
                ekitei_blob::remove_reference(&tx, pending.body, id.body_owner(), now);
                if let Some(known) = known {
                    if tx.get(known).await?.is_some() {
                        return Ok(());
                    }
                    tx.set(known, &rows::encode(&id)?);
                }
                tx.set(&rows::received(id), head_row);
                for (number, part) in parts.iter().enumerate() {
                    tx.set(&rows::records(id, number), part);
                }
                Ok::<_, Error>(())
            })
            .await
    }

    /// Removes received reports that are older than `reports.keepReceived`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_old(&self, go_on: &(dyn Fn() -> bool + Send + Sync)) -> Result<usize> {
        let keep = self.inner.live.load().reports.keep_received.get();
        let before = self.inner.clock.now().saturating_sub(keep).as_millis();
        let end = rows::received(ReportId::first_of(u64::try_from(before).unwrap_or(u64::MAX)));
        let range = &(rows::all_received().start..end);
        let mut removed = 0;
        while go_on() && range.start < range.end {
            let batch = self
                .inner
                .database
                .transact(|tx| async move {
                    let options = RangeOptions { limit: REMOVED, ..RangeOptions::default() };
                    let found = tx.get_range(range.clone(), options).await?;
                    for row in &found {
                        remove(&tx, row)?;
                    }
                    Ok::<_, Error>(found.len())
                })
                .await?;
            removed += batch;
            if batch < REMOVED {
                break;
            }
        }
        Ok(removed)
    }
}

fn remove(tx: &Transaction, row: &KeyValue) -> Result<()> {
    let (id, head) = (rows::report_of(&row.key)?, rows::decode::<ReceivedRow>(&row.value)?);
    tx.clear(&row.key);
    tx.clear_range(rows::all_records(id));
    if head.kind != Kind::Unreadable && !head.report_id.is_empty() {
        let names = [head.kind.name(), &head.organization, &head.report_id, &head.domain];
        tx.clear(&rows::known(digest(names.into_iter().map(str::as_bytes))));
    }
    Ok(())
}

/// Whether the header names the media type of feedback reports (RFC 5965 §2).
fn looks_like_feedback(message: &[u8]) -> bool {
    let header = message.get(..HEADER).unwrap_or(message);
    let end = header.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap_or(header.len());
    header[..end].windows(15).any(|octets| octets.eq_ignore_ascii_case(b"feedback-report"))
}
