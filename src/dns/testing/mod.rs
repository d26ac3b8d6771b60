//! A DNS server for tests: answers from a zone text on a port of 127.0.0.1, over UDP and TCP, and misbehaves on demand.
//!
//! It plays the recursive resolver that the service asks: every name of the world is in its zone text, CNAME chains are followed, and what is not there
//! does not exist. [`TestDns::signed`] signs everything, with a trust anchor of its own.

mod sign;
mod zone;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::LowerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::Resolver;
use sign::Signer;
use zone::Zone;

/// How a name is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// From the zone.
    Honest,
    /// Not at all.
    Silent,
    /// With SERVFAIL.
    ServFail,
    /// With REFUSED.
    Refused,
    /// Over UDP with an empty truncated answer, so that TCP is needed.
    Truncated,
    /// With the records of another name than was asked for.
    OtherName,
    /// With octets that are no DNS message.
    Garbage,
    /// With signatures that do not verify (of a signed zone).
    BadSignature,
    /// Without its signatures (of a signed zone).
    NoSignature,
}

/// The server; it stops when this is dropped. Needs a tokio runtime with I/O and time.
pub struct TestDns {
    shared: Arc<Shared>,
    address: SocketAddr,
    anchors: Option<PathBuf>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the tasks of the server share.
struct Shared {
    zone: Mutex<Zone>,
    behaviours: Mutex<HashMap<LowerName, Behaviour>>,
    queries: Mutex<Vec<(String, String)>>,
    signer: Option<Signer>,
}

/// A lock that a failed test may have poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TestDns {
    /// Serves a zone text: `name type data` in each line, all names relative to the root, TTL 0 unless one is given.
    ///
    /// ```text
    /// example.org MX 10 mx.example.org
    /// mx.example.org A 127.0.0.1
    /// _dmarc.example.org TXT "v=DMARC1; p=none"
    /// ```
    ///
    /// # Panics
    /// The text is no zone, or no port is to be had.
    pub fn start(zone: &str) -> Self {
        Self::serve(zone, None)
    }

    /// The same, signed with a key of its own; [`settings`](Self::settings) has its trust anchor. Names under an `NS` record other than the root's are an unsigned zone.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn signed(zone: &str) -> Self {
        Self::serve(zone, Some(Signer::generate()))
    }

    fn serve(zone: &str, signer: Option<Signer>) -> Self {
        let (udp, tcp) = bind().expect("a port of 127.0.0.1 is free");
        let address = udp.local_addr().expect("a bound socket has an address");
        let anchors = signer.as_ref().map(|signer| {
            let path = std::env::temp_dir().join(format!(
                "ekitei-test-anchors-{}-{}",
                std::process::id(),
                address.port()
            ));
            std::fs::write(&path, signer.anchor()).expect("the directory for temporary files is writable");
            path
        });
        let shared = Arc::new(Shared {
            zone: Mutex::new(Zone::parse(zone, signer.as_ref())),
            behaviours: Mutex::default(),
            queries: Mutex::default(),
            signer,
        });
        let tasks = vec![
            tokio::spawn(serve_udp(Arc::new(udp), Arc::clone(&shared))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&shared))),
        ];
        Self { shared, address, anchors, tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A configuration that asks this server only: short timeouts, no cache, DNSSEC if the zone is signed.
    pub fn settings(&self) -> ekitei_config::Dns {
        ekitei_config::Dns {
            servers: vec![self.address],
            timeout: ekitei_config::Duration::millis(500),
            attempts: 1,
            cache_entries: 0,
            dnssec: self.anchors.is_some(),
            trust_anchors: self.anchors.clone(),
            ..Default::default()
        }
    }

    /// A resolver with [`settings`](Self::settings).
    ///
    /// # Panics
    /// The settings are refused, which would be a fault of this server.
    pub fn resolver(&self) -> Resolver {
        Resolver::new(&self.settings()).expect("the settings of the test server are good")
    }

    /// Replaces the whole zone.
    ///
    /// # Panics
    /// The text is no zone.
    pub fn set(&self, zone: &str) {
        *lock(&self.shared.zone) = Zone::parse(zone, self.shared.signer.as_ref());
    }

    /// From now on answers so for a name, of whatever type.
    ///
    /// # Panics
    /// This is no name.
    pub fn behave(&self, name: &str, behaviour: Behaviour) {
        lock(&self.shared.behaviours).insert(zone::name(name).into(), behaviour);
    }

    /// What was asked since the last call: name (lower case, without the last dot) and type.
    pub fn queries(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *lock(&self.shared.queries))
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(path) = &self.anchors {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The same port for UDP and TCP.
fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..50 {
        let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        match std::net::TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => {
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse)))
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = vec![0; 65_535];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(reply) = shared.reply(&buffer[..length], true) {
            let _ = socket.send_to(&reply, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve_stream(stream, Arc::clone(&shared)));
    }
}

/// Messages with their length before them (RFC 1035 §4.2.2).
async fn serve_stream(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(Duration::from_secs(30), stream.read_u16()).await??;
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await?;
        if let Some(reply) = shared.reply(&query, false) {
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&reply).await?;
        }
    }
}

impl Shared {
    /// The octets to answer with, if any.
    fn reply(&self, octets: &[u8], udp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(octets).ok()?;
        let question = query.queries.first()?.clone();
        lock(&self.queries).push((zone::text(question.name()), question.query_type().to_string()));
        let behaviour = lock(&self.behaviours)
            .get(&LowerName::new(question.name()))
            .copied()
            .unwrap_or(Behaviour::Honest);
        let mut message = Message::response(query.metadata.id, query.metadata.op_code);
        message.metadata.recursion_desired = query.metadata.recursion_desired;
        message.metadata.recursion_available = true;
        message.add_query(question.clone());
        let dnssec = query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        if let Some(edns) = &query.edns {
            let mut ours = edns.clone();
            ours.set_max_payload(4096);
            message.set_edns(ours);
        }
        match behaviour {
            Behaviour::Silent => return None,
            Behaviour::Garbage => return Some([&octets[..octets.len().min(4)], b"what?"].concat()),
            Behaviour::ServFail => message.metadata.response_code = ResponseCode::ServFail,
            Behaviour::Refused => message.metadata.response_code = ResponseCode::Refused,
            Behaviour::Truncated if udp => message.metadata.truncation = true,
            _ => {
                let signer = self.signer.as_ref().filter(|_| dnssec);
                lock(&self.zone).answer(&question, behaviour, signer, &mut message);
            }
        }
        Some(fit(message, if udp { usize::from(query.max_payload()) } else { 65_535 }, udp))
    }
}

/// A message of no more than so many octets: over UDP the client is told to ask again; over TCP the rest is left out.
fn fit(mut message: Message, limit: usize, udp: bool) -> Vec<u8> {
    // The names that compression spares are not known before, so begin with more than can fit.
    message.answers.truncate(8_000);
    loop {
        match message.to_vec() {
            // The encoder cuts what is over 64 kB, and says so with the bit for truncation in the third octet.
            Ok(octets)
                if octets.len() <= limit && octets[2] & 2 == u8::from(message.metadata.truncation) << 1 =>
            {
                return octets;
            }
            _ if udp => {
                message.metadata.truncation = true;
                message.answers.clear();
                message.authorities.clear();
            }
            _ if message.answers.is_empty() => return Vec::new(),
            _ => {
                let keep = message.answers.len() * 9 / 10;
                message.answers.truncate(keep);
            }
        }
    }
}
