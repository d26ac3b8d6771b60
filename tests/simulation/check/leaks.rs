//! What must not be left over: bodies that nobody refers to, references to nothing, objects without an owner, rows of deleted accounts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekitei_kv::KeyValue;
use ekitei_kv::keys::subspace::{BODIES, CHANGES, INDEX, MAILBOXES, MESSAGES, QUEUE};
use foundationdb_tuple::{Element, unpack};
use tokio::time::sleep;

use crate::node::GRACE;
use crate::world::World;

/// By then what was deleted is collected, whatever the clocks say.
const COLLECTED: Duration = Duration::from_secs(90);

/// What there must be and what there is.
#[derive(Default)]
struct Found {
    /// Messages of accounts, each the id of its body.
    messages: BTreeSet<Vec<u8>>,
    /// Bodies that have a record.
    records: BTreeSet<Vec<u8>>,
    /// Bodies that somebody refers to.
    referred: BTreeSet<Vec<u8>>,
    /// Where messages are, by the messages: account, message, mailbox, UID.
    places: BTreeSet<(i64, Vec<u8>, i64, i64)>,
    /// Rows that say that something is under way, by what they are.
    under_way: Vec<String>,
}

impl Found {
    fn row(&mut self, row: &KeyValue) {
        let Ok(elements) = unpack::<Vec<Element<'_>>>(&row.key) else { return };
        let number = |at: usize| elements.get(at).and_then(Element::as_i64).unwrap_or(-1);
        let octets = |at: usize| elements.get(at).and_then(Element::as_bytes).map(|octets| octets.to_vec());
        match (u32::try_from(number(0)).unwrap_or(0), number(1), number(3)) {
            (MESSAGES, account, 1) => {
                self.places.extend(octets(2).map(|message| (account, message, number(4), number(5))));
            }
            (MESSAGES, _, _) => self.messages.extend(octets(2)),
            (BODIES, 0, 0) => self.records.extend(octets(2)),
            (BODIES, 0, 2) => self.referred.extend(octets(2)),
            (BODIES, 1 | 2, _) => self.under_way.push(format!("{elements:?} = {:?}", row.value)),
            _ => {}
        }
    }
}

/// Bodies and objects are those that somebody has.
pub async fn check(world: &Arc<World>) {
    let mut found = Found::default();
    for row in world.rows().await {
        found.row(&row);
    }
    let mut wrong = Vec::new();
    let hex = |body: &Vec<u8>| body.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    wrong.extend(found.messages.difference(&found.records).map(|body| format!("body {} is lost", hex(body))));
    wrong.extend(
        found.records.difference(&found.messages).map(|body| format!("body {} is left over", hex(body))),
    );
    if found.referred != found.messages {
        wrong.push(format!(
            "{} bodies are referred to, of {} messages",
            found.referred.len(),
            found.messages.len()
        ));
    }
    wrong.extend(found.under_way.iter().map(|row| format!("a row of the collector is left over: {row}")));
    let entries = entries(world).await;
    wrong.extend(entries.symmetric_difference(&found.places).map(|(account, message, mailbox, uid)| {
        format!(
            "account {account}, UID {uid} of mailbox {mailbox}: {} and its place do not agree",
            hex(message)
        )
    }));
    let names: BTreeSet<String> = found.messages.iter().map(hex).collect();
    let objects = world.kept_objects();
    let orphans = objects.iter().filter(|name| !name.contains('/') && !names.contains(*name));
    wrong.extend(orphans.map(|name| format!("object {name} is left over")));
    wrong.into_iter().for_each(|wrong| world.ledger().accuse(wrong));
}

/// Where messages are, by the mailboxes.
async fn entries(world: &Arc<World>) -> BTreeSet<(i64, Vec<u8>, i64, i64)> {
    let mut entries = BTreeSet::new();
    for account in world.accounts() {
        for mailbox in world.god.mailboxes(account).await.unwrap_or_default() {
            let Some(stored) = world.stored(account, mailbox.id).await else { continue };
            let owner = i64::try_from(account.get()).unwrap_or(-1);
            entries.extend(stored.entries.iter().map(|entry| {
                let message = entry.message.as_bytes().to_vec();
                (owner, message, i64::from(mailbox.id.0), i64::from(entry.uid.get()))
            }));
        }
    }
    entries
}

/// When all accounts are deleted, nothing is left of them.
pub async fn check_after_deletion(world: &Arc<World>) {
    for account in world.accounts() {
        if let Err(error) = world.god.delete_account(account).await {
            world.ledger().accuse(format!("account {account} cannot be deleted: {error}"));
        }
    }
    // Bodies first, then the segments that they were in.
    sleep(COLLECTED + 2 * GRACE + 2 * Duration::from_millis(world.plan.skew_millis)).await;
    let mut left = Vec::new();
    for row in world.rows().await {
        let elements = unpack::<Vec<Element<'_>>>(&row.key).unwrap_or_default();
        let subspace =
            elements.first().and_then(Element::as_i64).and_then(|number| u32::try_from(number).ok());
        // Counters stay, at zero; the queue's shards keep what their owners are woken by; and names of objects that were given up are kept.
        let table = elements.get(1).and_then(Element::as_i64);
        let is_wake = subspace == Some(QUEUE) && table == Some(4);
        let is_name = subspace == Some(BODIES) && table == Some(12);
        // Nor is that all accounts count for their domains, and what the scrubber remembers.
        let is_of_all = subspace == Some(MAILBOXES)
            && elements.get(1).and_then(Element::as_str) == Some("counted")
            || subspace == Some(BODIES) && table == Some(10);
        if is_wake || is_name || is_of_all || row.value[..] == [0; 8] {
            continue;
        }
        if matches!(subspace, Some(MAILBOXES | INDEX | MESSAGES | CHANGES | BODIES | QUEUE)) {
            left.push(format!("{elements:?} = {:?}", row.value));
        }
    }
    left.extend(world.kept_objects());
    for left in left {
        world.ledger().accuse(format!("all accounts are deleted, and this is left: {left}"));
    }
}
