//! The order of commands (RFC 5321 §4.1.4): what a command may do now, without doing it.
//!
//! [`Session::apply`] turns a command into an [`Action`]. Questions to the directory, the message itself and all input and output
//! are the business of whoever carries the action out, and who tells the session what came of it.

use ekitei_directory::{Authenticated, EmailAddress, LocalRecipient};

use crate::proto::command::Command;
use crate::proto::params::{BodyType, MailParameters, RcptParameters};
use crate::proto::path::{ForwardPath, ReversePath};
use crate::proto::reply::{self, Reply};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// SMTP from other hosts.
    Mx,
    /// Message submission by users (RFC 6409).
    Submission,
    /// LMTP from a front end (RFC 2033).
    Lmtp,
}

/// What this server offers and allows, from the configuration.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What is spoken.
    pub role: Role,
    /// The name in the greeting and in the reply to EHLO.
    pub hostname: String,
    /// Whether STARTTLS can be offered.
    pub tls_available: bool,
    /// Whether AUTH is offered without TLS.
    pub insecure_auth: bool,
    /// Octets that a message may have.
    pub max_size: u64,
    /// Recipients that a message may have.
    pub max_recipients: u32,
    /// Messages that a connection may carry.
    pub max_messages: u32,
}

/// How the client introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name it gave.
    pub name: String,
    /// With EHLO or LHLO: extensions may be used.
    pub extended: bool,
}

/// A recipient that got `250`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedRecipient {
    /// As the client named it.
    pub path: ForwardPath,
    /// The DSN parameters, for the queue.
    pub parameters: RcptParameters,
    /// The accounts behind it.
    pub accounts: Vec<LocalRecipient>,
    /// The address itself, if it is of another domain, for a client that may relay.
    pub relayed: Option<EmailAddress>,
    /// Addresses of other domains that an alias, a group or an account of ours leads to.
    pub forwards: Vec<EmailAddress>,
}

impl AcceptedRecipient {
    /// Whether it stands for several mailboxes or addresses.
    pub(crate) fn is_expanded(&self) -> bool {
        self.accounts.len() + self.forwards.len() > 1
    }

    /// The address of ours that leads elsewhere. It is written above what is forwarded (Delivered-To), so that a message that is sent back to it is
    /// known, instead of coming round again and again, and with several forwards more often each time.
    pub(crate) fn forwarded_as(&self) -> Option<EmailAddress> {
        match &self.path {
            ForwardPath::Mailbox(mailbox) if !self.forwards.is_empty() => {
                EmailAddress::parse(mailbox.as_str()).ok()
            }
            _ => None,
        }
    }

    /// Whether the sender wants to hear of a success that nobody else can tell of (RFC 3461 §5.2).
    pub(crate) fn success_is_told(&self) -> bool {
        let is_ours = self.is_expanded() || !self.accounts.is_empty();
        is_ours && self.parameters.notify.is_some_and(|notify| notify.success)
    }
}

/// A mail transaction: from MAIL to the end of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Names it in logs, in the Received field and in the last reply.
    pub id: String,
    /// Where failures are reported to.
    pub sender: ReversePath,
    /// What MAIL said besides.
    pub parameters: MailParameters,
    /// The recipients that were accepted, in order.
    pub recipients: Vec<AcceptedRecipient>,
    /// Whether a recipient was refused.
    pub refused: bool,
    /// Whether the message comes in chunks, of which one was received.
    pub chunked: bool,
}

impl Transaction {
    /// A transaction without recipients.
    pub fn new(id: String, sender: ReversePath, parameters: MailParameters) -> Self {
        Self { id, sender, parameters, recipients: Vec::new(), refused: false, chunked: false }
    }

    /// Accounts behind all recipients; one that is behind two counts twice.
    pub fn account_count(&self) -> usize {
        self.recipients.iter().map(|recipient| recipient.accounts.len()).sum()
    }

    /// Whether the message goes elsewhere, too.
    pub fn leaves(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.relayed.is_some() || !recipient.forwards.is_empty())
    }

    /// Whether a success here is told to the sender: then who was foreseen to get the message has to get it.
    pub(crate) fn success_is_told(&self) -> bool {
        self.sender != ReversePath::Null && self.recipients.iter().any(AcceptedRecipient::success_is_told)
    }

    /// Everyone who gets the message: accounts, and addresses elsewhere.
    pub fn destination_count(&self) -> usize {
        let elsewhere = |recipient: &AcceptedRecipient| {
            usize::from(recipient.relayed.is_some()) + recipient.forwards.len()
        };
        self.account_count() + self.recipients.iter().map(elsewhere).sum::<usize>()
    }
}

/// What is to be done for a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing but an answer.
    Reply(Reply),
    /// Check the sender, and [`Session::begin`] a transaction.
    CheckSender(ReversePath, MailParameters),
    /// Check the recipient, and say [`Session::accept`] or [`Session::refuse`].
    CheckRecipient(ForwardPath, RcptParameters),
    /// Receive the message that follows DATA.
    ReceiveData,
    /// Receive a chunk of the message.
    ReceiveChunk {
        /// Its octets.
        size: u64,
        /// Whether the message ends with it.
        last: bool,
    },
    /// Read a chunk past that has no place, and answer (RFC 3030 §2: the octets come in any case).
    SkipChunk(u64, Reply),
    /// Answer `220`, begin TLS and say [`Session::secured`].
    StartTls,
    /// Ask for credentials, check them and say [`Session::authenticated`].
    Authenticate {
        /// `PLAIN` or `LOGIN`.
        mechanism: Mechanism,
        /// What came with the command.
        initial: Option<String>,
    },
    /// Answer, and end the connection.
    Quit,
}

/// A SASL mechanism that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616
    Plain,
    /// An old one that clients still use.
    Login,
}

impl Mechanism {
    /// The name in AUTH.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// Where a connection stands.
#[derive(Clone, Debug)]
pub struct Session {
    hello: Option<Hello>,
    tls: bool,
    account: Option<Authenticated>,
    mechanism: Option<Mechanism>,
    transaction: Option<Transaction>,
    /// Messages accepted or refused after their end.
    messages: u32,
}

impl Session {
    /// A connection that was just greeted.
    pub fn new(tls: bool) -> Self {
        Self { hello: None, tls, account: None, mechanism: None, transaction: None, messages: 0 }
    }

    /// How the client introduced itself.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Who logged in.
    pub fn account(&self) -> Option<&Authenticated> {
        self.account.as_ref()
    }

    /// How the client logged in.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.mechanism
    }

    /// The open transaction.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// Ends the transaction with its message and hands it out.
    pub fn finish(&mut self) -> Option<Transaction> {
        self.messages = self.messages.saturating_add(1);
        self.transaction.take()
    }

    /// Opens a transaction.
    pub fn begin(&mut self, transaction: Transaction) {
        self.transaction = Some(transaction);
    }

    /// Adds a recipient to the transaction.
    pub fn accept(&mut self, recipient: AcceptedRecipient) {
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients.push(recipient);
        }
    }

    /// Remembers that a recipient was refused.
    pub fn refuse(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.refused = true;
        }
    }

    /// Remembers that a chunk was received.
    pub fn chunk_received(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.chunked = true;
        }
    }

    /// TLS began: all that was said before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self) {
        *self = Self { messages: self.messages, ..Self::new(true) };
    }

    /// The client logged in.
    pub fn authenticated(&mut self, account: Authenticated, mechanism: Mechanism) {
        self.account = Some(account);
        self.mechanism = Some(mechanism);
    }

    /// What to do for `command`.
    pub fn apply(&mut self, command: Command, offer: &Offer) -> Action {
        match command {
            Command::Ehlo(_) | Command::Helo(_) if offer.role == Role::Lmtp => {
                Action::Reply(reply::LHLO_EXPECTED)
            }
            Command::Lhlo(_) if offer.role != Role::Lmtp => Action::Reply(reply::UNKNOWN_COMMAND),
            Command::Ehlo(name) | Command::Lhlo(name) => {
                self.greet(name, true);
                Action::Reply(self.extensions(offer))
            }
            Command::Helo(name) => {
                self.greet(name, false);
                Action::Reply(Reply::plain(250, "").with_text(offer.hostname.clone()))
            }
            Command::Mail(sender, parameters) => self.mail(sender, parameters, offer),
            Command::Rcpt(path, parameters) => self.rcpt(path, parameters, offer),
            Command::Data => self.data(offer),
            Command::Bdat { size, last } => self.bdat(size, last, offer),
            Command::Rset => {
                self.transaction = None;
                Action::Reply(reply::OK)
            }
            Command::Noop => Action::Reply(reply::OK),
            Command::Quit => Action::Quit,
            Command::Vrfy => Action::Reply(reply::VRFY),
            Command::Expn => Action::Reply(reply::NOT_IMPLEMENTED),
            Command::Help if offer.role == Role::Lmtp => Action::Reply(reply::HELP_LMTP),
            Command::Help => Action::Reply(reply::HELP),
            Command::StartTls => self.start_tls(offer),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial, offer),
        }
    }

    fn greet(&mut self, name: String, extended: bool) {
        self.hello = Some(Hello { name, extended });
        self.transaction = None;
    }

    /// The reply to EHLO and LHLO.
    fn extensions(&self, offer: &Offer) -> Reply {
        let mut text = offer.hostname.clone();
        text.push_str("\nPIPELINING\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nDSN\nENHANCEDSTATUSCODES");
        if offer.role != Role::Lmtp {
            text.push_str("\nDELIVERBY\nMT-PRIORITY");
        }
        text.push_str(&format!("\nSIZE {}", offer.max_size));
        text.push_str(&format!("\nLIMITS RCPTMAX={} MAILMAX={}", offer.max_recipients, offer.max_messages));
        if self.tls {
            text.push_str("\nREQUIRETLS");
        } else if offer.tls_available {
            text.push_str("\nSTARTTLS");
        }
        if self.auth_offered(offer) {
            text.push_str("\nAUTH PLAIN LOGIN");
        }
        text.push_str("\nHELP");
        Reply::plain(250, "").with_text(text)
    }

    fn auth_offered(&self, offer: &Offer) -> bool {
        offer.role == Role::Submission && (self.tls || offer.insecure_auth)
    }

    fn mail(&mut self, sender: ReversePath, parameters: MailParameters, offer: &Offer) -> Action {
        let Some(hello) = &self.hello else { return Action::Reply(reply::HELLO_FIRST) };
        let refusal = if self.transaction.is_some() {
            reply::NESTED_MAIL
        } else if offer.role == Role::Submission && self.account.is_none() {
            reply::AUTH_REQUIRED
        } else if self.messages >= offer.max_messages {
            reply::TOO_MANY_MESSAGES
        } else if !hello.extended && parameters != MailParameters::default()
            || parameters.require_tls && !self.tls
        {
            reply::UNKNOWN_PARAMETER
        } else if !sender.is_ascii() && !parameters.smtputf8 {
            reply::ADDRESS_NEEDS_UTF8
        } else if parameters.size.is_some_and(|size| size > offer.max_size) {
            reply::TOO_LARGE
        } else {
            return Action::CheckSender(sender, parameters);
        };
        Action::Reply(refusal)
    }

    fn rcpt(&mut self, path: ForwardPath, parameters: RcptParameters, offer: &Offer) -> Action {
        let Some(transaction) = &mut self.transaction else { return Action::Reply(reply::MAIL_FIRST) };
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        let refusal = if transaction.chunked {
            reply::BAD_SEQUENCE
        } else if !extended && parameters != RcptParameters::default() {
            reply::UNKNOWN_PARAMETER
        } else if !path.is_ascii() && !transaction.parameters.smtputf8 {
            reply::ADDRESS_NEEDS_UTF8
        } else if transaction.recipients.len() >= usize::try_from(offer.max_recipients).unwrap_or(usize::MAX)
        {
            reply::TOO_MANY_RECIPIENTS
        } else {
            return Action::CheckRecipient(path, parameters);
        };
        transaction.refused = true;
        Action::Reply(refusal)
    }

    /// Why no message may come now.
    fn no_message(&self, offer: &Offer) -> Option<Reply> {
        match &self.transaction {
            None => Some(reply::MAIL_FIRST),
            Some(transaction) if !transaction.recipients.is_empty() => None,
            // RFC 2033 §4.2 asks for 503 in any case.
            Some(transaction) if transaction.refused && offer.role != Role::Lmtp => {
                Some(reply::NO_VALID_RECIPIENTS)
            }
            Some(_) => Some(reply::RCPT_FIRST),
        }
    }

    fn data(&mut self, offer: &Offer) -> Action {
        if let Some(refusal) = self.no_message(offer) {
            return Action::Reply(refusal);
        }
        let needs_bdat = self.transaction.as_ref().is_some_and(|transaction| {
            transaction.chunked || transaction.parameters.body == Some(BodyType::BinaryMime)
        });
        if needs_bdat { Action::Reply(reply::BDAT_EXPECTED) } else { Action::ReceiveData }
    }

    fn bdat(&mut self, size: u64, last: bool, offer: &Offer) -> Action {
        match self.no_message(offer) {
            Some(refusal) => Action::SkipChunk(size, refusal),
            None => Action::ReceiveChunk { size, last },
        }
    }

    fn start_tls(&self, offer: &Offer) -> Action {
        if self.tls {
            Action::Reply(reply::TLS_ACTIVE)
        } else if !offer.tls_available {
            Action::Reply(reply::TLS_UNAVAILABLE)
        } else {
            Action::StartTls
        }
    }

    fn auth(&self, mechanism: &str, initial: Option<String>, offer: &Offer) -> Action {
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        let refusal = if offer.role != Role::Submission {
            reply::NOT_IMPLEMENTED
        } else if !extended {
            reply::HELLO_FIRST
        } else if !self.auth_offered(offer) {
            reply::AUTH_NEEDS_TLS
        } else if self.account.is_some() {
            reply::AUTH_AGAIN
        } else if self.transaction.is_some() {
            reply::BAD_SEQUENCE
        } else {
            let mechanism = match mechanism {
                "PLAIN" => Mechanism::Plain,
                "LOGIN" => Mechanism::Login,
                _ => return Action::Reply(reply::AUTH_MECHANISM),
            };
            return Action::Authenticate { mechanism, initial };
        };
        Action::Reply(refusal)
    }
}
