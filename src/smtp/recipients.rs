//! Where a recipient's mail goes, and whether this client may send it there: the relay rule (no open relay, by construction) and
//! quotas.

use ekitei_directory::{AccountId, Domain, EmailAddress, LocalRecipient, Recipient};

use crate::proto::path::ForwardPath;
use crate::proto::reply::{self, Reply};
use crate::server::Server;

/// Where mail for one recipient goes; at least one place.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Accounts here.
    pub(crate) accounts: Vec<LocalRecipient>,
    /// The recipient itself, elsewhere.
    pub(crate) relayed: Option<EmailAddress>,
    /// Where aliases and groups of ours lead, elsewhere.
    pub(crate) forwards: Vec<EmailAddress>,
}

impl Route {
    /// Mailboxes and addresses that the message goes to.
    pub(crate) fn destinations(&self) -> usize {
        self.accounts.len() + self.forwards.len() + usize::from(self.relayed.is_some())
    }
}

impl Server {
    /// Where a forward-path leads, or the refusal. `may_relay`: the client logged in, or is in a trusted network.
    ///
    /// This is the only place that lets mail go to an address that a client names, and only `may_relay` makes it so; `forwards` are what an
    /// administrator wrote.
    pub(crate) async fn route(&self, path: &ForwardPath, may_relay: bool) -> Result<Route, Reply> {
        let directory = &self.context.directory;
        let resolved = match path {
            ForwardPath::Postmaster => return self.route_postmaster().await,
            ForwardPath::Mailbox(mailbox) => {
                let address = EmailAddress::parse(mailbox.as_str()).map_err(|_| reply::BAD_RECIPIENT)?;
                directory.resolve_recipient(&address).await
            }
        };
        match resolved.map_err(|error| unavailable(&error))? {
            Recipient::Local { accounts, forwards } => Ok(Route { accounts, forwards, relayed: None }),
            Recipient::Remote if may_relay => Ok(Route { relayed: remote(path), ..Route::default() }),
            Recipient::Remote => Err(reply::RELAY_DENIED),
            Recipient::Unknown if is_postmaster(path) => self.route_postmaster().await,
            Recipient::Unknown => Err(reply::UNKNOWN_RECIPIENT),
            Recipient::Disabled => Err(reply::DISABLED_RECIPIENT),
            Recipient::Misconfigured(why) => Err(misconfigured(&why)),
        }
    }

    /// Every server takes mail for its postmaster (RFC 5321 §4.5.1): while nobody is named for it, it has to wait.
    async fn route_postmaster(&self) -> Result<Route, Reply> {
        let resolved = self.context.directory.resolve_postmaster().await;
        match resolved.map_err(|error| unavailable(&error))? {
            Recipient::Local { accounts, forwards } => Ok(Route { accounts, forwards, relayed: None }),
            Recipient::Misconfigured(why) => Err(misconfigured(&why)),
            Recipient::Remote | Recipient::Unknown | Recipient::Disabled => {
                Err(misconfigured("nobody takes mail for the postmaster"))
            }
        }
    }

    /// Whether an account, and its domain, have room for a message of `size` octets (1 if unknown).
    pub(crate) async fn check_quota(&self, account: AccountId, size: u64) -> Result<(), Reply> {
        let quota = self.context.directory.quota(account).await.map_err(|error| unavailable(&error))?;
        if quota.never_fits(size) {
            return Err(reply::MAILBOX_TOO_SMALL);
        }
        let room = self.context.mailstore.room(account, &quota).await.map_err(|error| {
            tracing::warn!(%error, "the usage of an account cannot be read");
            reply::TEMPORARY
        })?;
        if room.is_some_and(|room| size > room) { Err(reply::MAILBOX_FULL) } else { Ok(()) }
    }
}

/// The domain of a recipient.
pub(crate) fn domain_of(path: &ForwardPath) -> Option<Domain> {
    match path {
        ForwardPath::Mailbox(mailbox) => Domain::parse(mailbox.domain()).ok(),
        ForwardPath::Postmaster => None,
    }
}

/// The address of a recipient elsewhere.
fn remote(path: &ForwardPath) -> Option<EmailAddress> {
    match path {
        ForwardPath::Mailbox(mailbox) => EmailAddress::parse(mailbox.as_str()).ok(),
        ForwardPath::Postmaster => None,
    }
}

/// `postmaster@` any domain of ours.
fn is_postmaster(path: &ForwardPath) -> bool {
    matches!(path, ForwardPath::Mailbox(mailbox) if mailbox.local().eq_ignore_ascii_case("postmaster"))
}

pub(crate) fn unavailable(error: &ekitei_directory::Error) -> Reply {
    tracing::warn!(%error, "the directory cannot answer");
    reply::TEMPORARY
}

fn misconfigured(why: &str) -> Reply {
    tracing::warn!(why, "a recipient cannot be resolved until an administrator mends it");
    reply::MISCONFIGURED_RECIPIENT
}
