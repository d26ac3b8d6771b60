//! Listeners, PROXY protocol, TLS with reloadable certificates, limits and shutdown.
//!
//! A protocol server implements [`Handler`]; [`Listener::serve`] gives it one [`Connection`] for each client that
//! is within the limits, after the PROXY header and the TLS handshake where the listener has them. Handlers see
//! only [`Stream`], so tests run them over `tokio::io::duplex`: see [`Connection::over`].

mod budget;
mod certificates;
mod connection;
mod gate;
mod limits;
mod listener;
mod proxy;
mod rate;
mod shutdown;
mod stream;
mod tls;

pub use budget::{ByteBudget, BytePermit};
pub use certificates::{Certificate, CertificateError};
pub use connection::Connection;
pub use gate::{Arrival, Gate};
pub use limits::{AddressKey, ConnectionLimits, ConnectionPermit, Refusal};
pub use listener::{BindError, Handler, Listener, Net};
pub use proxy::{ProxyError, ProxyHeader};
pub use rate::RateLimiter;
pub use shutdown::Shutdown;
pub use stream::Stream;
pub use tls::{CertificateSource, CertificateStatus, Tls, TlsError, TlsInfo};
