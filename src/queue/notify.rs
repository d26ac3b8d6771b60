//! From what a sender is told to a message in the queue: one notification for all recipients of a settlement.

use std::time::Duration;

use bytes::Bytes;
use ekitei_config::Config;
use ekitei_directory::{Domain, EmailAddress};
use ekitei_relay::{BodyType, Envelope, Notify, Return};
use futures_util::future::BoxFuture;

use crate::conclude::Conclusion;
use crate::dsn::{self, Action, Report, Reporter, Told};
use crate::model::{MessageRow, NewMessage, NewRecipient, Origin, QueueId};
use crate::scheduler::Context;
use crate::settlement::Notification;
use crate::spool::Loaded;
use crate::{Error, Result};

/// Signs what the service itself writes.
pub trait Signer: Send + Sync {
    /// DKIM-Signature fields, each with its CRLF, for a message whose author is in `domain`; empty where there is no key for it.
    ///
    /// # Errors
    /// Why it cannot be signed now: it has to wait.
    fn sign<'a>(&'a self, domain: &'a Domain, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, String>>;
}

/// What a notification is called, and when it is made (since the epoch).
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) id: QueueId,
    pub(crate) now: Duration,
}

/// Makes the notifications of a settlement ready: to the sender, if there is one who wants to know; to the postmaster, if a notification itself
/// failed and somebody is configured to hear of that. `bare` leaves out what would come back of the message, which cannot be read, and
/// signatures that cannot be made.
///
/// # Errors
/// When the message cannot be read or the notification not be stored: try again. What cannot be told to anyone is no error.
pub(crate) async fn notifications(
    context: &Context,
    config: &Config,
    loaded: &Loaded,
    conclusion: &Conclusion,
    about: About,
    bare: bool,
) -> Result<Vec<Notification>> {
    let (About { id, now }, spool) = (about, &context.spool);
    let Some((to, told)) = addressee(config, loaded, conclusion) else { return Ok(Vec::new()) };
    let message = &loaded.message;
    let settings = &config.queue.notifications;
    let domain = if settings.domain.is_empty() { &config.hostname } else { &settings.domain };
    let max_header = settings.max_returned_header.as_usize();
    let reporter = Reporter { host: config.hostname.clone(), domain: domain.clone(), max_header };
    let is_full = !bare && returns_full(message, told, settings.max_returned_message.get());
    let full = if is_full { Some(spool.body(message).await?) } else { None };
    let head = match &full {
        None if bare => Bytes::new(),
        Some(pieces) => Bytes::from(pieces.concat()),
        // One octet more tells a header that is cut from one that ends there.
        None => spool.head(message, settings.max_returned_header.get() + 4).await?,
    };
    let to_wire = to.to_wire();
    let composed = dsn::compose(&Report {
        to: &to_wire,
        envelope: &message.envelope,
        received: message.received,
        recipients: told,
        head: &head,
        full: full.as_deref(),
        reporter: &reporter,
        id: &id.to_string(),
        now,
    });
    let Some(composed) = composed else { return Ok(Vec::new()) };
    let octets = match signed(context, domain, &composed.octets).await {
        Err(error) if bare => {
            tracing::warn!(%error, "a notification goes unsigned");
            composed.octets
        }
        signed => signed?,
    };
    let body = if composed.eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit };
    // RFC 3461 §6.1: a null reverse-path, and nobody is told of this message's own fate.
    let recipient = NewRecipient { address: to, notify: Some(Notify::NEVER), original: None };
    // What it returns is as confidential as it was (RFC 8689 §5).
    let require_tls = message.envelope.require_tls;
    let new = NewMessage {
        envelope: Envelope { body, smtputf8: composed.smtputf8, require_tls, ..Envelope::default() },
        recipients: vec![recipient],
        received: now,
        size: octets.len() as u64,
        header: Bytes::new(),
        account: message.account,
        origin: Origin::Notification,
    };
    Ok(vec![spool.prepare(octets, new).await?])
}

/// A message with the signatures of its author's domain in front.
async fn signed(context: &Context, author: &str, message: &Bytes) -> Result<Bytes> {
    let (Some(signer), Ok(author)) = (&context.signer, Domain::parse(author)) else {
        return Ok(message.clone());
    };
    let signatures = signer.sign(&author, message).await.map_err(Error::Unsigned)?;
    Ok(if signatures.is_empty() { message.clone() } else { [&signatures, &message[..]].concat().into() })
}

/// Who is told, and what.
fn addressee<'a>(
    config: &Config,
    loaded: &Loaded,
    conclusion: &'a Conclusion,
) -> Option<(EmailAddress, &'a [Told])> {
    if let Some(sender) = &loaded.message.envelope.reverse_path {
        if conclusion.told.is_empty() {
            return None;
        }
        return match EmailAddress::parse(sender) {
            Ok(sender) => Some((sender, &conclusion.told)),
            Err(error) => {
                tracing::warn!(entry = %loaded.id, %error, "the sender of a message cannot be told of it");
                None
            }
        };
    }
    let copies_to = &config.queue.notifications.double_bounces_to;
    // What fails after an address led it on may be such a copy itself: of that nobody is told, or it would go round for ever.
    let is_notification = loaded.message.origin == Origin::Notification;
    if conclusion.failed.is_empty() || copies_to.is_empty() || !is_notification {
        return None;
    }
    let postmaster = EmailAddress::parse(copies_to).ok()?;
    // Mail to the postmaster that fails is not reported to the postmaster.
    let is_own = conclusion.failed.iter().any(|told| told.recipient.address == postmaster.to_wire());
    (!is_own).then_some((postmaster, &conclusion.failed))
}

/// Whether the whole message comes back: with a failure, where it is wanted, if it is not too large, and unless it must not travel without TLS
/// (RFC 8689 §5).
fn returns_full(message: &MessageRow, told: &[Told], limit: u64) -> bool {
    let size = message.size.saturating_add(message.header.len() as u64);
    let has_failure = told.iter().any(|told| told.action == Action::Failed);
    message.envelope.ret == Some(Return::Full)
        && has_failure
        && size <= limit
        && !message.envelope.require_tls
}
