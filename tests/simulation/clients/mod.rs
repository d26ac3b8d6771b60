//! Clients: they read mail, sort it and throw it away, on one node or another, and remember what they were told.

mod adding;
mod changing;
mod holder;
mod looking;
mod naming;
mod operator;
mod sender;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use ekitei_mailstore::{AccountId, Error, MailboxId, MessageId, Snapshot, Uid, View};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::node::Node;
use crate::world::World;
pub use holder::Holder;
pub use operator::{Operator, exchange_master_key};
pub use sender::Sender;

/// The names of a client's own mailboxes, below its first one.
const BELOW: [&str; 4] = ["", "/a", "/b", "/a/x"];
/// How long who found no node waits.
const NO_NODE: Duration = Duration::from_secs(1);
/// A client that gives up does so within this time.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// How an operation ended for who asked.
#[derive(Debug)]
pub enum Answer<T> {
    /// It is done.
    Done(T),
    /// It is not, and will never be.
    Refused(Error),
    /// Nobody knows.
    Unknown,
}

/// A mailbox that a client looks at.
struct Watched {
    view: View,
    last: Arc<Snapshot>,
}

/// A client of an account.
pub struct Client {
    world: Arc<World>,
    account: AccountId,
    /// Its number among the clients of the account.
    number: usize,
    name: String,
    dice: Dice,
    node: Option<Arc<Node>>,
    watched: BTreeMap<MailboxId, Watched>,
}

impl Client {
    /// A client that has done nothing yet.
    pub fn new(world: Arc<World>, account: AccountId, number: usize) -> Self {
        let name = format!("c{account}.{number}");
        let dice = world.dice(&name);
        Self { world, account, number, name, dice, node: None, watched: BTreeMap::new() }
    }

    /// Works until the run's time is over, and returns for the last look.
    pub async fn run(mut self) -> Self {
        while !self.world.is_over() {
            sleep(self.dice.time(Duration::ZERO, self.world.plan.leisure)).await;
            let Some(node) = self.connect() else {
                sleep(NO_NODE).await;
                continue;
            };
            self.act(&node).await;
        }
        self
    }

    /// The node that it talks to: the same as before, mostly.
    fn connect(&mut self) -> Option<Arc<Node>> {
        let leaves = self.dice.chance(0.05);
        if let Some(node) = self.node.clone().filter(|node| !leaves && !node.wire.is_dead()) {
            return Some(node);
        }
        self.watched.clear();
        self.node = self.world.some_node(&mut self.dice);
        self.node.clone()
    }

    async fn act(&mut self, node: &Arc<Node>) {
        match self.dice.below(20) {
            0..=4 => self.look_somewhere(node).await,
            5 | 6 => self.append(node).await,
            7 | 8 => self.copy(node, false).await,
            9 | 10 => self.copy(node, true).await,
            11..=13 => self.store(node).await,
            14 | 15 => self.expunge(node).await,
            16 | 17 => self.read(node).await,
            18 => self.create(node).await,
            _ => match self.dice.below(3) {
                0 => self.delete(node).await,
                1 => self.rename(node).await,
                _ => self.change_quota(node).await,
            },
        }
    }

    /// Waits for the answer to an operation of the mailstore, unless the process dies or patience ends before.
    async fn ask<T: std::fmt::Debug>(
        &mut self,
        node: &Node,
        what: &str,
        operation: impl Future<Output = ekitei_mailstore::Result<T>>,
    ) -> Answer<T> {
        let hangs_up = self.world.is_trouble() && self.dice.chance(self.world.plan.hang_up);
        let patience = hangs_up.then(|| self.dice.time(Duration::ZERO, IMPATIENCE));
        let trace = &self.world.trace;
        trace.note(&self.name, format_args!("{}: {what}", node.wire.name()));
        let answer = tokio::select! {
            biased;
            result = operation => match result {
                Ok(done) => Answer::Done(done),
                Err(error) if error.is_outcome_unknown() => Answer::Unknown,
                Err(error) => Answer::Refused(error),
            },
            () = node.wire.died() => Answer::Unknown,
            () = wait(patience) => Answer::Unknown,
        };
        trace.note(&self.name, format_args!("{}", short(&answer)));
        self.world.ledger().count(&answer);
        answer
    }

    /// Mailboxes of the account that are known to be there.
    fn mailboxes(&self) -> Vec<MailboxId> {
        let ledger = self.world.ledger();
        let names = ledger.names.iter().filter(|((account, _), _)| *account == self.account);
        names.map(|(_, &mailbox)| mailbox).collect()
    }

    /// A name of its own.
    fn own_name(&mut self) -> String {
        format!("c{}{}", self.number, self.dice.pick(&BELOW).copied().unwrap_or_default())
    }

    /// A mailbox of its own that is there.
    fn own_mailbox(&mut self) -> Option<MailboxId> {
        let name = self.own_name();
        self.world.ledger().names.get(&(self.account, name)).copied()
    }

    /// Any mailbox of the account; often INBOX, where things come in.
    fn some_mailbox(&mut self) -> MailboxId {
        if self.dice.chance(0.5) {
            return MailboxId::INBOX;
        }
        let all = self.mailboxes();
        self.dice.pick(&all).copied().unwrap_or(MailboxId::INBOX)
    }

    /// Some messages of a mailbox, as it last saw it, or sees it now.
    async fn some_messages(
        &mut self,
        node: &Arc<Node>,
        mailbox: MailboxId,
        most: usize,
    ) -> Vec<(Uid, MessageId)> {
        if !self.watched.contains_key(&mailbox) || self.dice.chance(0.5) {
            self.look(node, mailbox).await;
        }
        let Some(watched) = self.watched.get(&mailbox) else { return Vec::new() };
        let all: Vec<_> = watched.last.entries.iter().map(|entry| (entry.uid, entry.message)).collect();
        // The latest ones, mostly: others want them, too.
        let recent = all[all.len().saturating_sub(6)..].to_vec();
        let among = if self.dice.chance(0.7) { recent } else { all };
        self.dice.some(&among, most)
    }
}

async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// An answer in one line.
fn short(answer: &impl std::fmt::Debug) -> String {
    let mut text = format!("{answer:?}");
    if text.len() > 200 {
        let end = (0..=200).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
