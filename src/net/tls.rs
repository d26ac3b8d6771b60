//! TLS with certificates that can be replaced while the service runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use arc_swap::ArcSwapOption;
use ekitei_config::{Live, TlsConfig, TlsVersion};
use ekitei_telemetry::{GaugeFamily, Registry};
use rustls::server::{ProducesTickets, ServerConfig};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{self, BySni, Certificate, Sourced};
use crate::{Shutdown, Stream};

/// How often a watch that is turned off looks whether it was turned on.
const IDLE_WATCH: Duration = Duration::from_secs(10);

/// The server's side of TLS. Clones share the certificates in force.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
    handshake_timeout: Duration,
}

#[derive(Default)]
struct Shared {
    active: ArcSwapOption<Active>,
    /// What [`Shared::active`] is made of; held while it is replaced.
    parts: Mutex<Parts>,
    /// The certificates in force are others.
    changed: Notify,
}

/// Certificates by where they come from, each replaced by itself.
#[derive(Clone, Default)]
struct Parts {
    files: Vec<Sourced>,
    stored: Vec<Sourced>,
    oldest: TlsVersion,
    /// Made with the first certificate, and kept: tickets outlive the certificates.
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

/// What is in force at one moment.
struct Active {
    server: Arc<ServerConfig>,
    certificates: Vec<CertificateStatus>,
}

impl Parts {
    /// What is in force with these; `None` without certificates.
    fn activate(&mut self) -> Result<Option<Active>, TlsError> {
        let all: Vec<CertificateStatus> =
            self.files.iter().chain(&self.stored).map(Sourced::status).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let ticketer = match &self.ticketer {
            Some(ticketer) => Arc::clone(ticketer),
            None => Arc::clone(self.ticketer.insert(certificates::ticketer()?)),
        };
        let resolver = BySni::new(&self.files, &self.stored);
        let server = Arc::new(certificates::server(resolver, self.oldest, ticketer)?);
        Ok(Some(Active { server, certificates: all }))
    }
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// A file that the configuration names.
    File(PathBuf),
    /// The store, where it has this name.
    Stored(String),
}

impl fmt::Display for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stored(name) => f.write_str(name),
        }
    }
}

/// What is known about one certificate that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Where it comes from.
    pub source: CertificateSource,
    /// Its DNS names, lower case.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

impl CertificateStatus {
    /// When it ends, in seconds since 1970.
    fn expiry_timestamp(&self) -> i64 {
        let since = self.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

/// What was agreed in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`, as in Received fields (RFC 8314 §4.3 and the IANA registry of TLS).
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: String,
    /// The host that the client asked for.
    pub sni: Option<String>,
    /// The client's certificate in DER, when one was asked for and verified.
    pub client_certificate: Option<Vec<u8>>,
}

/// Why TLS is not there.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read; the operator must see to it.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// A file does not hold what it should; the operator must see to it.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No certificate is configured, so TLS is not offered.
    #[error("no certificate is configured")]
    NoCertificate,
    /// The library refuses what it is configured with: a fault of the program.
    #[error("TLS cannot be configured: {0}")]
    Library(rustls::Error),
    /// The client sent bytes after the command that begins TLS and before the handshake: an attack, or a broken
    /// client.
    #[error("plaintext was sent after the command that begins TLS")]
    PlaintextBuffered,
    /// TLS is spoken already.
    #[error("TLS is already active")]
    AlreadyActive,
    /// The client took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// The handshake failed; most often the client's doing.
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates()).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificates of `config`; with none, TLS is not offered until a reload brings one, or one is stored.
    ///
    /// # Errors
    /// [`TlsError::Read`] and [`TlsError::Invalid`], which name the file.
    pub fn new(config: &TlsConfig, handshake_timeout: Duration) -> Result<Self, TlsError> {
        let tls = Self { shared: Arc::default(), handshake_timeout };
        tls.reload(config)?;
        Ok(tls)
    }

    /// A service without TLS.
    pub fn none() -> Self {
        Self { shared: Arc::default(), handshake_timeout: Duration::from_secs(30) }
    }

    /// Reads the certificate files again and uses them for handshakes from now on; connections go on as they are.
    ///
    /// # Errors
    /// As for [`Tls::new`]; the old certificates then stay in force.
    pub fn reload(&self, config: &TlsConfig) -> Result<(), TlsError> {
        let files = certificates::load(config)?;
        self.replace(|parts| (parts.files, parts.oldest) = (files, config.min_version))
    }

    /// Uses these certificates of the store for handshakes from now on, in place of those that were stored before; connections go on as they are. For the
    /// hosts that they are for they go before files. Where there are no files, the first is for clients that name no known host.
    ///
    /// # Errors
    /// [`TlsError::Library`]; the old certificates then stay in force.
    pub fn set_stored(&self, stored: Vec<(String, Arc<Certificate>)>) -> Result<(), TlsError> {
        let sourced = |(name, certificate)| Sourced { source: CertificateSource::Stored(name), certificate };
        self.replace(|parts| parts.stored = stored.into_iter().map(sourced).collect())
    }

    fn replace(&self, change: impl FnOnce(&mut Parts)) -> Result<(), TlsError> {
        let mut parts = self.shared.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = parts.clone();
        change(&mut next);
        self.shared.active.store(next.activate()?.map(Arc::new));
        *parts = next;
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Whether there is a certificate, so that STARTTLS and STLS can be offered.
    pub fn is_available(&self) -> bool {
        self.shared.active.load().is_some()
    }

    /// The certificates in force: the files, then those of the store.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        self.shared.active.load().as_ref().map(|active| active.certificates.clone()).unwrap_or_default()
    }

    /// Says when each certificate in force ends; of very many, those that end first.
    fn show_expiry(&self, expiry: &GaugeFamily, shown: &mut BTreeSet<String>) {
        let mut all = self.certificates();
        all.sort_by_key(|status| status.not_after);
        all.truncate(GaugeFamily::MAX);
        let before = std::mem::take(shown);
        shown.extend(all.iter().map(|status| status.source.to_string()));
        for gone in before.difference(shown) {
            expiry.forget(&[gone]);
        }
        for status in all {
            expiry.with(&[&status.source.to_string()]).set(status.expiry_timestamp());
        }
    }

    /// Reads the certificates again whenever one of their files changes, and shows when they end, until the shutdown begins. A reload that fails,
    /// such as one between the writing of a certificate and of its key, keeps the old ones and is tried again at the
    /// next change.
    pub async fn watch(self, live: Live, shutdown: Shutdown, registry: &Registry) {
        let reloads = registry.counters("tls_reloads_total", "Certificates read again.", &["result"]);
        let expiry = registry.gauges(
            "tls_certificate_expiry_timestamp_seconds",
            "When a certificate in force ends, in seconds since 1970.",
            &["certificate"],
        );
        let mut seen = certificates::stamp(&live.load().tls);
        let mut shown = BTreeSet::new();
        let mut looked = Instant::now();
        loop {
            self.show_expiry(&expiry, &mut shown);
            let interval = live.load().tls.watch_interval.get();
            // Zero turns watching off; a reload of the configuration may turn it on again.
            let pause = if interval.is_zero() { IDLE_WATCH } else { interval };
            tokio::select! {
                () = shutdown.graceful() => return,
                () = tokio::time::sleep_until(looked + pause) => {}
                () = self.shared.changed.notified() => continue,
            }
            looked = Instant::now();
            let config = live.load();
            let now = certificates::stamp(&config.tls);
            if interval.is_zero() || now == seen {
                continue;
            }
            seen = now;
            let result = self.reload(&config.tls);
            reloads.with(&[if result.is_ok() { "ok" } else { "failed" }]).inc();
            match result {
                Ok(()) => tracing::info!("certificates were read again"),
                Err(error) => tracing::warn!(%error, "the old certificates stay in force"),
            }
        }
    }

    /// Shakes hands as the server.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`], [`TlsError::Timeout`], [`TlsError::Handshake`].
    pub async fn accept(&self, stream: Stream) -> Result<(Stream, TlsInfo), TlsError> {
        let server = match self.shared.active.load().as_ref() {
            Some(active) => Arc::clone(&active.server),
            None => return Err(TlsError::NoCertificate),
        };
        let handshake = TlsAcceptor::from(server).accept(stream);
        let stream = tokio::time::timeout(self.handshake_timeout, handshake)
            .await
            .map_err(|_| TlsError::Timeout)?
            .map_err(TlsError::Handshake)?;
        let info = TlsInfo::of(stream.get_ref().1);
        Ok((stream.into(), info))
    }
}

impl TlsInfo {
    fn of(session: &rustls::ServerConnection) -> Self {
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let cipher =
            session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        Self {
            version,
            // rustls calls the suites of TLS 1.3 TLS13_*, the registry TLS_*.
            cipher: cipher.replacen("TLS13_", "TLS_", 1),
            sni: session.server_name().map(str::to_owned),
            client_certificate: session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| certificate.to_vec()),
        }
    }
}
