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
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::runtime::controller::{Action, Config, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::metrics::Object;

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
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static;
    /// Its name, as metrics and logs have it.
    const KIND: &'static str;

    /// What is watched.
    fn controller(context: &Arc<Context>) -> impl Future<Output = Controller<Self::Object>> + Send;

    /// Brings the world nearer to what one object says, which is as the API server has it now. It writes the object's status also when it fails.
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
        lead(&context, &shutdown).await;
        // After the controllers have been dropped, or one of them would show what it was about to.
        context.metrics.leads_no_more();
    }
}

/// Runs all controllers until this process leads no more, or is to end.
async fn lead(context: &Arc<Context>, shutdown: &Stop) {
    let mut controllers = std::pin::pin!(all(context, shutdown));
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
    results.for_each(|result| async { log::<R>(context, result) }).await;
}

/// One reconciliation.
async fn one<R: Reconciler>(
    seen: Arc<R::Object>,
    context: Arc<Context>,
    permits: &Semaphore,
) -> Result<Action> {
    let waiting = GaugeGuard::new(&context.metrics.queue_depth.with(&[R::KIND]));
    let _permit = permits.acquire().await;
    context.leadership.check()?;
    let key = (R::KIND, seen.uid().unwrap_or_default());
    if seen.annotations().get(PAUSED).is_some_and(|value| value == "true") {
        tracing::debug!(kind = R::KIND, name = seen.name_any(), "is paused");
        // Not for good: only who asks for it again is told that it is gone, where it has no finalizer.
        return Ok(Action::requeue(context.backoff.spread(context.options.resync)));
    }
    if let Some(rest) = context.backoff.rest(&key, seen.meta().generation) {
        return Ok(Action::requeue(rest));
    }
    let timer = Timer::start();
    let outcome = match live(&context, seen.as_ref()).await {
        Ok(Some(object)) => R::reconcile(Arc::new(object), Arc::clone(&context)).await,
        Ok(None) => Ok(Outcome::gone()),
        Err(error) => Err(error),
    };
    timer.observe(&context.metrics.reconcile_seconds.with(&[R::KIND]));
    drop(waiting);
    let object = Object::of(R::KIND, seen.as_ref());
    match outcome {
        Ok(outcome) => {
            match outcome.ready {
                Some(ready) => context.metrics.object(&object, ready),
                None => context.metrics.gone(&object),
            }
            context.backoff.succeeded(&key);
            Ok(next(&context, outcome))
        }
        Err(Error::NotLeader) => Err(Error::NotLeader),
        Err(error) => {
            if error.is_not_found() && seen.meta().deletion_timestamp.is_some() {
                context.metrics.gone(&object);
            } else {
                context.metrics.object(&object, false);
                context.events.warning(seen.as_ref(), error.reason(), &error.to_string()).await;
            }
            Err(error)
        }
    }
}

/// The object as the API server has it now: what a watch has seen may be from before the reconciliation before this one, whose status would be taken back. `None` if it
/// is gone, or another one has its name.
async fn live<K>(context: &Context, seen: &K) -> Result<Option<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &seen.namespace().unwrap_or_default());
    let live = api.get_opt(&seen.name_any()).await?;
    Ok(live.filter(|live| live.meta().uid == seen.meta().uid))
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

fn log<R: Reconciler>(
    context: &Context,
    result: Result<Reconciled<R::Object>, ControllerError<Error, watcher::Error>>,
) {
    match result {
        Ok((object, action)) => tracing::debug!(kind = R::KIND, name = object.name, ?action, "reconciled"),
        Err(ControllerError::ReconcilerFailed(Error::NotLeader, _)) => {}
        Err(ControllerError::ReconcilerFailed(error, object)) => {
            tracing::warn!(kind = R::KIND, name = object.name, namespace = object.namespace, reason = error.reason(), %error, "could not be reconciled");
        }
        // It had no finalizer of ours, or was deleted while it waited for its turn.
        Err(ControllerError::ObjectNotFound(object)) => {
            tracing::debug!(kind = R::KIND, name = object.name, "is gone");
            context.metrics.gone(&Object::named(R::KIND, object.namespace.as_deref(), &object.name));
        }
        Err(error) => {
            context.metrics.reconcile_failures.with(&[R::KIND, "WatchFailed"]).inc();
            tracing::warn!(kind = R::KIND, %error, "the watch failed and is tried again");
        }
    }
}

/// What stops at `signal`.
pub fn stop(signal: impl Future<Output = ()> + Send + 'static) -> Stop {
    signal.boxed().shared()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use axum::http::{StatusCode, Uri};
    use axum::{Json, Router};
    use clap::Parser as _;
    use ekitei_operator_api::MailRegion;
    use kube::{Client, Config as ClientConfig};
    use serde_json::{Value, json};

    use super::*;
    use crate::leader::Leadership;

    /// Versions of objects that were reconciled.
    static RECONCILED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// Notes what it is given.
    struct Noting;

    impl Reconciler for Noting {
        type Object = MailRegion;
        const KIND: &'static str = "MailRegion";

        async fn controller(context: &Arc<Context>) -> Controller<MailRegion> {
            Controller::new(Api::all(context.client.clone()), watcher::Config::default())
        }

        async fn reconcile(region: Arc<MailRegion>, _: Arc<Context>) -> Result<Outcome> {
            let version = region.resource_version().unwrap_or_default();
            RECONCILED.lock().unwrap_or_else(PoisonError::into_inner).push(version);
            Ok(Outcome::waiting(Duration::from_secs(60)))
        }
    }

    fn region(name: &str, uid: &str, version: &str) -> Value {
        json!({
            "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailRegion",
            "metadata": {"name": name, "namespace": "mail", "uid": uid, "resourceVersion": version},
            "spec": {"host": "mx.example.net"},
        })
    }

    /// An API server with `tokyo` in its second version, and with a `gone` that is another one than it was.
    async fn api_server() -> Client {
        let answer = async |uri: Uri| match uri.path().rsplit('/').next() {
            Some("tokyo") => (StatusCode::OK, Json(region("tokyo", "u", "2"))),
            Some("gone") => (StatusCode::OK, Json(region("gone", "another", "3"))),
            _ => (StatusCode::NOT_FOUND, Json(json!({"kind": "Status", "code": 404, "reason": "NotFound"}))),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Client::try_from(ClientConfig::new(address.parse().unwrap())).unwrap()
    }

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: crate::options::Options,
    }

    async fn context() -> Arc<Context> {
        let options = Command::try_parse_from(["operator"]).unwrap().options;
        Context::new(api_server().await, options, Leadership::always()).unwrap()
    }

    fn objects(context: &Context, ready: bool) -> bool {
        let line = format!("ekitei_operator_objects{{kind=\"MailRegion\",ready=\"{ready}\"}} 1\n");
        context.metrics.registry.render().contains(&line)
    }

    #[tokio::test]
    async fn an_object_that_is_paused_is_looked_for_again() {
        let (context, permits) = (context().await, Semaphore::new(1));
        let mut paused = region("paused", "p", "1");
        paused["metadata"]["annotations"] = json!({PAUSED: "true"});
        let paused = Arc::new(serde_json::from_value(paused).unwrap());
        let action = one::<Noting>(paused, Arc::clone(&context), &permits).await.unwrap();
        assert_ne!(action, Action::await_change(), "nobody would notice that it is gone");
    }

    #[tokio::test]
    async fn an_object_is_worked_on_as_it_is_now_and_counted_until_it_is_gone() {
        let (context, permits) = (context().await, Semaphore::new(1));
        let seen = |name: &str| Arc::new(serde_json::from_value(region(name, "u", "1")).unwrap());
        for name in ["tokyo", "gone", "absent"] {
            one::<Noting>(seen(name), Arc::clone(&context), &permits).await.unwrap();
        }
        let reconciled = RECONCILED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(reconciled, ["2"], "not as a watch has seen it, nor what has only its name");
        assert!(objects(&context, false));

        let reference = ObjectRef::<MailRegion>::new("tokyo").within("mail").erase();
        log::<Noting>(&context, Err(ControllerError::ObjectNotFound(Box::new(reference))));
        assert!(!objects(&context, false), "without a finalizer nobody is asked for it again");
    }
}
