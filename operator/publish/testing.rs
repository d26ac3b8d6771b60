//! A provider and a service for tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::put;
use axum::{Json, Router};
use ekitei_api::{Client, NewLock, Problem, ProblemCode};
use ekitei_operator_dns::desired::Purpose;
use ekitei_operator_dns::provider::{Capabilities, Zone};
use ekitei_operator_dns::{Change, Desired, Family, Key, Name, Provider, ProviderError, RecordSet, Value};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;

/// An address record that is wanted.
pub(crate) fn desired(name: &str) -> Desired {
    let set = RecordSet::new(name.parse().unwrap(), 300, [Value::A([192, 0, 2, 1].into())]).unwrap();
    Desired { set, family: Family::Whole, purpose: Purpose::Address }
}

/// The change that makes such a record.
pub(crate) fn change(name: &str) -> Change {
    Change { before: None, after: Some(desired(name).set) }
}

/// A provider of zones in memory, which makes one change after the other.
pub(crate) struct Fake {
    zones: Vec<Name>,
    records: Mutex<BTreeMap<Key, RecordSet>>,
    pause: Duration,
    after: Box<dyn Fn() + Send + Sync>,
}

impl Fake {
    pub(crate) fn new(zones: &[&str]) -> Self {
        let zones = zones.iter().map(|zone| zone.parse().unwrap()).collect();
        Self { zones, records: Mutex::default(), pause: Duration::ZERO, after: Box::new(|| {}) }
    }

    /// Takes so long for each change.
    pub(crate) fn slow(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Does this after each change.
    pub(crate) fn after(self, after: impl Fn() + Send + Sync + 'static) -> Self {
        Self { after: Box::new(after), ..self }
    }

    /// The names that there are records of.
    pub(crate) fn names(&self) -> Vec<String> {
        self.records.lock().unwrap().keys().map(|key| key.name.to_string()).collect()
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("zones", &self.zones).finish_non_exhaustive()
    }
}

impl Provider for Fake {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes: true,
            atomic: false,
            prerequisites: false,
            routing: false,
            min_ttl: 0,
            markers: true,
        }
    }

    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone, ProviderError>> {
        let found = self.zones.iter().find(|zone| name.is_within(zone));
        let zone = found.map(|zone| Zone { name: zone.clone(), id: None });
        let missing = || ProviderError::NoZone { name: name.clone(), reason: "there is none".to_owned() };
        async move { zone.ok_or_else(missing) }.boxed()
    }

    fn get<'a>(
        &'a self,
        _: &'a Zone,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<RecordSet>, ProviderError>> {
        async move { Ok(self.records.lock().unwrap().get(key).cloned()) }.boxed()
    }

    fn apply<'a>(&'a self, _: &'a Zone, changes: &'a [Change]) -> BoxFuture<'a, Result<(), ProviderError>> {
        async move {
            for change in changes {
                tokio::time::sleep(self.pause).await;
                let key = change.key().unwrap();
                match &change.after {
                    Some(set) => self.records.lock().unwrap().insert(key, set.clone()),
                    None => self.records.lock().unwrap().remove(&key),
                };
                (self.after)();
            }
            Ok(())
        }
        .boxed()
    }
}

/// Locks of a service that has no more than that.
#[derive(Clone)]
pub(crate) struct Locks {
    state: Arc<Mutex<Held>>,
    address: String,
}

#[derive(Default)]
struct Held {
    holder: Option<String>,
    token: u64,
    taken: usize,
    fails: bool,
}

impl Locks {
    pub(crate) async fn start() -> Self {
        // The client of the admin API is made for TLS, too.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let state = Arc::new(Mutex::new(Held::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/api/v1/locks/{name}", put(take).delete(give_back))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { state, address }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address, None).unwrap()
    }

    fn edit<T>(&self, edit: impl FnOnce(&mut Held) -> T) -> T {
        edit(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the lock run out, and somebody else have it.
    pub(crate) fn give_to(&self, holder: &str) {
        self.edit(|held| {
            held.holder = Some(holder.to_owned());
            held.token += 1;
        });
    }

    /// Lets whoever has the lock give it back.
    pub(crate) fn release(&self) {
        self.edit(|held| held.holder = None);
    }

    /// Answers nothing but failures from now on.
    pub(crate) fn fail(&self) {
        self.edit(|held| held.fails = true);
    }

    /// How often it was taken or renewed.
    pub(crate) fn taken(&self) -> usize {
        self.edit(|held| held.taken)
    }

    pub(crate) fn holder(&self) -> Option<String> {
        self.edit(|held| held.holder.clone())
    }
}

fn problem(code: ProblemCode, detail: &str) -> Response {
    let problem = Problem::new(code, detail);
    (StatusCode::from_u16(problem.status).unwrap(), Json(problem)).into_response()
}

async fn take(
    State(state): State<Arc<Mutex<Held>>>,
    Path(name): Path<String>,
    Json(new): Json<NewLock>,
) -> Response {
    let mut held = state.lock().unwrap();
    match held.holder.clone() {
        _ if held.fails => problem(ProblemCode::Unavailable, "the store is away"),
        Some(other) if other != new.holder => problem(ProblemCode::InUse, &format!("{other} has it")),
        known => {
            held.token += u64::from(known.is_none());
            held.taken += 1;
            held.holder = Some(new.holder.clone());
            let lock = json!({"name": name, "holder": new.holder, "expires": 0, "token": held.token});
            Json(lock).into_response()
        }
    }
}

async fn give_back(
    State(state): State<Arc<Mutex<Held>>>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let mut held = state.lock().unwrap();
    if held.holder.as_ref().is_some_and(|holder| asked.get("holder") != Some(holder)) {
        return problem(ProblemCode::InUse, "another has it");
    }
    held.holder = None;
    StatusCode::NO_CONTENT.into_response()
}
