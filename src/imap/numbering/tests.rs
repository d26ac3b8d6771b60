//! What a client is told about message numbers, held against a client that believes it.

use ekitei_mailstore::{Flags, Keywords, MessageId, ModSeq, Uid};
use proptest::prelude::*;

use super::*;

/// A mailbox that changes, as the store would show it.
#[derive(Clone, Default)]
struct Mailbox {
    entries: Vec<Entry>,
    next: u32,
    version: u64,
}

impl Mailbox {
    fn with(messages: u32) -> Self {
        let mut mailbox = Self { next: 1, ..Self::default() };
        (0..messages).for_each(|_| mailbox.deliver());
        mailbox
    }

    fn deliver(&mut self) {
        self.version += 1;
        self.entries.push(Entry {
            uid: Uid::new(self.next).unwrap(),
            message: MessageId::from_bytes([0; 16]),
            modseq: ModSeq::new(0, self.version),
            flags: Flags::NONE,
            keywords: Keywords::default(),
            received: 0,
            size: 1,
        });
        self.next += 1;
    }

    fn flag(&mut self, index: usize, flags: Flags) {
        self.version += 1;
        self.entries[index].flags = flags;
        self.entries[index].modseq = ModSeq::new(0, self.version);
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            entries: self.entries.clone(),
            uid_validity: 1,
            uid_next: Uid::new(self.next).unwrap(),
            highest_modseq: ModSeq::new(0, self.version),
            gone: false,
        })
    }
}

fn nothing_known(_: &Entry, _: &Entry) -> bool {
    false
}

fn set(text: &str) -> SequenceSet {
    let bound = |text: &str| match text {
        "*" => crate::proto::sequence::SequenceBound::Largest,
        digits => crate::proto::sequence::SequenceBound::Number(digits.parse().unwrap()),
    };
    let ranges = text.split(',').map(|range| {
        let (start, end) = range.split_once(':').unwrap_or((range, range));
        crate::proto::sequence::SequenceRange { start: bound(start), end: bound(end) }
    });
    SequenceSet::Ranges(ranges.collect())
}

#[test]
fn an_expunged_message_keeps_its_number_until_it_may_be_told() {
    let mut mailbox = Mailbox::with(4);
    let mut numbering = Numbering::new(mailbox.snapshot());
    mailbox.entries.remove(1);
    mailbox.deliver();
    mailbox.flag(2, Flags::SEEN);
    numbering.refresh(mailbox.snapshot());
    assert_eq!(
        numbering.report(Expunges::Withhold, nothing_known),
        [Update::Exists(5), Update::Flags(3)],
        "message 4 is still message 4, and 5 is new"
    );
    assert!(!numbering.is_alive(1) && numbering.is_alive(2));
    assert_eq!(numbering.report(Expunges::Withhold, nothing_known), []);
    assert_eq!(numbering.report(Expunges::Tell, nothing_known), [Update::Expunge(2)]);
    assert!((0..4).all(|index| numbering.is_alive(index)));
    assert_eq!(numbering.report(Expunges::Tell, nothing_known), []);
}

#[test]
fn expunges_come_from_the_last_to_the_first_and_before_exists() {
    let mut mailbox = Mailbox::with(5);
    let mut numbering = Numbering::new(mailbox.snapshot());
    mailbox.entries.retain(|entry| ![2, 4].contains(&entry.uid.get()));
    mailbox.deliver();
    mailbox.flag(0, Flags::DELETED);
    numbering.refresh(mailbox.snapshot());
    assert_eq!(
        numbering.report(Expunges::Tell, nothing_known),
        [Update::Expunge(4), Update::Expunge(2), Update::Exists(4), Update::Flags(0)]
    );
}

#[test]
fn what_the_client_knows_by_itself_is_not_told() {
    let mut mailbox = Mailbox::with(2);
    let mut numbering = Numbering::new(mailbox.snapshot());
    mailbox.flag(0, Flags::SEEN);
    mailbox.flag(1, Flags::SEEN.union(Flags::FLAGGED));
    numbering.refresh(mailbox.snapshot());
    let expected = |before: &Entry, now: &Entry| before.flags.union(Flags::SEEN) == now.flags;
    assert_eq!(numbering.report(Expunges::Withhold, expected), [Update::Flags(1)]);
}

#[test]
fn a_deleted_mailbox_has_no_messages() {
    let mailbox = Mailbox::with(2);
    let mut numbering = Numbering::new(mailbox.snapshot());
    let gone = Snapshot { gone: true, ..Arc::into_inner(mailbox.snapshot()).unwrap() };
    numbering.refresh(Arc::new(gone));
    assert_eq!(numbering.report(Expunges::Tell, nothing_known), [Update::Expunge(2), Update::Expunge(1)]);
}

#[test]
fn sets_name_messages_by_number_by_uid_or_by_the_saved_result() {
    let mut mailbox = Mailbox::with(6);
    mailbox.entries.retain(|entry| entry.uid.get() % 2 == 0);
    let numbering = Numbering::new(mailbox.snapshot());
    let saved: NumberSet = [1, 2, 6].into_iter().collect();
    let select = |uid, text: &str| {
        numbering.select(uid, &set(text), &saved).map(|chosen| chosen.iter().collect::<Vec<_>>())
    };
    assert_eq!(select(false, "2:*,1").unwrap(), [0, 1, 2]);
    assert_eq!(select(false, "4"), Err(NoSuchNumber));
    assert_eq!(select(true, "3:5,100").unwrap(), [1]);
    assert_eq!(select(true, "100:*").unwrap(), [2], "a range with * has the largest UID in it");
    let chosen = numbering.select(false, &SequenceSet::Saved, &saved).unwrap();
    assert_eq!(chosen.iter().collect::<Vec<_>>(), [0, 2]);
    let empty = Numbering::new(Mailbox::with(0).snapshot());
    assert_eq!(empty.select(false, &set("1:*"), &saved), Err(NoSuchNumber));
    assert_eq!(empty.select(true, &set("1:*"), &saved).unwrap().iter().count(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Deliver,
    Expunge(usize),
    Flag(usize, u8),
    Report(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Deliver),
        any::<usize>().prop_map(Step::Expunge),
        (any::<usize>(), 0u8..32).prop_map(|(index, bits)| Step::Flag(index, bits)),
        any::<bool>().prop_map(Step::Report),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// A client that applies nothing but the updates has the session's numbering at every moment, and the mailbox itself after
    /// every report with expunges.
    #[test]
    fn a_client_that_follows_the_updates_agrees(initial in 0u32..6, steps in steps()) {
        let mut mailbox = Mailbox::with(initial);
        let mut numbering = Numbering::new(mailbox.snapshot());
        let mut client: Vec<(Uid, Flags)> = mailbox.entries.iter().map(|entry| (entry.uid, entry.flags)).collect();
        for step in steps {
            let count = mailbox.entries.len();
            match step {
                Step::Deliver => mailbox.deliver(),
                Step::Expunge(index) if count > 0 => drop(mailbox.entries.remove(index % count)),
                Step::Flag(index, bits) if count > 0 => mailbox.flag(index % count, Flags::from_bits(bits)),
                Step::Expunge(_) | Step::Flag(..) => {}
                Step::Report(tell) => {
                    numbering.refresh(mailbox.snapshot());
                    let expunges = if tell { Expunges::Tell } else { Expunges::Withhold };
                    for update in numbering.report(expunges, nothing_known) {
                        match update {
                            Update::Expunge(number) => {
                                prop_assert!(tell);
                                client.remove(number as usize - 1);
                            }
                            Update::Exists(count) => {
                                prop_assert!(count as usize >= client.len(), "EXISTS never lowers the number");
                                for index in client.len()..count as usize {
                                    client.push((numbering.entry(index).uid, numbering.entry(index).flags));
                                }
                            }
                            Update::Flags(index) => client[index].1 = numbering.entry(index).flags,
                        }
                    }
                    let of = |entries: &[Entry]| entries.iter().map(|entry| (entry.uid, entry.flags)).collect::<Vec<_>>();
                    prop_assert_eq!(&client, &of(&numbering.told().entries));
                    if tell {
                        prop_assert_eq!(&client, &of(&mailbox.entries));
                    }
                }
            }
        }
    }
}
