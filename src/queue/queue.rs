//! [`Queue`]: what puts mail into the queue, and where everything else about it begins.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::Blobs;
use ekitei_config::Live;
use ekitei_directory::EmailAddress;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, Transaction, decode_counter};
use ekitei_mailstore::{Companion, Delivery, MailStore};
use tokio::time::Instant;

use crate::accept::Accepted;
use crate::model::{NewMessage, QueueId, QueueIds};
use crate::quota::Portions;
use crate::rows::{self, Total};
use crate::spool::{Inner, Spool};
use crate::suppression::Suppressed;
use crate::{Error, Result};

/// How old the number of messages may be that the limit is checked with; what this process adds meanwhile is counted besides.
const COUNT_AGE: Duration = Duration::from_secs(1);

/// What the queue is made of.
pub struct QueueContext {
    /// The store.
    pub database: Database,
    /// The bodies of the same store.
    pub blobs: Blobs,
    /// The mailstore over both: messages come in through it.
    pub mailstore: MailStore,
    /// The configuration in force.
    pub live: Live,
    /// The time of day.
    pub clock: SharedClock,
}

/// The queue: cheap to clone, shared by all parts of a process.
#[derive(Clone)]
pub struct Queue {
    spool: Spool,
    mailstore: MailStore,
    fill: Arc<Fill>,
    /// What this process may count of senders' quotas without asking.
    portions: Arc<Portions>,
}

impl Queue {
    /// The queue of a process. Starts the task that combines results, so it must be called within a tokio runtime.
    pub fn new(context: QueueContext) -> Self {
        let QueueContext { database, blobs, mailstore, live, clock } = context;
        let spool = Spool::new(Arc::new(Inner { database, blobs, live, clock, ids: QueueIds::default() }));
        Self { spool, mailstore, fill: Arc::default(), portions: Arc::default() }
    }

    /// The stored queue, for those who work on it.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    pub(crate) fn portions(&self) -> &Portions {
        &self.portions
    }

    /// What has to be written with a delivery so that `message` is queued; `None` if it has no recipients.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`].
    pub fn companion(&self, message: NewMessage) -> Result<Option<Arc<dyn Companion>>> {
        Ok(self.accept(message)?.map(|accepted| Arc::new(accepted) as Arc<dyn Companion>))
    }

    /// Queues a message that has no local recipients; returns once it is durable.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::NoRecipients`], and failures of the stores. When
    /// [`ekitei_mailstore::Error::is_outcome_unknown`], it may be queued all the same.
    pub async fn enqueue(&self, octets: Bytes, message: NewMessage) -> Result<QueueId> {
        let received = message.received;
        let accepted = self.accept(message)?.ok_or(Error::NoRecipients)?;
        let id = accepted.id();
        let companions: Vec<Arc<dyn Companion>> = vec![Arc::new(accepted)];
        let delivery = Delivery { message: octets, received, targets: Vec::new(), companions, fence: None };
        self.mailstore.deliver(delivery).await?;
        Ok(id)
    }

    /// Whether mail to an address is refused, since it keeps bouncing: for submissions, so that the user hears of it at once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn suppressed(&self, address: &EmailAddress) -> Result<Option<Suppressed>> {
        let (inner, address) = (&self.spool.inner, &address.to_wire());
        let read = |transaction: Transaction| async move { inner.suppressed_in(&transaction, address).await };
        inner.database.read(read).await
    }

    /// Messages in the queue, and their octets.
    pub(crate) async fn totals(&self) -> Result<(u64, u64)> {
        let inner = &self.spool.inner;
        Ok((read_total(inner, Total::Messages).await?, read_total(inner, Total::Bytes).await?))
    }

    fn accept(&self, message: NewMessage) -> Result<Option<Accepted>> {
        if message.recipients.is_empty() {
            return Ok(None);
        }
        let inner = &self.spool.inner;
        self.fill.refresh(inner);
        let limit = inner.live.load().queue.max_messages;
        if limit > 0 && self.fill.messages() >= limit {
            return Err(Error::Full);
        }
        let accepted = Accepted::new(message, inner.new_id())?;
        self.fill.added.fetch_add(1, Ordering::Relaxed);
        Ok(Some(accepted))
    }
}

/// How full the queue is, about: read now and then, so that no delivery waits for it.
#[derive(Default)]
struct Fill {
    stored: AtomicU64,
    /// What this process took since then.
    added: AtomicU64,
    refreshing: AtomicBool,
    refreshed: Mutex<Option<Instant>>,
}

impl Fill {
    fn messages(&self) -> u64 {
        self.stored.load(Ordering::Relaxed).saturating_add(self.added.load(Ordering::Relaxed))
    }

    /// Reads the number of messages in the background, if it is old.
    fn refresh(self: &Arc<Self>, inner: &Arc<Inner>) {
        let refreshed = *self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = refreshed.is_none_or(|at| at.elapsed() >= COUNT_AGE);
        if !is_old || self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (fill, inner) = (Arc::clone(self), Arc::clone(inner));
        let before = self.added.load(Ordering::Relaxed);
        tokio::spawn(async move {
            match read_total(&inner, Total::Messages).await {
                Ok(messages) => {
                    fill.stored.store(messages, Ordering::Relaxed);
                    fill.added.fetch_sub(before, Ordering::Relaxed);
                }
                Err(error) => tracing::warn!(%error, "the number of queued messages cannot be read"),
            }
            *fill.refreshed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            fill.refreshing.store(false, Ordering::Release);
        });
    }
}

async fn read_total(inner: &Inner, total: Total) -> Result<u64> {
    let read = |transaction: Transaction| async move {
        Ok::<_, Error>(decode_counter(transaction.get_snapshot(&rows::total(total)).await?.as_deref()))
    };
    Ok(u64::try_from(inner.database.read(read).await?).unwrap_or(0))
}
