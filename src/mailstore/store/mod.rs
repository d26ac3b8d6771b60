//! [`MailStore`]: what the protocols call.

mod append;
mod bodies;
pub(crate) mod change_log;
mod copy;
mod delivery;
pub(crate) mod domains;
mod expunge;
mod flags;
mod mailboxes;
mod maintenance;
mod purge;
mod quota;
mod read;
mod recount;
pub(crate) mod transaction;
pub mod transfer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_blob::Blobs;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::mutation::OperationId;
use crate::record::MessageRecord;
use crate::types::{AccountId, BodyId, MailboxId, MessageId};
use crate::view::{SharedView, View};
use crate::watch::{WatchFigures, Watches};
use crate::{Result, Settings};
use delivery::Combiner;
use domains::Domains;

pub use domains::DomainCounting;
pub use maintenance::Maintenance;
pub use recount::{Counted, CountedPlace, Difference, Repair};

/// Bodies that all searches of a process decode at a time.
const SEARCH_BODIES: usize = 4;

/// The mailstore: cheap to clone, shared by all sessions.
#[derive(Clone)]
pub struct MailStore {
    pub(crate) inner: Arc<Inner>,
    combiner: Combiner,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) blobs: Blobs,
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    pub(crate) domains: Domains,
    /// Names this process in the traces of its deliveries.
    instance: [u8; 16],
    /// One view per mailbox that some session has selected.
    views: Mutex<HashMap<(AccountId, MailboxId), std::sync::Weak<SharedView>>>,
    watches: Watches,
    /// Turns at decoding a body for a search.
    pub(crate) search_bodies: Semaphore,
    /// Records by account and message; they never change.
    records: Cache<(AccountId, MessageId), Arc<MessageRecord>, ByWeight>,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<(AccountId, MessageId), Arc<MessageRecord>> for ByWeight {
    fn weight(&self, _: &(AccountId, MessageId), record: &Arc<MessageRecord>) -> u64 {
        record.weight()
    }
}

impl MailStore {
    /// A mailstore over a database and its bodies. Starts the task that combines concurrent deliveries, so it must be called within a
    /// tokio runtime.
    pub fn new(database: Database, blobs: Blobs, settings: Settings, clock: SharedClock) -> Self {
        Self::build(database, blobs, settings, clock, None)
    }

    /// A mailstore that counts for domains, too.
    pub fn with_domains(
        database: Database,
        blobs: Blobs,
        settings: Settings,
        clock: SharedClock,
        domains: DomainCounting,
    ) -> Self {
        Self::build(database, blobs, settings, clock, Some(domains))
    }

    fn build(
        database: Database,
        blobs: Blobs,
        settings: Settings,
        clock: SharedClock,
        domains: Option<DomainCounting>,
    ) -> Self {
        let records = Cache::with_weighter(1000, settings.record_cache_size, ByWeight);
        let inner = Arc::new(Inner {
            watches: Watches::new(database.clone(), settings.max_watches, settings.watch_poll_interval),
            database,
            blobs,
            settings,
            domains: Domains::new(domains),
            instance: *BodyId::generate(&*clock).as_bytes(),
            clock,
            views: Mutex::default(),
            search_bodies: Semaphore::new(SEARCH_BODIES),
            records,
        });
        Self { combiner: Combiner::start(Arc::clone(&inner)), inner }
    }

    /// The shared view of a mailbox.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchMailbox`].
    pub async fn view(&self, account: AccountId, mailbox: MailboxId) -> Result<View> {
        if let Some(shared) = self.inner.shared_view(account, mailbox) {
            return Ok(View::new(Arc::clone(&self.inner), shared));
        }
        let loaded = Arc::new(SharedView::load(&self.inner, account, mailbox).await?);
        let mut views = self.inner.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|_, view| view.strong_count() > 0);
        // Another session may have loaded it meanwhile: one of the two serves both.
        let shared = match views.get(&(account, mailbox)).and_then(std::sync::Weak::upgrade) {
            Some(shared) => shared,
            None => {
                views.insert((account, mailbox), Arc::downgrade(&loaded));
                loaded
            }
        };
        drop(views);
        Ok(View::new(Arc::clone(&self.inner), shared))
    }

    /// Wakes when anything in the account changed (also through another pod): the number rises. One watch on the store per account,
    /// whatever the number of receivers.
    pub fn watch(&self, account: AccountId) -> tokio::sync::watch::Receiver<u64> {
        self.inner.watches.subscribe(account)
    }

    /// How the accounts are followed that somebody waits for.
    pub fn watch_figures(&self) -> WatchFigures {
        self.inner.watches.figures()
    }
}

impl Inner {
    fn shared_view(&self, account: AccountId, mailbox: MailboxId) -> Option<Arc<SharedView>> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.get(&(account, mailbox))?.upgrade()
    }

    /// A new id for an operation.
    fn operation(&self) -> OperationId {
        *BodyId::generate(&*self.clock).as_bytes()
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }
}
