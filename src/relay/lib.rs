//! The sending client: where mail for a domain goes, over which TLS, and what became of it for each recipient.
//!
//! [`Relay::send`] takes one message for recipients of one destination, tries the hosts of the destination in their order, and says what became
//! of each recipient. It keeps no state of a message: whoever calls it does.

mod client;
mod connect;
mod content;
mod dialogue;
mod downgrade;
mod envelope;
mod failure;
mod host;
pub mod inspect;
mod metrics;
pub mod mime;
pub mod mx;
mod outcome;
mod pool;
pub mod proto;
#[cfg(test)]
mod scenario_tests;
mod secure;
mod session;
mod silent;
pub mod tls;
mod wire;
mod work;

use std::sync::Arc;

use bytes::Bytes;
use ekitei_config::Live;
use ekitei_dns::Resolver;
use ekitei_telemetry::Registry;

use client::{Client, Trail};
use host::Target;
use mx::{OwnHosts, Router};
use tls::sts::PolicyStore;
use tls::{TlsPolicies, Wish};
use work::Work;

pub use content::waives_tls;
pub use envelope::{BodyType, DeliverBy, Envelope, Notify, OriginalRecipient, Recipient, Return};
pub use outcome::{Failure, FailureKind, RecipientOutcome, TlsReporter, TlsResult, TlsSession};
pub use proto::status::Status;

/// What the relay is made of.
pub struct RelayContext {
    /// The configuration in force.
    pub live: Live,
    /// The resolver.
    pub dns: Resolver,
    /// Metrics.
    pub registry: Registry,
    /// Who hears of TLS with other servers, for reports (RFC 8460).
    pub tls_reporter: Arc<dyn TlsReporter>,
    /// Where MTA-STS policies are remembered.
    pub policies: Arc<dyn PolicyStore>,
    /// Who knows of more hosts that are this service than the configuration names.
    pub own_hosts: Option<Arc<dyn OwnHosts>>,
}

/// The sending client: cheap to clone.
#[derive(Clone)]
pub struct Relay {
    inner: Arc<Inner>,
}

struct Inner {
    live: Live,
    router: Router,
    policies: TlsPolicies,
    client: Arc<Client>,
}

/// One message for recipients of one destination.
pub struct Shipment {
    /// The domain part of the recipients as A-labels, or an address literal (`[192.0.2.1]`).
    pub destination: String,
    /// The domain that sends, for smart hosts by domain: of the account, else of the reverse-path; `None` for notifications.
    pub sender_domain: Option<String>,
    /// What MAIL says.
    pub envelope: Envelope,
    /// What RCPT says; at least one.
    pub recipients: Vec<Recipient>,
    /// The message in pieces, CRLF line ends, not dot-stuffed.
    pub message: Vec<Bytes>,
    /// Asked immediately before the end of the message is sent: `false` when somebody else may have taken the work over, and the message must not be sent.
    pub may_finish: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Relay {
    /// A client for the whole process. Call [`Relay::maintain`] in a task of its own.
    pub fn new(context: RelayContext) -> Self {
        let RelayContext { live, dns, registry, tls_reporter, policies, own_hosts } = context;
        let inner = Inner {
            router: Router::new(live.clone(), dns.clone()).with_own_hosts(own_hosts),
            policies: TlsPolicies::new(live.clone(), dns, tls_reporter, policies, &registry),
            client: Arc::new(Client::new(live.clone(), Box::new(connect::Tcp), &registry)),
            live,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sends a message: one outcome for each recipient, in order. Never fails as a whole: what prevents the sending is the outcome of every recipient.
    ///
    /// A message whose end was sent but not answered is `Deferred`: it may arrive twice rather than not at all.
    pub async fn send(&self, shipment: Shipment) -> Vec<RecipientOutcome> {
        let mut work = Work::new(shipment);
        let rest = self.inner.carry(&mut work).await;
        let outcomes = work.finish(&rest);
        outcomes.iter().for_each(|outcome| self.inner.client.metrics.outcome(outcome));
        outcomes
    }

    /// The host that mail from `sender_domain` to `destination` goes through instead of the destination's own, as configured now: with its
    /// port, and the name that we log in with.
    pub fn through(&self, destination: &str, sender_domain: Option<&str>) -> Option<String> {
        self.inner.router.through(destination, sender_domain)
    }

    /// Closes connections that nobody used for a while, and keeps TLS policies fresh; runs until it is dropped.
    pub async fn maintain(&self) {
        tokio::join!(Arc::clone(&self.inner.client).maintain(), self.inner.policies.maintain());
    }
}

impl Inner {
    /// Tries the hosts of the destination in their order. Returns what to say of recipients that are not settled then.
    async fn carry(&self, work: &mut Work) -> Failure {
        let shipment = &work.shipment;
        let route = self.router.route(&shipment.destination, shipment.sender_domain.as_deref()).await;
        let route = match route {
            Ok(route) => route,
            Err(failure) => return failure,
        };
        // REQUIRETLS outweighs the header field (RFC 8689 §3). A notification is not lost for it (§5): it is said to whoever knows it.
        let wish = match shipment.envelope.require_tls {
            true if shipment.envelope.reverse_path.is_none() => Wish::AsPublished,
            true => Wish::Required,
            false if work.content.waives_tls() => Wish::Waived,
            false => Wish::AsPublished,
        };
        let policy = self.policies.destination(&route, wish).await;
        let mut trail = Trail::new(self.live.load().relay.max_attempts);
        for host in self.client.silent.behind(&route.hosts) {
            if work.is_done() {
                break;
            }
            match self.policies.host(&policy, host).await {
                Ok(tls) => self.client.deliver(&Target::new(&route, host, tls), work, &mut trail).await,
                Err(failure) => trail.note(failure),
            }
        }
        trail.outcome()
    }
}
