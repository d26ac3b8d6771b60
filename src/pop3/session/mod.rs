//! One client from greeting to end: which command is allowed when, and what ends a session.

mod authorization;
mod transaction;

use std::io;
use std::sync::Arc;

use ekitei_config::Config;
use ekitei_directory::AccountId;
use ekitei_net::{Connection, TlsError};
use tracing::Instrument as _;

use crate::lease::Lease;
use crate::maildrop::Maildrop;
use crate::proto::Command;
use crate::reply::{Code, Reply};
use crate::server::Service;
use crate::wire::{Input, Wire};

/// A session of one client.
pub(crate) struct Session<'a> {
    service: &'a Service,
    /// The configuration when the client connected.
    config: Arc<Config>,
    state: State,
    /// The client has said UTF8 (RFC 6856 §2).
    utf8: bool,
    /// Bad commands so far; `pop3.maxErrors` end the session.
    errors: u32,
    /// Wrong passwords so far; `pop3.maxAuthFailures` end the session.
    failed_logins: u32,
}

/// The states of RFC 1939 §3; UPDATE is the end of TRANSACTION.
enum State {
    Authorization {
        /// What USER said.
        user: Option<String>,
    },
    Transaction(Box<Opened>),
}

/// A mailbox that is open.
struct Opened {
    account: AccountId,
    maildrop: Maildrop,
    lease: Lease,
}

/// What follows a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Command,
    StartTls,
    Close,
}

/// Why a session ends without QUIT.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),
    #[error("the client closed the connection")]
    Client,
    #[error("the client was silent")]
    Idle,
    #[error("the service is stopping")]
    Shutdown,
    #[error("the mailbox was taken over")]
    LeaseLost,
    #[error("TLS did not begin: {0}")]
    Tls(#[from] TlsError),
    #[error("a message could not be read to its end: {0}")]
    Cut(ekitei_mailstore::Error),
    #[error("whether messages were deleted is not known")]
    OutcomeUnknown,
}

/// Serves one client.
pub(crate) async fn run(service: &Service, connection: Connection) {
    let config = service.net.live().load();
    let mut session = Session {
        service,
        state: State::Authorization { user: None },
        utf8: false,
        errors: 0,
        failed_logins: 0,
        config,
    };
    let span = tracing::info_span!("pop3", session = service.next_session(), peer = %connection.peer);
    let wire = Wire::new(connection, session.config.pop3.write_timeout.get());
    async {
        match session.serve(wire).await {
            Ok(()) => tracing::info!("session ended"),
            Err(end) => tracing::info!(%end, "session ended"),
        }
    }
    .instrument(span)
    .await;
}

impl Session<'_> {
    async fn serve(&mut self, mut wire: Wire) -> Result<(), End> {
        let greeting = format!("+OK {} POP3 server ready\r\n", self.config.hostname);
        wire.send(greeting.as_bytes()).await?;
        loop {
            let next = match self.step(&mut wire).await {
                Ok(next) => next,
                Err(end) => {
                    self.say_goodbye(wire, &end).await;
                    return Err(end);
                }
            };
            match next {
                Next::Command => {}
                Next::StartTls => wire = self.start_tls(wire).await?,
                Next::Close => {
                    wire.close().await;
                    return Ok(());
                }
            }
        }
    }

    /// One command and its reply.
    async fn step(&mut self, wire: &mut Wire) -> Result<Next, End> {
        let (reply, next) = match self.input(wire).await? {
            Input::End => return Err(End::Client),
            Input::TooLong => self.bad("the line is too long"),
            Input::Line(line) => match Command::parse(&line) {
                Err(error) => self.bad(error.to_string()),
                Ok(command) => {
                    let name = command.name();
                    let (reply, next) = self.execute(wire, command).await?;
                    self.service.metrics.commands.with(&[name, reply.result()]).inc();
                    (reply, next)
                }
            },
        };
        wire.send(reply.line().as_bytes()).await?;
        Ok(next)
    }

    /// Waits for a line; also for what ends a session without one.
    async fn input(&self, wire: &mut Wire) -> Result<Input, End> {
        wire.flush_before_waiting().await?;
        let pop3 = &self.config.pop3;
        let (patience, lease) = match &self.state {
            State::Authorization { .. } => (pop3.auth_timeout.get(), None),
            State::Transaction(opened) => (pop3.idle_timeout.get(), Some(&opened.lease)),
        };
        let lost = async {
            match lease {
                Some(lease) => lease.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.service.net.shutdown().graceful() => Err(End::Shutdown),
            () = lost => Err(End::LeaseLost),
            input = wire.line(pop3.max_line_length.as_usize()) => Ok(input?),
            () = tokio::time::sleep(patience) => Err(End::Idle),
        }
    }

    async fn execute(&mut self, wire: &mut Wire, command: Command) -> Result<(Reply, Next), End> {
        match (&command, &self.state) {
            (Command::Capa, _) => Ok((self.capabilities(wire).await?, Next::Command)),
            (Command::Lang(language), _) => {
                Ok((language_reply(wire, language.as_deref()).await?, Next::Command))
            }
            (_, State::Authorization { .. }) => self.authorize(wire, command).await,
            (_, State::Transaction(_)) => self.transact(wire, command).await,
        }
    }

    /// A line that is no command, or none that is allowed now; too many of them end the session.
    fn bad(&mut self, text: impl Into<std::borrow::Cow<'static, str>>) -> (Reply, Next) {
        match self.count_error() {
            Next::Close => (Reply::err("there were too many bad commands"), Next::Close),
            next => (Reply::err(text), next),
        }
    }

    /// Counts a client's mistake, and says whether it was one too many.
    fn count_error(&mut self) -> Next {
        self.errors += 1;
        if self.errors < self.config.pop3.max_errors { Next::Command } else { Next::Close }
    }

    async fn start_tls(&mut self, mut wire: Wire) -> Result<Wire, End> {
        wire.flush().await?;
        let wire = wire.start_tls(self.service.net.tls()).await?;
        // What was said in the clear counts no more (RFC 2595 §4).
        self.state = State::Authorization { user: None };
        self.utf8 = false;
        Ok(wire)
    }

    /// A client that waits for the reply to its next command learns why there is none. After silence nothing is said
    /// (RFC 1939 §3), nor where any reply could be false.
    async fn say_goodbye(&mut self, mut wire: Wire, end: &End) {
        let text = match end {
            End::Shutdown => "the service is stopping; come again in a moment",
            End::LeaseLost => "another session has taken over the mailbox",
            End::Connection(_)
            | End::Client
            | End::Idle
            | End::Tls(_)
            | End::Cut(_)
            | End::OutcomeUnknown => return,
        };
        if wire.send(Reply::code(Code::SysTemp, text).line().as_bytes()).await.is_ok() {
            wire.close().await;
        }
    }

    /// What this server can do in this state (RFC 2449 §5).
    async fn capabilities(&self, wire: &mut Wire) -> Result<Reply, End> {
        let mut list = String::from("+OK capabilities follow\r\n");
        for capability in ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG"] {
            list.push_str(capability);
            list.push_str("\r\n");
        }
        match self.config.pop3.announced_expire_days {
            0 => list.push_str("EXPIRE NEVER\r\n"),
            days => list.push_str(&format!("EXPIRE {days}\r\n")),
        }
        if matches!(self.state, State::Authorization { .. }) {
            if self.may_log_in(wire) {
                list.push_str("USER\r\nSASL PLAIN LOGIN\r\n");
            }
            if self.may_start_tls(wire) {
                list.push_str("STLS\r\n");
            }
        } else {
            list.push_str("IMPLEMENTATION Ekitei\r\n");
        }
        list.push_str(".\r\n");
        wire.send(list.as_bytes()).await?;
        Ok(Reply::Sent)
    }

    /// Passwords are taken only where nobody can read them.
    fn may_log_in(&self, wire: &Wire) -> bool {
        wire.connection().tls.is_some() || self.config.pop3.allow_insecure_auth
    }

    fn may_start_tls(&self, wire: &Wire) -> bool {
        wire.connection().tls.is_none() && self.service.net.tls().is_available()
    }
}

/// LANG (RFC 6856 §3): English is the one language there is.
async fn language_reply(wire: &mut Wire, language: Option<&str>) -> Result<Reply, End> {
    match language.map(str::to_ascii_lowercase).as_deref() {
        None => {
            wire.send(b"+OK languages follow\r\nen English\r\ni-default English\r\n.\r\n").await?;
            Ok(Reply::Sent)
        }
        Some("*" | "en" | "i-default") => Ok(Reply::ok("en replies are in English")),
        Some(_) => Ok(Reply::err("this language is not available")),
    }
}
