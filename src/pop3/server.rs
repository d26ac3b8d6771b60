//! The POP3 server as listeners see it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ekitei_directory::Directory;
use ekitei_filter::Limits;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_mailstore::MailStore;
use ekitei_net::{Connection, Handler, Net, Refusal};
use ekitei_telemetry::Registry;

use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::session;

/// Serves POP3 on listeners with `protocol: pop3` or `pop3s`.
pub struct Pop3Server {
    service: Service,
}

/// What all sessions share.
pub(crate) struct Service {
    pub(crate) net: Net,
    pub(crate) directory: Directory,
    pub(crate) limits: Limits,
    pub(crate) store: MailStore,
    pub(crate) leases: Leases,
    pub(crate) metrics: Metrics,
    sessions: AtomicU64,
}

impl Service {
    /// A number for the next session, for the log.
    pub(crate) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Pop3Server {
    /// A server over a directory and a mailstore; `limits` says who may not log in for now, and `database` keeps the leases of mailboxes.
    pub fn new(
        net: Net,
        directory: Directory,
        limits: Limits,
        store: MailStore,
        database: Database,
        clock: SharedClock,
        registry: &Registry,
    ) -> Self {
        let leases = Leases::new(database, clock);
        let metrics = Metrics::new(registry);
        Self {
            service: Service { net, directory, limits, store, leases, metrics, sessions: AtomicU64::new(0) },
        }
    }
}

impl Handler for Pop3Server {
    fn refusal(&self, reason: Refusal) -> Cow<'_, [u8]> {
        let line: &'static [u8] = match reason {
            Refusal::Global | Refusal::Listener => b"-ERR [SYS/TEMP] there are too many connections\r\n",
            Refusal::Address => b"-ERR [SYS/TEMP] there are too many connections from your address\r\n",
            Refusal::Rate => b"-ERR [SYS/TEMP] you connect too often\r\n",
            Refusal::Banned => b"-ERR [SYS/TEMP] too much went wrong from your address, try again later\r\n",
            Refusal::Blocked => b"-ERR [SYS/PERM] your address is blocked\r\n",
            Refusal::ShuttingDown => b"-ERR [SYS/TEMP] the service is stopping\r\n",
        };
        line.into()
    }

    async fn handle(self: Arc<Self>, connection: Connection) {
        session::run(&self.service, connection).await;
    }
}
