//! Certificates: reading them from files, and choosing one for a client.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ekitei_config::{TlsConfig, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;

use crate::tls::{Active, CertificateStatus, TlsError};

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
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads everything that `config` names; `None` if it names nothing.
pub(crate) fn load(config: &TlsConfig) -> Result<Option<Active>, TlsError> {
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
    Ok(Some(Active { server: Arc::new(server), certificates }))
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
    std::fs::read(path).map_err(|reason| TlsError::Read { path: path.to_owned(), reason })
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
