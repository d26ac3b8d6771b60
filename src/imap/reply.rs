//! How a command ends: the tagged response, or the end of the connection.

use std::borrow::Cow;
use std::io;

use ekitei_mailstore::Error;

use crate::proto::response::{Code, Status};

/// The tagged response that ends a command.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: Status,
    pub(crate) code: Option<Code>,
    pub(crate) text: Cow<'static, str>,
}

impl Reply {
    /// `OK`
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Ok, code: None, text: text.into() }
    }

    /// `NO [code]`
    pub(crate) fn no(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::No, code: Some(code), text: text.into() }
    }

    /// `BAD`
    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Bad, code: None, text: text.into() }
    }

    /// `BAD [CLIENTBUG]`: the command is well-formed and can make no sense here (RFC 5530).
    pub(crate) fn client_bug(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Bad, code: Some(Code::ClientBug), text: text.into() }
    }

    /// The same with a response code.
    pub(crate) fn with_code(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// Why a command goes no further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It ends with this response.
    Reply(Reply),
    /// The client is gone, or can no longer be told what happens.
    Lost(io::Error),
    /// Whether it was done is not known: neither `OK` nor `NO` would be true, so the session ends without either.
    Unknown,
}

/// How a command ends.
pub(crate) type Outcome = Result<Reply, Stop>;

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if error.is_outcome_unknown() {
            tracing::warn!(%error, "whether a command was done is not known");
            return Self::Unknown;
        }
        Self::Reply(store_failure(&error))
    }
}

impl From<ekitei_directory::Error> for Stop {
    fn from(error: ekitei_directory::Error) -> Self {
        tracing::warn!(%error, "the directory failed a command");
        Self::Reply(Reply::no(Code::Unavailable, "The directory is not available, try again later"))
    }
}

/// What an error of the mailstore means to a client (RFC 5530).
pub(crate) fn store_failure(error: &Error) -> Reply {
    match error {
        Error::NoSuchMailbox => Reply::no(Code::NonExistent, "There is no such mailbox"),
        Error::MailboxExists => Reply::no(Code::AlreadyExists, "There is a mailbox of that name"),
        Error::HasChildren => Reply::no(Code::HasChildren, "There are mailboxes below it"),
        Error::NotPermitted(reason) => Reply::no(Code::Cannot, *reason),
        Error::OverQuota => Reply::no(Code::OverQuota, "The quota does not hold it"),
        Error::Limit(reason) => Reply::no(Code::Limit, *reason),
        Error::TooLarge => Reply::no(Code::TooBig, "The message is too large"),
        Error::Body(_) | Error::Store(_) => {
            tracing::warn!(%error, "the store failed a command");
            Reply::no(Code::Unavailable, "The store is not available, try again later")
        }
        Error::Corrupt(_) => {
            tracing::error!(%error, "stored data is damaged");
            Reply::no(Code::Corruption, "Stored data is damaged, the administrator must act")
        }
    }
}

/// A failure with the mailbox that messages go to: if it is missing, the client may create it and try again.
pub(crate) fn target_failure(error: Error) -> Stop {
    match error {
        Error::NoSuchMailbox => try_create().into(),
        error => error.into(),
    }
}

/// There is no such mailbox to put messages into (RFC 9051 §6.3.12, §6.4.7).
pub(crate) fn try_create() -> Reply {
    Reply::no(Code::TryCreate, "There is no such mailbox; create it first")
}
