//! Servers as functions that expect lines and say lines, and a network where they live.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ekitei_config::{Config, Live, TlsRule};
use ekitei_dns::{Resolver, Security};
use ekitei_net::Stream;
use ekitei_telemetry::Registry;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, duplex};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::client::{Client, Trail};
use crate::connect::Dialer;
use crate::host::{Login, Target};
use crate::mx::{Host, Route};
use crate::tls::sts::InProcess;
use crate::tls::{HostTls, TlsPolicies, Wish};
use crate::work::Work;
use crate::{Envelope, Failure, Recipient, RecipientOutcome, Shipment, Status, TlsReporter, TlsSession};

pub const A: &str = "192.0.2.1";
pub const B: &str = "192.0.2.2";
pub const MESSAGE: &str = "Subject: x\r\n\r\n.dot\r\n";

type Behaviour = Box<dyn FnOnce(Peer) -> BoxFuture<'static, ()> + Send>;

/// Servers by address: each connection is served by the next behaviour, and refused when there is none left.
#[derive(Default)]
pub struct Network {
    servers: Mutex<HashMap<IpAddr, VecDeque<Behaviour>>>,
    /// Connecting to it takes for ever.
    pub silent: Mutex<Option<IpAddr>>,
    pub running: Mutex<Vec<JoinHandle<()>>>,
}

impl Dialer for Arc<Network> {
    fn dial(&self, to: SocketAddr, _: Option<IpAddr>) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            if *self.silent.lock().unwrap() == Some(to.ip()) {
                return std::future::pending().await;
            }
            let behaviour = self.servers.lock().unwrap().get_mut(&to.ip()).and_then(VecDeque::pop_front);
            let Some(behaviour) = behaviour else { return Err(io::ErrorKind::ConnectionRefused.into()) };
            let (near, far) = duplex(16 * 1024);
            let task = tokio::spawn(behaviour(Peer { stream: BufReader::new(Stream::over(far)) }));
            self.running.lock().unwrap().push(task);
            Ok(Stream::over(near))
        })
    }
}

pub struct World {
    pub client: Arc<Client>,
    pub network: Arc<Network>,
    pub registry: Registry,
    pub hosts: Vec<Host>,
    pub login: Option<Login>,
    pub implicit_tls: bool,
}

impl World {
    /// Two hosts, one address each: [`A`], then [`B`].
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { hostname: "us.example".into(), ..Config::default() };
        change(&mut config);
        let (network, registry) = (Arc::<Network>::default(), Registry::new());
        let client = Client::new(Live::new(config), Box::new(network.clone()), &registry);
        let hosts = vec![host("a.example", &[A]), host("b.example", &[B])];
        Self { client: Arc::new(client), network, registry, hosts, login: None, implicit_tls: false }
    }

    /// The next connection to `address` is served so.
    pub fn serve<F>(&self, address: &str, behaviour: impl FnOnce(Peer) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let behaviour: Behaviour = Box::new(|peer| Box::pin(behaviour(peer)));
        self.network
            .servers
            .lock()
            .unwrap()
            .entry(address.parse().unwrap())
            .or_default()
            .push_back(behaviour);
    }

    /// Sends, in the clear. Connections may stay open.
    pub async fn send(&self, shipment: Shipment) -> Vec<RecipientOutcome> {
        static OFF: OnceCell<HostTls> = OnceCell::const_new();
        let make = || async { policy(&self.hosts, TlsRule::None, false, None).await.remove(0) };
        let off = OFF.get_or_init(make).await;
        self.send_with(shipment, |_| off.clone()).await
    }

    pub async fn send_with(
        &self,
        shipment: Shipment,
        tls: impl Fn(&Host) -> HostTls,
    ) -> Vec<RecipientOutcome> {
        let (mut work, mut trail) = (Work::new(shipment), Trail::new(10));
        for host in self.client.silent.behind(&self.hosts) {
            if !work.is_done() {
                let (implicit_tls, login) = (self.implicit_tls, self.login.clone());
                let target =
                    Target { host, tls: tls(host), is_smart_host: login.is_some(), implicit_tls, login };
                self.client.deliver(&target, &mut work, &mut trail).await;
            }
        }
        work.finish(&trail.outcome())
    }

    /// Waits until all servers are done; what one of them found wrong fails the test. Every server must have been visited.
    pub async fn settle(&self) {
        let left: usize = self.network.servers.lock().unwrap().values().map(VecDeque::len).sum();
        assert_eq!(left, 0, "connections were expected and did not come");
        let running = std::mem::take(&mut *self.network.running.lock().unwrap());
        for task in running {
            tokio::time::timeout(Duration::from_secs(3600), task).await.expect("a server hangs").unwrap();
        }
    }

    /// Ends idle connections and waits for all servers.
    pub async fn close(&self) {
        for session in self.client.expire(Duration::ZERO) {
            session.wire.quit().await;
        }
        self.settle().await;
    }

    pub fn metric(&self, line: &str) -> u64 {
        let text = self.registry.render();
        let found = text.lines().find_map(|found| found.strip_prefix(&format!("ekitei_{line} ")));
        found.map_or(0, |value| value.parse().unwrap())
    }
}

struct Nobody;

impl TlsReporter for Nobody {
    fn session(&self, _: TlsSession) {}
}

/// What a configured rule makes of hosts, in their order. The authorities in this file are trusted.
pub async fn policy(
    hosts: &[Host],
    rule: TlsRule,
    require_tls: bool,
    authorities: Option<&Path>,
) -> Vec<HostTls> {
    let mut config = Config::default();
    config.relay.ca_file = authorities.map(Path::to_owned);
    let live = Live::new(config);
    let dns = Resolver::new(&live.load().dns).unwrap();
    let policies = TlsPolicies::new(live, dns, Arc::new(Nobody), Arc::new(InProcess), &Registry::new());
    let route =
        Route { destination: "to.example".into(), smart_host: None, tls: Some(rule), hosts: hosts.to_vec() };
    let wish = if require_tls { Wish::Required } else { Wish::AsPublished };
    let destination = policies.destination(&route, wish).await;
    let mut found = Vec::new();
    for host in hosts {
        found.push(policies.host(&destination, host).await.unwrap());
    }
    found
}

pub fn host(name: &str, addresses: &[&str]) -> Host {
    Host {
        name: name.into(),
        canonical: name.into(),
        addresses: addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 25)).collect(),
        mx_security: Security::Insecure,
        address_security: Security::Insecure,
        name_security: Security::Insecure,
    }
}

pub fn recipient(address: &str) -> Recipient {
    Recipient { address: address.into(), notify: None, original: None }
}

/// [`MESSAGE`] from `s@from.example`.
pub fn shipment(recipients: &[&str]) -> Shipment {
    Shipment {
        destination: "to.example".into(),
        sender_domain: Some("from.example".into()),
        envelope: Envelope { reverse_path: Some("s@from.example".into()), ..Envelope::default() },
        recipients: recipients.iter().map(|address| recipient(address)).collect(),
        message: vec![Bytes::from_static(MESSAGE.as_bytes())],
        may_finish: Arc::new(|| true),
    }
}

pub fn failure(outcome: &RecipientOutcome) -> &Failure {
    match outcome {
        RecipientOutcome::Deferred(failure) | RecipientOutcome::Failed(failure) => failure,
        RecipientOutcome::Sent { .. } => panic!("{outcome:?}"),
    }
}

pub fn deferred(outcome: &RecipientOutcome) -> &Failure {
    assert!(matches!(outcome, RecipientOutcome::Deferred(_)), "{outcome:?}");
    failure(outcome)
}

pub fn failed(outcome: &RecipientOutcome) -> &Failure {
    assert!(matches!(outcome, RecipientOutcome::Failed(_)), "{outcome:?}");
    failure(outcome)
}

pub fn assert_sent(outcomes: &[RecipientOutcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, RecipientOutcome::Sent { .. })), "{outcomes:?}");
}

pub fn status(outcome: &RecipientOutcome) -> Option<Status> {
    match outcome {
        RecipientOutcome::Sent { .. } => None,
        _ => Some(failure(outcome).status),
    }
}

/// The server's end of a connection.
pub struct Peer {
    pub stream: BufReader<Stream>,
}

impl Peer {
    pub async fn say(&mut self, lines: &str) {
        for line in lines.lines() {
            // The client may be gone, which the script then finds out where it expects something.
            let _ = self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await;
        }
    }

    /// Octets in one write.
    pub async fn say_at_once(&mut self, octets: &str) {
        self.stream.get_mut().write_all(octets.as_bytes()).await.unwrap();
    }

    /// The next line; empty at the end.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        assert!(line.is_empty() || line.ends_with("\r\n"), "{line:?}");
        line.trim_end().to_owned()
    }

    pub async fn expect(&mut self, line: &str) {
        assert_eq!(self.line().await, line);
    }

    /// `exchange(&[("RSET", "250 ok")])`
    pub async fn exchange(&mut self, steps: &[(&str, &str)]) {
        for (line, answer) in steps {
            self.expect(line).await;
            self.say(answer).await;
        }
    }

    /// Nothing comes for a while.
    pub async fn nothing(&mut self) {
        tokio::select! {
            biased;
            read = self.stream.fill_buf() => panic!("{:?} was not expected", String::from_utf8_lossy(read.unwrap())),
            () = sleep(Duration::from_secs(1)) => {}
        }
    }

    /// Greets, and offers extensions, separated by spaces or, with their parameters, by `;`.
    pub async fn hello(&mut self, extensions: &str) {
        self.say("220 mx.example ESMTP").await;
        self.expect("EHLO us.example").await;
        self.offer(extensions).await;
    }

    pub async fn offer(&mut self, extensions: &str) {
        let mut lines: Vec<&str> = vec!["mx.example"];
        lines.extend(
            extensions
                .split(if extensions.contains(';') { ';' } else { ' ' })
                .filter(|word| !word.is_empty()),
        );
        let last = lines.len() - 1;
        for (at, line) in lines.iter().enumerate() {
            self.say(&format!("250{}{line}", if at == last { ' ' } else { '-' })).await;
        }
    }

    /// MAIL from the usual sender, and RCPT, one by one, all taken.
    pub async fn envelope(&mut self, recipients: &[&str]) {
        self.exchange(&[("MAIL FROM:<s@from.example>", "250 ok")]).await;
        for recipient in recipients {
            self.exchange(&[(&format!("RCPT TO:<{recipient}>"), "250 ok")]).await;
        }
    }

    /// DATA and the message as it comes, with its end.
    pub async fn data(&mut self) -> String {
        self.exchange(&[("DATA", "354 go on")]).await;
        self.message().await
    }

    /// Shakes hands as the server.
    pub async fn secure(self, acceptor: &TlsAcceptor) -> io::Result<Self> {
        assert!(self.stream.buffer().is_empty(), "the client sent more behind STARTTLS");
        let stream = acceptor.accept(self.stream.into_inner()).await?;
        Ok(Self { stream: BufReader::new(stream.into()) })
    }

    /// Lines up to the dot, or to the end of the connection.
    pub async fn message(&mut self) -> String {
        let mut message = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.unwrap() == 0 {
                return message;
            }
            message.push_str(&line);
            if line == ".\r\n" {
                return message;
            }
        }
    }

    /// As many octets as a chunk has.
    pub async fn chunk(&mut self, size: usize) -> String {
        let mut octets = vec![0; size];
        self.stream.read_exact(&mut octets).await.unwrap();
        String::from_utf8(octets).unwrap()
    }

    /// A whole transaction that is taken.
    pub async fn take(&mut self, recipients: &[&str]) {
        self.envelope(recipients).await;
        assert_eq!(self.data().await, "Subject: x\r\n\r\n..dot\r\n.\r\n");
        self.say("250 2.0.0 taken").await;
    }

    /// The client closes the connection, politely or not.
    pub async fn end(&mut self) {
        let line = self.line().await;
        assert!(line == "QUIT" || line.is_empty(), "{line:?}");
    }

    pub async fn quit(&mut self) {
        self.expect("QUIT").await;
    }
}
