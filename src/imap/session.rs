//! One session: reads what the client says, in order, and ends when either side has had enough.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Config, Imap};
use ekitei_directory::AccountId;
use ekitei_mailstore::MailboxName;
use ekitei_net::Connection;
use ekitei_telemetry::GaugeGuard;
use tokio::time::Instant;

use crate::append::Append;
use crate::capability::{Circumstances, capabilities};
use crate::proto::limits::Limits;
use crate::proto::response::{Code, Status};
use crate::proto::{Encoding, Event, LiteralPurpose, LiteralWanted, Reader, Rejected};
use crate::reply::Reply;
use crate::selected::Selected;
use crate::server::{Place, Shared};
use crate::wire::Wire;

/// How long a client may take to receive the last BYE.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many times the longest silence before the login a client may take for it in all.
const LOGIN_PATIENCE: u32 = 5;

/// A session with one client.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// The configuration at the time of the greeting.
    pub(crate) config: Arc<Config>,
    /// Who the client is; its stream is in `wire`. `None` only while TLS begins.
    pub(crate) connection: Option<Connection>,
    pub(crate) wire: Wire,
    pub(crate) reader: Reader,
    /// Events that were taken from the reader early, to see whether they have message numbers.
    pub(crate) ahead: VecDeque<Event>,
    /// IMAP4rev2 was enabled: its forms of responses are used.
    pub(crate) rev2: bool,
    /// How names and strings travel.
    pub(crate) encoding: Encoding,
    /// Who has logged in.
    pub(crate) user: Option<User>,
    /// The selected mailbox.
    pub(crate) selected: Option<Box<Selected>>,
    /// The APPEND whose messages are coming in.
    pub(crate) append: Option<Box<Append>>,
    /// What to do after the tagged response.
    pub(crate) next: Next,
    /// When the client connected.
    began: Instant,
    /// Bad commands so far.
    errors: u32,
    /// Failed logins so far.
    pub(crate) auth_failures: u32,
    /// Counts the session in its state.
    state: (&'static str, GaugeGuard),
}

/// Who has logged in.
pub(crate) struct User {
    pub(crate) account: AccountId,
    /// Its place among the sessions of the account.
    pub(crate) place: Place,
}

/// What to do after a tagged response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read the next command.
    Continue,
    /// Begin TLS.
    StartTls,
    /// Say BYE with this text, and close the connection.
    Bye(&'static str),
    /// Close the connection.
    Close,
}

/// How waiting for the client ended.
enum Heard {
    /// There is something to read.
    Octets,
    /// The client has closed the connection.
    End,
    /// The client was silent for too long.
    Silence,
    /// The service is stopping.
    Shutdown,
}

/// What a client that has not logged in may send in one line, and in one command with its literals.
const LINE_BEFORE_LOGIN: usize = 8 * 1024;
const COMMAND_BEFORE_LOGIN: usize = 2 * LINE_BEFORE_LOGIN;

/// The codec's limits before the login: anyone may make the server hold that much.
fn limits_before_login(imap: &Imap) -> Limits {
    let after = limits(imap);
    Limits {
        line: after.line.min(LINE_BEFORE_LOGIN),
        command: after.command.min(COMMAND_BEFORE_LOGIN),
        ..after
    }
}

/// The codec's limits, from the configuration.
pub(crate) fn limits(imap: &Imap) -> Limits {
    Limits {
        line: imap.max_line_length.as_usize(),
        literal: imap.max_literal.as_usize(),
        append: imap.append_limit.get(),
        append_messages: imap.max_append_messages as usize,
        command: imap.max_command_size.as_usize(),
        nesting: imap.max_nesting as usize,
        sequence_ranges: imap.max_set_ranges as usize,
        search_keys: imap.search.max_keys as usize,
        // The longest name that the store takes, in modified UTF-7.
        mailbox_name: MailboxName::MAX_LENGTH * 4 / 3 + 64,
        ..Limits::default()
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, mut connection: Connection) -> Self {
        let config = shared.config.load();
        let metrics = &shared.metrics;
        let wire = Wire::new(
            connection.take_stream(),
            config.imap.output_buffer.as_usize(),
            config.imap.write_timeout.get(),
            metrics.received.clone(),
            metrics.sent.clone(),
        );
        let state = "not_authenticated";
        Self {
            state: (state, GaugeGuard::new(&metrics.sessions.with(&[state]))),
            reader: Reader::new(Arc::new(limits_before_login(&config.imap))),
            shared,
            config,
            connection: Some(connection),
            wire,
            ahead: VecDeque::new(),
            rev2: false,
            encoding: Encoding::default(),
            user: None,
            selected: None,
            append: None,
            next: Next::Continue,
            began: Instant::now(),
            errors: 0,
            auth_failures: 0,
        }
    }

    /// Serves the client to the end.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            tracing::debug!(%error, "connection lost");
        }
        // The client may be gone already, and what it is told now changes nothing.
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, self.wire.close()).await;
        tracing::info!(account = self.user.as_ref().map(|user| user.account.get()), "session ended");
    }

    async fn serve(&mut self) -> io::Result<()> {
        self.greet();
        while self.next != Next::Close {
            self.count_state();
            let Some(event) = self.event().await? else { return Ok(()) };
            // Boxed, so that the memory of a command is held only while it runs.
            Box::pin(self.react(event)).await?;
            match self.next {
                Next::StartTls => {
                    self.next = Next::Continue;
                    Box::pin(self.begin_tls()).await?;
                }
                Next::Bye(text) => self.say_bye(None, text),
                Next::Continue | Next::Close => {}
            }
        }
        Ok(())
    }

    fn greet(&mut self) {
        let text = format!("{} Ekitei ready", self.config.hostname);
        let code = Code::Capability(self.capabilities());
        self.wire.responses(self.encoding).untagged(Status::Ok, Some(&code), &text);
    }

    /// What the server can do for this client now.
    pub(crate) fn capabilities(&self) -> Vec<std::borrow::Cow<'static, str>> {
        let tls = self.is_tls();
        capabilities(Circumstances {
            authenticated: self.user.is_some(),
            can_start_tls: !tls && self.shared.tls.is_available(),
            may_log_in: tls || self.config.imap.allow_insecure_auth,
            append_limit: self.config.imap.append_limit.get(),
        })
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.tls.is_some())
    }

    fn count_state(&mut self) {
        let state = match (&self.user, &self.selected) {
            (None, _) => "not_authenticated",
            (Some(_), None) => "authenticated",
            (Some(_), Some(_)) => "selected",
        };
        if state != self.state.0 {
            self.state = (state, GaugeGuard::new(&self.shared.metrics.sessions.with(&[state])));
        }
    }

    /// The next thing the client says; `None` if the session is over. Everything that waits is sent before waiting for the client.
    pub(crate) async fn event(&mut self) -> io::Result<Option<Event>> {
        if let Some(event) = self.ahead.pop_front() {
            if self.ahead.is_empty() {
                // An idle session holds no buffer.
                self.ahead = VecDeque::new();
            }
            return Ok(Some(event));
        }
        loop {
            match self.reader.next_event() {
                Event::NeedMore => {}
                event => return Ok(Some(event)),
            }
            self.wire.flush().await?;
            match self.hear().await? {
                Heard::Octets => {}
                Heard::End => return Ok(None),
                Heard::Silence => {
                    let login = self.user.is_none();
                    self.say_bye(
                        None,
                        if login { "You took too long to log in" } else { "You were silent for too long" },
                    );
                    return Ok(None);
                }
                Heard::Shutdown => {
                    self.say_bye(Some(Code::Unavailable), "The server is stopping, connect again");
                    return Ok(None);
                }
            }
        }
    }

    async fn hear(&mut self) -> io::Result<Heard> {
        let patience = self.patience();
        let shutdown = self.shared.shutdown.clone();
        tokio::select! {
            read = tokio::time::timeout(patience, self.wire.read(&mut self.reader)) => match read {
                Err(_) => Ok(Heard::Silence),
                Ok(Err(error)) => Err(error),
                Ok(Ok(0)) => Ok(Heard::End),
                Ok(Ok(_)) => Ok(Heard::Octets),
            },
            () = shutdown.graceful() => Ok(Heard::Shutdown),
        }
    }

    /// How long the client may be silent (RFC 9051 §5.4). Less in the middle of a message, for which memory is held that others need.
    pub(crate) fn patience(&self) -> Duration {
        let imap = &self.config.imap;
        if let Some(append) = &self.append {
            let left = imap.idle_timeout.get().saturating_sub(append.began.elapsed());
            return left.min(imap.write_timeout.get());
        }
        if self.user.is_some() {
            return imap.idle_timeout.get();
        }
        let left = (imap.auth_timeout.get() * LOGIN_PATIENCE).saturating_sub(self.began.elapsed());
        imap.auth_timeout.get().min(left)
    }

    /// Ends the session with an untagged BYE.
    pub(crate) fn say_bye(&mut self, code: Option<Code>, text: &str) {
        self.wire.responses(self.encoding).untagged(Status::Bye, code.as_ref(), text);
        self.next = Next::Close;
    }

    async fn react(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::NeedMore => {}
            Event::Command(request) => self.execute(request).await?,
            Event::Literal(wanted) => self.literal(wanted).await?,
            Event::AppendData { data, last } => self.append_data(&data, last),
            Event::AppendDone { tag } => self.append_done(&tag).await?,
            // Lines are asked for only where they are read: in AUTHENTICATE and IDLE.
            Event::Line(_) => self.count_error(),
            Event::Rejected(rejected) => self.rejected(&rejected),
        }
        self.wire.drain().await
    }

    async fn literal(&mut self, wanted: LiteralWanted) -> io::Result<()> {
        let refused = match &wanted.purpose {
            LiteralPurpose::Argument => None,
            LiteralPurpose::Message(message) => self.append_message(&wanted, message).await.err(),
        };
        match refused {
            None => {
                self.reader.accept_literal();
                if wanted.synchronizing {
                    self.wire.responses(self.encoding).continuation("OK");
                }
            }
            Some(reply) => {
                self.append = None;
                self.reader.refuse_literal();
                self.finish(&wanted.tag, "APPEND", &reply);
            }
        }
        Ok(())
    }

    fn rejected(&mut self, rejected: &Rejected) {
        tracing::debug!(error = %rejected.error, "bad command");
        self.append = None;
        self.wire.responses(self.encoding).rejected(rejected);
        self.shared.metrics.commands.with(&["other", rejected.error.status().as_str()]).inc();
        if rejected.close {
            self.next = Next::Close;
        } else {
            self.count_error();
        }
    }

    /// The reply to a command whose raw line was refused.
    pub(crate) fn bad_line(&mut self, rejected: &Rejected) -> Reply {
        if rejected.close {
            self.next = Next::Bye("What follows cannot be told from commands");
        }
        Reply::bad(rejected.error.to_string())
    }

    /// Counts a bad command; too many of them end the session.
    pub(crate) fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.config.imap.max_errors {
            self.say_bye(Some(Code::ClientBug), "Too many bad commands");
        }
    }

    /// Writes the tagged response that ends a command.
    pub(crate) fn finish(&mut self, tag: &crate::proto::Tag, name: &str, reply: &Reply) {
        self.wire.responses(self.encoding).tagged(tag, reply.status, reply.code.as_ref(), &reply.text);
        self.shared.metrics.commands.with(&[name, reply.status.as_str()]).inc();
        if reply.status == Status::Bad {
            self.count_error();
        }
    }

    /// Hands the stream to TLS. What the client sent before the handshake was refused with the command.
    async fn begin_tls(&mut self) -> io::Result<()> {
        self.wire.flush().await?;
        let stream = self.wire.take_stream();
        let Some(mut connection) = self.connection.take() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        connection.stream = stream;
        let begun = connection.start_tls(&self.shared.tls, &[]).await;
        let mut connection = begun.map_err(io::Error::other)?;
        self.wire.set_stream(connection.take_stream());
        self.connection = Some(connection);
        Ok(())
    }
}
