//! What makes a store over a network dependable: time limits, retries, second requests for slow reads, a limit of
//! concurrent requests, and knowing when the store is away.
//!
//! Each call is a few attempts. An attempt has a time limit of its own, which grows with what it carries. What may pass is tried
//! again after a pause that doubles, with full jitter, until the deadline of the call, and only while the [budget](budget) of all
//! calls together lasts: an outage must not be answered with three times the load. When nothing but failures has come for a while
//! the store is [away](Resilient::is_away): calls fail at once, and one probe at a time finds out when it is back.

mod backoff;
mod budget;
mod health;
mod hedge;
mod metrics;
mod settings;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

pub use metrics::Metrics;
pub use settings::Settings;

use crate::object_error::{ObjectError, ObjectErrorKind};
use crate::object_store::{ObjectFuture, ObjectInfo, ObjectStore};
use crate::operation::Operation;
use backoff::Backoff;
use budget::Budget;
use health::Health;

/// The object whose absence tells that a store answers.
pub(crate) const PROBE: &str = "probe-of-the-store";

/// Objects of one call that are deleted at the same time. (Not in one request: not every server has that, and Amazon charges for neither.)
const DELETIONS: usize = 8;

/// An object store that copes with the failures of another one. Clones share everything.
#[derive(Clone)]
pub struct Resilient {
    inner: Arc<Inner>,
}

struct Inner {
    store: Box<dyn ObjectStore>,
    settings: Settings,
    budget: Budget,
    requests: Semaphore,
    health: Health,
    metrics: Metrics,
    random: Mutex<StdRng>,
}

/// What one call asks for, for all of its attempts.
struct Call<'a> {
    operation: Operation,
    name: &'a str,
    begun: Instant,
    /// How much longer than usual it may take, because of what it carries.
    transfer: Duration,
}

impl Resilient {
    /// Makes `store` dependable.
    pub fn new(store: impl ObjectStore, settings: Settings, metrics: Metrics) -> Self {
        Self::with_seed(store, settings, metrics, rand::random())
    }

    /// Like [`Resilient::new`], with pauses that are drawn from a seed.
    pub fn with_seed(store: impl ObjectStore, settings: Settings, metrics: Metrics, seed: u64) -> Self {
        let inner = Inner {
            store: Box::new(store),
            budget: Budget::new(settings.retry_share, settings.retry_reserve),
            requests: Semaphore::new(settings.max_requests.clamp(1, Semaphore::MAX_PERMITS)),
            health: Health::new(settings.away_after, settings.max_delay),
            metrics,
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            settings,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Follows whether the store is away.
    pub fn watch_away(&self) -> watch::Receiver<bool> {
        self.inner.health.watch()
    }

    /// Makes attempts until one succeeds or nothing speaks for another.
    async fn call<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        name: &'a str,
        carries: u64,
        request: impl Fn() -> ObjectFuture<'a, T> + Send + Sync + 'a,
    ) -> Result<T, ObjectError> {
        let inner = &*self.inner;
        let call =
            Call { operation, name, begun: Instant::now(), transfer: inner.settings.transfer(carries) };
        let deadline = call.begun + inner.settings.total + call.transfer;
        let mut backoff = Backoff::new(&inner.settings);
        inner.budget.earn();
        loop {
            if self.is_away() {
                inner.metrics.refused(operation);
                return Err(ObjectError::unavailable(format!(
                    "{operation} {name}: the object store is away"
                )));
            }
            let asked = call.begun.elapsed();
            let error = match self.attempt(&call, deadline, &request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Only who asked after that time knows that it is missing.
            let retries_missing = operation == Operation::Get && asked < inner.settings.visibility_delay;
            let again = error.kind().is_temporary() || (error.is_not_found() && retries_missing);
            if !again {
                return Err(error);
            }
            let pause = backoff.next(error.kind(), &mut self.random());
            let pause = pause.filter(|pause| Instant::now() + *pause < deadline && inner.budget.spend());
            let Some(pause) = pause else {
                inner.metrics.given_up(operation);
                return Err(error);
            };
            inner.metrics.retried(operation, error.kind());
            tracing::debug!(%operation, name, %error, ?pause, "the object store is asked again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt: a request, or two where the first is slow.
    async fn attempt<'a, T: Send + 'a>(
        &'a self,
        call: &Call<'_>,
        deadline: Instant,
        request: &(impl Fn() -> ObjectFuture<'a, T> + Send + Sync),
    ) -> Result<T, ObjectError> {
        let settings = &self.inner.settings;
        let until = deadline.min(Instant::now() + settings.attempt + call.transfer);
        let permit = timeout_at(until, self.inner.requests.acquire()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(self.out_of_time(call, "waited for a free request"));
        };
        let first = self.request(call, until, permit, request());
        let hedged =
            matches!(call.operation, Operation::Get | Operation::Head) && !settings.hedge_after.is_zero();
        if !hedged {
            return first.await;
        }
        let slow = settings.hedge_after + call.transfer;
        hedge::first_answer(first, slow, || self.second_request(call, until, request), &self.inner.metrics)
            .await
    }

    /// The request that overtakes a slow one, if there is room for it.
    fn second_request<'a, T: Send + 'a>(
        &'a self,
        call: &Call<'_>,
        until: Instant,
        request: &(impl Fn() -> ObjectFuture<'a, T> + Send + Sync),
    ) -> Option<impl Future<Output = Result<T, ObjectError>> + Send> {
        let permit = self.inner.requests.try_acquire().ok()?;
        self.inner.budget.spend_on_the_slow().then(|| self.request(call, until, permit, request()))
    }

    /// One request, measured.
    fn request<'a, T: Send + 'a>(
        &'a self,
        call: &Call<'_>,
        until: Instant,
        permit: SemaphorePermit<'a>,
        request: ObjectFuture<'a, T>,
    ) -> impl Future<Output = Result<T, ObjectError>> + Send + use<'a, T> {
        let timed_out = self.out_of_time(call, "no answer");
        let operation = call.operation;
        async move {
            let _permit = permit;
            let measured = self.inner.metrics.begin(operation);
            let begun = Instant::now();
            let result = match timeout_at(until, request).await {
                Ok(result) => {
                    measured.end(result.as_ref().map_or_else(|error| error.kind().name(), |_| "ok"));
                    result
                }
                Err(_) => {
                    measured.end("timeout");
                    Err(timed_out)
                }
            };
            self.note(begun, result.as_ref().map_or_else(|error| Some(error.kind()), |_| None));
            result
        }
    }

    fn out_of_time(&self, call: &Call<'_>, what: &str) -> ObjectError {
        let limit = self.inner.settings.attempt + call.transfer;
        ObjectError::unavailable(format!("{} {}: {what} for {limit:?}", call.operation, call.name))
    }

    /// Learns from how a request ended that began at this time.
    fn note(&self, begun: Instant, error: Option<ObjectErrorKind>) {
        if !matches!(error, Some(ObjectErrorKind::Unavailable | ObjectErrorKind::Throttled)) {
            self.inner.answered();
        } else if self.inner.health.failed(begun) {
            tracing::warn!("the object store is away: nothing is asked of it until it answers a probe");
            self.inner.metrics.away(true);
            let outage = self.inner.health.outage();
            tokio::spawn(probe_until_back(Arc::downgrade(&self.inner), outage));
        }
    }

    fn random(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.inner.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The store answered: a probe, or somebody who asked before it went away.
    fn answered(&self) {
        if self.health.answered() {
            self.metrics.away(false);
            tracing::info!("the object store is back");
        }
    }
}

/// Asks a store that is away now and then, until it answers, or nobody needs it any more.
async fn probe_until_back(store: Weak<Inner>, outage: u64) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        let interval = inner.settings.probe_interval;
        // Many processes lost the store in the same moment; they need not all come back in one.
        let jitter = inner.random.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.5..1.5);
        drop(inner);
        tokio::time::sleep(interval.mul_f64(jitter)).await;
        let Some(inner) = store.upgrade() else { return };
        if !inner.health.is_away() || inner.health.outage() != outage {
            return; // somebody else heard of it
        }
        let until = Instant::now() + inner.settings.attempt;
        let measured = inner.metrics.begin(Operation::Head);
        let answer = timeout_at(until, inner.store.head(PROBE)).await;
        let outcome = match &answer {
            Ok(Ok(_)) => "ok",
            Ok(Err(error)) => error.kind().name(),
            Err(_) => "timeout",
        };
        measured.end(outcome);
        let well = match answer {
            Ok(Err(error)) => {
                !matches!(error.kind(), ObjectErrorKind::Unavailable | ObjectErrorKind::Throttled)
            }
            Ok(Ok(_)) => true,
            Err(_) => false,
        };
        if well {
            inner.answered();
            return;
        }
    }
}

fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

impl ObjectStore for Resilient {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        let (carries, inner) = (length(&pieces), &*self.inner);
        Box::pin(async move {
            self.call(Operation::Put, name, carries, move || inner.store.put(name, pieces.clone())).await?;
            inner.metrics.wrote(carries);
            Ok(())
        })
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        let inner = &*self.inner;
        // Whoever reads to the end of an object without saying where that is has the time of a large one.
        let is_open = range.end == u64::MAX;
        let carries =
            if is_open { inner.settings.largest_object } else { range.end.saturating_sub(range.start) };
        Box::pin(async move {
            let read = self
                .call(Operation::Get, name, carries, move || inner.store.get(name, range.clone()))
                .await?;
            inner.metrics.read(read.len());
            Ok(read)
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        Box::pin(self.call(Operation::Head, name, 0, move || self.inner.store.head(name)))
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(self.call(Operation::Delete, name, 0, move || self.inner.store.delete(name)))
    }

    fn delete_many<'a>(&'a self, names: &'a [String]) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            let deletions: Vec<_> = names.iter().map(|name| self.delete(name)).collect();
            futures_util::stream::iter(deletions).buffer_unordered(DELETIONS).try_collect().await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(self.call(Operation::List, prefix, 0, move || self.inner.store.list(prefix, after, limit)))
    }

    fn is_away(&self) -> bool {
        self.inner.health.is_away()
    }
}
