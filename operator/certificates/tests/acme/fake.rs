//! An ACME server that makes accounts, and refuses orders in ways that Pebble does not know.

use std::sync::Arc;

use ekitei_operator_certificates::acme::Server;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What it says to an order.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Nothing unusual.
    Order,
    RateLimited,
    /// What stands before the server says that it is away.
    Maintenance,
    /// More than anybody would read.
    Endless,
}

pub struct Fake {
    url: String,
    authority: String,
}

impl Fake {
    pub async fn start(answer: Answer) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let base = url.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), base.clone(), answer));
            }
        });
        Self { url, authority: made.cert.pem() }
    }

    pub fn server(&self) -> Server {
        Server::new(format!("{}/directory", self.url)).with_authorities(&self.authority)
    }
}

/// The requests of one connection.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor, base: String, answer: Answer) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let mut stream = BufReader::new(stream);
    while let Some(path) = request(&mut stream).await {
        let reply = reply(&path, &base, answer);
        if stream.write_all(reply.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Reads a request; gives its path.
async fn request(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(path)
}

fn reply(path: &str, base: &str, answer: Answer) -> String {
    let (status, headers, body) = match (path, answer) {
        ("/directory", _) => {
            let url = |name: &str| format!("{base}/{name}");
            let directory = serde_json::json!({
                "newNonce": url("nonce"), "newAccount": url("account"), "newOrder": url("order"),
            });
            ("200 OK", String::new(), directory.to_string())
        }
        ("/nonce", _) => ("200 OK", String::new(), String::new()),
        ("/account", _) => {
            ("201 Created", format!("Location: {base}/account/1\r\n"), r#"{"status": "valid"}"#.to_owned())
        }
        (_, Answer::RateLimited) => {
            let problem = serde_json::json!({
                "type": "urn:ietf:params:acme:error:rateLimited", "status": 429,
                "detail": "too many new orders recently",
            });
            ("429 Too Many Requests", "Retry-After: 4711\r\n".to_owned(), problem.to_string())
        }
        (_, Answer::Maintenance) => {
            ("503 Service Unavailable", "Retry-After: 120\r\n".to_owned(), "<html>later</html>".to_owned())
        }
        (_, Answer::Endless) => ("200 OK", String::new(), " ".repeat(3 << 20)),
        (_, Answer::Order) => ("404 Not Found", String::new(), "{}".to_owned()),
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nReplay-Nonce: nonce\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}
