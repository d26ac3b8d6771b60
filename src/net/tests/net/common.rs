//! A service with one listener whose handler says who the client is, and certificates for it.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{CertificateConfig, Config, ListenerConfig, Live};
use ekitei_net::{Connection, Handler, Listener, Net, Refusal, Shutdown, Tls};
use ekitei_telemetry::Registry;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Says who the client is, then waits for its end or for the shutdown.
struct Introduce {
    shutdown: Shutdown,
}

impl Handler for Introduce {
    fn refusal(&self, reason: Refusal) -> Cow<'_, [u8]> {
        format!("refused {}\n", reason.name()).into_bytes().into()
    }

    async fn handle(self: Arc<Self>, mut connection: Connection) {
        let tls = match &connection.tls {
            Some(tls) => {
                format!("{} {} sni {}", tls.version, tls.cipher, tls.sni.as_deref().unwrap_or("none"))
            }
            None => "none".to_owned(),
        };
        let line = format!("peer {} tls {tls}\n", connection.peer);
        if connection.stream.write_all(line.as_bytes()).await.is_err() {
            return;
        }
        let _ = connection.stream.flush().await;
        let mut byte = [0];
        tokio::select! {
            _ = connection.stream.read(&mut byte) => {}
            () = self.shutdown.graceful() => {
                let _ = connection.stream.write_all(b"bye\n").await;
                // Until the client goes: a server may take its time.
                let _ = connection.stream.read(&mut byte).await;
            }
        }
    }
}

/// A running listener.
pub struct Service {
    pub net: Net,
    pub registry: Registry,
    pub address: SocketAddr,
    pub served: JoinHandle<()>,
}

impl Service {
    pub async fn start(config: Config, listener: ListenerConfig) -> Self {
        let registry = Registry::new();
        let shutdown = Shutdown::new();
        let tls = Tls::new(&config.tls, config.limits.tls_handshake_timeout.get()).unwrap();
        let net = Net::new(Live::new(config), tls, shutdown.clone(), &registry);
        let listener = Listener::bind(listener, &net).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(listener.serve(Arc::new(Introduce { shutdown })));
        Self { net, registry, address, served }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The value of a metric with its labels; 0 if it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.registry.render();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0)
    }

    /// Waits until `condition` holds, at most some seconds.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        for _ in 0..500 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the condition did not come true");
    }
}

/// A configuration with limits that do not matter.
pub fn config() -> Config {
    Config::default()
}

/// Sends `text` and reads one line.
pub async fn speak(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut line = String::new();
    let read = BufReader::with_capacity(1024, stream).read_line(&mut line).await;
    assert!(read.is_ok(), "{read:?}");
    line
}

/// Everything until the end of the stream; a reset is an end too.
pub async fn said(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8(bytes).unwrap()
}

/// A self-signed certificate in files.
pub struct Files {
    pub directory: tempfile::TempDir,
    pub pem: String,
}

impl Files {
    pub fn pair(&self) -> CertificateConfig {
        CertificateConfig {
            certificate: self.directory.path().join("tls.crt"),
            key: self.directory.path().join("tls.key"),
        }
    }

    /// Puts another certificate in the same files.
    pub fn replace(&mut self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        self.pem = made.cert.pem();
        std::fs::write(self.pair().key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(self.pair().certificate, &self.pem).unwrap();
    }
}

pub fn certificate(names: &[&str]) -> Files {
    let mut files = Files { directory: tempfile::tempdir().unwrap(), pem: String::new() };
    files.replace(names);
    files
}

/// A client that trusts exactly this certificate.
pub fn client_tls(files: &Files) -> tokio_rustls::TlsConnector {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(files.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

/// A client that takes any certificate.
pub fn client_tls_that_trusts_anything() -> tokio_rustls::TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    Arc::new(config).into()
}

#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
