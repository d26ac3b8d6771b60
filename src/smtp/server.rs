//! The server as the rest of the service sees it: what it is made of, and how it takes a connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Live, Protocol};
use ekitei_directory::Directory;
use ekitei_filter::Filter;
use ekitei_filter::Limits;
use ekitei_mailstore::MailStore;
use ekitei_net::{ByteBudget, Connection, Handler, Refusal, Shutdown, Tls};
use ekitei_queue::Queue;
use ekitei_reports::Reports;
use ekitei_signing::Signing;
use ekitei_telemetry::GaugeGuard;

use crate::conversation::Conversation;
use crate::metrics::Metrics;
use crate::proto::reply;
use crate::session::Role;

/// Tells the time of day, since the epoch.
pub type WallClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What the server works with.
#[derive(Clone)]
pub struct ServerContext {
    /// The configuration in force; each connection takes what it finds at its start.
    pub live: Live,
    /// For STARTTLS.
    pub tls: Tls,
    /// Ends conversations with `421 4.3.2`.
    pub shutdown: Shutdown,
    /// Who recipients and users are.
    pub directory: Directory,
    /// How much clients and users may do.
    pub limits: Limits,
    /// Where mail goes.
    pub mailstore: MailStore,
    /// Where mail for other hosts goes.
    pub queue: Queue,
    /// Signs mail of our users.
    pub signing: Signing,
    /// Reads what other services report; `None` where nobody does.
    pub reports: Option<Reports>,
    /// Judges mail that comes from other hosts.
    pub filter: Filter,
    /// Dates trace fields, counts days.
    pub clock: WallClock,
    /// Counts what happens.
    pub metrics: Metrics,
}

/// The receiving server: MX, submission and LMTP, whichever the listener of a connection says.
pub struct Server {
    pub(crate) context: ServerContext,
    /// Memory for messages in flight.
    pub(crate) bodies: ByteBudget,
}

impl Server {
    /// A server for all SMTP and LMTP listeners of the service. The memory for messages in flight is that of the configuration at
    /// this moment; everything else is read for each connection.
    pub fn new(context: ServerContext) -> Self {
        let bodies = ByteBudget::new(context.live.load().smtp.max_bodies_in_flight.get());
        Self { context, bodies }
    }

    /// Memory for messages in flight.
    pub fn bodies_in_flight(&self) -> &ByteBudget {
        &self.bodies
    }
}

/// What is spoken on a listener; `None` for those of other servers.
fn role(protocol: Protocol) -> Option<Role> {
    match protocol {
        Protocol::Smtp => Some(Role::Mx),
        Protocol::Submission | Protocol::Submissions => Some(Role::Submission),
        Protocol::Lmtp => Some(Role::Lmtp),
        _ => None,
    }
}

impl Handler for Server {
    fn refusal(&self, reason: Refusal) -> Cow<'_, [u8]> {
        let reply = match reason {
            Refusal::Global | Refusal::Listener => reply::TOO_MANY_CONNECTIONS,
            Refusal::Address | Refusal::Rate => reply::TOO_MANY_FROM_ADDRESS,
            Refusal::Banned => reply::BANNED,
            Refusal::Blocked => reply::BLOCKED,
            Refusal::ShuttingDown => reply::SHUTTING_DOWN,
        };
        let mut line = Vec::new();
        reply.write(&mut line);
        Cow::Owned(line)
    }

    async fn handle(self: Arc<Self>, connection: Connection) {
        let Some(role) = role(connection.listener.protocol) else {
            tracing::error!(listener = %connection.listener.label(), "not a listener for mail; closing the connection");
            return;
        };
        let metrics = &self.context.metrics;
        metrics.connections.with(&[role.name()]).inc();
        let _open = GaugeGuard::new(&metrics.open.with(&[role.name()]));
        Conversation::new(Arc::clone(&self), connection, role).run().await;
    }
}
