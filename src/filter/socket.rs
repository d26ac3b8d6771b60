//! Connections to scanners, over TCP or a socket in the file system.

use std::io;
use std::time::Duration;

use ekitei_config::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::scan::ScanError;

/// What a [`Socket`] can be.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

/// A connection to a scanner.
pub(crate) type Socket = Box<dyn Transport>;

/// Connects, within `timeout`.
///
/// # Errors
/// [`ScanError::Connect`]: the scanner is not there; another one, or a later time, may help.
pub(crate) async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Socket, ScanError> {
    let connecting = async {
        Ok::<Socket, io::Error>(match endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    };
    let connected = tokio::time::timeout(timeout, connecting).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|reason| ScanError::Connect { endpoint: endpoint.to_string(), reason })
}
