//! Who hands in messages: for mailboxes here, for servers elsewhere, or both at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_directory::EmailAddress;
use ekitei_kv::clock::Clock;
use ekitei_mailstore::{Delivery, Flags, Folder, MailboxId, Target, Uid};
use ekitei_queue::{Action, Filter, NewMessage, NewRecipient, Origin};
use ekitei_relay::{Envelope, Notify};
use tokio::time::sleep;

use super::NO_NODE;
use crate::dice::Dice;
use crate::ledger::{Marks, Posted, Told};
use crate::node::Node;
use crate::servers::DOMAINS;
use crate::world::World;

/// Hands in messages, one after the other.
pub struct Sender {
    world: Arc<World>,
    name: String,
    dice: Dice,
}

type Outcomes = Vec<ekitei_mailstore::Result<(MailboxId, Uid)>>;

impl Sender {
    /// A sender that has done nothing yet.
    pub fn new(world: Arc<World>, number: usize) -> Self {
        let name = format!("s{number}");
        let dice = world.dice(&name);
        Self { world, name, dice }
    }

    /// Works until the run's time is over.
    pub async fn run(mut self) {
        while !self.world.is_over() {
            sleep(self.dice.time(Duration::ZERO, self.world.plan.leisure)).await;
            match self.world.some_node(&mut self.dice) {
                Some(node) if self.dice.chance(0.9) => self.hand_in(&node).await,
                Some(node) => self.administrate(&node).await,
                None => sleep(NO_NODE).await,
            }
        }
    }

    async fn hand_in(&mut self, node: &Arc<Node>) {
        let (name, message) = self.world.compose(&mut self.dice);
        let accounts: Vec<_> = self.world.accounts().into_iter().filter(|_| self.dice.chance(0.6)).collect();
        let recipients = self.recipients(accounts.is_empty());
        let companion = match self.companion(node, &name, &message, &recipients) {
            Ok(companion) => companion,
            Err(_) => return,
        };
        let posted = Posted {
            accounts: accounts.clone(),
            recipients: recipients.iter().map(|(address, notify)| (address.to_wire(), *notify)).collect(),
            may_be_full: accounts
                .iter()
                .copied()
                .filter(|&account| self.world.may_be_full(account))
                .collect(),
            told: Told::Waits,
        };
        let mut targets = Vec::new();
        for &account in &accounts {
            let header = format!("Delivered-To: {account}\r\n").into();
            let quota = node.quota(account).await;
            targets.push(Target { account, folder: Folder::Inbox, flags: Flags::NONE, quota, header });
        }
        let floors: Vec<u32> = {
            let mut ledger = self.world.ledger();
            ledger.post.posted.insert(name.clone(), posted.clone());
            accounts
                .iter()
                .map(|&account| ledger.book(account, MailboxId::INBOX).map_or(0, |book| book.highest))
                .collect()
        };
        let what =
            format!("{}: hands in {name} for {accounts:?} and {:?}", node.wire.name(), posted.recipients);
        self.world.trace.note(&self.name, format_args!("{what}"));
        let companions = companion.into_iter().collect();
        let delivery = Delivery { message, received: node.clock.now(), targets, companions, fence: None };
        let told = tokio::select! {
            biased;
            outcome = node.mailstore.deliver(delivery) => self.told(&name, &accounts, &floors, outcome),
            () = node.wire.died() => Told::Nothing,
        };
        self.world.trace.note(&self.name, format_args!("{name}: {told:?}"));
        let mut ledger = self.world.ledger();
        ledger.count_told(&told);
        if let Some(posted) = ledger.post.posted.get_mut(&name) {
            posted.told = told;
        }
    }

    fn told(
        &self,
        name: &str,
        accounts: &[ekitei_mailstore::AccountId],
        floors: &[u32],
        outcome: ekitei_mailstore::Result<Outcomes>,
    ) -> Told {
        let outcomes = match outcome {
            Ok(outcomes) => outcomes,
            Err(error) if error.is_outcome_unknown() => return Told::Nothing,
            Err(_) => return Told::Refused,
        };
        let mut ledger = self.world.ledger();
        let mut there = Vec::new();
        for ((&account, outcome), &floor) in accounts.iter().zip(outcomes).zip(floors) {
            there.push(outcome.is_ok());
            let Ok((mailbox, uid)) = outcome else { continue };
            ledger.post.see(account, name, uid);
            let book = ledger.book(account, mailbox);
            if let Some(wrong) = book.and_then(|book| book.add(uid, name, Some(Marks::default()), floor)) {
                ledger.accuse(format!("{name} in account {account}: {wrong}"));
            }
        }
        Told::Accepted(there)
    }

    /// Addresses elsewhere, and whether the sender wants to hear of failure.
    fn recipients(&mut self, at_least_one: bool) -> Vec<(EmailAddress, bool)> {
        let count = if at_least_one { 1 + self.dice.below(3) } else { self.dice.below(3) };
        let mut recipients = Vec::new();
        for n in 0..count {
            let domain = self.dice.pick(&DOMAINS).copied().unwrap_or_default();
            if let Ok(address) = EmailAddress::parse(&format!("user{n}@{domain}")) {
                recipients.push((address, self.dice.chance(0.8)));
            }
        }
        recipients
    }

    fn companion(
        &self,
        node: &Node,
        name: &str,
        message: &Bytes,
        recipients: &[(EmailAddress, bool)],
    ) -> ekitei_queue::Result<Option<Arc<dyn ekitei_mailstore::Companion>>> {
        let recipient = |(address, notify): &(EmailAddress, bool)| NewRecipient {
            address: address.clone(),
            notify: (!notify).then_some(Notify::NEVER),
            original: None,
        };
        let sender = self.world.address_of(self.world.accounts()[0]);
        node.queue.companion(NewMessage {
            envelope: Envelope {
                reverse_path: Some(sender),
                envelope_id: Some(name.to_owned()),
                ..Envelope::default()
            },
            recipients: recipients.iter().map(recipient).collect(),
            received: node.clock.now(),
            size: message.len() as u64,
            header: Bytes::new(),
            account: None,
            origin: Origin::Submission,
        })
    }

    /// Somebody holds, releases or retries what waits.
    async fn administrate(&mut self, node: &Arc<Node>) {
        let actions = [Action::Hold, Action::Release, Action::Release, Action::Retry];
        let Some(&action) = self.dice.pick(&actions) else { return };
        let act = async {
            let page = node.queue.list(&Filter::default(), None, 5).await?;
            let entries: Vec<_> = page.items.iter().map(|item| item.id).collect();
            node.queue.act(action, &entries).await.map(drop)
        };
        // Everything is released in the end.
        let _: Option<ekitei_queue::Result<()>> = node.unless_dead(act).await;
        self.world.trace.note(&self.name, format_args!("{}: {action:?}", node.wire.name()));
    }
}
