//! What can go wrong with a backup, whose fault it is, and what to do.

use ekitei_blob::ObjectError;
use ekitei_kv::AsKvError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a backup or a restore.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no key, or it is none: the operator's to put right.
    #[error("{0}")]
    Key(String),
    /// The repository is there, but under another key.
    #[error(
        "the backup repository is encrypted under another key: set backup.encryptionKey to the key it was made with, \
         or add that to backup.previousEncryptionKeys"
    )]
    WrongKey,
    /// Somebody else works on the repository: try again later.
    #[error("the backup repository is in use by {holder} ({what}); its lock ends {ends} if nobody renews it")]
    Locked {
        /// Who.
        holder: String,
        /// For what.
        what: &'static str,
        /// When, in words.
        ends: String,
    },
    /// This process may not go on: its lock or lease is over. What it wrote so far stays, and is used by the next run.
    #[error("the lock of the backup repository is over: another process may work on it now")]
    LockLost,
    /// There is no repository yet.
    #[error("there is no backup repository: `ekitei backup create` makes it")]
    NoRepository,
    /// No such snapshot, account, domain or mailbox in the backup: the caller's mistake.
    #[error("there is no {what} {name} in the backup")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// How the caller named it.
        name: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// What is stored in the repository is not what was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// A later release wrote it.
    #[error("{0} was written by a later release: use that")]
    TooNew(&'static str),
    /// A backup was made, without what cannot be read: the rest of it is good.
    #[error(
        "the backup {snapshot} was made, but {count} could not be read: {first}; the log names all of them; `ekitei blob scrub` \
         looks for what is damaged, and the next backup tries again",
        count = in_words(*.messages, *.accounts),
        first = .first.join("; ")
    )]
    Incomplete {
        /// The backup.
        snapshot: String,
        /// Messages that it does not have.
        messages: u64,
        /// Accounts that it has as the backup before had them, or not at all.
        accounts: u64,
        /// Some of them, and why.
        first: Vec<String>,
    },
    /// Everything was restored but what is damaged in the backup.
    #[error(
        "everything was restored but {count}, which the backup {snapshot} does not have in whole: {first}; the log names all of them; \
         another backup may have them: restore their accounts from that",
        count = in_words(*.messages, *.accounts),
        first = .first.join("; ")
    )]
    RestoredInPart {
        /// The backup.
        snapshot: String,
        /// Messages that were not restored, as far as they can be counted.
        messages: u64,
        /// Accounts that were not.
        accounts: u64,
        /// Some of them, and why.
        first: Vec<String>,
    },
    /// The repository's store shows what was written late: temporary.
    #[error(
        "the object store does not list the backup {0} yet, which is there, and what that needs could be taken for what nobody needs: try again later"
    )]
    Unlisted(String),
    /// The object store of the repository failed.
    #[error("the store of backups failed: {0}")]
    Objects(#[from] ObjectError),
    /// The metadata store of the service failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
    /// Bodies could not be read or written.
    #[error(transparent)]
    Body(#[from] ekitei_blob::Error),
    /// The mailstore.
    #[error(transparent)]
    MailStore(#[from] ekitei_mailstore::Error),
    /// The directory.
    #[error(transparent)]
    Directory(#[from] ekitei_directory::Error),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] ekitei_queue::Error),
    /// Signing keys.
    #[error("signing keys: {0}")]
    Signing(String),
}

/// What is missing, in words.
fn in_words(messages: u64, accounts: u64) -> String {
    let count = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    match (messages, accounts) {
        (messages, 0) => count(messages, "message"),
        (0, accounts) => count(accounts, "account"),
        (messages, accounts) => format!("{} and {}", count(messages, "message"), count(accounts, "account")),
    }
}

impl Error {
    /// Without a key there are no backups.
    pub fn no_key() -> Self {
        Self::Key(
            "backups are encrypted: set backup.encryptionKey to 32 octets in base64 (`openssl rand -base64 32`), and keep \
             it apart from the store and from the backups; without it, no backup can be read"
                .to_owned(),
        )
    }

    /// Something is not in the backup.
    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    /// Whether the same may succeed later, without anybody's doing.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::LockLost | Self::Unlisted(_) | Self::Store(_) => true,
            Self::Objects(error) => error.kind().is_temporary(),
            Self::Directory(error) => error.is_temporary(),
            Self::Body(ekitei_blob::Error::Objects(error) | ekitei_blob::Error::NoRoom(error)) => {
                error.kind().is_temporary()
            }
            error => error.as_kv_error().is_some(),
        }
    }
}

impl AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Body(error) => error.as_kv_error(),
            Self::MailStore(error) => error.as_kv_error(),
            Self::Queue(error) => error.as_kv_error(),
            _ => None,
        }
    }
}

/// What is missing in a backup, or after a restore: how much, and the first of it in words.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    pub(crate) messages: u64,
    pub(crate) accounts: u64,
    pub(crate) first: Vec<String>,
}

impl Missing {
    /// Texts that are kept: an error is for people.
    const FIRST: usize = 5;

    /// Notes messages.
    pub(crate) fn messages(&mut self, count: u64, what: String) {
        self.messages += count;
        self.note(what);
    }

    /// Notes an account.
    pub(crate) fn account(&mut self, what: String) {
        self.accounts += 1;
        self.note(what);
    }

    fn note(&mut self, what: String) {
        tracing::error!(what, "missing in a backup");
        if self.first.len() < Self::FIRST {
            self.first.push(what);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        (self.messages, self.accounts) == (0, 0)
    }
}
