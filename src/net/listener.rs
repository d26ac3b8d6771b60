//! Listening sockets: from `accept` to a [`Connection`] in the hands of a [`Handler`].

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Config, ListenerConfig, Live, Protocol};
use ekitei_telemetry::{CounterFamily, GaugeFamily, GaugeGuard, Registry};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::gate::{Arrival, Gate, LocalRates};
use crate::limits::{AddressKey, ConnectionLimits, ConnectionPermit, Maxima, Refusal};
use crate::proxy::ProxyHeader;
use crate::{Connection, Shutdown, Tls};

/// How long to wait when `accept` fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a refused client may take to receive the refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Refused clients that are being told so at once; more are closed without a word.
const MAX_REFUSALS: usize = 256;

/// A protocol server.
pub trait Handler: Send + Sync + 'static {
    /// What a client that is refused is told, as a complete line: `421 4.7.0 ...`, `* BYE ...`, `-ERR ...`. Empty to
    /// say nothing.
    fn refusal(&self, reason: Refusal) -> Cow<'_, [u8]>;

    /// Serves one client until it or the service ends. The connection counts until this returns.
    fn handle(self: Arc<Self>, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// Why a listener cannot listen; the operator must see to it.
#[derive(Debug, thiserror::Error)]
#[error("listener {name} cannot listen on {address}: {reason}")]
pub struct BindError {
    /// The listener's name.
    pub name: String,
    /// Where it should listen.
    pub address: SocketAddr,
    /// The system's reason.
    pub reason: io::Error,
}

/// What all listeners share. Clones share it.
#[derive(Clone)]
pub struct Net {
    live: Live,
    tls: Tls,
    shutdown: Shutdown,
    limits: ConnectionLimits,
    gate: Arc<dyn Gate>,
    refusals: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

struct Metrics {
    accepted: CounterFamily,
    refused: CounterFamily,
    open: GaugeFamily,
    handshakes: CounterFamily,
    proxy_rejected: CounterFamily,
    accept_errors: CounterFamily,
}

impl Net {
    /// Limits are read from `live` for each connection, so a reload takes effect on the next one.
    pub fn new(live: Live, tls: Tls, shutdown: Shutdown, registry: &Registry) -> Self {
        Self {
            live,
            tls,
            shutdown,
            limits: ConnectionLimits::default(),
            gate: Arc::new(LocalRates::default()),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            metrics: Arc::new(Metrics::new(registry)),
        }
    }

    /// The same, with `gate` in place of rates that are counted in this process alone. To be called before listeners are bound.
    #[must_use]
    pub fn with_gate(self, gate: Arc<dyn Gate>) -> Self {
        Self { gate, ..self }
    }

    /// The configuration in force.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// TLS, for STARTTLS.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The shutdown of the service.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The counts of connections.
    pub fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        let by = &["listener"];
        Self {
            accepted: registry.counters("connections_total", "Connections that were let in.", by),
            refused: registry.counters(
                "connections_refused_total",
                "Connections that were over a limit.",
                &["listener", "reason"],
            ),
            open: registry.gauges("connections_open", "Connections that are open.", by),
            handshakes: registry.counters(
                "tls_handshakes_total",
                "TLS handshakes on listeners with implicit TLS.",
                &["listener", "result"],
            ),
            proxy_rejected: registry.counters(
                "proxy_rejected_total",
                "Connections closed for want of a valid PROXY header from a trusted network.",
                by,
            ),
            accept_errors: registry.counters("accept_errors_total", "Failures to accept a connection.", by),
        }
    }
}

/// A socket that listens.
pub struct Listener {
    socket: TcpListener,
    door: Arc<Door>,
}

/// What a connection needs of its listener; the socket is not here, since it must close before the last connection
/// ends.
struct Door {
    config: Arc<ListenerConfig>,
    label: Arc<str>,
    net: Net,
}

impl Listener {
    /// Binds the socket; clients can connect from now on, and wait until [`Listener::serve`].
    ///
    /// # Errors
    /// [`BindError`], with the address.
    pub async fn bind(config: ListenerConfig, net: &Net) -> Result<Self, BindError> {
        let label: Arc<str> = config.label().into();
        let socket = TcpListener::bind(config.address).await.map_err(|reason| BindError {
            name: label.to_string(),
            address: config.address,
            reason,
        })?;
        let door = Door { config: Arc::new(config), label, net: net.clone() };
        Ok(Self { socket, door: Arc::new(door) })
    }

    /// Where it listens, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts clients until the shutdown begins, and then closes the socket. Each client is served in its own tracked
    /// task.
    pub async fn serve<H: Handler>(self, handler: Arc<H>) {
        let Self { socket, door } = self;
        loop {
            let accepted = tokio::select! {
                biased;
                () = door.net.shutdown.graceful() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((client, peer)) => {
                    let (handler, admission) = (Arc::clone(&handler), Arc::clone(&door));
                    door.net.shutdown.spawn(async move { admission.admit(client, peer, handler).await });
                }
                Err(error) => door.accept_failed(&error).await,
            }
        }
    }
}

impl Door {
    /// Clients that left before they were accepted are nothing. Everything else, such as no more file descriptors,
    /// passes when connections end: waiting is the only cure, and ending the loop would be the end of the service.
    async fn accept_failed(&self, error: &io::Error) {
        self.net.metrics.accept_errors.with(&[&self.label]).inc();
        if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            tracing::warn!(listener = %self.label, %error, "cannot accept connections at the moment");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Takes one client from its first byte to the end.
    async fn admit<H: Handler>(self: Arc<Self>, mut socket: TcpStream, peer: SocketAddr, handler: Arc<H>) {
        // Small replies must not wait for acknowledgements; a failure here costs only speed.
        let _ = socket.set_nodelay(true);
        let Some((peer, local)) = self.addresses(&mut socket, peer).await else { return };
        let permit = match self.permit(peer) {
            Ok(permit) => permit,
            Err(reason) => return self.refuse(socket, reason, handler.as_ref()).await,
        };
        let _open = GaugeGuard::new(&self.net.metrics.open.with(&[&self.label]));
        self.net.metrics.accepted.with(&[&self.label]).inc();
        let connection = Connection::admitted(socket.into(), peer, local, Arc::clone(&self.config), permit);
        if let Some(connection) = self.implicit_tls(connection).await {
            handler.handle(connection).await;
        }
    }

    /// The addresses of the client and of where it connected to; `None` when the connection must be closed.
    async fn addresses(&self, socket: &mut TcpStream, peer: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
        let (peer, local) = (canonical(peer), canonical(socket.local_addr().ok()?));
        let Some(proxy) = &self.config.proxy_protocol else { return Some((peer, local)) };
        let trusted = proxy.trusted_networks.iter().any(|network| network.contains(peer.ip()));
        if !trusted {
            self.reject_proxy(peer, "the peer is not in trustedNetworks");
            return None;
        }
        let timeout = self.net.live.load().limits.proxy_header_timeout.get();
        match tokio::time::timeout(timeout, ProxyHeader::read(socket)).await {
            Ok(Ok(ProxyHeader::Proxied { source, destination })) => {
                Some((canonical(source), canonical(destination)))
            }
            Ok(Ok(ProxyHeader::Local)) => Some((peer, local)),
            Ok(Err(error)) => {
                self.reject_proxy(peer, &error.to_string());
                None
            }
            Err(_) => {
                self.reject_proxy(peer, "no PROXY header in time");
                None
            }
        }
    }

    fn reject_proxy(&self, peer: SocketAddr, reason: &str) {
        self.net.metrics.proxy_rejected.with(&[&self.label]).inc();
        tracing::debug!(listener = %self.label, %peer, reason, "connection closed");
    }

    /// Counts the client, or says which limit it is over.
    fn permit(&self, peer: SocketAddr) -> Result<ConnectionPermit, Refusal> {
        if self.net.shutdown.is_shutting_down() {
            return Err(Refusal::ShuttingDown);
        }
        let config = self.net.live.load();
        let policy = AddressPolicy::of(&config, &self.config, peer);
        let address = AddressKey::from(peer.ip());
        if policy.guarded {
            let (group, per_minute) = (policy.group, policy.per_minute);
            self.net.gate.admit(&Arrival { client: peer.ip(), group, per_minute })?;
        }
        let maxima = Maxima {
            total: match self.config.protocol {
                // When clients have used up the service, probes and the administrator must still get through.
                Protocol::Http => 0,
                _ => config.limits.max_connections,
            },
            listener: self.config.max_connections,
            address: policy.connections,
        };
        self.net.limits.admit(&self.label, policy.group, address, &maxima)
    }

    /// Tells the client why it is not served. Under implicit TLS it would not understand, so it is only closed.
    async fn refuse<H: Handler>(&self, mut socket: TcpStream, reason: Refusal, handler: &H) {
        self.net.metrics.refused.with(&[&self.label, reason.name()]).inc();
        tracing::debug!(listener = %self.label, reason = reason.name(), "connection refused");
        if self.config.protocol.implicit_tls() {
            return;
        }
        let Ok(_turn) = self.net.refusals.try_acquire() else { return };
        let line = handler.refusal(reason);
        let say = async {
            socket.write_all(&line).await?;
            socket.shutdown().await
        };
        // The client may be gone, and then it need not be told.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, say).await;
    }

    async fn implicit_tls(&self, connection: Connection) -> Option<Connection> {
        if !self.config.protocol.implicit_tls() {
            return Some(connection);
        }
        let result = connection.start_tls(&self.net.tls, &[]).await;
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        self.net.metrics.handshakes.with(&[&self.label, outcome]).inc();
        result.inspect_err(|error| tracing::debug!(listener = %self.label, %error, "no TLS")).ok()
    }
}

/// On a socket for both IPv4 and IPv6, an IPv4 client has an IPv4-mapped address; everyone else knows it by its own.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The limits for one client on one protocol.
struct AddressPolicy {
    /// Listeners of one group share the counts per address.
    group: &'static str,
    connections: u32,
    per_minute: u32,
    /// Whether the gate is asked.
    guarded: bool,
}

impl AddressPolicy {
    fn of(config: &Config, listener: &ListenerConfig, peer: SocketAddr) -> Self {
        let (group, connections, per_minute) = match listener.protocol {
            Protocol::Smtp | Protocol::Submission | Protocol::Submissions => (
                "smtp",
                config.smtp.max_connections_per_address,
                config.smtp.connections_per_address_per_minute,
            ),
            Protocol::Imap | Protocol::Imaps => (
                "imap",
                config.imap.max_connections_per_address,
                config.imap.connections_per_address_per_minute,
            ),
            Protocol::Pop3 | Protocol::Pop3s => (
                "pop3",
                config.pop3.max_connections_per_address,
                config.pop3.connections_per_address_per_minute,
            ),
            // A front end or an administrator's tool is one address with many connections.
            Protocol::Lmtp | Protocol::Http => ("internal", 0, 0),
            Protocol::Https => ("https", 0, 0),
        };
        // What a load balancer says of its client never frees it of a limit.
        let trusted = group == "smtp"
            && listener.proxy_protocol.is_none()
            && config.smtp.trusted_networks.iter().any(|network| network.contains(peer.ip()));
        if trusted {
            Self { group, connections: 0, per_minute: 0, guarded: false }
        } else {
            Self { group, connections, per_minute, guarded: group != "internal" }
        }
    }
}
