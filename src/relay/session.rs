//! A connection from its beginning to the point where it takes mail: greeting, EHLO, STARTTLS, AUTH (RFC 5321 §3.1, RFC 3207, RFC 4954).

use std::net::{IpAddr, SocketAddr};

use ekitei_config::RelayTimeouts;
use ekitei_net::Stream;
use ekitei_telemetry::Timer;

use crate::client::Client;
use crate::host::{Login, Target};
use crate::outcome::{Failure, FailureKind};
use crate::proto::capabilities::Capabilities;
use crate::proto::reply::Reply;
use crate::proto::sasl::Exchange;
use crate::proto::status::{Phase, Status};
use crate::secure::handshake;
use crate::tls::TlsAttempt;
use crate::wire::Wire;

/// A connection that takes mail.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) wire: Wire,
    /// What the server announced last.
    pub(crate) capabilities: Capabilities,
    /// The server: `host [address]`.
    pub(crate) remote: String,
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Transactions that were begun on it.
    pub(crate) transactions: u64,
    /// The last transaction was not finished: RSET comes before the next.
    pub(crate) needs_reset: bool,
    /// The server waits for the rest of a message: whatever is written would be taken for that.
    pub(crate) within_message: bool,
    /// Destinations that it was used for, where the server limits them (RFC 9422 §4.3); else empty.
    pub(crate) destinations: Vec<String>,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) struct OpenError {
    /// What to say of it. Class 5 only where the host will never take this message: another may.
    pub(crate) failure: Failure,
    /// The address that was connected to; `None` if none of the addresses answered.
    pub(crate) address: Option<SocketAddr>,
    /// The handshake failed, and nothing demands TLS: another attempt at the same address without it may do.
    pub(crate) may_go_clear: bool,
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self { failure, address: None, may_go_clear: false }
    }
}

impl Session {
    /// Connects to one of the addresses of a host and says hello; `encrypt` is `false` after a handshake has failed that nothing demands.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn open(
        client: &Client,
        target: &Target<'_>,
        addresses: &[SocketAddr],
        encrypt: bool,
    ) -> Result<Self, OpenError> {
        let timer = Timer::start();
        let remote = |address: SocketAddr| format!("{} [{}]", target.host.name, address.ip());
        let connected = client.connect(addresses).await.map_err(|error| {
            let text = format!("connecting to {} failed: {}", error.address, error.reason);
            Failure::new(FailureKind::Connection, Status(4, 4, 1), text).at(&remote(error.address))
        })?;
        timer.observe(&client.metrics.connect_seconds);
        let opening = Opening {
            client,
            target,
            remote: remote(connected.address),
            address: connected.address,
            source: connected.source,
            timeouts: client.timeouts(),
        };
        let opened = opening.run(connected.stream, encrypt).await;
        opened.map_err(|error| OpenError {
            failure: error.failure.at(&opening.remote),
            address: Some(connected.address),
            may_go_clear: error.may_go_clear,
        })
    }

    /// Whether the server allows another transaction on this connection (RFC 9422 §4.1).
    pub(crate) fn may_begin(&self) -> bool {
        self.capabilities.limits.mail_max.is_none_or(|max| self.transactions < max)
    }

    /// Whether the server allows recipients of another destination on this connection (RFC 9422 §4.3).
    pub(crate) fn may_go_to(&self, destination: &str) -> bool {
        let Some(max) = self.capabilities.limits.rcpt_domain_max else { return true };
        let is_known = self.destinations.iter().any(|known| known == destination);
        is_known || (self.destinations.len() as u64) < max
    }

    /// Remembers a destination, where the server counts them.
    pub(crate) fn goes_to(&mut self, destination: &str) {
        if self.capabilities.limits.rcpt_domain_max.is_some()
            && !self.destinations.iter().any(|known| known == destination)
        {
            self.destinations.push(destination.to_owned());
        }
    }

    /// Ends the session, politely where that may be, and lets nobody wait for it.
    pub(crate) fn leave(self) {
        // Within a message, QUIT would be part of it, and might even complete a chunk.
        if !self.within_message {
            tokio::spawn(self.wire.quit());
        }
    }
}

/// A connection that is being opened.
struct Opening<'a> {
    client: &'a Client,
    target: &'a Target<'a>,
    remote: String,
    address: SocketAddr,
    source: Option<IpAddr>,
    timeouts: RelayTimeouts,
}

impl Opening<'_> {
    async fn run(&self, mut stream: Stream, encrypt: bool) -> Result<Session, OpenError> {
        let mut is_encrypted = false;
        if self.target.implicit_tls {
            // There is nothing to go back to, whatever the policy allows.
            let shaken = self.shake_hands(stream, self.attempt()).await;
            stream = shaken.map_err(|error| OpenError { may_go_clear: false, ..error })?;
            is_encrypted = true;
        }
        let mut wire = self.wire(stream);
        let greeted = self.greeting(&mut wire).await;
        let ((), mut wire) = or_quit(greeted, wire)?;
        let hello = self.hello(&mut wire).await;
        let (mut capabilities, mut wire) = or_quit(hello, wire)?;
        if !is_encrypted && encrypt && self.target.tls.wanted() {
            (wire, is_encrypted) = self.start_tls(wire, &capabilities).await?;
            if is_encrypted {
                // What was announced in the clear is forgotten (RFC 3207 §4.2).
                let hello = self.hello(&mut wire).await;
                (capabilities, wire) = or_quit(hello, wire)?;
            }
        }
        if let Some(login) = &self.target.login {
            let logged_in = self.log_in(&mut wire, &capabilities, login, is_encrypted).await;
            ((), wire) = or_quit(logged_in, wire)?;
        }
        // It may be offered under TLS only (RFC 8689 §2).
        capabilities.require_tls &= is_encrypted;
        tracing::debug!(remote = %self.remote, is_encrypted, "a connection is open");
        Ok(Session {
            wire,
            capabilities,
            remote: self.remote.clone(),
            address: self.address,
            transactions: 0,
            needs_reset: false,
            within_message: false,
            destinations: Vec::new(),
        })
    }

    fn wire(&self, stream: Stream) -> Wire {
        Wire::new(stream, self.client.reply_limits())
    }

    fn attempt(&self) -> TlsAttempt {
        self.target.tls.attempt(self.address.ip(), self.source)
    }

    /// Waits for `220`.
    async fn greeting(&self, wire: &mut Wire) -> Result<(), Failure> {
        let reply = wire.reply(self.timeouts.greeting.get()).await;
        let reply = reply.map_err(|error| Failure::of_wire(&error, "the greeting"))?;
        match reply.code() {
            220 => Ok(()),
            // A host that never takes mail (RFC 7504 §3): if all hosts say so, the mail need not wait.
            521 => Err(Failure::of_reply(FailureKind::Host, &reply, Phase::Greeting)),
            _ => Err(refused(&reply, Phase::Greeting, "the connection")),
        }
    }

    /// EHLO, or HELO where the server does not know EHLO (RFC 5321 §3.2).
    async fn hello(&self, wire: &mut Wire) -> Result<Capabilities, Failure> {
        let name = self.client.ehlo_name();
        let reply = self.ask(wire, format!("EHLO {name}\r\n"), "EHLO").await?;
        if reply.is_positive() {
            return Ok(Capabilities::parse(&reply));
        }
        if !matches!(reply.code(), 500 | 501 | 502 | 504 | 550) {
            return Err(refused(&reply, Phase::Hello, "EHLO"));
        }
        let reply = self.ask(wire, format!("HELO {name}\r\n"), "HELO").await?;
        if reply.is_positive() {
            Ok(Capabilities::default())
        } else {
            Err(refused(&reply, Phase::Hello, "HELO"))
        }
    }

    /// STARTTLS, if the server has it. A server that refuses is spoken to in the clear where nothing demands TLS.
    async fn start_tls(
        &self,
        mut wire: Wire,
        capabilities: &Capabilities,
    ) -> Result<(Wire, bool), OpenError> {
        let attempt = self.attempt();
        if !capabilities.starttls {
            let ((), wire) = or_quit(attempt.not_offered(None), wire)?;
            return Ok((wire, false));
        }
        let reply = self.ask(&mut wire, "STARTTLS\r\n".into(), "STARTTLS").await?;
        if reply.code() == 421 {
            return Err(refused(&reply, Phase::StartTls, "STARTTLS").into());
        }
        if reply.code() != 220 {
            let ((), wire) = or_quit(attempt.not_offered(Some(&reply)), wire)?;
            return Ok((wire, false));
        }
        let Some(stream) = wire.into_stream() else {
            let text = "the server, or somebody on the way, sent more behind the answer to STARTTLS";
            return Err(self.tls_failed(attempt, &std::io::Error::new(std::io::ErrorKind::InvalidData, text)));
        };
        let stream = self.shake_hands(stream, attempt).await?;
        Ok((self.wire(stream), true))
    }

    async fn shake_hands(&self, stream: Stream, attempt: TlsAttempt) -> Result<Stream, OpenError> {
        let timer = Timer::start();
        match handshake(stream, &attempt, self.timeouts.tls.get()).await {
            Ok((stream, version)) => {
                timer.observe(&self.client.metrics.tls_seconds);
                self.client.metrics.tls.with(&[version]).inc();
                attempt.established();
                Ok(stream)
            }
            Err(reason) => Err(self.tls_failed(attempt, &reason)),
        }
    }

    fn tls_failed(&self, attempt: TlsAttempt, reason: &std::io::Error) -> OpenError {
        self.client.metrics.tls.with(&["failed"]).inc();
        tracing::debug!(remote = %self.remote, %reason, "a TLS handshake failed");
        let text = format!("the TLS handshake failed: {reason}");
        let (failure, may_go_clear) = match attempt.failed(reason) {
            Ok(()) => (Failure::new(FailureKind::Tls, Status(4, 7, 5), text), true),
            Err(failure) => (failure, false),
        };
        OpenError { failure, address: None, may_go_clear }
    }

    /// Logs in at a smart host. A wrong password is our mistake, not the message's: mail waits until it is mended.
    async fn log_in(
        &self,
        wire: &mut Wire,
        capabilities: &Capabilities,
        login: &Login,
        is_encrypted: bool,
    ) -> Result<(), Failure> {
        let refuse = |text: &str| Err(Failure::new(FailureKind::Host, Status(4, 7, 0), text));
        if !is_encrypted && !self.target.is_local() {
            return refuse("the password of the smart host is not sent without TLS");
        }
        let (name, password) = (&login.username, login.password.expose());
        let Some(mut exchange) = Exchange::new(capabilities.auth, name, password, &Login::nonce()) else {
            return refuse("the smart host offers no way to log in that is known here");
        };
        let mut reply = self.ask(wire, exchange.command(), "AUTH").await?;
        while reply.code() == 334 {
            let challenge = reply.lines().next().unwrap_or_default();
            reply = match exchange.respond(challenge) {
                Ok(response) => self.ask(wire, response, "AUTH").await?,
                Err(error) => {
                    // It is cancelled, whatever the server says to that (RFC 4954 §4).
                    self.ask(wire, "*\r\n".into(), "AUTH").await?;
                    return refuse(&error.to_string());
                }
            };
        }
        if reply.code() != 235 {
            return Err(refused(&reply, Phase::Auth, "AUTH"));
        }
        exchange.finish().or_else(|error| refuse(&error.to_string()))
    }

    /// A command and its reply.
    async fn ask(&self, wire: &mut Wire, command: String, name: &str) -> Result<Reply, Failure> {
        let limit = self.timeouts.command.get();
        let failed = match wire.command(command, limit).await {
            Ok(()) => match wire.reply(limit).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            },
            // Who closes the connection says why, before.
            Err(error) => match wire.last_words().await {
                Some(reply) => return Ok(reply),
                None => error,
            },
        };
        Err(Failure::of_wire(&failed, name))
    }
}

/// Goes on with a wire if nothing failed. A server that refuses us, or is refused by us, is taken leave of (RFC 5321 §3.1, §4.1.1.10).
fn or_quit<T>(outcome: Result<T, Failure>, wire: Wire) -> Result<(T, Wire), OpenError> {
    match outcome {
        Ok(value) => Ok((value, wire)),
        Err(failure) => {
            if matches!(failure.kind, FailureKind::Host | FailureKind::Tls) {
                tokio::spawn(wire.quit());
            }
            Err(failure.into())
        }
    }
}

/// A refusal by one server, which is not one by the destination (RFC 5321 §5.1).
fn refused(reply: &Reply, phase: Phase, command: &str) -> Failure {
    if reply.code() >= 400 {
        Failure::of_reply(FailureKind::Host, reply, phase).temporary()
    } else {
        Failure::unexpected(reply, command)
    }
}
