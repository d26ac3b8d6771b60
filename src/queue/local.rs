//! The transport of the service: mail for domains of ours goes into mailboxes, all other to the relay.
//!
//! What comes through the queue to a domain of ours is above all notifications to senders here; besides, mail whose domain became ours while it
//! waited, and mail to rewritten senders (SRS), which leads on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use ekitei_config::Live;
use ekitei_directory::{AccountId, Directory, Domain, EmailAddress, LocalRecipient, Quota, Recipient};
use ekitei_kv::AsKvError as _;
use ekitei_kv::clock::SharedClock;
use ekitei_mailstore::{Companion, Delivery, Fence, Flags, Folder, MailStore, MailboxName, Target};
use ekitei_relay::{self as relay, Failure, FailureKind, Notify, RecipientOutcome, Relay, Shipment, Status};

use crate::conclude::trouble_here;
use crate::dsn::Action;
use crate::model::{NewMessage, NewRecipient, Origin};
use crate::transport::{Handled, Transport, TransportFuture};
use crate::{Error, Queue};

/// Senders of forwarded mail, which are rewritten so that failures find back (SRS).
pub trait Senders: Send + Sync {
    /// The reverse-path of a message from `sender` that an address in `domain` leads elsewhere.
    fn rewrite(&self, sender: &EmailAddress, domain: &Domain) -> EmailAddress;

    /// What a rewritten sender stands for; `None` for any other address.
    fn restore(&self, address: &EmailAddress) -> Option<EmailAddress>;
}

/// What [`LocalOrRelay`] is made of.
pub struct LocalOrRelay {
    /// Which domains are ours, and who lives there.
    pub directory: Directory,
    /// Their mailboxes.
    pub mailstore: MailStore,
    /// For what addresses here lead on to.
    pub queue: Queue,
    /// For everything else: a [`Relay`].
    pub elsewhere: Arc<dyn Transport>,
    /// Rewritten senders.
    pub senders: Arc<dyn Senders>,
    /// The configuration in force.
    pub live: Live,
    /// The time of day.
    pub clock: SharedClock,
}

impl Transport for Relay {
    fn send(&self, shipment: Shipment, _: Arc<dyn Fence>) -> TransportFuture<'_> {
        Box::pin(async move { Self::send(self, shipment).await.into_iter().map(Handled::relayed).collect() })
    }

    fn through(&self, destination: &str, sender_domain: Option<&str>) -> Option<Arc<str>> {
        Self::through(self, destination, sender_domain).map(Arc::from)
    }
}

impl Transport for LocalOrRelay {
    fn send(&self, shipment: Shipment, fence: Arc<dyn Fence>) -> TransportFuture<'_> {
        Box::pin(async move {
            let is_local = match Domain::parse(&shipment.destination) {
                Ok(domain) => self.directory.is_local_domain(&domain).await,
                Err(_) => Ok(false),
            };
            match is_local {
                Ok(true) => self.deliver(shipment, fence).await,
                Ok(false) => self.elsewhere.send(shipment, fence).await,
                Err(error) => {
                    tracing::warn!(%error, "a destination cannot be looked up");
                    let trouble = trouble_here("the directory cannot be asked now");
                    vec![deferred(trouble); shipment.recipients.len()]
                }
            }
        })
    }

    fn through(&self, destination: &str, sender_domain: Option<&str>) -> Option<Arc<str>> {
        self.elsewhere.through(destination, sender_domain)
    }
}

/// Where a recipient leads, or why nowhere.
struct Route {
    accounts: Vec<LocalRecipient>,
    forwards: Vec<EmailAddress>,
}

impl LocalOrRelay {
    /// Delivers into mailboxes, and queues what leads elsewhere, in one transaction behind the fence.
    async fn deliver(&self, shipment: Shipment, fence: Arc<dyn Fence>) -> Vec<Handled> {
        let message = Bytes::from(shipment.message.concat());
        let mut routes = Vec::with_capacity(shipment.recipients.len());
        for recipient in &shipment.recipients {
            routes.push(self.route(recipient, &message).await);
        }
        let mut targets: BTreeMap<AccountId, Target> = BTreeMap::new();
        let mut companions: Vec<Arc<dyn Companion>> = Vec::new();
        for (recipient, route) in shipment.recipients.iter().zip(&mut routes) {
            let Ok(found) = route else { continue };
            match self.forward(&shipment, recipient, &found.forwards, message.len()) {
                Ok(companion) => companions.extend(companion),
                Err(failure) => {
                    *route = Err(deferred(failure));
                    continue;
                }
            }
            // Where several share a recipient, one that is full must not cost it the message: a retry would double it for the others.
            let is_alone = found.accounts.len() == 1 && found.forwards.is_empty();
            for account in &found.accounts {
                if let Entry::Vacant(vacant) = targets.entry(account.account) {
                    let quota = self.directory.quota(account.account).await.ok().filter(|_| is_alone);
                    vacant.insert(target(account, quota, &shipment.envelope));
                }
            }
        }
        let delivery = Delivery {
            message,
            received: self.clock.now(),
            targets: targets.into_values().collect(),
            companions,
            fence: Some(fence),
        };
        let outcomes = self.store(&shipment, delivery).await;
        let remote = self.live.load().hostname.clone();
        let handled = |route: Result<Route, Handled>| match (route, &outcomes) {
            (Err(handled), _) => handled,
            (Ok(_), Err(failure)) => deferred(failure.clone()),
            (Ok(route), Ok(outcomes)) => route.outcome(outcomes, &remote),
        };
        routes.into_iter().map(handled).collect()
    }

    /// Where a recipient leads.
    async fn route(&self, recipient: &relay::Recipient, message: &[u8]) -> Result<Route, Handled> {
        let Ok(address) = EmailAddress::parse(&recipient.address) else {
            return Err(refused(Status(5, 1, 3), "it is no address"));
        };
        if let Some(sender) = self.senders.restore(&address) {
            return Ok(Route { accounts: Vec::new(), forwards: vec![sender] });
        }
        match self.directory.resolve_recipient(&address).await {
            Ok(Recipient::Local { accounts, forwards }) => {
                let delivered_to = delivered_to(message);
                let loops = accounts.iter().any(|account| delivered_to.contains(&account.address))
                    || !forwards.is_empty() && delivered_to.contains(&address);
                if loops {
                    return Err(refused(
                        Status(5, 4, 6),
                        "it was delivered to this address before; it loops",
                    ));
                }
                Ok(Route { accounts, forwards })
            }
            Ok(Recipient::Unknown) => Err(refused(Status(5, 1, 1), "there is no such user here")),
            Ok(Recipient::Disabled) => Err(refused(Status(5, 2, 1), "the mailbox is disabled")),
            Ok(Recipient::Remote) => Err(deferred(trouble_here("the domain is not ours any more"))),
            Ok(Recipient::Misconfigured(what)) => {
                tracing::warn!(what, "an address is misconfigured");
                let status = Status(4, 3, 5);
                Err(deferred(Failure { status, ..trouble_here("the address is misconfigured") }))
            }
            Err(error) => {
                tracing::warn!(%error, "a recipient cannot be looked up");
                Err(deferred(trouble_here("the directory cannot be asked now")))
            }
        }
    }

    /// What has to be written so that the message goes on to other addresses.
    fn forward(
        &self,
        shipment: &Shipment,
        recipient: &relay::Recipient,
        to: &[EmailAddress],
        size: usize,
    ) -> Result<Option<Arc<dyn Companion>>, Failure> {
        if to.is_empty() {
            return Ok(None);
        }
        let ours = Domain::parse(&shipment.destination).ok();
        let sender =
            shipment.envelope.reverse_path.as_deref().and_then(|sender| EmailAddress::parse(sender).ok());
        let reverse_path = sender.map(|sender| match &ours {
            Some(ours) => self.senders.rewrite(&sender, ours).to_wire(),
            None => sender.to_wire(),
        });
        // That it was sent on is told here; what becomes of it then is told by whoever knows.
        let notify = recipient.notify.map(|notify| Notify { success: false, ..notify });
        let new = |address: &EmailAddress| NewRecipient {
            address: address.clone(),
            notify,
            original: recipient.original.clone(),
        };
        let message = NewMessage {
            envelope: relay::Envelope { reverse_path, ..shipment.envelope.clone() },
            recipients: to.iter().map(new).collect(),
            received: self.clock.now(),
            size: size as u64,
            header: forwarded_as(&recipient.address),
            account: None,
            origin: Origin::Forward,
        };
        self.queue.companion(message).map_err(|error| match error {
            Error::Full => trouble_here("the queue is full"),
            error => {
                tracing::warn!(%error, "a message cannot be sent on");
                trouble_here("the message cannot be sent on now")
            }
        })
    }

    /// Stores the message; what became of each account.
    ///
    /// # Errors
    /// Nobody has it, or that is not known.
    async fn store(
        &self,
        shipment: &Shipment,
        delivery: Delivery,
    ) -> Result<BTreeMap<AccountId, Result<(), Failure>>, Failure> {
        if delivery.targets.is_empty() && delivery.companions.is_empty() {
            return Ok(BTreeMap::new());
        }
        // The transaction would be refused all the same.
        if !(shipment.may_finish)() {
            return Err(taken_over());
        }
        let size = delivery.message.len() as u64;
        let never_fits =
            |target: &Target| target.quota.as_ref().is_some_and(|quota: &Quota| quota.never_fits(size));
        let accounts: Vec<(AccountId, bool)> =
            delivery.targets.iter().map(|target| (target.account, never_fits(target))).collect();
        let outcomes = self.mailstore.deliver(delivery).await.map_err(|error| {
            if matches!(error.as_kv_error(), Some(ekitei_kv::Error::Fenced)) {
                return taken_over();
            }
            tracing::warn!(%error, "a queued message cannot be stored");
            trouble_here("the message cannot be stored now")
        })?;
        let outcome =
            |((account, never_fits), outcome): ((AccountId, bool), Result<_, ekitei_mailstore::Error>)| {
                let outcome = outcome.map(drop).map_err(|error| match error {
                    ekitei_mailstore::Error::OverQuota => full(never_fits),
                    error => {
                        tracing::warn!(%error, "a queued message cannot be stored");
                        trouble_here("the message cannot be stored now")
                    }
                });
                (account, outcome)
            };
        Ok(accounts.into_iter().zip(outcomes).map(outcome).collect())
    }
}

impl Route {
    /// What became of a recipient that leads here: the first account that does not have the message counts.
    fn outcome(&self, outcomes: &BTreeMap<AccountId, Result<(), Failure>>, host: &str) -> Handled {
        let failures =
            self.accounts.iter().filter_map(|account| outcomes.get(&account.account)?.as_ref().err());
        // Where some have it already, those must not get it again for the sake of the others.
        let has_it =
            self.accounts.iter().any(|account| matches!(outcomes.get(&account.account), Some(Ok(()))));
        if let Some(failure) = failures.into_iter().next()
            && !has_it
            && self.forwards.is_empty()
        {
            let outcome = match failure.status.0 {
                5 => RecipientOutcome::Failed(failure.clone()),
                _ => RecipientOutcome::Deferred(failure.clone()),
            };
            return Handled { outcome, success: Action::Delivered };
        }
        let success = match (self.accounts.len(), self.forwards.len()) {
            (1, 0) => Action::Delivered,
            (0, 1) => Action::Relayed,
            _ => Action::Expanded,
        };
        let reply = "250 2.1.5 Delivered".to_owned();
        Handled {
            outcome: RecipientOutcome::Sent { remote: host.to_owned(), reply, notifies: false },
            success,
        }
    }
}

fn deferred(failure: Failure) -> Handled {
    Handled { outcome: RecipientOutcome::Deferred(failure), success: Action::Delivered }
}

/// The shard is another process's now.
fn taken_over() -> Failure {
    Failure { kind: FailureKind::Fenced, ..trouble_here("another process took the work over") }
}

/// A refusal of ours.
fn refused(status: Status, text: &str) -> Handled {
    let failure =
        Failure { kind: FailureKind::Recipient, status, code: None, text: text.to_owned(), remote: None };
    Handled { outcome: RecipientOutcome::Failed(failure), success: Action::Delivered }
}

fn full(never_fits: bool) -> Failure {
    let (class, text) = if never_fits {
        (5, "the mailbox cannot hold a message of that size")
    } else {
        (4, "the mailbox is full")
    };
    Failure {
        kind: FailureKind::Recipient,
        status: Status(class, 2, 2),
        code: None,
        text: text.to_owned(),
        remote: None,
    }
}

/// One account that gets the message, with the fields of its delivery in front (RFC 5321 §4.4).
fn target(recipient: &LocalRecipient, quota: Option<Quota>, envelope: &relay::Envelope) -> Target {
    let named = recipient.detail.as_deref().and_then(|detail| MailboxName::new(detail).ok());
    let sender = envelope.reverse_path.as_deref().unwrap_or_default();
    let header = format!("Return-Path: <{sender}>\r\nDelivered-To: {}\r\n", recipient.address.to_wire());
    Target {
        account: recipient.account,
        folder: named.map_or(Folder::Inbox, Folder::Named),
        flags: Flags::NONE,
        quota,
        header: header.into(),
    }
}

/// What is written above a message that an address of ours leads elsewhere, so that it is known when it is sent back; nothing for an address that only hosts
/// with SMTPUTF8 could take.
fn forwarded_as(address: &str) -> Bytes {
    match EmailAddress::parse(address).map(|address| address.to_wire()) {
        Ok(address) if address.is_ascii() => Bytes::from(format!("Delivered-To: {address}\r\n")),
        _ => Bytes::new(),
    }
}

/// The addresses of a message's Delivered-To fields.
fn delivered_to(message: &[u8]) -> Vec<EmailAddress> {
    let header_end =
        message.windows(4).position(|four| four == b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    let lines = message[..header_end].split(|&octet| octet == b'\n');
    let value = |line: &[u8]| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        name.trim_end().eq_ignore_ascii_case("delivered-to").then(|| value.trim().to_owned())
    };
    lines.filter_map(value).filter_map(|address| EmailAddress::parse(&address).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: u64) -> LocalRecipient {
        let address = EmailAddress::parse("bob@here.example").expect("an address");
        LocalRecipient { account: AccountId::new(id), address, detail: None }
    }

    #[test]
    fn what_some_have_is_not_tried_again() {
        let outcomes: BTreeMap<_, _> = [
            (AccountId::new(1), Ok(())),
            (AccountId::new(2), Err(full(false))),
            (AccountId::new(3), Err(full(true))),
        ]
        .into();
        let of = |ids: &[u64]| {
            let route = Route { accounts: ids.iter().copied().map(account).collect(), forwards: Vec::new() };
            route.outcome(&outcomes, "mx.here.example")
        };
        assert_eq!(of(&[1]).success, Action::Delivered);
        assert!(matches!(of(&[1, 2]).outcome, RecipientOutcome::Sent { .. }));
        assert!(matches!(of(&[2]).outcome, RecipientOutcome::Deferred(_)));
        assert!(matches!(of(&[3]).outcome, RecipientOutcome::Failed(_)));
    }

    #[test]
    fn a_loop_is_seen_in_the_header_only() {
        let message =
            b"Delivered-To: bob@here.example\r\nSubject: x\r\n\r\nDelivered-To: carol@here.example\r\n";
        assert_eq!(delivered_to(message), [account(1).address]);
    }
}
