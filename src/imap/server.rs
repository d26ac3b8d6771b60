//! The server: what its sessions share, and how they begin.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ekitei_config::Live;
use ekitei_directory::{AccountId, Directory};
use ekitei_filter::Limits;
use ekitei_filter::learn::Learn;
use ekitei_kv::clock::SharedClock;
use ekitei_mailstore::MailStore;
use ekitei_net::{ByteBudget, Connection, Handler, Refusal, Shutdown, Tls};
use ekitei_telemetry::Registry;
use tracing::Instrument;

use crate::metrics::Metrics;
use crate::session::Session;

/// What the server works with.
pub struct ServerContext {
    /// The configuration; read once for each connection.
    pub live: Live,
    /// Certificates, for STARTTLS.
    pub tls: Tls,
    /// Tells when to stop.
    pub shutdown: Shutdown,
    /// Who may log in.
    pub directory: Directory,
    /// Who may not, for now.
    pub limits: Limits,
    /// Where the mail is.
    pub mailstore: MailStore,
    /// What time it is, for searches by age.
    pub clock: SharedClock,
    /// Where the metrics are declared; once for each registry.
    pub registry: Registry,
}

/// The IMAP server: a [`Handler`] for listeners with `imap` and `imaps`. Clones share everything.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) config: Live,
    pub(crate) tls: Tls,
    pub(crate) shutdown: Shutdown,
    pub(crate) directory: Directory,
    pub(crate) limits: Limits,
    pub(crate) mailstore: MailStore,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    /// Memory for messages being appended.
    pub(crate) bodies: ByteBudget,
    pub(crate) places: Places,
    /// Who learns from what users do with their mail.
    pub(crate) learn: Option<Arc<dyn Learn>>,
    /// Names sessions in logs.
    sessions: AtomicU64,
}

impl Server {
    /// A server that waits for connections.
    pub fn new(context: ServerContext) -> Self {
        Self::build(context, None)
    }

    /// The same, which tells `learn` what users say of their mail by moving it into and out of the mailbox for junk.
    pub fn teaching(context: ServerContext, learn: Arc<dyn Learn>) -> Self {
        Self::build(context, Some(learn))
    }

    fn build(context: ServerContext, learn: Option<Arc<dyn Learn>>) -> Self {
        let bodies = ByteBudget::new(context.live.load().imap.max_bodies_in_flight.get());
        let shared = Shared {
            config: context.live,
            tls: context.tls,
            shutdown: context.shutdown,
            directory: context.directory,
            limits: context.limits,
            mailstore: context.mailstore,
            clock: context.clock,
            metrics: Metrics::new(&context.registry),
            bodies,
            places: Places::default(),
            learn,
            sessions: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Handler for Server {
    fn refusal(&self, reason: Refusal) -> Cow<'_, [u8]> {
        let line: &[u8] = match reason {
            Refusal::Global | Refusal::Listener => {
                b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n"
            }
            Refusal::Address => b"* BYE [LIMIT] Too many connections from your address\r\n",
            Refusal::Rate => b"* BYE [LIMIT] Too many new connections from your address, try again later\r\n",
            Refusal::Banned => b"* BYE [LIMIT] Too much went wrong from your address, try again later\r\n",
            Refusal::Blocked => b"* BYE [CONTACTADMIN] Your address is blocked\r\n",
            Refusal::ShuttingDown => b"* BYE [UNAVAILABLE] The server is stopping, try again later\r\n",
        };
        line.into()
    }

    async fn handle(self: Arc<Self>, connection: Connection) {
        let id = self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!("imap", session = id, peer = %connection.peer);
        Session::new(Arc::clone(&self.shared), connection).run().instrument(span).await;
    }
}

/// What each account that has sessions has of the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    taken: Arc<Mutex<HashMap<AccountId, Share>>>,
}

/// What one account has.
#[derive(Debug)]
struct Share {
    sessions: u32,
    bodies: ByteBudget,
}

/// One session of an account, counted while this lives.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    account: AccountId,
    /// Memory for messages that the account's sessions append, out of that for all.
    pub(crate) bodies: ByteBudget,
}

impl Places {
    /// Counts one more session, unless there are `limit` already; 0 is no limit. The sessions of the account share `bodies` octets.
    pub(crate) fn take(&self, account: AccountId, limit: u32, bodies: u64) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let share =
            taken.entry(account).or_insert_with(|| Share { sessions: 0, bodies: ByteBudget::new(bodies) });
        if limit != 0 && share.sessions >= limit {
            return None;
        }
        share.sessions += 1;
        let bodies = share.bodies.clone();
        drop(taken);
        Some(Place { places: self.clone(), account, bodies })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = taken.get_mut(&self.account) {
            share.sessions -= 1;
            if share.sessions == 0 {
                taken.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_so_many_places_and_no_memory_of_those_that_left() {
        let places = Places::default();
        let (first, second) = (places.take(AccountId::new(1), 2, 10), places.take(AccountId::new(1), 2, 10));
        assert!(first.is_some() && second.is_some());
        assert!(places.take(AccountId::new(1), 2, 10).is_none());
        assert!(places.take(AccountId::new(2), 2, 10).is_some());
        drop((first, second));
        assert!(places.taken.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }
}
