//! Which command is possible in which state, who does it, and whether the client is told of changes afterwards.

use std::io;

use ekitei_telemetry::{Timer, trace_span};
use tracing::{Instrument as _, Span};

use crate::metrics::command_name;
use crate::numbering::Expunges;
use crate::proto::response::Status;
use crate::proto::search::SearchKey;
use crate::proto::{Command, Encoding, Event, Request, Tag};
use crate::reply::{Outcome, Reply, Stop};
use crate::selected::nothing_known;
use crate::session::{Next, Session};

/// The state that a command needs (RFC 9051 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Anything,
    NoLogin,
    Login,
    Mailbox,
}

/// Whether the client is told of changes in the selected mailbox after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Updates {
    /// No, or the command does it.
    No,
    /// Of what was read meanwhile, expunges too.
    Pending,
    /// Of everything that is in the store, expunges too.
    All,
}

fn needs(command: &Command) -> Needs {
    match command {
        Command::Capability | Command::Noop | Command::Logout | Command::Id(_) => Needs::Anything,
        Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => Needs::NoLogin,
        Command::Enable(_)
        | Command::Select(_)
        | Command::Examine(_)
        | Command::Create { .. }
        | Command::Delete(_)
        | Command::Rename { .. }
        | Command::Subscribe(_)
        | Command::Unsubscribe(_)
        | Command::List(_)
        | Command::Lsub { .. }
        | Command::Namespace
        | Command::Status { .. }
        | Command::GetQuota(_)
        | Command::GetQuotaRoot(_)
        | Command::SetQuota { .. }
        | Command::Idle => Needs::Login,
        Command::Check
        | Command::Close
        | Command::Unselect
        | Command::Expunge
        | Command::UidExpunge(_)
        | Command::Search(_)
        | Command::Fetch(_)
        | Command::Store(_)
        | Command::Copy(_)
        | Command::Move(_) => Needs::Mailbox,
    }
}

/// RFC 9051 §7.5.1: no EXPUNGE while FETCH, STORE or SEARCH is in progress; with their UID variants, and every other command, it may be
/// sent. Those three read the mailbox themselves, so that what they answer is up to date.
fn updates_after(command: &Command) -> Updates {
    match command {
        Command::Fetch(fetch) if fetch.uid => Updates::Pending,
        Command::Store(store) if store.uid => Updates::Pending,
        Command::Search(search) if search.uid => Updates::Pending,
        Command::Fetch(_) | Command::Store(_) | Command::Search(_) => Updates::No,
        Command::Capability
        | Command::Logout
        | Command::StartTls
        | Command::Authenticate { .. }
        | Command::Login { .. }
        | Command::Id(_)
        | Command::Enable(_)
        | Command::Select(_)
        | Command::Examine(_)
        | Command::Namespace
        | Command::Idle
        | Command::Close
        | Command::Unselect => Updates::No,
        _ => Updates::All,
    }
}

/// Whether the command itself removes messages, so that the client expects their numbers to go.
fn expunges(command: &Command) -> bool {
    matches!(command, Command::Expunge | Command::UidExpunge(_) | Command::Move(_))
}

fn is_uid(command: &Command) -> bool {
    match command {
        Command::Fetch(fetch) => fetch.uid,
        Command::Store(store) => store.uid,
        Command::Search(search) => search.uid,
        Command::Copy(transfer) | Command::Move(transfer) => transfer.uid,
        Command::UidExpunge(_) => true,
        _ => false,
    }
}

/// Whether a command has message numbers in it.
fn has_message_numbers(command: &Command) -> bool {
    fn key(search: &SearchKey) -> bool {
        match search {
            SearchKey::Sequence(_) => true,
            SearchKey::And(keys) => keys.iter().any(key),
            SearchKey::Or(a, b) => key(a) || key(b),
            SearchKey::Not(inner) => key(inner),
            _ => false,
        }
    }
    match command {
        Command::Fetch(fetch) => !fetch.uid,
        Command::Store(store) => !store.uid,
        Command::Copy(transfer) | Command::Move(transfer) => !transfer.uid,
        Command::Search(search) => !search.uid || key(&search.key),
        _ => false,
    }
}

/// Commands that are looked at before their turn.
const MAX_AHEAD: usize = 64;

/// Whether message numbers of the selected mailbox follow in what the client has sent.
enum Follows {
    /// They are in this.
    Numbers,
    /// What comes after this has none of this mailbox, or is not to be read yet.
    NoNumbers,
    /// They may be in what comes after this.
    Unknown,
}

fn what_follows(event: &Event) -> Follows {
    let request = match event {
        Event::Command(request) => request,
        Event::Rejected(rejected) if !rejected.close => return Follows::Unknown,
        // The command, or what comes after an APPEND, is known only when its literal is there.
        Event::Literal(_) => return Follows::Numbers,
        _ => return Follows::NoNumbers,
    };
    match &request.command {
        command if has_message_numbers(command) => Follows::Numbers,
        // Another mailbox, or raw lines.
        Command::Select(_)
        | Command::Examine(_)
        | Command::Close
        | Command::Unselect
        | Command::Logout
        | Command::Idle => Follows::NoNumbers,
        _ => Follows::Unknown,
    }
}

/// The span of a command; none for IDLE, which is a wait.
fn command_trace(name: &'static str) -> Span {
    if name == "IDLE" {
        return Span::none();
    }
    trace_span!(
        parent: None,
        "imap.command",
        otel.kind = "server",
        otel.name = %format_args!("IMAP {name}"),
        command = name,
        result = tracing::field::Empty,
    )
}

impl Session {
    /// Does a command, to its tagged response.
    pub(crate) async fn execute(&mut self, request: Request) -> io::Result<()> {
        let timer = Timer::start();
        let Request { tag, command } = request;
        let name = command_name(&command);
        let (updates, expunges, uid) = (updates_after(&command), expunges(&command), is_uid(&command));
        let trace = command_trace(name);
        let reply = match self.dispatch(&tag, command).instrument(trace.clone()).await {
            Ok(reply) | Err(Stop::Reply(reply)) => reply,
            Err(Stop::Lost(error)) => return Err(error),
            Err(Stop::Unknown) => {
                self.end_without_answer();
                return Ok(());
            }
        };
        if reply.status != Status::Bad {
            self.tell_after(updates, expunges, uid).await?;
        }
        self.finish(&tag, name, &reply);
        trace.record("result", reply.status.as_str());
        let elapsed = timer.observe(&self.shared.metrics.command_seconds.with(&[name]));
        tracing::debug!(command = name, result = reply.status.as_str(), ?elapsed, "command");
        Ok(())
    }

    /// Ends the session instead of answering a command of which nobody knows whether it was done.
    pub(crate) fn end_without_answer(&mut self) {
        self.next = Next::Bye("The store failed; look whether your last command was done");
    }

    /// Tells the client of changes at the end of a command, before its tagged response.
    pub(crate) async fn tell_after(&mut self, updates: Updates, expunged: bool, uid: bool) -> io::Result<()> {
        if updates == Updates::No || self.selected.is_none() {
            return Ok(());
        }
        let expunges = if !expunged && self.numbers_follow() { Expunges::Withhold } else { Expunges::Tell };
        let told = match updates {
            Updates::All => self.sync(expunges, uid).await,
            _ => self.tell(expunges, uid, nothing_known).await.map_err(Stop::from),
        };
        match told {
            // The command is done, whether or not the mailbox can be read now; the next command tells of what is new.
            Ok(()) | Err(Stop::Reply(_) | Stop::Unknown) => Ok(()),
            Err(Stop::Lost(error)) => Err(error),
        }
    }

    /// Whether the client has sent a command with message numbers already. It should have waited (RFC 9051 §5.5); since it did not, it
    /// means the numbers it knew, so they must not change under it.
    pub(crate) fn numbers_follow(&mut self) -> bool {
        loop {
            match self.ahead.back().map(what_follows) {
                Some(Follows::Numbers) => return true,
                Some(Follows::NoNumbers) => return false,
                Some(Follows::Unknown) if self.ahead.len() >= MAX_AHEAD => return true,
                None | Some(Follows::Unknown) => match self.reader.next_event() {
                    Event::NeedMore => return false,
                    event => self.ahead.push_back(event),
                },
            }
        }
    }

    async fn dispatch(&mut self, tag: &Tag, command: Command) -> Outcome {
        self.check_state(needs(&command))?;
        match command {
            Command::Capability => {
                let list = self.capabilities();
                self.wire.responses(self.encoding).capability(&list);
                Ok(Reply::ok("That is what I can do"))
            }
            Command::Noop => Ok(Reply::ok("Done")),
            Command::Check => Ok(Reply::ok("Everything is saved always")),
            Command::Logout => {
                self.say_bye(None, "Goodbye");
                self.next = Next::Close;
                Ok(Reply::ok("You are logged out"))
            }
            Command::StartTls => self.start_tls(),
            Command::Login { username, password } => Box::pin(self.login(&username, &password)).await,
            Command::Authenticate { mechanism, initial_response } => {
                Box::pin(self.authenticate(&mechanism, initial_response)).await
            }
            Command::Id(fields) => self.id(&fields),
            Command::Enable(capabilities) => self.enable(&capabilities),
            Command::Idle => Box::pin(self.idle()).await,
            // Boxed like these, so that a session in IDLE does not hold the memory of the largest command.
            command => Box::pin(self.dispatch_mailboxes(tag, command)).await,
        }
    }

    /// Commands about mailboxes as a whole.
    async fn dispatch_mailboxes(&mut self, tag: &Tag, command: Command) -> Outcome {
        match command {
            Command::Select(select) => self.select(&select, false).await,
            Command::Examine(select) => self.select(&select, true).await,
            Command::Create { mailbox, special_use } => self.create(&mailbox, &special_use).await,
            Command::Delete(mailbox) => self.delete(&mailbox).await,
            Command::Rename { from, to } => self.rename(&from, &to).await,
            Command::Subscribe(mailbox) => self.subscribe(&mailbox, true).await,
            Command::Unsubscribe(mailbox) => self.subscribe(&mailbox, false).await,
            Command::List(list) => self.list(&list).await,
            Command::Lsub { reference, pattern } => self.lsub(&reference, &pattern).await,
            Command::Namespace => self.namespace(),
            Command::Status { mailbox, items } => self.status(&mailbox, &items).await,
            Command::GetQuota(root) => self.get_quota(&root).await,
            Command::GetQuotaRoot(mailbox) => self.get_quota_root(&mailbox).await,
            Command::SetQuota { .. } => self.set_quota(),
            command => Box::pin(self.dispatch_messages(tag, command)).await,
        }
    }

    /// Commands about the messages of the selected mailbox.
    async fn dispatch_messages(&mut self, tag: &Tag, command: Command) -> Outcome {
        match command {
            Command::Close => self.close().await,
            Command::Unselect => self.unselect(),
            Command::Expunge => self.expunge(None).await,
            Command::UidExpunge(set) => self.expunge(Some(&set)).await,
            Command::Search(search) => self.search(tag, &search).await,
            Command::Fetch(fetch) => self.fetch(fetch).await,
            Command::Store(store) => self.store(&store).await,
            Command::Copy(transfer) => self.copy(&transfer).await,
            Command::Move(transfer) => self.move_messages(&transfer).await,
            command => Err(Reply::bad(format!("{} is not possible here", command_name(&command))).into()),
        }
    }

    fn check_state(&self, needs: Needs) -> Result<(), Stop> {
        let problem = match needs {
            Needs::NoLogin if self.user.is_some() => "You have logged in already",
            Needs::Login | Needs::Mailbox if self.user.is_none() => "Log in first",
            Needs::Mailbox if self.selected.is_none() => "Select a mailbox first",
            _ => return Ok(()),
        };
        Err(Reply::client_bug(problem).into())
    }

    fn id(&mut self, fields: &[(bytes::Bytes, Option<bytes::Bytes>)]) -> Outcome {
        let value = |name: &str| {
            let field = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
            field
                .and_then(|(_, value)| value.as_deref())
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        tracing::debug!(name = value("name"), version = value("version"), "the client says what it is");
        let version = Some(env!("CARGO_PKG_VERSION"));
        self.wire.responses(self.encoding).id(&[("name", Some("Ekitei")), ("version", version)]);
        Ok(Reply::ok("Nice to meet you"))
    }

    /// ENABLE (RFC 9051 §6.3.1): what is not known, or cannot be enabled, is passed over.
    fn enable(&mut self, capabilities: &[String]) -> Outcome {
        if self.selected.is_some() {
            return Err(Reply::client_bug("ENABLE comes before a mailbox is selected").into());
        }
        let mut enabled = Vec::new();
        for name in capabilities {
            match name.as_str() {
                "IMAP4REV2" if !self.rev2 => {
                    self.rev2 = true;
                    enabled.push("IMAP4rev2");
                }
                "UTF8=ACCEPT" if !enabled.contains(&"UTF8=ACCEPT") => enabled.push("UTF8=ACCEPT"),
                _ => {}
            }
        }
        self.wire.responses(self.encoding).enabled(&enabled);
        if !enabled.is_empty() {
            self.encoding = Encoding::Utf8;
            self.reader.set_encoding(Encoding::Utf8);
        }
        Ok(Reply::ok("Enabled"))
    }
}
