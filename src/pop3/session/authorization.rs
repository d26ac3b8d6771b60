//! The AUTHORIZATION state: USER and PASS, SASL, STLS, and opening the mailbox (RFC 1939 §4).

use ekitei_directory::{AccountId, AuthContext, AuthError, Service as DirectoryService};
use ekitei_mailstore::MailboxId;

use super::{End, Next, Opened, Session, State};
use crate::maildrop::Maildrop;
use crate::proto::{self, Command, Credentials, Mechanism, SaslError};
use crate::reply::{Code, Reply};
use crate::server::Service;
use crate::wire::{Input, Wire};

impl Session<'_> {
    pub(super) async fn authorize(
        &mut self,
        wire: &mut Wire,
        command: Command,
    ) -> Result<(Reply, Next), End> {
        let reply = match command {
            Command::Quit => return Ok((Reply::ok("bye"), Next::Close)),
            Command::Stls => return Ok(self.stls(wire)),
            Command::Utf8 => {
                self.utf8 = true;
                Reply::ok("messages may have UTF-8 in their headers now")
            }
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } | Command::AuthList
                if !self.may_log_in(wire) =>
            {
                Reply::code(Code::Auth, "passwords are taken only under TLS; use STLS first")
            }
            Command::User(name) => {
                self.state = State::Authorization { user: Some(name) };
                Reply::ok("the password, please")
            }
            Command::Pass(password) => return self.pass(wire, password).await,
            Command::AuthList => {
                wire.send(b"+OK mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n").await?;
                Reply::Sent
            }
            Command::Auth { mechanism, initial } => return self.auth(wire, mechanism, initial).await,
            _ => return Ok(self.bad("log in first")),
        };
        Ok((reply, Next::Command))
    }

    /// STLS (RFC 2595 §4). Commands behind it in the same packet came in the clear, perhaps from someone else.
    fn stls(&mut self, wire: &Wire) -> (Reply, Next) {
        if wire.connection().tls.is_some() {
            return self.bad("TLS is active already");
        }
        if !self.may_start_tls(wire) {
            return self.bad("TLS is not available");
        }
        if wire.has_input() {
            return (Reply::err("nothing may follow STLS before the handshake"), Next::Close);
        }
        (Reply::ok("begin TLS"), Next::StartTls)
    }

    async fn pass(&mut self, wire: &Wire, password: String) -> Result<(Reply, Next), End> {
        let State::Authorization { user: Some(user) } = &mut self.state else {
            return Ok(self.bad("USER comes before PASS"));
        };
        // A wrong password needs a new USER (RFC 1939 §7).
        let credentials = Credentials { user: std::mem::take(user), password };
        self.state = State::Authorization { user: None };
        Ok(self.log_in(wire, credentials).await)
    }

    /// AUTH (RFC 5034 §4).
    async fn auth(
        &mut self,
        wire: &mut Wire,
        mechanism: Mechanism,
        initial: Option<String>,
    ) -> Result<(Reply, Next), End> {
        let credentials = match mechanism {
            Mechanism::Plain => self.plain(wire, initial).await?,
            Mechanism::Login => self.login(wire, initial).await?,
        };
        match credentials {
            Ok(credentials) => Ok(self.log_in(wire, credentials).await),
            Err(error) => Ok((Reply::code(Code::Auth, error.to_string()), self.count_error())),
        }
    }

    async fn plain(
        &mut self,
        wire: &mut Wire,
        initial: Option<String>,
    ) -> Result<Result<Credentials, SaslError>, End> {
        let message = match initial {
            Some(initial) => proto::decode(initial.as_bytes()),
            None => self.challenge(wire, b"+ \r\n").await?,
        };
        Ok(message.and_then(|message| proto::plain(&message)))
    }

    /// LOGIN: the base64 of `Username:` and `Password:`.
    async fn login(
        &mut self,
        wire: &mut Wire,
        initial: Option<String>,
    ) -> Result<Result<Credentials, SaslError>, End> {
        let user = match initial {
            Some(initial) => proto::decode(initial.as_bytes()),
            None => self.challenge(wire, b"+ VXNlcm5hbWU6\r\n").await?,
        };
        let user = match user {
            Ok(user) => user,
            Err(error) => return Ok(Err(error)),
        };
        let password = self.challenge(wire, b"+ UGFzc3dvcmQ6\r\n").await?;
        Ok(password.and_then(|password| {
            let user = String::from_utf8(user).map_err(|_| SaslError::Malformed)?;
            let password = String::from_utf8(password).map_err(|_| SaslError::Malformed)?;
            Ok(Credentials { user, password })
        }))
    }

    /// Sends a challenge and decodes the response.
    async fn challenge(&mut self, wire: &mut Wire, prompt: &[u8]) -> Result<Result<Vec<u8>, SaslError>, End> {
        wire.send(prompt).await?;
        match self.input(wire).await? {
            Input::Line(line) => Ok(proto::decode(&line)),
            Input::TooLong => Ok(Err(SaslError::Malformed)),
            Input::End => Err(End::Client),
        }
    }

    /// Checks the password and opens the mailbox.
    async fn log_in(&mut self, wire: &Wire, credentials: Credentials) -> (Reply, Next) {
        let context =
            AuthContext { service: DirectoryService::Pop3, peer: Some(wire.connection().peer.ip()) };
        let Service { directory, limits, .. } = self.service;
        let result = limits.authenticate(directory, &credentials.user, &credentials.password, context).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(AuthError::Limited) => "limited",
            Err(error) if error.is_temporary() => "unavailable",
            Err(_) => "refused",
        };
        self.service.metrics.logins.with(&[outcome]).inc();
        match result {
            Ok(authenticated) => (self.open(authenticated.account).await, Next::Command),
            Err(error) => self.refuse(&error),
        }
    }

    fn refuse(&mut self, error: &AuthError) -> (Reply, Next) {
        let limited = matches!(error, AuthError::Limited);
        if error.is_temporary() && !limited {
            tracing::warn!(%error, "a POP3 login failed for the moment");
            return (Reply::code(Code::SysTemp, "logins are not possible at the moment"), Next::Command);
        }
        self.failed_logins += 1;
        let reply = Reply::code(if limited { Code::SysTemp } else { Code::Auth }, error.to_string());
        let enough = self.failed_logins >= self.config.pop3.max_auth_failures;
        (reply, if enough { Next::Close } else { Next::Command })
    }

    /// Takes the lease and the list of messages. The lease comes first, so that the list has everything that an
    /// earlier session left.
    async fn open(&mut self, account: AccountId) -> Reply {
        let lease = match self.service.leases.acquire(account, self.config.pop3.lease.get()).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return Reply::code(Code::InUse, "another session has the mailbox"),
            Err(error) => return store_failed(account, &error.into()),
        };
        match self.maildrop(account).await {
            Ok(maildrop) => {
                let (count, size) = maildrop.totals();
                tracing::info!(%account, messages = count, "mailbox opened");
                self.state = State::Transaction(Box::new(Opened { account, maildrop, lease }));
                Reply::ok(format!("{count} messages, {size} octets"))
            }
            Err(error) => {
                lease.release().await;
                store_failed(account, &error)
            }
        }
    }

    async fn maildrop(&self, account: AccountId) -> ekitei_mailstore::Result<Maildrop> {
        let store = &self.service.store;
        let view = match store.view(account, MailboxId::INBOX).await {
            // An account that nothing has been delivered to and nobody has opened; listing makes its mailboxes.
            Err(ekitei_mailstore::Error::NoSuchMailbox) => {
                store.mailboxes(account).await?;
                store.view(account, MailboxId::INBOX).await?
            }
            view => view?,
        };
        let most = usize::try_from(self.config.pop3.max_messages).unwrap_or(usize::MAX);
        Ok(Maildrop::new(view.refresh().await?, most))
    }
}

/// The reply when the mailstore fails: what passes by itself, or what an operator must see to (RFC 3206 §3).
pub(super) fn store_failed(account: AccountId, error: &ekitei_mailstore::Error) -> Reply {
    use ekitei_mailstore::Error;
    tracing::error!(%account, %error, "the mailbox cannot be used");
    match error {
        Error::Corrupt(_) | Error::Body(ekitei_blob::Error::Damaged { .. }) => {
            Reply::code(Code::SysPerm, "the mailbox is damaged; the operator has been told")
        }
        _ => Reply::code(Code::SysTemp, "the mailbox cannot be used at the moment"),
    }
}
