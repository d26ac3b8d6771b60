//! What the directory refuses, whose fault it is, and whether to try again.

use crate::address::AddressError;

/// The result of everything in this crate but logins.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the directory.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No such object: the caller's fault.
    #[error("there is no {what} {name}")]
    NotFound {
        /// Kind of object: `domain`, `account`, ...
        what: &'static str,
        /// How the caller named it.
        name: String,
    },
    /// The name is taken: the caller's fault. `what` is the kind of the object that has it.
    #[error("{name} exists already, as {what}")]
    AlreadyExists {
        /// Kind of the object that has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The request makes no sense: the caller's fault.
    #[error("{0}")]
    Invalid(String),
    /// The object cannot go while others need it: the caller may remove those first, or force it.
    #[error("{name} is in use: {by}")]
    InUse {
        /// The object.
        name: String,
        /// What needs it.
        by: String,
    },
    /// The object changed since the caller read it (its [`crate::Revision`] differs): read it again, and decide again.
    #[error("{name} was changed by someone else")]
    Stale {
        /// The object.
        name: String,
    },
    /// Processes of an earlier release may run, which know nothing of forwarding and of hosts of domains: temporary.
    #[error(
        "forwarding, and hosts of a domain, cannot be set while processes of an earlier release may run (ekitei cluster features: forwarding-and-hosts)"
    )]
    NotYet,
    /// The store is away or busy: nobody's fault. Try again later.
    #[error("the directory is unavailable: {0}")]
    Unavailable(String),
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotYet)
    }

    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }
}

impl From<ekitei_kv::Error> for Error {
    fn from(error: ekitei_kv::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Why a login was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Unknown user or wrong password: which of them is not told to the client. Permanent.
    #[error("the user name or the password is wrong")]
    InvalidCredentials,
    /// The password is right and the account is disabled. Permanent.
    #[error("the account is disabled")]
    Disabled,
    /// Too many passwords wait to be verified: load, not the client's fault. Temporary.
    #[error("too many logins at once")]
    Busy,
    /// Too many logins failed, from there or to this account: whoever asked for limits found so. Temporary, and a failure of the client.
    #[error("too many logins failed")]
    Limited,
    /// The store is away. Temporary.
    #[error("logins are unavailable: {0}")]
    Unavailable(String),
}

impl AuthError {
    /// Whether the same login may succeed later (SMTP `454 4.7.0`, IMAP `[UNAVAILABLE]`, POP3 `[SYS/TEMP]`).
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy | Self::Limited | Self::Unavailable(_))
    }
}
