//! Hosts in their order, connections old and new, until every recipient is settled or no host is left (RFC 5321 §5.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ekitei_config::{Live, RelayTimeouts};
use ekitei_telemetry::{Registry, Timer};

use crate::connect::{Connected, Dialer, Race, Unreachable};
use crate::dialogue::{Dialogue, Rules, Stop};
use crate::host::Target;
use crate::metrics::Metrics;
use crate::outcome::{Failure, FailureKind};
use crate::pool::Pool;
use crate::proto::reply::ReplyLimits;
use crate::proto::status::Status;
use crate::session::Session;
use crate::silent::Silent;
use crate::work::Work;

/// What makes connections and speaks on them.
pub(crate) struct Client {
    live: Live,
    dialer: Box<dyn Dialer>,
    pool: Pool,
    pub(crate) silent: Silent,
    pub(crate) metrics: Metrics,
}

/// The way of one message from host to host.
#[derive(Debug)]
pub(crate) struct Trail {
    /// Connections that may still be opened for it.
    left: u32,
    last_temporary: Option<Failure>,
    last_permanent: Option<Failure>,
}

impl Trail {
    pub(crate) fn new(max_connections: u32) -> Self {
        Self { left: max_connections, last_temporary: None, last_permanent: None }
    }

    /// One more host failed.
    pub(crate) fn note(&mut self, failure: Failure) {
        tracing::debug!(
            kind = failure.kind.name(), status = %failure.status, remote = failure.remote.as_deref(), text = failure.text,
            "a host failed"
        );
        let place = if failure.status.0 == 5 { &mut self.last_permanent } else { &mut self.last_temporary };
        *place = Some(failure);
    }

    /// What to say of recipients that no host took: what failed last, and permanently only if every host failed so.
    pub(crate) fn outcome(self) -> Failure {
        self.last_temporary.or(self.last_permanent).unwrap_or_else(|| {
            // No host failed: each took as many recipients as it wants on one connection (RFC 9422), and there were enough connections.
            let text = "the servers' limits leave this recipient for another attempt";
            Failure::new(FailureKind::Host, Status(4, 5, 3), text)
        })
    }
}

impl Client {
    pub(crate) fn new(live: Live, dialer: Box<dyn Dialer>, registry: &Registry) -> Self {
        let metrics = Metrics::new(registry);
        let pool = Pool::new(metrics.idle.clone());
        Self { live, dialer, pool, silent: Silent::new(), metrics }
    }

    pub(crate) fn timeouts(&self) -> RelayTimeouts {
        self.live.load().relay.timeouts.clone()
    }

    /// The name in EHLO.
    pub(crate) fn ehlo_name(&self) -> String {
        let config = self.live.load();
        if config.relay.ehlo_name.is_empty() {
            config.hostname.clone()
        } else {
            config.relay.ehlo_name.clone()
        }
    }

    pub(crate) fn reply_limits(&self) -> ReplyLimits {
        let relay = &self.live.load().relay;
        let lines = usize::try_from(relay.max_reply_lines).unwrap_or(usize::MAX);
        ReplyLimits { octets: relay.max_reply_length.as_usize(), lines }
    }

    /// Connects to one of the addresses.
    ///
    /// # Errors
    /// None of them answered.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr]) -> Result<Connected, Unreachable> {
        let config = self.live.load();
        let race = Race {
            dialer: &*self.dialer,
            sources: &config.relay.source_addresses,
            stagger: config.relay.connection_attempt_delay.get(),
            limit: config.relay.timeouts.connect.get(),
            silent: &self.silent,
        };
        race.run(addresses).await
    }

    /// Hands the message to a host, on a connection that is there or on new ones to its addresses, until all recipients are settled, or the host has no address left, or
    /// enough connections were opened.
    pub(crate) async fn deliver(&self, target: &Target<'_>, work: &mut Work, trail: &mut Trail) {
        let mut addresses = target.host.addresses.clone();
        let suits = |session: &Session| {
            session.may_go_to(&work.shipment.destination) && lacks_require_tls(target, session).is_none()
        };
        if let Some(session) = self.pool.take(&target.key(), suits) {
            self.metrics.connections.with(&["reused"]).inc();
            self.speak(target, session, true, work, trail, &mut addresses).await;
        }
        let mut encrypt = true;
        while !work.is_done() && !addresses.is_empty() && trail.left > 0 {
            trail.left -= 1;
            // In the clear only where TLS was tried.
            let tried = if encrypt { addresses.clone() } else { vec![addresses[0]] };
            match Session::open(self, target, &tried, encrypt).await {
                Ok(session) => {
                    self.metrics.connections.with(&["new"]).inc();
                    encrypt = true;
                    self.speak(target, session, false, work, trail, &mut addresses).await;
                }
                Err(error) => {
                    self.metrics.connections.with(&["failed"]).inc();
                    encrypt = !error.may_go_clear;
                    match error.address {
                        // At the same address again, and first.
                        Some(failed) if !encrypt => {
                            addresses.retain(|address| *address != failed);
                            addresses.insert(0, failed);
                            trail.left += 1;
                            continue;
                        }
                        Some(failed) => addresses.retain(|address| *address != failed),
                        None => addresses.retain(|address| !tried.contains(address)),
                    }
                    trail.note(error.failure);
                }
            }
        }
    }

    /// Sends on a connection, and keeps it if it is still good. If the host failed, its address is taken out of those that are left.
    async fn speak(
        &self,
        target: &Target<'_>,
        mut session: Session,
        is_reused: bool,
        work: &mut Work,
        trail: &mut Trail,
        addresses: &mut Vec<SocketAddr>,
    ) {
        let spoken = match lacks_require_tls(target, &session) {
            Some(failure) => Err(Stop::Host { failure, mail_taken: true }),
            None => self.converse(target, &mut session, work).await,
        };
        match spoken {
            Ok(()) => return self.give_back(target, session),
            Err(Stop::Gone) => {}
            // It was closed while nobody used it, which says nothing about the host.
            Err(Stop::Host { mail_taken: false, .. }) if is_reused => {
                self.metrics.connections.with(&["stale"]).inc();
            }
            Err(Stop::Host { failure, .. }) => {
                addresses.retain(|address| *address != session.address);
                trail.note(failure);
            }
        }
        session.leave();
    }

    async fn converse(
        &self,
        target: &Target<'_>,
        session: &mut Session,
        work: &mut Work,
    ) -> Result<(), Stop> {
        let config = self.live.load();
        session.goes_to(&work.shipment.destination);
        let rules = Rules {
            timeouts: config.relay.timeouts.clone(),
            max_recipients: usize::try_from(config.relay.max_recipients).unwrap_or(usize::MAX),
            require_tls: target.tls.requires_requiretls(),
            at_smart_host: target.is_smart_host,
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        };
        let timer = Timer::start();
        let result = Dialogue { session, work, rules: &rules }.run().await;
        timer.observe(&self.metrics.dialogue_seconds);
        result
    }

    /// Keeps a connection for the next message, or ends it.
    fn give_back(&self, target: &Target<'_>, session: Session) {
        let relay = &self.live.load().relay;
        let most = usize::try_from(relay.max_idle_connections).unwrap_or(usize::MAX);
        let is_worn =
            session.transactions >= u64::from(relay.messages_per_connection) || !session.may_begin();
        let over = if is_worn { Some(session) } else { self.pool.put(target.key(), session, most) };
        if let Some(session) = over {
            session.leave();
        }
    }

    /// Ends connections that nobody used for a while; runs until it is dropped.
    pub(crate) async fn maintain(self: Arc<Self>) {
        loop {
            let limit = self.live.load().relay.idle_timeout.get();
            let pause = (limit / 4).max(Duration::from_millis(100));
            tokio::time::sleep(pause).await;
            self.expire(limit).into_iter().for_each(Session::leave);
        }
    }

    /// Takes out connections that nobody used for so long.
    pub(crate) fn expire(&self, limit: Duration) -> Vec<Session> {
        self.pool.take_expired(limit)
    }
}

fn lacks_require_tls(target: &Target<'_>, session: &Session) -> Option<Failure> {
    let text = "the message demands REQUIRETLS, and the server does not offer it";
    let lacks = target.tls.requires_requiretls() && !session.capabilities.require_tls;
    lacks.then(|| Failure::new(FailureKind::Tls, Status(5, 7, 30), text).at(&session.remote))
}
