//! TLS with certificates that can be replaced while the service runs.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use ekitei_config::{TlsConfig, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::Stream;

/// The server's side of TLS. Clones share the certificates in force.
#[derive(Clone)]
pub struct Tls {
    active: Arc<ArcSwapOption<Active>>,
    handshake_timeout: Duration,
}

/// What is in force at one moment.
struct Active {
    server: Arc<ServerConfig>,
    certificates: Vec<CertificateStatus>,
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
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
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
        let active = Active::load(config)?;
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
        self.active.store(Active::load(config)?.map(Arc::new));
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

/// The one cryptography in the service.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Active {
    /// Reads everything that `config` names; `None` if it names nothing.
    fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        if config.certificates.is_empty() {
            return Ok(None);
        }
        let provider = provider();
        let mut resolver = BySni::default();
        let mut certificates = Vec::new();
        for pair in &config.certificates {
            let (key, status) = load_pair(&pair.certificate, &pair.key, &provider)?;
            resolver.add(Arc::new(key), &status.names);
            certificates.push(status);
        }
        let invalid = |error: rustls::Error| TlsError::Invalid {
            path: config.certificates[0].certificate.clone(),
            reason: error.to_string(),
        };
        let versions: &[&rustls::SupportedProtocolVersion] = match config.min_version {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(invalid)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        // Tickets instead of a table of sessions: any pod that made one can resume, and nothing is kept per client.
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(invalid)?;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 1;
        Ok(Some(Self { server: Arc::new(server), certificates }))
    }
}

/// Chooses a certificate by the host that the client names (RFC 6066 §3).
#[derive(Debug, Default)]
struct BySni {
    /// For clients that name no known host: the first.
    default: Option<Arc<CertifiedKey>>,
    /// By name, `*.` for wildcards.
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl BySni {
    fn add(&mut self, key: Arc<CertifiedKey>, names: &[String]) {
        for name in names {
            self.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&key));
        }
        self.default.get_or_insert(key);
    }

    fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.by_name.get(&host).or_else(|| self.by_name.get(&wildcard?))
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(|host| self.find(host)).or(self.default.as_ref()).cloned()
    }
}

/// Reads one chain and its key, and checks that they belong together.
fn load_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, CertificateStatus), TlsError> {
    let invalid = |path: &Path, reason: String| TlsError::Invalid { path: path.to_owned(), reason };
    let chain_text = read(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain_text)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(certificate, format!("not a certificate chain in PEM: {error}")))?;
    let Some(leaf) = chain.first() else {
        return Err(invalid(certificate, "it holds no certificate in PEM".to_owned()));
    };
    let status = status(certificate, leaf)?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| invalid(key, format!("not a private key in PEM: {error}")))?;
    let certified = CertifiedKey::from_der(chain, private, provider)
        .map_err(|error| invalid(key, format!("it does not fit {}: {error}", certificate.display())))?;
    Ok((certified, status))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// What a certificate says about itself.
fn status(path: &Path, leaf: &CertificateDer<'_>) -> Result<CertificateStatus, TlsError> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let invalid = |reason: String| TlsError::Invalid { path: path.to_owned(), reason };
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| invalid(format!("the first certificate cannot be read: {error}")))?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|error| invalid(format!("the names of the first certificate cannot be read: {error}")))?;
    let names = alternatives
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default()
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    let at = |time: &x509_parser::time::ASN1Time| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
    };
    let validity = parsed.validity();
    Ok(CertificateStatus {
        path: path.to_owned(),
        names,
        not_before: at(&validity.not_before),
        not_after: at(&validity.not_after),
    })
}
