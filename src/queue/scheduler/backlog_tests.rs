//! The backlog against a model: whatever fails and in whatever order, everything is sent once, and never more at once than allowed.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ekitei_blob::BodyId;
use ekitei_config::Queue;
use ekitei_relay::{Envelope, Failure, FailureKind, Status};
use proptest::prelude::*;
use tokio::time::Instant;

use super::backlog::{Backlog, Name, Offered};
use crate::model::{EntryId, EntryRow, Hint, MessageRow, Origin, Place, QueueId, Schedule};
use crate::spool::Loaded;
use crate::transport::Way;

const DESTINATIONS: u8 = 4;
const CONCURRENCY: u32 = 3;
const BACKOFF: [Duration; 1] = [Duration::from_secs(60)];

fn id(number: u16) -> EntryId {
    let mut message = [0; 16];
    message[..2].copy_from_slice(&number.to_be_bytes());
    EntryId { message: QueueId(message), number: 0 }
}

fn hint(entry: EntryId) -> Hint {
    Hint { entry, turn: 0, place: Place::Fresh([0; 10]) }
}

fn loaded(entry: EntryId, destination: &str, priority: i8) -> Box<Loaded> {
    Box::new(Loaded {
        id: entry,
        message: MessageRow {
            envelope: Envelope { priority, ..Envelope::default() },
            received: Duration::from_secs(1_000),
            size: 1,
            header: Vec::new(),
            account: None,
            origin: Origin::Submission,
            body: BodyId::from_bytes([0; 16]),
            entries: 1,
        },
        entry: EntryRow {
            destination: destination.to_owned(),
            turn: 0,
            revision: 0,
            schedule: Schedule::Fresh,
            attempts: 0,
            last_attempt: None,
            bounce: false,
            delay_notified: false,
            recipients: Vec::new(),
        },
        suppressed: Vec::new(),
    })
}

/// An entry goes directly or through a host, always the same way.
fn way(entry: EntryId) -> Way {
    let through = entry.message.0[1].is_multiple_of(3).then(|| "smart.example".into());
    Way { through, waives_tls: false }
}

/// The store, the network and the clock around a backlog.
struct Around {
    backlog: Backlog,
    now: Instant,
    /// What the store has, by destination.
    stored: BTreeMap<Name, BTreeSet<EntryId>>,
    on_their_way: VecDeque<(Name, EntryId)>,
    /// Entries that were put off, to be read again.
    later: Vec<(Name, EntryId)>,
    sent: BTreeSet<EntryId>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Sent,
    Unreachable,
    Refused,
}

impl Around {
    fn new() -> Self {
        // The least backlog: twenty entries of a destination, a hundred in all.
        let settings = Queue { backlog: 100, concurrency: CONCURRENCY, ..Queue::default() };
        Self {
            backlog: Backlog::new(Arc::new(settings)),
            now: Instant::now(),
            stored: BTreeMap::new(),
            on_their_way: VecDeque::new(),
            later: Vec::new(),
            sent: BTreeSet::new(),
        }
    }

    fn arrive(&mut self, number: u16, priority: i8) {
        let name: Name = format!("d{}.example", number % u16::from(DESTINATIONS)).into();
        self.stored.entry(Arc::clone(&name)).or_default().insert(id(number));
        self.read(&name, id(number), priority);
    }

    fn read(&mut self, name: &Name, entry: EntryId, priority: i8) {
        let offered = self.backlog.offer(
            hint(entry),
            loaded(entry, name, priority),
            &way(entry),
            Some(self.now),
            self.now,
        );
        assert_ne!(offered, Offered::NoDestination);
    }

    /// Sends as much as may go, and puts off what has to be.
    fn begin(&mut self) {
        while let Some((name, way)) = self.backlog.next_to_drain(self.now) {
            let Some((_, entries)) = self.backlog.drain(&name, &way, 7, self.now) else { continue };
            for waiting in entries {
                assert_eq!(self::way(waiting.hint.entry), way, "only what goes that way is put off");
                self.backlog.done(waiting.hint.entry, self.now);
                self.later.push((Arc::clone(&name), waiting.hint.entry));
            }
            self.backlog.update(&name, self.now, |destination| destination.lane(&way).draining = false);
        }
        while let Some((name, way, waiting)) = self.backlog.next(self.now) {
            assert_eq!(self::way(waiting.hint.entry), way);
            assert!(!self.sent.contains(&waiting.hint.entry), "sent twice");
            self.on_their_way.push_back((name, waiting.hint.entry));
        }
        let mut at_once: BTreeMap<&Name, u32> = BTreeMap::new();
        self.on_their_way.iter().for_each(|(name, _)| *at_once.entry(name).or_default() += 1);
        assert!(at_once.values().all(|&n| n <= CONCURRENCY), "{at_once:?}");
        assert_eq!(self.backlog.active(), self.on_their_way.len());
        assert!(self.backlog.waiting() <= 100);
    }

    fn end(&mut self, end: End) {
        let Some((name, entry)) = self.on_their_way.pop_front() else { return };
        let way = way(entry);
        self.backlog.arrived(&name, &way);
        let (now, began) = (self.now, self.now);
        let failure = Failure {
            kind: FailureKind::Connection,
            status: Status(4, 4, 1),
            code: None,
            text: String::new(),
            remote: None,
        };
        self.backlog.update(&name, now, |destination| match end {
            End::Sent | End::Refused => destination.lane(&way).health.answered(began, CONCURRENCY as usize),
            End::Unreachable => destination.lane(&way).health.failed(began, now, &failure, &BACKOFF),
        });
        self.backlog.done(entry, self.now);
        if matches!(end, End::Sent) {
            self.sent.insert(entry);
            self.stored.get_mut(&name).unwrap().remove(&entry);
        } else {
            self.later.push((name, entry));
        }
    }

    /// Reads more of destinations that have more than was kept.
    fn feed(&mut self) {
        while let Some((name, _, after, limit)) = self.backlog.next_hungry() {
            let stored = &self.stored[&name];
            let behind = stored.iter().copied().filter(|entry| after.is_none_or(|after| *entry > after));
            let page: Vec<EntryId> = behind.take(limit).collect();
            let next = (page.len() == limit).then(|| page.last().copied()).flatten();
            // Entries that were put off are not due.
            let later: BTreeSet<EntryId> = self.later.iter().map(|(_, entry)| *entry).collect();
            page.iter().filter(|entry| !later.contains(entry)).for_each(|&entry| self.read(&name, entry, 0));
            self.backlog.fed(&name, next, false);
        }
    }

    fn pass_time(&mut self, time: Duration) {
        self.now += time;
        self.backlog.sweep(self.now);
        for (name, entry) in std::mem::take(&mut self.later) {
            self.read(&name, entry, 0);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(u16, i8),
    Begin,
    End(End),
    Feed,
    Time(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![3 => Just(End::Sent), 1 => Just(End::Unreachable), 1 => Just(End::Refused)];
    let step = prop_oneof![
        6 => (1u16..60, -9i8..=9).prop_map(|(many, priority)| Step::Arrive(many, priority)),
        4 => Just(Step::Begin),
        6 => end.prop_map(Step::End),
        2 => Just(Step::Feed),
        1 => (1u16..120).prop_map(Step::Time),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Offers an entry, takes it for sending, and says whether it goes as it was read then.
fn goes_as_read(backlog: &mut Backlog, entry: EntryId, read: Option<Instant>) -> bool {
    let now = Instant::now();
    let way = Way::default();
    assert_eq!(backlog.offer(hint(entry), loaded(entry, "a.example", 0), &way, read, now), Offered::Taken);
    let (name, way, waiting) = backlog.next(now).unwrap();
    backlog.arrived(&name, &way);
    waiting.loaded.is_some()
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_an_entry_ended_does_not_go_again() {
    let (mut backlog, entry) = (Backlog::new(Arc::new(Queue::default())), id(1));
    assert!(goes_as_read(&mut backlog, entry, Some(Instant::now())));
    // The index of its destination is read while it is on its way.
    let read = Instant::now();
    tokio::time::advance(Duration::from_millis(100)).await;
    backlog.done(entry, Instant::now());
    assert!(!goes_as_read(&mut backlog, entry, Some(read)));
    backlog.done(entry, Instant::now());
    tokio::time::advance(Duration::from_millis(100)).await;
    assert!(goes_as_read(&mut backlog, entry, Some(Instant::now())));
    backlog.done(entry, Instant::now());
    assert!(!goes_as_read(&mut backlog, entry, None));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_while_an_entry_is_on_its_way_is_not_forgotten() {
    let (mut backlog, entry, now) = (Backlog::new(Arc::new(Queue::default())), id(1), Instant::now());
    let mut later = |turns: &[u32]| {
        goes_as_read(&mut backlog, entry, Some(now));
        for &turn in turns {
            let hint = Hint { turn, ..hint(entry) };
            let offered = backlog.offer(hint, loaded(entry, "a.example", 0), &Way::default(), Some(now), now);
            assert_eq!(offered, Offered::Known);
        }
        backlog.done(entry, now)
    };
    assert_eq!((later(&[]), later(&[0]), later(&[2, 1])), (None, None, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_way_that_is_left_alone_keeps_no_other_way_waiting() {
    let (mut backlog, now) = (Backlog::new(Arc::new(Queue::default())), Instant::now());
    let direct = Way::default();
    let smart = Way { through: Some("smart.example".into()), waives_tls: false };
    let failure = Failure {
        kind: FailureKind::Connection,
        status: Status(4, 4, 1),
        code: None,
        text: String::new(),
        remote: None,
    };
    for (number, way) in [(1, &smart), (2, &direct), (3, &smart)] {
        backlog.offer(hint(id(number)), loaded(id(number), "a.example", 0), way, None, now);
    }
    let (name, way, first) = backlog.next(now).unwrap();
    assert_eq!((&way, first.hint.entry), (&smart, id(1)));
    backlog.arrived(&name, &way);
    backlog
        .update(&name, now, |destination| destination.lane(&way).health.failed(now, now, &failure, &BACKOFF));
    assert_eq!(backlog.next_to_drain(now), Some((Arc::clone(&name), smart.clone())));
    let (_, put_off) = backlog.drain(&name, &smart, 10, now).unwrap();
    assert_eq!(put_off.iter().map(|waiting| waiting.hint.entry).collect::<Vec<_>>(), [id(3)]);
    let (_, way, next) = backlog.next(now).unwrap();
    assert_eq!((way, next.hint.entry), (direct, id(2)), "it goes while the others are put off");
}

proptest! {
    #[test]
    fn everything_is_sent_once_whatever_happens_before(steps in steps()) {
        let mut around = Around::new();
        let mut arrived = 0;
        for step in steps {
            match step {
                Step::Arrive(many, priority) => {
                    for _ in 0..many {
                        around.arrive(arrived, priority);
                        arrived += 1;
                    }
                }
                Step::Begin => around.begin(),
                Step::End(end) => around.end(end),
                Step::Feed => around.feed(),
                Step::Time(seconds) => around.pass_time(Duration::from_secs(seconds.into())),
            }
        }
        let mut rounds = 0;
        while around.sent.len() < usize::from(arrived) {
            rounds += 1;
            prop_assert!(rounds < 10_000, "{} of {arrived} are sent", around.sent.len());
            around.begin();
            while !around.on_their_way.is_empty() {
                around.end(End::Sent);
            }
            around.feed();
            around.pass_time(Duration::from_secs(1));
        }
        around.pass_time(Duration::from_secs(3600));
        prop_assert_eq!((around.backlog.waiting(), around.backlog.active()), (0, 0));
        prop_assert_eq!(around.backlog.destinations(around.now).0, 0, "nothing is remembered for ever");
    }
}
