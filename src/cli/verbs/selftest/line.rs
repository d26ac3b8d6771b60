//! A connection to a server whose protocol is lines: in clear, or over TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest line that is read.
const MAX_LINE: u64 = 64 * 1024;

/// How servers are believed, and how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Security {
    /// Certificates are not verified.
    pub(super) insecure: bool,
    /// For each step.
    pub(super) patience: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection.
pub(super) struct Lines {
    stream: BufReader<Box<dyn Stream>>,
    security: Security,
    host: String,
}

impl Lines {
    /// Connects in clear.
    pub(super) async fn connect(address: &str, security: Security) -> io::Result<Self> {
        let (host, _) = address.rsplit_once(':').ok_or_else(|| invalid("is not HOST:PORT"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = in_time(security, TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(Box::new(stream)), security, host })
    }

    /// Begins TLS on it.
    pub(super) async fn secure(self) -> io::Result<Self> {
        let Self { stream, security, host } = self;
        // What came in clear before the handshake would count as said over TLS (RFC 3207 §4.2).
        if !stream.buffer().is_empty() {
            return Err(invalid("the server said something before the TLS handshake"));
        }
        let connector = TlsConnector::from(Arc::new(client_config(security)?));
        let name = ServerName::try_from(host.clone()).map_err(|_| invalid("is no host name"))?;
        let stream = in_time(security, connector.connect(name, stream.into_inner())).await?;
        Ok(Self { stream: BufReader::new(Box::new(stream)), security, host })
    }

    /// The next line without its end.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_LINE);
        in_time(self.security, limited.read_until(b'\n', &mut line)).await?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
    }

    /// Writes `text` and CRLF.
    pub(super) async fn say(&mut self, text: &str) -> io::Result<()> {
        let text = format!("{text}\r\n");
        in_time(self.security, self.stream.write_all(text.as_bytes())).await?;
        in_time(self.security, self.stream.flush()).await
    }
}

async fn in_time<T>(security: Security, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(security.patience, step).await {
        Ok(done) => done,
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing for {:?}", security.patience)))
        }
    }
}

/// An error that is an answer nobody expected.
pub(super) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn client_config(security: Security) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    if security.insecure {
        let verifier = Arc::new(AnyCertificate(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate, for `--insecure`; that the server has its key is still proven.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
