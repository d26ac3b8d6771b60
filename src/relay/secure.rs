//! The TLS handshake with a server.

use std::io;
use std::time::Duration;

use ekitei_net::Stream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::TlsAttempt;

/// Shakes hands as the client. Returns the stream and the version of TLS in the words of the registry: `TLSv1.2`, `TLSv1.3`.
///
/// # Errors
/// The handshake failed or took too long.
pub(crate) async fn handshake(
    stream: Stream,
    attempt: &TlsAttempt,
    limit: Duration,
) -> io::Result<(Stream, &'static str)> {
    let connecting = TlsConnector::from(attempt.config()).connect(attempt.server_name(), stream);
    let stream = timeout(limit, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    Ok((Stream::over(stream), version))
}
