//! One entry from its loading to its settlement: sent by the transport, or put off since its destination is left alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ekitei_kv::AsKvError as _;
use ekitei_relay::{Failure, FailureKind, Recipient, RecipientOutcome, Shipment};
use ekitei_telemetry::{trace_count, trace_span};
use futures_util::future::{FutureExt as _, join_all};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Context;
use super::backlog::{LOADED_AGE, Name};
use super::lane::Waiting;
use crate::conclude::{self, Attempt, Conclusion, Signal};
use crate::destination::Block;
use crate::model::{EntryId, Hint, Origin, RecipientState, Shard};
use crate::notify::{self, About};
use crate::schedule::RetrySchedule;
use crate::settlement::{Fence, Notification, Settled, Settlement};
use crate::spool::Loaded;
use crate::transport::{Handled, Way};
use crate::{Error, Result};

/// The pause before something is tried again that the store refused.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a notification is tried to be made with what it returns of the message.
const NOTIFICATION_ATTEMPTS: u32 = 3;
/// When those are tried again who would have failed, had the sender been told.
const UNTOLD: Duration = Duration::from_secs(2 * 60);
/// Octets of a message in which its header is looked for.
const MAX_HEADER: u64 = 64 << 10;
/// For so long the entries of a destination come back after the first of them, so that one finds out for all.
const SPREAD: Duration = Duration::from_secs(5);

/// What is needed to work on entries of a destination.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) context: Arc<Context>,
    pub(crate) fence: Fence,
    pub(crate) name: Name,
    pub(crate) schedule: Arc<RetrySchedule>,
}

/// What became of one entry.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) entry: EntryId,
    pub(crate) fate: Fate,
}

/// How the work on an entry ended.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It was not the entry's turn any more.
    Void,
    /// It is settled; with what the entry was, should it have to be taken up at once.
    Settled(Settled, Box<Loaded>),
    /// It was not put off, since what its way is left alone for does not concern it: it waives TLS.
    Waives(Hint, Box<Loaded>),
    /// Nothing is written, since the shard is another's by now or nothing could be written. If the shard is still ours, it has to be read again.
    Unsettled,
}

/// What became of an attempt to send.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) shard: Shard,
    pub(crate) token: u64,
    pub(crate) name: Name,
    /// The way that it was taken up for.
    pub(crate) lane: Way,
    /// The way that it went, as it turned out: this is what the signal is about.
    pub(crate) way: Way,
    pub(crate) began: Instant,
    pub(crate) signal: Signal,
    pub(crate) ended: Ended,
}

/// What became of entries that were put off.
#[derive(Debug)]
pub(crate) struct PutOff {
    pub(crate) shard: Shard,
    pub(crate) token: u64,
    pub(crate) name: Name,
    pub(crate) way: Way,
    pub(crate) ended: Vec<Ended>,
}

impl Work {
    /// Sends one entry that was taken up for the way `lane`.
    pub(crate) async fn send(self, lane: Way, waiting: Waiting) -> Sent {
        let began = Instant::now();
        let (entry, mut way) = (waiting.hint.entry, lane.clone());
        let (signal, fate) = match self.load(vec![waiting]).await.pop() {
            Some(Some(loaded)) => self.attempt(Box::new(loaded), &mut way).await,
            Some(None) => (Signal::Nothing, Fate::Void),
            None => (Signal::Nothing, Fate::Unsettled),
        };
        let (shard, token) = (self.fence.shard, self.fence.lease.token());
        Sent { shard, token, name: self.name, lane, way, began, signal, ended: Ended { entry, fate } }
    }

    /// Puts entries off until the way that they go may be tried again.
    pub(crate) async fn put_off(self, way: Way, block: Block, entries: Vec<Waiting>) -> PutOff {
        let hints: Vec<Hint> = entries.iter().map(|waiting| waiting.hint).collect();
        let loaded = self.load(entries).await;
        let remaining = block.until.saturating_duration_since(Instant::now());
        let until = self.context.clock.now().saturating_add(remaining);
        // What TLS is missing for may go without it (RFC 8689 §3).
        let is_about_tls = block.reason.kind == FailureKind::Tls && !way.waives_tls;
        let fates: Vec<Fate> = if loaded.is_empty() {
            hints.iter().map(|_| Fate::Unsettled).collect()
        } else {
            let (this, reason) = (&self, &block.reason);
            join_all(loaded.into_iter().zip(&hints).map(|(loaded, hint)| async move {
                match loaded.map(Box::new) {
                    Some(loaded) if is_about_tls && this.waives_tls(&loaded).await => {
                        Fate::Waives(*hint, loaded)
                    }
                    Some(loaded) => this.defer(loaded, reason, until).await,
                    None => Fate::Void,
                }
            }))
            .await
        };
        let ended = hints.iter().zip(fates).map(|(hint, fate)| Ended { entry: hint.entry, fate }).collect();
        PutOff { shard: self.fence.shard, token: self.fence.lease.token(), name: self.name, way, ended }
    }

    /// Whether the header of a message waives TLS; one that cannot be read now waits as the others do.
    async fn waives_tls(&self, loaded: &Loaded) -> bool {
        if loaded.message.envelope.require_tls {
            return false;
        }
        match self.context.spool.head(&loaded.message, MAX_HEADER).await {
            Ok(head) => ekitei_relay::waives_tls(&[head]),
            Err(error) => {
                tracing::warn!(%error, entry = %loaded.id, "a queued message cannot be read");
                false
            }
        }
    }

    /// Reads entries that were not read just now. Empty when that is not possible for as long as the shard is ours.
    async fn load(&self, entries: Vec<Waiting>) -> Vec<Option<Loaded>> {
        let now = Instant::now();
        let is_fresh = |waiting: &Waiting| {
            waiting.loaded.as_ref().is_some_and(|(at, _)| now.duration_since(*at) < LOADED_AGE)
        };
        if entries.iter().all(is_fresh) {
            return entries.into_iter().map(|waiting| waiting.loaded.map(|(_, loaded)| *loaded)).collect();
        }
        let hints: Vec<_> = entries.iter().map(|waiting| waiting.hint).collect();
        loop {
            match super::reader::load(&self.context.spool, self.fence.shard, &hints).await {
                Ok(loaded) => {
                    let mut loaded = loaded.found.into_iter().peekable();
                    let of = |hint: &Hint| Some(*loaded.next_if(|(found, _)| found == hint)?.1);
                    return hints.iter().map(of).collect();
                }
                Err(error) => tracing::warn!(%error, "an entry of the queue cannot be read"),
            }
            if !self.fence.lease.holds() {
                return Vec::new();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tries to send an entry; `way` becomes the way that it goes.
    async fn attempt(&self, loaded: Box<Loaded>, way: &mut Way) -> (Signal, Fate) {
        let now = self.context.clock.now();
        let (mut handled, left) = self.foregone(&loaded, now);
        let mut signal = Signal::Nothing;
        if !left.is_empty() {
            let trace = trace_span!(
                parent: None,
                "queue.attempt",
                otel.kind = "client",
                entry = %loaded.id,
                destination = loaded.entry.destination.as_str(),
                recipients = trace_count(left.len()),
                sent = tracing::field::Empty,
            );
            let sent = self.transport(&loaded, &left, way).instrument(trace.clone()).await;
            let gone =
                |(_, handled): &&(usize, Handled)| matches!(handled.outcome, RecipientOutcome::Sent { .. });
            trace.record("sent", trace_count(sent.iter().filter(gone).count()));
            if sent.iter().all(|(_, handled)| is_fenced(handled)) {
                return (Signal::Nothing, Fate::Unsettled);
            }
            signal = Signal::of(&loaded.message.envelope, &sent);
            let waited = self.context.clock.now().saturating_sub(loaded.message.received);
            self.context.metrics.attempt(&sent, waited.as_secs_f64());
            handled
                .extend(sent.into_iter().map(|(place, handled)| (place, interrupted_is_deferred(handled))));
        }
        log(&loaded, &handled);
        let attempt = Attempt {
            loaded: &loaded,
            handled,
            tried: true,
            not_before: Duration::ZERO,
            now: self.context.clock.now(),
            variation: (self.context.variation)(),
        };
        let conclusion = attempt.conclude(&self.schedule);
        (signal, self.settle(loaded, conclusion, true).await)
    }

    /// Puts one entry off.
    async fn defer(&self, loaded: Box<Loaded>, reason: &Failure, until: Duration) -> Fate {
        let now = self.context.clock.now();
        let (mut handled, left) = self.foregone(&loaded, now);
        let deferred = || Handled::relayed(RecipientOutcome::Deferred(reason.clone()));
        handled.extend(left.into_iter().map(|place| (place, deferred())));
        let variation = (self.context.variation)();
        let attempt = Attempt {
            loaded: &loaded,
            handled,
            tried: false,
            not_before: until.saturating_add(SPREAD.mul_f64(variation)),
            now,
            variation,
        };
        let conclusion = attempt.conclude(&self.schedule);
        self.context.metrics.put_off.inc();
        self.settle(loaded, conclusion, false).await
    }

    /// Recipients whose fate is known without an attempt, and the places of those that are left.
    fn foregone(&self, loaded: &Loaded, now: Duration) -> (Vec<(usize, Handled)>, Vec<usize>) {
        let is_late = self.schedule.is_too_late(loaded.message.envelope.deliver_by, now);
        let (mut known, mut left) = (Vec::new(), Vec::new());
        for (place, row) in loaded.entry.waiting() {
            if let Some(success) = loaded.message.origin.success() {
                known.push((place, Handled { outcome: self.arrived(), success }));
                continue;
            }
            let last = match &row.state {
                RecipientState::Waiting { last } => last.as_ref(),
                RecipientState::Sent { .. } | RecipientState::Failed { .. } => None,
            };
            let suppressed = loaded.suppressed.iter().find(|(of, _)| *of == place);
            let failure = if loaded.entry.bounce {
                Some(conclude::returned_by_administrator(last))
            } else if is_late {
                Some(conclude::past_deadline(last))
            } else {
                suppressed.map(|(_, suppressed)| suppressed.failure())
            };
            match failure {
                Some(failure) => known.push((place, Handled::relayed(RecipientOutcome::Failed(failure)))),
                None => left.push(place),
            }
        }
        (known, left)
    }

    /// The outcome of what was here before it was queued.
    fn arrived(&self) -> RecipientOutcome {
        let remote = self.context.live.load().hostname.clone();
        RecipientOutcome::Sent { remote, reply: "250 2.1.5 Delivered".to_owned(), notifies: false }
    }

    /// Hands the message to the transport; one result for each place.
    async fn transport(&self, loaded: &Loaded, places: &[usize], way: &mut Way) -> Vec<(usize, Handled)> {
        let message = &loaded.message;
        let _room = self.context.room.take(message.size).await;
        let pieces = match self.context.spool.body(message).await {
            Ok(pieces) => pieces,
            Err(error) => {
                tracing::warn!(%error, entry = %loaded.id, "a queued message cannot be read");
                let trouble = conclude::trouble_here("the message cannot be read from the store now");
                let deferred = Handled::relayed(RecipientOutcome::Deferred(trouble));
                return places.iter().map(|&place| (place, deferred.clone())).collect();
            }
        };
        *way = self.context.way(loaded, !message.envelope.require_tls && ekitei_relay::waives_tls(&pieces));
        let (lease, fence) = (self.fence.lease.clone(), Arc::new(self.fence.clone()));
        let recipients: Vec<Recipient> =
            places.iter().map(|&place| loaded.entry.recipients[place].recipient.clone()).collect();
        let shipment = Shipment {
            destination: loaded.entry.destination.clone(),
            sender_domain: sender_domain(loaded),
            envelope: message.envelope.clone(),
            recipients,
            message: pieces,
            may_finish: Arc::new(move || lease.holds()),
        };
        let sending = AssertUnwindSafe(async { self.context.transport.send(shipment, fence).await });
        // A message that the transport breaks at is tried again when it is due, and not at once and for ever.
        let sent = sending.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(entry = %loaded.id, "the transport broke at a message");
            Vec::new()
        });
        let mut results = sent.into_iter();
        let unknown = || {
            let trouble = conclude::trouble_here("the transport said nothing of this recipient");
            Handled::relayed(RecipientOutcome::Deferred(trouble))
        };
        places.iter().map(|&place| (place, results.next().unwrap_or_else(unknown))).collect()
    }

    /// Writes what follows, with its notifications, for as long as the shard is ours. While they cannot be made, those who would be told of wait for another
    /// attempt: nothing is given up untold, and nobody else's mail waits for that.
    async fn settle(&self, loaded: Box<Loaded>, conclusion: Conclusion, attempted: bool) -> Fate {
        let told = conclusion.told.iter().map(|told| told.action).min();
        let mut notifications = self.notifications(&loaded, &conclusion).await;
        loop {
            let settlement = match &notifications {
                Some(notifications) => settlement(&loaded, &conclusion, attempted, notifications.clone()),
                None => {
                    let again = self.context.clock.now() + UNTOLD;
                    settlement(&loaded, &conclusion.untold(&loaded.entry, again), attempted, Vec::new())
                }
            };
            let is_telling = !settlement.notifications.is_empty();
            match self.context.spool.settle(&self.fence, settlement).await {
                Ok(settled) => {
                    if let Some(action) = told.filter(|_| is_telling) {
                        self.context.metrics.notification(action);
                    }
                    return Fate::Settled(settled, loaded);
                }
                Err(Error::Fenced) => break,
                Err(error) if is_stale(&error) => {
                    tracing::warn!(%error, entry = %loaded.id, "a notification is made anew");
                    notifications = self.notifications(&loaded, &conclusion).await;
                }
                Err(error) if is_lasting(&error) => {
                    tracing::error!(%error, entry = %loaded.id, "the result of an attempt can never be written like this");
                    if !is_telling {
                        return Fate::Void;
                    }
                    notifications = Some(Vec::new());
                }
                Err(error) => {
                    tracing::warn!(%error, entry = %loaded.id, "the result of an attempt cannot be written");
                    if notifications.is_none() {
                        notifications = self.notifications(&loaded, &conclusion).await;
                    }
                }
            }
            if self.fence.lease.is_lost() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.context.metrics.fenced.inc();
        if conclusion.recipients.iter().any(|state| matches!(state, RecipientState::Sent { .. })) {
            tracing::warn!(entry = %loaded.id, "a message was sent, and that could not be written: it will be sent again");
        }
        Fate::Unsettled
    }

    /// What the sender is told; `None` while that cannot be made.
    async fn notifications(&self, loaded: &Loaded, conclusion: &Conclusion) -> Option<Vec<Notification>> {
        let config = self.context.live.load();
        let about = About { id: self.context.spool.inner.new_id(), now: self.context.clock.now() };
        let make = |bare| notify::notifications(&self.context, &config, loaded, conclusion, about, bare);
        for attempt in 1..=NOTIFICATION_ATTEMPTS + 1 {
            let bare = attempt > NOTIFICATION_ATTEMPTS;
            let made: Result<Vec<Notification>> = make(bare).await;
            match made {
                Ok(notifications) => return Some(notifications),
                Err(error) if bare && is_lasting(&error) => {
                    tracing::error!(%error, entry = %loaded.id, "a notification can never be made");
                    return Some(Vec::new());
                }
                Err(error) => {
                    tracing::warn!(%error, entry = %loaded.id, bare, "a notification cannot be made");
                }
            }
            if !bare {
                tokio::time::sleep(PAUSE).await;
            }
        }
        None
    }
}

fn settlement(
    loaded: &Loaded,
    conclusion: &Conclusion,
    attempted: bool,
    notifications: Vec<Notification>,
) -> Settlement {
    Settlement {
        entry: loaded.id,
        revision: loaded.entry.revision,
        recipients: conclusion.recipients.clone(),
        next: conclusion.next,
        attempted,
        delay_notified: conclusion.delay_notified,
        notifications,
    }
}

/// Whether writing the same again would fail again.
fn is_lasting(error: &Error) -> bool {
    use ekitei_kv::Error as Store;
    match error.as_kv_error() {
        Some(error) => !error.is_retryable() && !matches!(error, Store::Unavailable(_)),
        None => matches!(error, Error::Corrupt(_) | Error::TooLarge | Error::NoRecipients),
    }
}

/// Whether what was prepared can never be stored, since its object or its key went away meanwhile.
fn is_stale(error: &Error) -> bool {
    use ekitei_blob::{Error as Body, KeyError};
    matches!(error, Error::Body(Body::IntentExpired(_) | Body::Key(KeyError::Destroyed { .. })))
}

fn failure_of(handled: &Handled) -> Option<&Failure> {
    match &handled.outcome {
        RecipientOutcome::Deferred(failure) | RecipientOutcome::Failed(failure) => Some(failure),
        RecipientOutcome::Sent { .. } => None,
    }
}

fn is_fenced(handled: &Handled) -> bool {
    failure_of(handled).is_some_and(|failure| failure.kind == FailureKind::Fenced)
}

/// Some recipients have it, for these it was interrupted: they wait.
fn interrupted_is_deferred(handled: Handled) -> Handled {
    if is_fenced(&handled) {
        let trouble = conclude::trouble_here("the attempt was interrupted");
        return Handled::relayed(RecipientOutcome::Deferred(trouble));
    }
    handled
}

impl Context {
    /// The way that an entry goes as configured now.
    pub(super) fn way(&self, loaded: &Loaded, waives_tls: bool) -> Way {
        let sender = sender_domain(loaded);
        Way { through: self.transport.through(&loaded.entry.destination, sender.as_deref()), waives_tls }
    }
}

/// The domain that sends: of the reverse-path; a notification has none.
fn sender_domain(loaded: &Loaded) -> Option<String> {
    if loaded.message.origin == Origin::Notification {
        return None;
    }
    let (_, domain) = loaded.message.envelope.reverse_path.as_deref()?.rsplit_once('@')?;
    Some(domain.to_ascii_lowercase())
}

/// One event for each recipient; who it is stands in the queue.
fn log(loaded: &Loaded, handled: &[(usize, Handled)]) {
    let destination = loaded.entry.destination.as_str();
    for (recipient, handled) in handled {
        match &handled.outcome {
            RecipientOutcome::Sent { remote, reply, .. } => {
                tracing::info!(entry = %loaded.id, recipient, destination, remote, reply, "sent");
            }
            RecipientOutcome::Deferred(failure) => {
                let category = crate::Category::of(failure).as_str();
                tracing::info!(entry = %loaded.id, recipient, destination, category, status = %failure.status, text = failure.text, "deferred");
            }
            RecipientOutcome::Failed(failure) => {
                let category = crate::Category::of(failure).as_str();
                tracing::info!(entry = %loaded.id, recipient, destination, category, status = %failure.status, text = failure.text, "failed");
            }
        }
    }
}
