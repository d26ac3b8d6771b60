//! The mailbox as one session sees it: fixed at login, with marks for what is to be deleted (RFC 1939 §5).

use std::collections::HashSet;
use std::sync::Arc;

use ekitei_mailstore::{Entry, Snapshot, Uid};

/// Why there is no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoMessage {
    #[error("there is no such message")]
    Unknown,
    #[error("this message is marked as deleted")]
    Deleted,
}

/// The messages of a session by number, from 1.
#[derive(Debug)]
pub(crate) struct Maildrop {
    snapshot: Arc<Snapshot>,
    /// By index; as long as the messages that are listed.
    deleted: Vec<bool>,
}

impl Maildrop {
    /// Takes at most `most` messages of a mailbox, the oldest.
    pub(crate) fn new(snapshot: Arc<Snapshot>, most: usize) -> Self {
        let deleted = vec![false; snapshot.entries.len().min(most)];
        Self { snapshot, deleted }
    }

    /// The messages that are not marked, with their numbers.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.snapshot.entries.iter().zip(&self.deleted).enumerate();
        entries.filter(|(_, (_, deleted))| !**deleted).map(|(index, (entry, _))| (index + 1, entry))
    }

    /// How many messages are not marked, and their octets.
    pub(crate) fn totals(&self) -> (usize, u64) {
        self.listed().fold((0, 0), |(count, size), (_, entry)| (count + 1, size + entry.size))
    }

    /// One message that is not marked.
    pub(crate) fn message(&self, number: usize) -> Result<&Entry, NoMessage> {
        let index = number.checked_sub(1).ok_or(NoMessage::Unknown)?;
        match self.deleted.get(index) {
            None => Err(NoMessage::Unknown),
            Some(true) => Err(NoMessage::Deleted),
            Some(false) => Ok(&self.snapshot.entries[index]),
        }
    }

    /// Marks a message as deleted.
    pub(crate) fn delete(&mut self, number: usize) -> Result<(), NoMessage> {
        self.message(number)?;
        self.deleted[number - 1] = true;
        Ok(())
    }

    /// Takes all marks away.
    pub(crate) fn reset(&mut self) {
        self.deleted.fill(false);
    }

    /// What QUIT removes.
    pub(crate) fn marked(&self) -> Vec<Uid> {
        let entries = self.snapshot.entries.iter().zip(&self.deleted);
        entries.filter(|(_, deleted)| **deleted).map(|(entry, _)| entry.uid).collect()
    }

    /// The unique-ids of the messages that are not marked, with their numbers.
    pub(crate) fn unique_ids(&self) -> impl Iterator<Item = (usize, String)> {
        let mut seen = HashSet::new();
        // Marked messages count, so that an id does not depend on marks.
        let entries = self.snapshot.entries.iter().zip(&self.deleted).enumerate();
        entries.filter_map(move |(index, (entry, deleted))| {
            let first = seen.insert(entry.message);
            (!deleted).then(|| (index + 1, unique_id(entry, first)))
        })
    }

    /// The unique-id of one message that is not marked.
    pub(crate) fn unique_id(&self, number: usize) -> Result<String, NoMessage> {
        let entry = self.message(number)?;
        let earlier = &self.snapshot.entries[..number - 1];
        Ok(unique_id(entry, earlier.iter().all(|other| other.message != entry.message)))
    }
}

/// The id of the message, which stays with it for ever, also through moves to other mailboxes and clusters. A
/// further copy of the same message in the mailbox has its UID behind it, so that ids are unique.
fn unique_id(entry: &Entry, first: bool) -> String {
    if first { entry.message.to_string() } else { format!("{}.{}", entry.message, entry.uid) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_mailstore::{Flags, Keywords, MessageId, ModSeq};

    use super::*;

    fn maildrop(messages: &[(u32, u8, u64)]) -> Maildrop {
        let entry = |&(uid, message, size): &(u32, u8, u64)| Entry {
            uid: Uid::new(uid).unwrap(),
            message: MessageId::from_bytes([message; 16]),
            modseq: ModSeq::default(),
            flags: Flags::NONE,
            keywords: Keywords::default(),
            received: 0,
            size,
        };
        let snapshot = Snapshot {
            entries: messages.iter().map(entry).collect(),
            uid_validity: 1,
            uid_next: Uid::new(100).unwrap(),
            highest_modseq: ModSeq::default(),
            gone: false,
        };
        Maildrop::new(Arc::new(snapshot), 4)
    }

    #[test]
    fn marked_messages_are_out_of_sight_and_keep_their_numbers() {
        let mut drop = maildrop(&[(3, 1, 10), (5, 2, 20), (9, 3, 40)]);
        assert_eq!(drop.totals(), (3, 70));
        drop.delete(2).unwrap();
        assert_eq!(drop.totals(), (2, 50));
        assert_eq!(drop.listed().map(|(number, _)| number).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(drop.message(2).unwrap_err(), NoMessage::Deleted);
        assert_eq!(drop.delete(2).unwrap_err(), NoMessage::Deleted);
        assert_eq!(drop.message(4).unwrap_err(), NoMessage::Unknown);
        assert_eq!(drop.message(0).unwrap_err(), NoMessage::Unknown);
        assert_eq!(drop.marked(), [Uid::new(5).unwrap()]);
        drop.reset();
        assert_eq!(drop.totals(), (3, 70));
        assert!(drop.marked().is_empty());
    }

    #[test]
    fn only_so_many_messages_are_listed() {
        let drop = maildrop(&[(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1), (5, 5, 1)]);
        assert_eq!(drop.totals().0, 4);
        assert_eq!(drop.message(5).unwrap_err(), NoMessage::Unknown);
        assert_eq!(drop.unique_ids().count(), 4);
    }

    #[test]
    fn unique_ids_are_the_ids_of_messages_and_unique_among_copies() {
        let mut drop = maildrop(&[(3, 1, 1), (5, 1, 1), (9, 2, 1)]);
        let ids: Vec<_> = drop.unique_ids().collect();
        assert_eq!(ids[0], (1, "01".repeat(16)));
        assert_eq!(ids[1], (2, format!("{}.5", "01".repeat(16))));
        assert_eq!(ids[2], (3, "02".repeat(16)));
        drop.delete(1).unwrap();
        let fewer: Vec<_> = drop.unique_ids().collect();
        assert_eq!(fewer, ids[1..], "marks change no id");
        assert_eq!(drop.unique_id(2).unwrap(), ids[1].1);
    }
}
