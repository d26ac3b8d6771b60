//! Recipients elsewhere: what is put into the queue in the transaction of the delivery, and the signatures of what leaves.

use std::sync::Arc;

use bytes::Bytes;
use ekitei_directory::{AccountId, Domain, EmailAddress};
use ekitei_mailstore::Companion;
use ekitei_mailstore::envelope::{Address, envelope};
use ekitei_queue::{NewMessage, NewRecipient, Origin};
use ekitei_relay as relay;

use crate::deliver::Verdicts;
use crate::message::Message;
use crate::proto::params::{MailParameters, Notify, OriginalRecipient, RcptParameters, Return};
use crate::proto::path::{ForwardPath, ReversePath};
use crate::proto::reply::{self, Reply};
use crate::recipients::{domain_of, unavailable};
use crate::server::Server;
use crate::session::{AcceptedRecipient, Transaction};
use crate::trace;

/// Who brought a message, as far as that decides about sending it on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submitter {
    /// The account that logged in.
    pub(crate) account: Option<AccountId>,
    /// Or a client in a trusted network.
    pub(crate) trusted: bool,
}

impl Submitter {
    /// Whether mail for other domains is taken from it. Nothing else ever grants that.
    pub(crate) fn may_relay(self) -> bool {
        self.trusted || self.account.is_some()
    }

    /// Whether what it says of its author is believed, so that the message is signed in that name. A host in a trusted network may be one that
    /// takes mail from strangers for us; so of what it brings, only what it has us relay is its own.
    pub(crate) fn vouches_for(self, transaction: &Transaction) -> bool {
        let relays = || transaction.recipients.iter().any(|recipient| recipient.relayed.is_some());
        self.account.is_some() || self.trusted && relays()
    }
}

impl Server {
    /// The entries of the queue for those recipients who can have the message.
    ///
    /// # Errors
    /// Why the message cannot be queued; then nobody gets it.
    pub(crate) async fn companions(
        &self,
        transaction: &Transaction,
        message: &Message,
        submitter: Submitter,
        verdicts: &Verdicts,
    ) -> Result<Vec<Arc<dyn Companion>>, Reply> {
        let accepted = || {
            let recipients = transaction.recipients.iter().zip(verdicts);
            recipients.filter(|(_, verdict)| verdict.is_ok()).map(|(recipient, _)| recipient)
        };
        let mut queued = Vec::new();
        let relayed: Vec<NewRecipient> = accepted()
            .filter_map(|recipient| Some(new_recipient(recipient.relayed.clone()?, recipient)))
            .collect();
        if !relayed.is_empty() {
            let mut new = new_message(transaction, message, submitter, (self.context.clock)());
            new.recipients = relayed;
            queued.push(new);
        }
        for recipient in accepted().filter(|recipient| !recipient.forwards.is_empty()) {
            if self.may_leave(message, recipient) {
                queued.push(self.forwarded(transaction, message, recipient).await?);
            } else {
                tracing::info!(transaction = %transaction.id, "junk is not forwarded");
            }
        }
        if transaction.sender != ReversePath::Null {
            queued.extend(self.successes(transaction, message, submitter, accepted()));
        }
        let mut companions = Vec::with_capacity(queued.len());
        for new in queued {
            companions.extend(self.context.queue.companion(new).map_err(|error| refusal(&error))?);
        }
        Ok(companions)
    }

    /// What the sender wants to hear of: success in mailboxes here, and of addresses that stand for several. It is queued with the delivery, so
    /// that it is told if, and only if, that happens. Who sends junk is told nothing: hardly anybody of that name sent it.
    fn successes<'a>(
        &self,
        transaction: &Transaction,
        message: &Message,
        submitter: Submitter,
        recipients: impl Iterator<Item = &'a AcceptedRecipient>,
    ) -> impl Iterator<Item = NewMessage> {
        let mut all = [Origin::Delivered, Origin::Expanded].map(|origin| NewMessage {
            origin,
            ..new_message(transaction, message, submitter, (self.context.clock)())
        });
        for recipient in recipients.filter(|recipient| recipient.success_is_told()) {
            let ForwardPath::Mailbox(mailbox) = &recipient.path else { continue };
            let Ok(address) = EmailAddress::parse(mailbox.as_str()) else { continue };
            if !message.is_junk_for(Some(address.domain())) {
                let of_kind = &mut all[usize::from(recipient.is_expanded())];
                of_kind.recipients.push(new_recipient(address, recipient));
            }
        }
        all.into_iter().filter(|new| !new.recipients.is_empty())
    }

    /// What lets a message be read as a report of another service, if it came to an address for these.
    pub(crate) fn report(
        &self,
        transaction: &Transaction,
        message: &Message,
        verdicts: &Verdicts,
    ) -> Option<Arc<dyn Companion>> {
        let reports = self.context.reports.as_ref()?;
        let recipients = transaction.recipients.iter().zip(verdicts);
        let ours =
            recipients.filter(|(recipient, verdict)| verdict.is_ok() && !recipient.accounts.is_empty());
        ours.map(|(recipient, _)| &recipient.path).find_map(|path| match path {
            ForwardPath::Mailbox(mailbox) => {
                let address = EmailAddress::parse(mailbox.as_str()).ok()?;
                reports.received(&address, message.as_received())
            }
            ForwardPath::Postmaster => None,
        })
    }

    /// Whether a message goes to other hosts for this recipient. They would take us for the sender of junk.
    pub(crate) fn may_leave(&self, message: &Message, recipient: &AcceptedRecipient) -> bool {
        !message.is_junk_for(domain_of(&recipient.path).as_ref())
            || self.context.live.load().filter.forward_junk
    }

    /// A message that an alias, a group or an account leads elsewhere: its sender is rewritten, so that SPF passes at the next host and failures come
    /// back here (SRS), and its checks are sealed (RFC 8617).
    async fn forwarded(
        &self,
        transaction: &Transaction,
        message: &Message,
        recipient: &AcceptedRecipient,
    ) -> Result<NewMessage, Reply> {
        let nobody = Submitter { account: None, trusted: false };
        let mut new = new_message(transaction, message, nobody, (self.context.clock)());
        new.origin = Origin::Forward;
        if let Some(ours) = domain_of(&recipient.path) {
            if let ReversePath::Mailbox(sender) = &transaction.sender {
                new.envelope.reverse_path = self.rewritten(sender.as_str(), &ours).await?;
            }
            if let Some(results) = &message.results {
                new.header = self.seal(&ours, message, results).await?;
            }
        }
        if let Some(field) = recipient.forwarded_as().as_ref().and_then(trace::delivered_to) {
            new.header = [field.as_bytes(), &new.header].concat().into();
        }
        new.recipients =
            recipient.forwards.iter().map(|address| led_to(address.clone(), recipient)).collect();
        Ok(new)
    }

    /// The sender of forwarded mail: as it is if it is ours, else an address in our domain that leads back to it.
    async fn rewritten(&self, sender: &str, ours: &Domain) -> Result<Option<String>, Reply> {
        // What SMTP lets in and the directory does not (a domain with an underscore) cannot be rewritten; that is no reason to refuse the mail.
        let Ok(sender) = EmailAddress::parse(sender) else { return Ok(Some(sender.to_owned())) };
        let local = self.context.directory.is_local_domain(sender.domain()).await;
        if local.map_err(|error| unavailable(&error))? {
            return Ok(Some(sender.to_wire()));
        }
        Ok(Some(self.context.signing.srs_forward(&sender, ours).to_wire()))
    }

    /// The ARC set of a message that is forwarded in the name of `domain`.
    async fn seal(&self, domain: &Domain, message: &Message, results: &str) -> Result<Bytes, Reply> {
        let sealed = self.context.signing.seal(domain, message.as_received(), results).await;
        sealed.map(Bytes::from).map_err(|error| {
            tracing::warn!(%error, "a forwarded message cannot be sealed");
            reply::TEMPORARY
        })
    }

    /// Where a notification about forwarded mail goes: to the sender that was rewritten.
    pub(crate) fn rewritten_sender(&self, path: &ForwardPath) -> Option<EmailAddress> {
        let ForwardPath::Mailbox(mailbox) = path else { return None };
        let address = EmailAddress::parse(mailbox.as_str()).ok()?;
        self.context.signing.srs_reverse(address.local())
    }

    /// The signatures of a message in the name of `author`, to be put in front of it; nothing if that is no domain of ours.
    ///
    /// # Errors
    /// The keys cannot be read now: the client has to come again, since unsigned it might be refused elsewhere.
    pub(crate) async fn signatures(&self, author: &Domain, message: &Message) -> Result<Vec<u8>, Reply> {
        match self.context.signing.sign(author, message.as_received()).await {
            Ok(fields) => Ok(fields),
            Err(ekitei_signing::Error::NoSuchDomain(_)) => Ok(Vec::new()),
            Err(error) => {
                tracing::warn!(%error, "a message cannot be signed");
                Err(reply::TEMPORARY)
            }
        }
    }
}

/// The domain of the first author.
pub(crate) fn author_domain(fields: &[u8]) -> Option<Domain> {
    let envelope = envelope(fields);
    let hosts = envelope.from.iter().filter_map(|author: &Address| author.host.as_deref());
    hosts.filter_map(|host| Domain::parse(host).ok()).next()
}

/// A message for the queue, still without recipients.
fn new_message(
    transaction: &Transaction,
    message: &Message,
    submitter: Submitter,
    now: std::time::Duration,
) -> NewMessage {
    let utf8 = message.header.has_utf8 || !transaction.sender.is_ascii();
    let envelope = relay::Envelope {
        reverse_path: match &transaction.sender {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox.as_str().to_owned()),
        },
        body: if message.is_ascii() { relay::BodyType::SevenBit } else { relay::BodyType::EightBitMime },
        smtputf8: utf8,
        ..parameters(&transaction.parameters, submitter, now)
    };
    NewMessage {
        envelope,
        recipients: Vec::new(),
        received: now,
        size: message.size(),
        header: Bytes::new(),
        account: submitter.account,
        origin: if submitter.account.is_some() { Origin::Submission } else { Origin::Relay },
    }
}

fn parameters(given: &MailParameters, submitter: Submitter, now: std::time::Duration) -> relay::Envelope {
    let deliver_by = given.deliver_by.map(|by| relay::DeliverBy {
        deadline: now.as_secs().saturating_add_signed(by.seconds),
        or_return: by.or_return,
    });
    // What strangers call urgent is not urgent here (RFC 6710 §4.1).
    let most = if submitter.may_relay() { i8::MAX } else { 0 };
    relay::Envelope {
        ret: given.ret.map(|ret| match ret {
            Return::Full => relay::Return::Full,
            Return::Headers => relay::Return::Headers,
        }),
        envelope_id: given.envelope_id.clone(),
        require_tls: given.require_tls,
        priority: given.priority.unwrap_or_default().min(most),
        deliver_by,
        ..relay::Envelope::default()
    }
}

fn new_recipient(address: EmailAddress, accepted: &AcceptedRecipient) -> NewRecipient {
    let RcptParameters { notify, original_recipient } = &accepted.parameters;
    let notify = notify.map(|Notify { success, failure, delay }| relay::Notify { success, failure, delay });
    let original = original_recipient.clone().map(|OriginalRecipient { address_type, address }| {
        relay::OriginalRecipient { address_type, address }
    });
    NewRecipient { address, notify, original }
}

/// One of the addresses that a recipient leads to. Where there are several, that it was expanded is told here, and nothing of their success
/// (RFC 3461 §5.2.7.3).
fn led_to(address: EmailAddress, accepted: &AcceptedRecipient) -> NewRecipient {
    let new = new_recipient(address, accepted);
    let success = !accepted.is_expanded();
    let notify = new.notify.map(|notify| relay::Notify { success: notify.success && success, ..notify });
    NewRecipient { notify, ..new }
}

fn refusal(error: &ekitei_queue::Error) -> Reply {
    match error {
        ekitei_queue::Error::Full => reply::NO_MEMORY,
        error => {
            tracing::warn!(%error, "a message cannot be queued");
            reply::TEMPORARY
        }
    }
}
