//! Certificates: reading them, from files or from what is stored, and choosing one for a client.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use ekitei_config::{TlsConfig, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs as crypto};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::tls::{CertificateSource, CertificateStatus, TlsError};

/// A chain with its private key: they can be read, and belong together.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// The DNS names of its SubjectAlternativeName, lower case.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// The SHA-256 of the certificate in DER.
    pub sha256: [u8; 32],
    /// The SHA-256 of its SubjectPublicKeyInfo in DER.
    pub spki_sha256: [u8; 32],
}

/// Why something is no chain with its key: the fault of who made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The chain.
    #[error("{0}")]
    Chain(String),
    /// The private key.
    #[error("{0}")]
    Key(String),
    /// Each is well, but the key is another's.
    #[error("the key does not fit the certificate: {0}")]
    Mismatch(String),
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a chain in PEM, leaf first, and its private key in PEM (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::Chain(format!("not a certificate chain in PEM: {error}")))?;
        let Some(leaf) = chain.first() else {
            return Err(CertificateError::Chain("it holds no certificate in PEM".to_owned()));
        };
        for (index, issuer) in chain.iter().enumerate().skip(1) {
            X509Certificate::from_der(issuer).map_err(|error| {
                CertificateError::Chain(format!(
                    "the certificate {} of the chain cannot be read: {error}",
                    index + 1
                ))
            })?;
        }
        let sha256 = sha256(leaf);
        let Facts { names, not_before, not_after, spki_sha256 } = Facts::of(leaf)?;
        let private = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| CertificateError::Key(format!("not a private key in PEM: {error}")))?;
        let key = CertifiedKey::from_der(chain, private, &provider())
            .map_err(|error| CertificateError::Mismatch(error.to_string()))?;
        Ok(Self { key: Arc::new(key), names, not_before, not_after, sha256, spki_sha256 })
    }

    /// Whether it is valid at that moment.
    pub fn is_valid(&self, at: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&at)
    }
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, octets).as_ref());
    sum
}

/// What a certificate says about itself.
struct Facts {
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    spki_sha256: [u8; 32],
}

impl Facts {
    fn of(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| {
            CertificateError::Chain(format!("the first certificate cannot be read: {error}"))
        })?;
        let alternatives = parsed.subject_alternative_name().map_err(|error| {
            CertificateError::Chain(format!("the names of the first certificate cannot be read: {error}"))
        })?;
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
        Ok(Self {
            names,
            not_before: at(&validity.not_before),
            not_after: at(&validity.not_after),
            spki_sha256: sha256(parsed.public_key().raw),
        })
    }
}

/// What tells whether a file was changed: its path, time and length; `None` when it cannot be read.
pub(crate) type Stamp = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// The state of all files that `config` names.
pub(crate) fn stamp(config: &TlsConfig) -> Stamp {
    let files = config.certificates.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    files
        .map(|path| {
            let metadata = std::fs::metadata(path).ok();
            (path.clone(), metadata.and_then(|data| Some((data.modified().ok()?, data.len()))))
        })
        .collect()
}

/// The one cryptography in the service.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::default_provider())
}

/// A certificate and where it comes from.
#[derive(Clone)]
pub(crate) struct Sourced {
    pub(crate) source: CertificateSource,
    pub(crate) certificate: Arc<Certificate>,
}

impl Sourced {
    pub(crate) fn status(&self) -> CertificateStatus {
        let Certificate { names, not_before, not_after, .. } = &*self.certificate;
        CertificateStatus {
            source: self.source.clone(),
            names: names.clone(),
            not_before: *not_before,
            not_after: *not_after,
        }
    }
}

/// Reads the files that `config` names.
pub(crate) fn load(config: &TlsConfig) -> Result<Vec<Sourced>, TlsError> {
    let load = |(certificate, key): (&PathBuf, &PathBuf)| {
        Ok(Sourced {
            source: CertificateSource::File(certificate.clone()),
            certificate: Arc::new(load_pair(certificate, key)?),
        })
    };
    config.certificates.iter().map(|pair| load((&pair.certificate, &pair.key))).collect()
}

/// Reads one chain and its key.
fn load_pair(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let invalid = |path: &Path, reason: String| TlsError::Invalid { path: path.to_owned(), reason };
    let pair = Certificate::from_pem(&read(certificate)?, &read(key)?);
    pair.map_err(|error| match error {
        CertificateError::Chain(reason) => invalid(certificate, reason),
        CertificateError::Key(reason) => invalid(key, reason),
        CertificateError::Mismatch(reason) => {
            invalid(key, format!("it does not fit {}: {reason}", certificate.display()))
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|reason| TlsError::Read { path: path.to_owned(), reason })
}

/// What makes tickets: any process that has its keys can resume a session, and nothing is kept per client.
pub(crate) fn ticketer() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    crypto::Ticketer::new().map_err(TlsError::Library)
}

/// The server's side of TLS with these certificates, which are not none.
pub(crate) fn server(
    resolver: BySni,
    oldest: TlsVersion,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let versions: &[&rustls::SupportedProtocolVersion] = match oldest {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(TlsError::Library)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    server.ticketer = ticketer;
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    server.send_tls13_tickets = 1;
    Ok(server)
}

/// Chooses a certificate by the host that the client names (RFC 6066 §3).
#[derive(Debug, Default)]
pub(crate) struct BySni {
    /// For clients that name no known host.
    default: Option<Arc<Certificate>>,
    /// By name, `*.` for wildcards; the first that is valid is used.
    by_name: HashMap<String, Vec<Arc<Certificate>>>,
}

impl BySni {
    /// For a name, a stored certificate goes before a file, a later stored one before an earlier, and the first file before the others; what is not
    /// valid now goes last. The default is the first file, or else the first that is stored.
    pub(crate) fn new(files: &[Sourced], stored: &[Sourced]) -> Self {
        let default = files.iter().chain(stored).next().map(|first| Arc::clone(&first.certificate));
        let mut latest_first: Vec<&Sourced> = stored.iter().collect();
        latest_first.sort_by_key(|sourced| std::cmp::Reverse(sourced.certificate.not_before));
        let mut by_name: HashMap<String, Vec<Arc<Certificate>>> = HashMap::new();
        for Sourced { certificate, .. } in latest_first.into_iter().chain(files) {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_default().push(Arc::clone(certificate));
            }
        }
        Self { default, by_name }
    }

    fn choose(&self, host: Option<&str>, now: SystemTime) -> Option<&Arc<Certificate>> {
        let known = host.and_then(|host| self.find(host));
        let valid = |found: &&Arc<Certificate>| found.is_valid(now);
        known.and_then(|known| known.iter().find(valid).or(known.first())).or(self.default.as_ref())
    }

    fn find(&self, host: &str) -> Option<&Vec<Arc<Certificate>>> {
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.by_name.get(&host).or_else(|| self.by_name.get(&wildcard?))
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), SystemTime::now()).map(|chosen| Arc::clone(&chosen.key))
    }
}
