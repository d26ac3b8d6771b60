//! Taking a message into the queue: what is given is made into rows, which are written with the delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekitei_blob::BodyId;
use ekitei_kv::Transaction;
use ekitei_mailstore::Companion;
use ekitei_relay::Recipient;

use crate::model::{
    EntryId, EntryRow, MessageRow, NewMessage, NewRecipient, Place, QueueId, RecipientRow, RecipientState,
    Schedule, Shard,
};
use crate::rows::{self, Count, IndexRow, STAMP, Total};
use crate::tally::Tally;
use crate::{Error, Result};

/// Octets of header fields in front of a message: they are in one row with its envelope.
const MAX_HEADER: usize = 64 << 10;
/// Octets of the recipients of one entry, so that its row has room for what servers say of each.
const MAX_RECIPIENT_OCTETS: usize = 30_000;

/// A message that is ready to be written: it has its id, so that every attempt of a transaction writes the same.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    id: QueueId,
    message: MessageRow,
    entries: Vec<EntryRow>,
}

impl Accepted {
    /// # Errors
    /// [`Error::NoRecipients`], [`Error::TooLarge`].
    pub(crate) fn new(new: NewMessage, id: QueueId) -> Result<Self> {
        if new.recipients.is_empty() {
            return Err(Error::NoRecipients);
        }
        if new.header.len() > MAX_HEADER {
            return Err(Error::TooLarge);
        }
        let entries = group(new.recipients);
        let message = MessageRow {
            envelope: new.envelope,
            received: rows::whole_millis(new.received),
            size: new.size,
            header: new.header.to_vec(),
            account: new.account,
            origin: new.origin,
            body: BodyId::from_bytes([0; 16]),
            entries: u32::try_from(entries.len()).unwrap_or(u32::MAX),
        };
        Ok(Self { id, message, entries })
    }

    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    /// Writes the rows into a transaction, and a reference to the body; figures go to `tally`.
    pub(crate) fn write(&self, transaction: &Transaction, body: BodyId, tally: &mut Tally) {
        let message = MessageRow { body, ..self.message.clone() };
        transaction.set(&rows::message(self.id), &rows::encode(&message));
        ekitei_blob::add_reference(transaction, body, self.id.body_owner());
        tally.total(Total::Messages, 1);
        tally.total(Total::Bytes, i64::try_from(self.message.size).unwrap_or(i64::MAX));
        let mut shards = BTreeSet::new();
        for (number, entry) in (0..).zip(&self.entries) {
            let id = EntryId { message: self.id, number };
            transaction.set(&rows::entry(id), &rows::encode(entry));
            write_fresh(transaction, id, entry);
            tally.count(&entry.destination, Count::Fresh, 1);
            shards.insert(Shard::of(&entry.destination));
        }
        shards.into_iter().for_each(|shard| wake(transaction, shard));
    }
}

impl Companion for Accepted {
    fn row_size(&self) -> usize {
        /// Keys, indexes and figures of an entry.
        const ENTRY: usize = 1_000;
        let recipients = |entry: &EntryRow| entry.recipients.iter().map(recipient_size).sum::<usize>();
        let entries: usize = self.entries.iter().map(|entry| ENTRY + recipients(entry)).sum();
        ENTRY + self.message.header.len() + entries
    }

    fn write(&self, transaction: &Transaction, body: BodyId) {
        let mut tally = Tally::default();
        self.write(transaction, body, &mut tally);
        tally.write(transaction);
    }
}

/// Writes the hint and the index row of an entry that is fresh. Wake the shard's owner, too.
pub(crate) fn write_fresh(transaction: &Transaction, id: EntryId, entry: &EntryRow) {
    let stamp = [0; STAMP];
    let (key, offset) = rows::fresh(Shard::of(&entry.destination), &stamp, id);
    transaction.set_versionstamped_key(&key, offset, &rows::encode_turn(entry.turn));
    let index = IndexRow { turn: entry.turn, place: Place::Fresh(stamp) };
    let key = rows::index(&entry.destination, id);
    transaction.set_versionstamped_value(&key, &index.encode(), IndexRow::STAMP_OFFSET);
}

/// Completes the watches on a shard.
pub(crate) fn wake(transaction: &Transaction, shard: Shard) {
    transaction.set_versionstamped_value(&rows::latest_fresh(shard), &[0; STAMP], 0);
}

/// The recipients by destination, each time as many as an entry takes; destinations in the order of their names.
fn group(recipients: Vec<NewRecipient>) -> Vec<EntryRow> {
    let mut destinations: BTreeMap<String, Vec<RecipientRow>> = BTreeMap::new();
    for new in recipients {
        let destination = new.address.domain().as_ascii().to_owned();
        let recipient =
            Recipient { address: new.address.to_wire(), notify: new.notify, original: new.original };
        let row = RecipientRow { recipient, state: RecipientState::Waiting { last: None } };
        destinations.entry(destination).or_default().push(row);
    }
    destinations.into_iter().flat_map(|(destination, recipients)| split(&destination, recipients)).collect()
}

fn split(destination: &str, recipients: Vec<RecipientRow>) -> Vec<EntryRow> {
    let mut parts: Vec<Vec<RecipientRow>> = Vec::new();
    let mut octets = 0;
    for recipient in recipients {
        octets += recipient_size(&recipient);
        match parts.last_mut() {
            Some(part) if part.len() < EntryRow::RECIPIENTS && octets <= MAX_RECIPIENT_OCTETS => {
                part.push(recipient);
            }
            _ => {
                octets = recipient_size(&recipient);
                parts.push(vec![recipient]);
            }
        }
    }
    let entry = |recipients| EntryRow {
        destination: destination.to_owned(),
        turn: 0,
        revision: 0,
        schedule: Schedule::Fresh,
        attempts: 0,
        last_attempt: None::<Duration>,
        bounce: false,
        delay_notified: false,
        recipients,
    };
    parts.into_iter().map(entry).collect()
}

fn recipient_size(row: &RecipientRow) -> usize {
    let original = row.recipient.original.as_ref();
    let original = original.map_or(0, |original| original.address_type.len() + original.address.len());
    row.recipient.address.len() + original + 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipients(n: usize, length: usize) -> Vec<RecipientRow> {
        let row = |n| RecipientRow {
            recipient: Recipient { address: format!("{n:0length$}"), notify: None, original: None },
            state: RecipientState::Waiting { last: None },
        };
        (0..n).map(row).collect()
    }

    #[test]
    fn an_entry_has_a_hundred_recipients_or_what_its_row_holds() {
        let sizes = |rows| split("a.example", rows).iter().map(|e| e.recipients.len()).collect::<Vec<_>>();
        assert_eq!(sizes(recipients(100, 20)), [100]);
        assert_eq!(sizes(recipients(250, 20)), [100, 100, 50]);
        assert_eq!(sizes(recipients(60, 984)), [30, 30], "30,000 octets");
        assert_eq!(sizes(recipients(2, MAX_RECIPIENT_OCTETS)), [1, 1], "one that is too long goes alone");
    }
}
