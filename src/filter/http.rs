//! Requests to scanners over HTTP/1.1, with connections that are kept and answers that are bounded.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_config::Endpoint;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use crate::scan::ScanError;
use crate::socket;

/// The most connections that are kept while they are not used.
const MAX_IDLE: usize = 32;
/// The largest head of an answer, in octets.
const MAX_HEAD: usize = 64 << 10;

type Sender = SendRequest<Full<Bytes>>;

/// A client of some servers.
#[derive(Default)]
pub(crate) struct HttpClient {
    idle: Mutex<Vec<(Endpoint, Sender)>>,
}

/// What a request may cost.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// How long the connection may take.
    pub(crate) connect: Duration,
    /// The largest body of an answer, in octets.
    pub(crate) answer: u64,
}

impl HttpClient {
    /// Sends a request and reads the answer to its end. It takes as long as it takes: the caller has the time.
    ///
    /// # Errors
    /// Any [`ScanError`] but [`ScanError::Timeout`]; the request may be sent again, here or elsewhere.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        bounds: Bounds,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ScanError> {
        if let Some(kept) = self.take(endpoint) {
            // The server may have closed it just now; what is not read cannot have counted.
            match self.send_over(kept, endpoint, bounds, request.clone()).await {
                Err(ScanError::Broken(_)) => {}
                answered => return answered,
            }
        }
        let socket = socket::connect(endpoint, bounds.connect).await?;
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(socket)).await;
        let (sender, connection) = handshake.map_err(broken)?;
        // Ends with the sender, or with the server.
        tokio::spawn(connection);
        self.send_over(sender, endpoint, bounds, request).await
    }

    async fn send_over(
        &self,
        mut sender: Sender,
        endpoint: &Endpoint,
        bounds: Bounds,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ScanError> {
        sender.ready().await.map_err(broken)?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let limit = usize::try_from(bounds.answer).unwrap_or(usize::MAX);
        let body = Limited::new(answer.into_body(), limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return ScanError::TooLarge { limit: bounds.answer };
            }
            ScanError::Broken(std::io::Error::other(error))
        })?;
        self.keep(endpoint, sender);
        Ok((status, body.to_bytes()))
    }

    fn take(&self, endpoint: &Endpoint) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, sender)| !sender.is_closed());
        let place = idle.iter().rposition(|(of, _)| of == endpoint)?;
        Some(idle.swap_remove(place).1)
    }

    fn keep(&self, endpoint: &Endpoint, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push((endpoint.clone(), sender));
        }
    }
}

fn broken(error: hyper::Error) -> ScanError {
    if error.is_parse() || error.is_parse_too_large() {
        return ScanError::Nonsense(error.to_string());
    }
    ScanError::Broken(std::io::Error::other(error))
}
