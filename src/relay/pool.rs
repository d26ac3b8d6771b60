//! Connections that wait for their next message.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekitei_telemetry::Gauge;
use tokio::time::Instant;

use crate::host::HostKey;
use crate::session::Session;

/// Idle connections by host, the one used last taken first. Clean: it never holds more than it was told with the last [`Pool::put`].
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct State {
    idle: HashMap<HostKey, Vec<Idle>>,
    count: usize,
}

#[derive(Debug)]
struct Idle {
    session: Session,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self { state: Mutex::default(), gauge }
    }

    /// A connection to one of the hosts that is good for `suits`, and which host that is. Those that were closed meanwhile are dropped.
    pub(crate) fn take(&self, key: &HostKey, suits: impl Fn(&Session) -> bool) -> Option<Session> {
        let mut state = self.lock();
        let list = state.idle.get_mut(key)?;
        let before = list.len();
        let mut taken = None;
        let mut at = list.len();
        while at > 0 && taken.is_none() {
            at -= 1;
            if !list[at].session.wire.is_quiet() {
                list.remove(at);
            } else if suits(&list[at].session) {
                taken = Some(list.remove(at).session);
            }
        }
        let gone = before - list.len();
        if list.is_empty() {
            state.idle.remove(key);
        }
        state.count -= gone;
        self.gauge.set(i64::try_from(state.count).unwrap_or(i64::MAX));
        taken
    }

    /// Keeps a connection; returns the one that has waited longest if there are more than `most` then.
    pub(crate) fn put(&self, key: HostKey, mut session: Session, most: usize) -> Option<Session> {
        session.wire.rest();
        let mut state = self.lock();
        state.idle.entry(key).or_default().push(Idle { session, since: Instant::now() });
        state.count += 1;
        let over = if state.count > most { state.remove_oldest() } else { None };
        self.gauge.set(i64::try_from(state.count).unwrap_or(i64::MAX));
        over
    }

    /// Takes out those that have waited for `limit`.
    pub(crate) fn take_expired(&self, limit: Duration) -> Vec<Session> {
        let mut state = self.lock();
        let mut expired = Vec::new();
        state.idle.retain(|_, list| {
            expired
                .extend(list.extract_if(.., |idle| idle.since.elapsed() >= limit).map(|idle| idle.session));
            !list.is_empty()
        });
        state.count -= expired.len();
        self.gauge.set(i64::try_from(state.count).unwrap_or(i64::MAX));
        expired
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove_oldest(&mut self) -> Option<Session> {
        // Each list is in the order of its times.
        let (key, _) = self
            .idle
            .iter()
            .filter_map(|(key, list)| Some((key, list.first()?.since)))
            .min_by_key(|(_, since)| *since)?;
        let key = key.clone();
        let list = self.idle.get_mut(&key)?;
        let oldest = list.remove(0).session;
        if list.is_empty() {
            self.idle.remove(&key);
        }
        self.count -= 1;
        Some(oldest)
    }
}
