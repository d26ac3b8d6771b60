//! One client that was let in.

use std::net::SocketAddr;
use std::sync::Arc;

use ekitei_config::ListenerConfig;

use crate::limits::ConnectionPermit;
use crate::stream::{Stream, Transport};
use crate::tls::{Tls, TlsError, TlsInfo};

/// A connection to a client. While it lives it counts against the limits.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub stream: Stream,
    /// The client: from the PROXY header of a trusted load balancer, else of the socket.
    pub peer: SocketAddr,
    /// Where the client connected to, likewise.
    pub local: SocketAddr,
    /// Set when TLS is spoken.
    pub tls: Option<TlsInfo>,
    /// The listener it came in by.
    pub listener: Arc<ListenerConfig>,
    /// Never read: held so that the connection is counted while it lives.
    _permit: Option<ConnectionPermit>,
}

impl Connection {
    /// A connection over any transport, counted against nothing.
    pub fn over(
        transport: impl Transport + 'static,
        peer: SocketAddr,
        local: SocketAddr,
        listener: Arc<ListenerConfig>,
    ) -> Self {
        Self { stream: Stream::over(transport), peer, local, tls: None, listener, _permit: None }
    }

    pub(crate) fn admitted(
        stream: Stream,
        peer: SocketAddr,
        local: SocketAddr,
        listener: Arc<ListenerConfig>,
        permit: ConnectionPermit,
    ) -> Self {
        Self { stream, peer, local, tls: None, listener, _permit: Some(permit) }
    }

    /// Begins TLS, after the reply to STARTTLS or STLS was sent and flushed. `buffered` is what the protocol's reader
    /// has read and not used: it must be empty, or an attacker could put commands before the handshake that are
    /// then obeyed inside it (CVE-2011-0411).
    ///
    /// # Errors
    /// [`TlsError`]: the connection is gone in any case. [`TlsError::PlaintextBuffered`] when `buffered` is not
    /// empty, [`TlsError::AlreadyActive`] when TLS is spoken, [`TlsError::NoCertificate`],
    /// [`TlsError::Timeout`], [`TlsError::Handshake`].
    pub async fn start_tls(mut self, tls: &Tls, buffered: &[u8]) -> Result<Self, TlsError> {
        if self.tls.is_some() {
            return Err(TlsError::AlreadyActive);
        }
        if !buffered.is_empty() {
            return Err(TlsError::PlaintextBuffered);
        }
        let (stream, info) = tls.accept(self.stream).await?;
        self.stream = stream;
        self.tls = Some(info);
        Ok(self)
    }

    /// Takes the stream out, for a protocol that splits it, and leaves what says who the client is and keeps it counted.
    pub fn take_stream(&mut self) -> Stream {
        std::mem::replace(&mut self.stream, Stream::over(tokio::io::empty()))
    }
}
