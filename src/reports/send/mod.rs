//! Sending: once a day, a report to each domain that asks for it.
//!
//! What was collected for a domain and a day becomes one message, which is put into the queue in the transaction that removes the batches it was made of. So each is reported once, whichever
//! process does it and however often it is interrupted. A report's id follows from its batches.

mod compose;
mod destination;
mod dmarc;
mod order;
pub(crate) mod post;
mod tls;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use compose::digest;
#[cfg(doc)]
pub(crate) use order::OrderRow;

use bytes::Bytes;
use ekitei_blob::BodyId;
use ekitei_directory::{Domain, EmailAddress, LocalPart, PageRequest};
use ekitei_kv::lease::Lease;
use ekitei_kv::{AsKvError as _, KeyValue, RangeOptions, Transaction};
use ekitei_mailstore::{Companion, Delivery, Fence};
use ekitei_queue::{NewMessage, NewRecipient, Origin};
use ekitei_relay::{Envelope, Notify};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::reports::Reports;
use crate::rows::{self, Collected};

/// Octets of batches that one report is made of; a domain of which more was collected gets the rest in another report.
const BATCHES: usize = 32 << 20;
/// Rows of one read.
const PAGE: usize = 500;

const DAY: u64 = 86_400;

/// Reports of which days are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Days {
    /// Of those that are over, each report when its hour has come.
    Due,
    /// Of all that are over.
    Over,
    /// Of all until now: what comes later today makes another report.
    UntilNow,
}

/// The right to send: one process has it at a time.
#[derive(Clone)]
pub struct Turn<'a> {
    /// Asked before each report: whether to go on.
    pub go_on: &'a (dyn Fn() -> bool + Send + Sync),
    /// Checked where a report is committed.
    pub fence: Option<Arc<dyn Fence>>,
}

/// A lease as a fence.
struct Leased(Lease);

impl Fence for Leased {
    fn check<'a>(&'a self, transaction: &'a Transaction) -> BoxFuture<'a, ekitei_kv::Result<()>> {
        Box::pin(self.0.check(transaction))
    }
}

impl<'a> Turn<'a> {
    /// While a lease holds, which `go_on` says.
    pub(crate) fn of(lease: &Lease, go_on: &'a (dyn Fn() -> bool + Send + Sync)) -> Self {
        Self { go_on, fence: Some(Arc::new(Leased(lease.clone()))) }
    }

    /// Makes a transaction fail if it is another's turn.
    async fn check(&self, transaction: &Transaction) -> Result<()> {
        match &self.fence {
            Some(fence) => Ok(fence.check(transaction).await?),
            None => Ok(()),
        }
    }
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Reports that were handed over.
    pub handed_over: usize,
    /// Reports that nobody wants (any more), or that could not be handed over for too long.
    pub dropped: usize,
    /// Reports whose destination could not be looked up or reached now; they are tried again.
    pub deferred: usize,
}

/// What was collected about a domain on a day.
pub(crate) struct Group {
    pub(crate) kind: Collected,
    pub(crate) day: u64,
    pub(crate) domain: String,
    pub(crate) batches: Vec<KeyValue>,
    /// When they were read, in seconds since the epoch.
    read: u64,
}

/// What became of a group.
enum Outcome {
    HandedOver,
    Dropped,
    Deferred,
}

/// What is written in the transaction that queues a report.
#[derive(Debug, Default)]
struct Done {
    /// The batches that the report is made of.
    clear: Vec<Vec<u8>>,
    /// What was noted of its destinations.
    forget: Option<Range<Vec<u8>>>,
    /// That one of its destinations has it.
    note: Option<Vec<u8>>,
}

impl Done {
    /// The report is sent to everyone.
    fn with(group: &Group) -> Self {
        let forget = Some(rows::all_handed_over(group.day, &group.domain));
        Self { clear: group.keys(), forget: forget.filter(|_| group.kind == Collected::Tls), note: None }
    }

    /// The report is sent to some.
    fn noting(key: Vec<u8>) -> Self {
        Self { note: Some(key), ..Self::default() }
    }

    fn write(&self, transaction: &Transaction) {
        self.clear.iter().for_each(|key| transaction.clear(key));
        self.forget.iter().for_each(|range| transaction.clear_range(range.clone()));
        self.note.iter().for_each(|key| transaction.set(key, b""));
    }
}

impl Companion for Done {
    fn row_size(&self) -> usize {
        let forget = self.forget.iter().flat_map(|range| [&range.start, &range.end]);
        self.clear.iter().chain(forget).chain(&self.note).map(|key| 3 * key.len() + 100).sum()
    }

    fn write(&self, transaction: &Transaction, _: BodyId) {
        self.write(transaction);
    }
}

impl Group {
    fn keys(&self) -> Vec<Vec<u8>> {
        self.batches.iter().map(|row| row.key.to_vec()).collect()
    }

    /// The time that the report is about, in seconds since the epoch; both ends belong to it. A day that is not over ends now.
    pub(crate) fn period(&self) -> (u64, u64) {
        (self.day * DAY, (self.day * DAY + DAY - 1).min(self.read))
    }
}

impl Reports {
    /// Sends reports, as long as it is our turn.
    ///
    /// # Errors
    /// When the store fails. What concerns one report only is logged, and the report tried again.
    pub async fn send(&self, days: Days, turn: &Turn<'_>) -> Result<Sent> {
        let mut sent = Sent::default();
        for kind in [Collected::Dmarc, Collected::Tls] {
            let mut range = kind.all();
            while let Some((day, domain)) = self.first_group(&range).await? {
                let is_over = day < self.now() / DAY;
                if !is_over && days != Days::UntilNow || !(turn.go_on)() {
                    break;
                }
                range.start = kind.group(day, &domain).end;
                if days == Days::Due && !self.is_due(day, &domain) {
                    continue;
                }
                let outcome = match self.send_group(kind, day, &domain, turn).await {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        tracing::warn!(kind = kind.name(), domain, %error, "a report cannot be sent; it is tried again");
                        Outcome::Deferred
                    }
                };
                match outcome {
                    Outcome::HandedOver => sent.handed_over += 1,
                    Outcome::Dropped => sent.dropped += 1,
                    Outcome::Deferred => sent.deferred += 1,
                }
            }
        }
        Ok(sent)
    }

    /// The first day and domain of a range of batches.
    async fn first_group(&self, range: &Range<Vec<u8>>) -> Result<Option<(u64, String)>> {
        let options = RangeOptions { limit: 1, snapshot: true, ..RangeOptions::default() };
        let read =
            |tx: Transaction| async move { Ok::<_, Error>(tx.get_range(range.clone(), options).await?) };
        let found = self.inner.database.read(read).await?;
        found.first().map(|row| rows::group_of(&row.key)).transpose()
    }

    /// Reports are spread over some hours, so that not all domains get them at midnight.
    fn is_due(&self, day: u64, domain: &str) -> bool {
        let config = self.inner.live.load();
        let spread = config.reports.spread.get().as_secs();
        let own = digest([domain.as_bytes()]);
        let share = u64::from(u16::from_be_bytes([own[0], own[1]])) * spread / u64::from(u16::MAX);
        // What other processes collected until midnight is written a flush later.
        (day + 1) * DAY + share + 2 * config.reports.flush_interval.get().as_secs() <= self.now()
    }

    async fn load(&self, kind: Collected, day: u64, domain: &str) -> Result<Group> {
        let mut range = kind.group(day, domain);
        let (mut batches, mut octets) = (Vec::new(), 0);
        loop {
            let (from, options) =
                (&range, RangeOptions { limit: PAGE, snapshot: true, ..RangeOptions::default() });
            let read =
                |tx: Transaction| async move { Ok::<_, Error>(tx.get_range(from.clone(), options).await?) };
            let page = self.inner.database.read(read).await?;
            let is_last = page.len() < PAGE;
            octets += page.iter().map(|row| row.value.len()).sum::<usize>();
            if let Some(last) = page.last() {
                range.start = [&last.key[..], &[0]].concat();
            }
            batches.extend(page);
            if is_last || octets > BATCHES {
                return Ok(Group { kind, day, domain: domain.to_owned(), batches, read: self.now() });
            }
        }
    }

    async fn send_group(&self, kind: Collected, day: u64, domain: &str, turn: &Turn<'_>) -> Result<Outcome> {
        let group = self.load(kind, day, domain).await?;
        let give_up = self.inner.live.load().reports.give_up_after.get().as_secs();
        let is_late = group.period().1 + give_up < self.now();
        let outcome = match kind {
            Collected::Dmarc => self.send_dmarc(&group, turn).await,
            Collected::Tls => self.send_tls(&group, is_late, turn).await,
        };
        let outcome = match outcome {
            Err(error) if is_late => {
                tracing::warn!(kind = kind.name(), domain, %error, "a report is given up");
                Outcome::Dropped
            }
            outcome => outcome?,
        };
        if matches!(outcome, Outcome::Dropped) {
            self.drop_group(&group, turn).await?;
        }
        let result = match outcome {
            Outcome::HandedOver => "handed_over",
            Outcome::Dropped => "dropped",
            Outcome::Deferred => "deferred",
        };
        self.inner.metrics.sent(kind, result);
        Ok(outcome)
    }

    /// Forgets what was collected.
    async fn drop_group(&self, group: &Group, turn: &Turn<'_>) -> Result<()> {
        let done = &Done::with(group);
        let forget = |tx: Transaction| async move {
            turn.check(&tx).await?;
            done.write(&tx);
            Ok(())
        };
        self.inner.database.transact(forget).await
    }

    /// Queues a report in the transaction that does what `done` says. False if it is somebody else's work by now.
    async fn hand_over(
        &self,
        message: String,
        from: &EmailAddress,
        to: Vec<EmailAddress>,
        done: Done,
        turn: &Turn<'_>,
    ) -> Result<bool> {
        let signatures = self.inner.signing.sign(from.domain(), message.as_bytes()).await?;
        let message = Bytes::from([&signatures, message.as_bytes()].concat());
        let received = self.inner.clock.now();
        let recipients = to.into_iter().map(|address| NewRecipient {
            address,
            notify: Some(Notify::NEVER),
            original: None,
        });
        let queued = self.inner.queue.companion(NewMessage {
            // Nobody wants to hear that a report did not arrive.
            envelope: Envelope::default(),
            recipients: recipients.collect(),
            received,
            size: message.len() as u64,
            header: Bytes::new(),
            account: None,
            origin: Origin::Report,
        })?;
        if !(turn.go_on)() {
            return Ok(false);
        }
        let done: Arc<dyn Companion> = Arc::new(done);
        let companions = queued.into_iter().chain([done]).collect();
        let delivery =
            Delivery { message, received, targets: Vec::new(), companions, fence: turn.fence.clone() };
        match self.inner.mailstore.deliver(delivery).await {
            // A pause in the last moment: the report is made by whoever has the batches now.
            Err(error) if matches!(error.as_kv_error(), Some(ekitei_kv::Error::Fenced)) => Ok(false),
            delivered => Ok(delivered.map(|_| true)?),
        }
    }

    /// Who reports: the address that reports come from.
    async fn sender(&self) -> Result<EmailAddress> {
        let config = self.inner.live.load();
        if !config.reports.from.is_empty() {
            let parsed = EmailAddress::parse(&config.reports.from);
            return parsed.map_err(|error| Error::NoSender(format!("reports.from: {error}")));
        }
        let domain = match &config.directory.default_domain {
            Some(domain) => Domain::parse(domain).ok(),
            None => {
                let page = PageRequest { after: None, limit: 1 };
                self.inner.directory.list_domains(&page).await?.items.into_iter().next().map(|info| info.name)
            }
        };
        let local = LocalPart::parse("postmaster").ok();
        local
            .zip(domain)
            .and_then(|(local, domain)| EmailAddress::new(local, domain).ok())
            .ok_or_else(|| Error::NoSender("there is no domain, and reports.from is empty".to_owned()))
    }

    /// The name of the organisation in reports.
    fn organization(&self) -> String {
        let config = self.inner.live.load();
        match config.reports.organization.as_str() {
            "" => config.hostname.clone(),
            name => name.to_owned(),
        }
    }
}
