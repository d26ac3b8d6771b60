//! TLS with certificates that can be replaced while the service runs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use ekitei_config::{Live, TlsConfig};
use ekitei_telemetry::Registry;
use rustls::server::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::certificates;
use crate::{Shutdown, Stream};

/// How often a watch that is turned off looks whether it was turned on.
const IDLE_WATCH: Duration = Duration::from_secs(10);

/// The server's side of TLS. Clones share the certificates in force.
#[derive(Clone)]
pub struct Tls {
    active: Arc<ArcSwapOption<Active>>,
    handshake_timeout: Duration,
}

/// What is in force at one moment.
pub(crate) struct Active {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) certificates: Vec<CertificateStatus>,
}

/// What is known about one certificate that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// The file it was read from.
    pub path: PathBuf,
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

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates()).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificates of `config`; with none, TLS is not offered until a reload brings one.
    ///
    /// # Errors
    /// [`TlsError::Read`] and [`TlsError::Invalid`], which name the file.
    pub fn new(config: &TlsConfig, handshake_timeout: Duration) -> Result<Self, TlsError> {
        let active = certificates::load(config)?;
        Ok(Self { active: Arc::new(ArcSwapOption::new(active.map(Arc::new))), handshake_timeout })
    }

    /// A service without TLS.
    pub fn none() -> Self {
        Self { active: Arc::default(), handshake_timeout: Duration::from_secs(30) }
    }

    /// Reads the certificates again and uses them for handshakes from now on; connections go on as they are.
    ///
    /// # Errors
    /// As for [`Tls::new`]; the old certificates then stay in force.
    pub fn reload(&self, config: &TlsConfig) -> Result<(), TlsError> {
        self.active.store(certificates::load(config)?.map(Arc::new));
        Ok(())
    }

    /// Whether there is a certificate, so that STARTTLS and STLS can be offered.
    pub fn is_available(&self) -> bool {
        self.active.load().is_some()
    }

    /// The certificates in force.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        self.active.load().as_ref().map(|active| active.certificates.clone()).unwrap_or_default()
    }

    /// Reads the certificates again whenever one of their files changes, until the shutdown begins. A reload that fails,
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
        loop {
            for status in self.certificates() {
                expiry.with(&[&status.path.to_string_lossy()]).set(status.expiry_timestamp());
            }
            let interval = live.load().tls.watch_interval.get();
            // Zero turns watching off; a reload of the configuration may turn it on again.
            let pause = if interval.is_zero() { IDLE_WATCH } else { interval };
            tokio::select! {
                () = shutdown.graceful() => return,
                () = tokio::time::sleep(pause) => {}
            }
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
        let server = match self.active.load().as_ref() {
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
