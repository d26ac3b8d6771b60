//! Reading what is fresh and due in one shard, each hint once, and handing it to the scheduler.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_kv::Watch;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Context, Event};
use crate::model::{Hint, Place, Shard};
use crate::spool::{DueCursor, FreshCursor, Loaded, Spool};
use crate::{Error, Result};

/// Hints that are read at a time.
const PAGE: usize = 256;
/// A reader looks at the clock again after this time at the latest: the time of day may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Everything is read again after this time, whatever was thought of it: an entry that could not be read, or was lost sight of, is found.
const ANEW: Duration = Duration::from_secs(3600);
/// The pause after a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What a reader is told while it reads or sleeps.
#[derive(Debug, Default)]
struct Mail {
    wanted: Mutex<Wanted>,
    notify: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    /// The earliest time that an entry was deferred until, since the epoch.
    due: Option<Duration>,
    /// Begin anew: something that was handed over was not taken.
    again: bool,
}

impl Mail {
    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    fn take(&self) -> Wanted {
        std::mem::take(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The scheduler's side of a reader. Dropping it ends the reader.
#[derive(Debug)]
pub(crate) struct ReaderHandle {
    mail: Arc<Mail>,
    task: AbortHandle,
}

impl ReaderHandle {
    /// An entry of the shard was deferred until then.
    pub(crate) fn deferred(&self, until: Duration) {
        self.mail.change(|wanted| wanted.due = Some(wanted.due.map_or(until, |due| due.min(until))));
    }

    /// Everything is to be read again.
    pub(crate) fn again(&self) {
        self.mail.change(|wanted| wanted.again = true);
    }
}

impl Drop for ReaderHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Entries of a shard that were read.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) shard: Shard,
    /// Names the time for which the shard is held: what an earlier reader read is not for now.
    pub(crate) token: u64,
    pub(crate) entries: Entries,
}

/// Entries that were read.
#[derive(Debug)]
pub(crate) struct Entries {
    /// When the reading began: they are as they were then, or later.
    pub(crate) read: Instant,
    /// Each with the hint that led to it.
    pub(crate) found: Vec<(Hint, Box<Loaded>)>,
}

/// Loads what hints name, without those that are void. An entry that is damaged is left out, with a word in the log, and does not stand in the way
/// of others.
///
/// # Errors
/// When the store fails.
pub(crate) async fn load(spool: &Spool, shard: Shard, hints: &[Hint]) -> Result<Entries> {
    let read = Instant::now();
    let zip = |loaded: Vec<Option<Loaded>>| {
        let found = hints.iter().zip(loaded);
        let found = found.filter_map(|(hint, loaded)| Some((*hint, Box::new(loaded?)))).collect();
        Entries { read, found }
    };
    match spool.load(shard, hints).await {
        Err(Error::Corrupt(_)) => {}
        loaded => return loaded.map(zip),
    }
    let mut each = Vec::with_capacity(hints.len());
    for hint in hints {
        each.push(match spool.load(shard, std::slice::from_ref(hint)).await {
            Ok(mut loaded) => loaded.pop().flatten(),
            Err(Error::Corrupt(what)) => {
                tracing::error!(what, entry = %hint.entry, "an entry of the queue is damaged, and left where it is");
                None
            }
            Err(error) => return Err(error),
        });
    }
    Ok(zip(each))
}

/// Reads one shard.
pub(crate) struct Reader {
    context: Arc<Context>,
    shard: Shard,
    token: u64,
    events: mpsc::Sender<Event>,
    mail: Arc<Mail>,
    fresh: Option<FreshCursor>,
    due: Option<DueCursor>,
    /// The time of `due`, since the epoch.
    read_until: Option<Duration>,
    /// When the first entry is due that was not read yet, since the epoch; `None` if that is not known.
    next_due: Option<Option<Duration>>,
    /// When it began to read at the start.
    began: Instant,
}

impl Reader {
    /// Starts to read a shard.
    pub(crate) fn start(
        context: &Arc<Context>,
        shard: Shard,
        token: u64,
        events: mpsc::Sender<Event>,
    ) -> ReaderHandle {
        let mail = Arc::<Mail>::default();
        let reader = Self {
            context: Arc::clone(context),
            shard,
            token,
            events,
            mail: Arc::clone(&mail),
            fresh: None,
            due: None,
            read_until: None,
            next_due: None,
            began: Instant::now(),
        };
        ReaderHandle { mail, task: tokio::spawn(reader.run()).abort_handle() }
    }

    async fn run(mut self) {
        loop {
            match self.pass().await {
                Ok(watch) => self.sleep(watch).await,
                Err(error) => {
                    tracing::warn!(%error, shard = self.shard.number(), "a part of the queue cannot be read");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
            self.read_mail();
        }
    }

    /// Reads everything that is fresh or due now; returns the watch for what comes next.
    async fn pass(&mut self) -> Result<Watch> {
        self.read_due().await?;
        loop {
            let page = self.context.spool.fresh(self.shard, self.fresh, PAGE).await?;
            self.hand_over(&page.hints).await?;
            self.fresh = page.next;
            if !page.more {
                return Ok(page.watch);
            }
            self.read_due().await?;
        }
    }

    async fn read_due(&mut self) -> Result<()> {
        loop {
            let now = self.context.clock.now();
            if self.next_due.is_some_and(|next| next.is_none_or(|due| due > now)) {
                return Ok(());
            }
            let hints = self.context.spool.due(self.shard, self.due, now, PAGE).await?;
            self.hand_over(&hints).await?;
            if let Some(last) = hints.last() {
                self.due = DueCursor::of(last).or(self.due);
                self.read_until = match last.place {
                    Place::Due(due) => Some(due),
                    Place::Fresh(_) | Place::Held => self.read_until,
                };
            }
            if hints.len() < PAGE {
                // What is deferred from here on is told by mail.
                self.next_due = Some(self.context.spool.next_due(self.shard, self.due).await?);
            }
        }
    }

    /// Loads what hints name, and gives it to the scheduler; waits while that has enough to do.
    async fn hand_over(&self, hints: &[Hint]) -> Result<()> {
        if hints.is_empty() {
            return Ok(());
        }
        let entries = load(&self.context.spool, self.shard, hints).await?;
        let batch = Batch { shard: self.shard, token: self.token, entries };
        // Without a scheduler this task is about to be ended.
        let _ = self.events.send(Event::Read(batch)).await;
        Ok(())
    }

    async fn sleep(&self, watch: Watch) {
        let now = self.context.clock.now();
        let until_due = self.next_due.flatten().map_or(LONGEST_SLEEP, |due| due.saturating_sub(now));
        tokio::select! {
            biased;
            // A watch that fails says nothing: read again.
            _ = watch.changed() => {}
            () = self.mail.notify.notified() => {}
            () = tokio::time::sleep(until_due.min(LONGEST_SLEEP)) => {}
        }
    }

    fn read_mail(&mut self) {
        let wanted = self.mail.take();
        if wanted.again || self.began.elapsed() >= ANEW {
            (self.fresh, self.due, self.read_until, self.next_due) = (None, None, None, None);
            self.began = Instant::now();
        }
        if let Some(due) = wanted.due {
            if self.read_until.is_some_and(|read| due <= read) {
                // The time of day went back: it is among what was read.
                (self.due, self.read_until) = (None, None);
            }
            if let Some(next) = &mut self.next_due {
                *next = Some(next.map_or(due, |known| known.min(due)));
            }
        }
    }
}
