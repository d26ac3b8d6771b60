//! One connection from greeting to end: reads commands, carries out what the [`Session`] decides, and answers.
//!
//! Replies are collected and sent when no complete command is left in the input, so a pipelining client gets them together (RFC
//! 2920 §3.2). While the client is silent nothing is held but this struct.

mod auth;
mod envelope;
mod filtering;
mod receive;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use ekitei_config::Config;
use ekitei_net::Connection;
use ekitei_telemetry::trace_span;
use tracing::{Instrument as _, Span};

use crate::deliver::OutcomeUnknown;
use crate::io::{Gone, Io};
use crate::metrics::Refusals;
use crate::patience::{Mistake, Patience};
use crate::proto::command::{Command, SyntaxError};
use crate::proto::line::{COMMAND_OCTETS, LineError};
use crate::proto::reply::{self, Reply};
use crate::server::Server;
use crate::session::{Action, Offer, Role, Session};
use receive::Incoming;

/// Why a conversation ends.
#[derive(Debug)]
pub(crate) enum End {
    /// This is said, and the connection closed.
    Say(Reply),
    /// The client is gone.
    Gone,
    /// Whether a message is stored is not known: any reply could be a lie.
    OutcomeUnknown,
}

impl From<OutcomeUnknown> for End {
    fn from(_: OutcomeUnknown) -> Self {
        Self::OutcomeUnknown
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// What a step comes to, unless it ends the conversation.
type Step<T = ()> = Result<T, End>;

/// What follows a command.
enum Next {
    Command,
    /// `220` was sent.
    StartTls,
}

/// One connection.
pub(crate) struct Conversation {
    server: Arc<Server>,
    /// The configuration as it was when the client connected.
    config: Arc<Config>,
    offer: Offer,
    session: Session,
    patience: Patience,
    /// What the filter knows of the client.
    filter: ekitei_filter::Session,
    io: Io,
    /// A message that comes in chunks, between two of them.
    incoming: Option<Incoming>,
    /// The client is in a network that may relay, and is not limited.
    trusted: bool,
    /// Names the connection in logs.
    id: String,
    /// The span of the transaction in progress.
    trace: Span,
}

/// An id for a connection or a transaction.
fn new_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl Conversation {
    pub(crate) fn new(server: Arc<Server>, connection: Connection, role: Role) -> Box<Self> {
        let config = server.context.live.load();
        let offer = Offer {
            role,
            hostname: config.hostname.clone(),
            tls_available: server.context.tls.is_available(),
            insecure_auth: config.smtp.submission.allow_insecure_auth,
            max_size: config.smtp.max_message_size.get(),
            max_recipients: config.smtp.max_recipients,
            max_messages: config.smtp.max_messages_per_connection,
        };
        // What a load balancer says of its client never grants anything.
        let trusted = connection.listener.proxy_protocol.is_none()
            && config.smtp.trusted_networks.iter().any(|network| network.contains(connection.peer.ip()));
        let session = Session::new(connection.tls.is_some());
        let filter = filtering::session(&server.context.filter, &connection, role, trusted);
        let refusals = Refusals::new(&server.context.metrics, role);
        let io = Io::new(connection, config.smtp.timeouts.command.get(), refusals);
        Box::new(Self {
            server,
            config,
            offer,
            session,
            patience: Patience::default(),
            filter,
            io,
            incoming: None,
            trusted,
            id: new_id(),
            trace: Span::none(),
        })
    }

    /// Talks until one side ends it. Boxed, since each future that it is moved into would otherwise have room for it.
    pub(crate) async fn run(self: Box<Self>) {
        let (role, id) = (self.offer.role.name(), &self.id);
        let span = tracing::info_span!("smtp", role, session = %id);
        let trace = trace_span!(parent: None, "smtp.session", otel.kind = "server", role, session = %id);
        async move {
            tracing::debug!(peer = %self.io.connection.peer, "connected");
            self.talk().await;
        }
        .instrument(span)
        .instrument(trace)
        .await;
    }

    async fn talk(mut self: Box<Self>) {
        if let Err(end) = self.greet() {
            return self.end(end).await;
        }
        loop {
            match self.step().await {
                Ok(Next::Command) => {}
                Ok(Next::StartTls) => match Box::pin(self.start_tls()).await {
                    Some(secured) => self = secured,
                    None => return,
                },
                Err(end) => return self.end(end).await,
            }
        }
    }

    fn greet(&mut self) -> Step {
        let lmtp_peer =
            self.trusted || self.peer().is_loopback() && self.io.connection.listener.proxy_protocol.is_none();
        if self.offer.role == Role::Lmtp && !lmtp_peer {
            tracing::warn!("LMTP from a network that is not in smtp.trustedNetworks");
            return Err(End::Say(reply::NOT_TRUSTED));
        }
        let text = format!("{} {}", self.config.hostname, self.config.smtp.banner);
        self.io.queue(&Reply::plain(220, "").with_text(text));
        Ok(())
    }

    fn peer(&self) -> IpAddr {
        self.io.connection.peer.ip().to_canonical()
    }

    async fn end(mut self: Box<Self>, end: End) {
        // A client that is slow to take the last reply holds no memory for a message that will not come.
        self.incoming = None;
        self.filter.quit().await;
        match end {
            End::Say(reply) => {
                tracing::debug!(code = reply.code, "closing the connection");
                self.io.queue(&reply);
                Box::pin(self.io.close()).await;
            }
            End::Gone => tracing::debug!("the client is gone"),
            End::OutcomeUnknown => tracing::debug!("closing without a reply"),
        }
    }

    /// Reads a command and carries it out.
    async fn step(&mut self) -> Step<Next> {
        self.io.flush_if_full().await?;
        match self.read_line(false).await? {
            Ok(line) => {
                let trace = self.transaction_trace();
                self.obey(Command::parse(&line)).instrument(trace).await
            }
            Err(LineError::TooLong) => {
                self.complain(reply::LINE_TOO_LONG, Mistake::Command).await?;
                Ok(Next::Command)
            }
            Err(LineError::BareLf) => Err(End::Say(reply::BARE_LF_COMMAND)),
        }
    }

    /// The span of the transaction that is in progress, from its first recipient on.
    fn transaction_trace(&mut self) -> Span {
        match self.session.transaction() {
            None => self.trace = Span::none(),
            Some(transaction) if self.trace.is_none() => {
                self.trace = trace_span!(
                    "smtp.transaction",
                    transaction = %transaction.id,
                    recipients = tracing::field::Empty,
                    octets = tracing::field::Empty,
                    code = tracing::field::Empty,
                );
            }
            Some(_) => {}
        }
        self.trace.clone()
    }

    /// The next line, of a command or (`in_auth`) of an AUTH exchange. Between messages this is where a shutdown takes effect.
    async fn read_line(&mut self, in_auth: bool) -> Step<Result<Bytes, LineError>> {
        let Self { io, server, config, incoming, .. } = self;
        let auth_limit = config.smtp.max_command_length.as_usize();
        let limit = |line: &[u8]| {
            let is_auth = in_auth || line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
            if is_auth { auth_limit } else { auth_limit.min(COMMAND_OCTETS) }
        };
        let shutdown = &server.context.shutdown;
        let may_stop = incoming.is_none();
        let patience = tokio::time::Instant::now() + config.smtp.timeouts.command.get();
        let patience = incoming.as_ref().map_or(patience, |message| patience.min(message.deadline));
        loop {
            if may_stop && shutdown.is_shutting_down() {
                return Err(End::Say(reply::SHUTTING_DOWN));
            }
            if let Some(line) = io.buffered_line(limit) {
                return Ok(line);
            }
            io.flush().await?;
            tokio::select! {
                biased;
                filled = io.fill() => filled?,
                () = shutdown.graceful(), if may_stop => {}
                () = tokio::time::sleep_until(patience) => return Err(End::Say(reply::TIMEOUT)),
            }
        }
    }

    async fn obey(&mut self, command: Result<Command, SyntaxError>) -> Step<Next> {
        let command = match command {
            Ok(command) => command,
            Err(error) => {
                self.complain(syntax_error(error), Mistake::Command).await?;
                return Ok(Next::Command);
            }
        };
        if brings_no_mail(&command)
            && let Some(end) = self.patience.idle_command(&self.config.smtp)
        {
            return Err(End::Say(end));
        }
        if !Box::pin(self.hello_passes(&command)).await? {
            return Ok(Next::Command);
        }
        let action = self.session.apply(command, &self.offer);
        if self.session.transaction().is_none() {
            self.incoming = None;
            self.filter.reset();
        }
        match action {
            Action::Reply(reply) => self.answer(reply).await?,
            Action::CheckSender(sender, parameters) => {
                Box::pin(self.check_sender(sender, parameters)).await?;
            }
            Action::CheckRecipient(path, parameters) => {
                Box::pin(self.check_recipient(path, parameters)).await?;
            }
            Action::ReceiveData => Box::pin(self.receive_data()).await?,
            Action::ReceiveChunk { size, last } => Box::pin(self.receive_chunk(size, last)).await?,
            Action::SkipChunk(size, refusal) => {
                Box::pin(self.skip_chunk(size)).await?;
                self.complain(refusal, Mistake::Command).await?;
            }
            Action::StartTls => return self.offer_tls().await,
            Action::Authenticate { mechanism, initial } => {
                Box::pin(self.authenticate(mechanism, initial)).await?;
            }
            Action::Quit => return Err(End::Say(reply::BYE)),
        }
        Ok(Next::Command)
    }

    /// Answers a command. What shows that the client does not know the protocol counts as a mistake.
    async fn answer(&mut self, reply: Reply) -> Step {
        match reply.code {
            421 => Err(End::Say(reply)),
            500..=504 | 530 | 538 | 555 => self.complain(reply, Mistake::Command).await,
            _ => {
                self.io.queue(&reply);
                Ok(())
            }
        }
    }

    /// Answers a mistake, later the more there were; the last one allowed ends the connection.
    async fn complain(&mut self, reply: Reply, mistake: Mistake) -> Step {
        self.server.context.metrics.errors.with(&[&reply.code.to_string()]).inc();
        let consequence = self.patience.lose(mistake, &self.config.smtp);
        // Users may be wrong about an address, and front ends are not to blame for their clients.
        let anyone = self.offer.role != Role::Lmtp && !self.trusted && self.session.account().is_none();
        if let Some(event) = mistake.event().filter(|_| anyone) {
            self.server.context.limits.event(self.peer(), event);
        }
        if self.offer.role != Role::Lmtp && !self.trusted && !consequence.delay.is_zero() {
            self.io.flush().await?;
            tokio::select! {
                () = tokio::time::sleep(consequence.delay) => {}
                () = self.server.context.shutdown.graceful() => {}
            }
        }
        self.io.queue(&reply);
        match consequence.end {
            Some(end) if self.offer.role != Role::Lmtp => Err(End::Say(end)),
            _ => Ok(()),
        }
    }

    /// Answers `220`, unless there is input behind the command: what was said in the clear would then be obeyed under TLS, as
    /// if the client had said it there (CVE-2011-0411). That input is discarded with the connection.
    async fn offer_tls(&mut self) -> Step<Next> {
        if !self.io.input.is_empty() {
            tracing::warn!("input behind STARTTLS");
            return Err(End::Say(reply::TLS_INJECTION));
        }
        self.io.queue(&reply::START_TLS);
        self.io.flush().await?;
        Ok(Next::StartTls)
    }

    async fn start_tls(self: Box<Self>) -> Option<Box<Self>> {
        let tls = self.server.context.tls.clone();
        let Self { io, mut session, mut filter, .. } = *self;
        match io.start_tls(&tls).await {
            Ok(io) => {
                session.secured();
                if let Some(tls) = &io.connection.tls {
                    filter.secured(filtering::tls_session(tls));
                }
                Some(Box::new(Self { io, session, filter, incoming: None, ..*self }))
            }
            Err(error) => {
                tracing::debug!(%error, "no TLS");
                filter.quit().await;
                None
            }
        }
    }
}

/// Whether a command is one of those that may be repeated only so often without a message.
fn brings_no_mail(command: &Command) -> bool {
    !matches!(
        command,
        Command::Mail(..)
            | Command::Rcpt(..)
            | Command::Data
            | Command::Bdat { .. }
            | Command::Quit
            | Command::StartTls
            | Command::Auth { .. }
    )
}

fn syntax_error(error: SyntaxError) -> Reply {
    match error {
        SyntaxError::Unknown => reply::UNKNOWN_COMMAND,
        SyntaxError::Arguments => reply::BAD_ARGUMENTS,
        SyntaxError::UnknownParameter => reply::UNKNOWN_PARAMETER,
        SyntaxError::ReversePath => reply::BAD_SENDER,
        SyntaxError::ForwardPath => reply::BAD_RECIPIENT,
    }
}
