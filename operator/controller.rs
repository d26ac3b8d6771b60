//! Running the controllers of all kinds, under leadership.
//!
//! [`Reconciler`] is what a kind of objects has to say; [`drive`] is what is the same for all: a bound on how many are worked on at a time, pausing, metrics,
//! events, backoff and resync.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_api::PAUSED;
use ekitei_telemetry::{GaugeGuard, Timer};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use kube::runtime::controller::{Action, Config, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::{Error, Result};

/// An object that was looked at, and what comes next.
type Reconciled<K> = (ObjectRef<K>, Action);

/// How long reconciliations that are under way have when the process ends.
const GRACE: Duration = Duration::from_secs(20);

/// What a reconciliation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the object is ready; `None` when it is gone.
    pub ready: Option<bool>,
    /// When something is to be done next, by the operator's clock; at the latest at the next resync.
    pub after: Option<Duration>,
}

impl Outcome {
    /// All is as it should be, until something changes.
    pub fn ready() -> Self {
        Self { ready: Some(true), after: None }
    }

    /// Something is missing that nobody will tell us of; look again after this time.
    pub fn waiting(after: Duration) -> Self {
        Self { ready: Some(false), after: Some(after) }
    }

    /// The object is gone.
    pub fn gone() -> Self {
        Self { ready: None, after: None }
    }
}

/// A kind of objects, and what is done for one of them.
pub trait Reconciler: 'static {
    /// The kind.
    type Object: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static;
    /// Its name, as metrics and logs have it.
    const KIND: &'static str;

    /// What is watched.
    fn controller(context: &Arc<Context>) -> impl Future<Output = Controller<Self::Object>> + Send;

    /// Brings the world nearer to what one object says. It writes the object's status also when it fails.
    fn reconcile(
        object: Arc<Self::Object>,
        context: Arc<Context>,
    ) -> impl Future<Output = Result<Outcome>> + Send;
}

/// Says that the controllers are to begin nothing new.
pub type Stop = Shared<BoxFuture<'static, ()>>;

/// Runs all controllers whenever this process leads, until `shutdown`; then lets what is under way end.
pub async fn run(context: Arc<Context>, shutdown: Stop) {
    loop {
        // Biased: it leads until the end, and must not begin anew.
        tokio::select! {
            biased;
            () = shutdown.clone() => return,
            () = context.leadership.wait(true) => {}
        }
        context.metrics.is_leader.set(1);
        let mut controllers = std::pin::pin!(all(&context, &shutdown));
        tokio::select! {
            () = &mut controllers => {}
            // What is under way is dropped at its next step: it could not write anyway.
            () = context.leadership.wait(false) => {}
            () = shutdown.clone() => {
                if tokio::time::timeout(GRACE, &mut controllers).await.is_err() {
                    tracing::warn!("some work did not end in time; it is continued by the next leader");
                }
            }
        }
        context.metrics.is_leader.set(0);
    }
}

/// The controllers of all kinds.
async fn all(context: &Arc<Context>, stop: &Stop) {
    tokio::join!(
        drive::<crate::domain::Domains>(context, stop),
        drive::<crate::region::Regions>(context, stop),
        drive::<crate::provider::Providers>(context, stop),
        drive::<crate::account::Accounts>(context, stop),
    );
}

/// Runs the controller of one kind.
async fn drive<R: Reconciler>(context: &Arc<Context>, stop: &Stop) {
    let permits = Arc::new(Semaphore::new(usize::from(context.options.concurrency)));
    let reconcile = move |object: Arc<R::Object>, context: Arc<Context>| {
        let permits = Arc::clone(&permits);
        async move { one::<R>(object, context, &permits).await }
    };
    let results = R::controller(context)
        .await
        // Changes often come in groups: ours, and what they cause.
        .with_config(Config::default().debounce(Duration::from_millis(200)))
        .graceful_shutdown_on(stop.clone())
        .run(reconcile, |object, error, context| retry::<R>(&object, error, &context), Arc::clone(context));
    results.for_each(|result| async { log::<R>(result) }).await;
}

/// One reconciliation.
async fn one<R: Reconciler>(
    object: Arc<R::Object>,
    context: Arc<Context>,
    permits: &Semaphore,
) -> Result<Action> {
    let waiting = GaugeGuard::new(&context.metrics.queue_depth.with(&[R::KIND]));
    let _permit = permits.acquire().await;
    context.leadership.check()?;
    let uid = object.uid().unwrap_or_default();
    if object.annotations().get(PAUSED).is_some_and(|value| value == "true") {
        tracing::debug!(kind = R::KIND, name = object.name_any(), "is paused");
        return Ok(Action::await_change());
    }
    if let Some(rest) = context.backoff.rest(&(R::KIND, uid.clone()), object.meta().generation) {
        return Ok(Action::requeue(rest));
    }
    let timer = Timer::start();
    let outcome = R::reconcile(Arc::clone(&object), Arc::clone(&context)).await;
    timer.observe(&context.metrics.reconcile_seconds.with(&[R::KIND]));
    drop(waiting);
    match outcome {
        Ok(outcome) => {
            context.metrics.object(R::KIND, &uid, outcome.ready);
            context.backoff.succeeded(&(R::KIND, uid));
            Ok(next(&context, outcome))
        }
        Err(error) => {
            let deleted = error.is_not_found() && object.meta().deletion_timestamp.is_some();
            context.metrics.object(R::KIND, &uid, (!deleted).then_some(false));
            if !matches!(error, Error::NotLeader) && !deleted {
                context.events.warning(object.as_ref(), error.reason(), &error.to_string()).await;
            }
            Err(error)
        }
    }
}

/// When to look at an object again that was looked at successfully.
fn next(context: &Context, outcome: Outcome) -> Action {
    if outcome.ready.is_none() {
        return Action::await_change();
    }
    let resync = context.backoff.spread(context.options.resync);
    let wanted = outcome.after.map(|after| context.clock.wait(after).max(Duration::from_millis(100)));
    Action::requeue(wanted.map_or(resync, |wanted| wanted.min(resync)))
}

/// When to look at an object again after a failure.
fn retry<R: Reconciler>(object: &R::Object, error: &Error, context: &Context) -> Action {
    context.metrics.reconcile_failures.with(&[R::KIND, error.reason()]).inc();
    let key = (R::KIND, object.uid().unwrap_or_default());
    let wait = context.backoff.failed(&key, object.meta().generation);
    let wait = if error.needs_a_person() { wait.max(context.options.resync) } else { wait };
    Action::requeue(error.after().map_or(wait, |after| wait.max(context.clock.wait(after))))
}

fn log<R: Reconciler>(result: Result<Reconciled<R::Object>, ControllerError<Error, watcher::Error>>) {
    match result {
        Ok((object, action)) => tracing::debug!(kind = R::KIND, name = object.name, ?action, "reconciled"),
        Err(ControllerError::ReconcilerFailed(Error::NotLeader, _)) => {}
        Err(ControllerError::ReconcilerFailed(error, object)) => {
            tracing::warn!(kind = R::KIND, name = object.name, namespace = object.namespace, reason = error.reason(), %error, "could not be reconciled");
        }
        // It was deleted while it waited for its turn.
        Err(ControllerError::ObjectNotFound(object)) => {
            tracing::debug!(kind = R::KIND, name = object.name, "is gone")
        }
        Err(error) => tracing::warn!(kind = R::KIND, %error, "the watch failed and is tried again"),
    }
}

/// What stops at `signal`.
pub fn stop(signal: impl Future<Output = ()> + Send + 'static) -> Stop {
    signal.boxed().shared()
}
