//! Where a recipient's mail goes, and whether this client may send it there: the relay rule (no open relay, by construction) and
//! quotas.

use ekitei_directory::{AccountId, EmailAddress, LocalRecipient, Recipient};

use crate::proto::path::ForwardPath;
use crate::proto::reply::{self, Reply};
use crate::server::Server;

impl Server {
    /// The accounts behind a forward-path, or the refusal. `may_relay`: the client logged in, or is in a trusted network.
    ///
    /// Only accounts of ours are ever returned, so nothing that a client can say makes mail go elsewhere. Once there is a queue for
    /// outgoing mail, this is where it takes [`Recipient::Remote`], for clients that may relay, and `forwards`.
    pub(crate) async fn route(
        &self,
        path: &ForwardPath,
        may_relay: bool,
    ) -> Result<Vec<LocalRecipient>, Reply> {
        let directory = &self.context.directory;
        let resolved = match path {
            ForwardPath::Postmaster => return self.route_postmaster().await,
            ForwardPath::Mailbox(mailbox) => {
                let address = EmailAddress::parse(mailbox.as_str()).map_err(|_| reply::BAD_RECIPIENT)?;
                directory.resolve_recipient(&address).await
            }
        };
        match resolved.map_err(|error| unavailable(&error))? {
            Recipient::Local { accounts, forwards } if forwards.is_empty() => Ok(accounts),
            Recipient::Local { .. } => Err(reply::NO_FORWARDING),
            Recipient::Remote if may_relay => Err(reply::NO_OUTGOING),
            Recipient::Remote => Err(reply::RELAY_DENIED),
            Recipient::Unknown if is_postmaster(path) => self.route_postmaster().await,
            Recipient::Unknown => Err(reply::UNKNOWN_RECIPIENT),
            Recipient::Disabled => Err(reply::DISABLED_RECIPIENT),
            Recipient::Misconfigured(why) => Err(misconfigured(&why)),
        }
    }

    /// Every server takes mail for its postmaster (RFC 5321 §4.5.1): while nobody is named for it, it has to wait.
    async fn route_postmaster(&self) -> Result<Vec<LocalRecipient>, Reply> {
        let resolved = self.context.directory.resolve_postmaster().await;
        match resolved.map_err(|error| unavailable(&error))? {
            Recipient::Local { accounts, forwards } if forwards.is_empty() => Ok(accounts),
            Recipient::Local { .. } => Err(reply::NO_FORWARDING),
            Recipient::Misconfigured(why) => Err(misconfigured(&why)),
            Recipient::Remote | Recipient::Unknown | Recipient::Disabled => {
                Err(misconfigured("nobody takes mail for the postmaster"))
            }
        }
    }

    /// Whether an account has room for a message of `size` octets (1 if unknown).
    pub(crate) async fn check_quota(&self, account: AccountId, size: u64) -> Result<(), Reply> {
        let quota = self.context.directory.quota(account).await.map_err(|error| unavailable(&error))?;
        let Some(quota) = quota else { return Ok(()) };
        if size > quota {
            return Err(reply::MAILBOX_TOO_SMALL);
        }
        let usage = self.context.mailstore.usage(account).await.map_err(|error| {
            tracing::warn!(%error, "the usage of an account cannot be read");
            reply::TEMPORARY
        })?;
        if usage.bytes.saturating_add(size) > quota { Err(reply::MAILBOX_FULL) } else { Ok(()) }
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
