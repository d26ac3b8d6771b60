//! What is queued, and what is stored of it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::BodyId;
use ekitei_directory::{AccountId, EmailAddress};
use ekitei_kv::clock::Clock;
use ekitei_relay::{Envelope, Failure, Notify, OriginalRecipient, Recipient};
use serde::{Deserialize, Serialize};

use crate::dsn::Action;

/// Names a message in the queue: sixteen octets, in the order of arrival; shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(pub(crate) [u8; 16]);

impl QueueId {
    /// The id that [`fmt::Display`] printed as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        BodyId::parse(text).map(|id| Self(*id.as_bytes()))
    }

    /// When it was given, since the epoch.
    pub fn time(self) -> Duration {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Duration::from_millis(u64::from_be_bytes(millis))
    }

    /// The first id of a millisecond.
    pub(crate) fn first_of(time: Duration) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min((1 << 48) - 1);
        let mut id = [0; 16];
        id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self(id)
    }

    /// The first id of the next millisecond.
    pub(crate) fn after_millisecond(self) -> Self {
        Self::first_of(self.time() + Duration::from_millis(1))
    }

    /// Who refers to the message's body on behalf of this queue message. No account has such a number: the highest bit is set, the
    /// others are random ones of the id, so messages that share a body have different owners.
    pub(crate) fn body_owner(self) -> u64 {
        let mut random = [0; 8];
        random.copy_from_slice(&self.0[8..]);
        u64::from_be_bytes(random) | 1 << 63
    }
}

/// Gives ids to the messages of one process.
#[derive(Default)]
pub(crate) struct QueueIds(Mutex<[u8; 16]>);

impl QueueIds {
    /// A new id, never given before: 48 bits of milliseconds since the epoch, then 80 random bits. Those of the same millisecond ascend, too.
    pub(crate) fn next(&self, clock: &dyn Clock) -> QueueId {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut id = *BodyId::generate(clock).as_bytes();
        if id[..6] == last[..6] && id <= *last {
            id = u128::from_be_bytes(*last).wrapping_add(1).to_be_bytes();
        }
        *last = id;
        QueueId(id)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BodyId::from_bytes(self.0).fmt(f)
    }
}

/// Names one destination of a message; shown as the message's id, a hyphen and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The message.
    pub message: QueueId,
    /// Which of its destinations.
    pub number: u32,
}

impl EntryId {
    /// The id that [`fmt::Display`] printed as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let (message, number) = text.split_once('-')?;
        Some(Self { message: QueueId::parse(message)?, number: number.parse().ok()? })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.message, self.number)
    }
}

/// A message to queue.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// What MAIL said.
    pub envelope: Envelope,
    /// Where it goes; grouped by domain here.
    pub recipients: Vec<NewRecipient>,
    /// When it was received, since the epoch.
    pub received: Duration,
    /// Octets of the message.
    pub size: u64,
    /// Header fields for these recipients only, each with its CRLF; sent in front of the message. (A forwarded message has its ARC set here.)
    pub header: Bytes,
    /// Who submitted it.
    pub account: Option<AccountId>,
    /// How it came: for those who look at the queue.
    pub origin: Origin,
}

/// How a message came into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A user submitted it.
    Submission,
    /// A trusted network relayed it.
    Relay,
    /// An alias or group here leads elsewhere.
    Forward,
    /// The service itself: a notification.
    Notification,
    /// The service itself: a report to another domain.
    Report,
    /// It is in the mailbox of its recipients since it was queued, and waits only so that the sender is told (RFC 3461 `NOTIFY=SUCCESS`).
    Delivered,
    /// It has been sent on to all that its recipients stand for, and waits only so that the sender is told.
    Expanded,
}

impl Origin {
    /// What the sender is told, where nothing is left to be done but that.
    pub(crate) fn success(self) -> Option<Action> {
        match self {
            Self::Delivered => Some(Action::Delivered),
            Self::Expanded => Some(Action::Expanded),
            Self::Submission | Self::Relay | Self::Forward | Self::Notification | Self::Report => None,
        }
    }
}

/// A recipient of a message to queue.
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// The address.
    pub address: EmailAddress,
    /// `NOTIFY`; `None` if it was not given.
    pub notify: Option<Notify>,
    /// `ORCPT`
    pub original: Option<OriginalRecipient>,
}

/// A message of the queue, as stored. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// What MAIL said.
    pub envelope: Envelope,
    /// When it was received, since the epoch: its lifetime in the queue counts from here.
    pub received: Duration,
    /// Octets of the message, without [`MessageRow::header`].
    pub size: u64,
    /// Header fields that go in front of the body, each with its CRLF.
    pub header: Vec<u8>,
    /// Who submitted it.
    pub account: Option<AccountId>,
    /// How it came.
    pub origin: Origin,
    /// Its octets.
    pub body: BodyId,
    /// Entries it had when it came.
    pub entries: u32,
}

/// A part of the queue that one process works on at a time. A destination belongs to one shard for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// How many there are.
    pub const COUNT: u8 = 64;

    /// The shard of a destination.
    pub fn of(destination: &str) -> Self {
        // FNV-1a: stored rows depend on it, so it is written out rather than taken from a library that may change.
        let hash = destination.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
        });
        // The low bits of FNV depend on the low bits of each octet alone.
        Self(u8::try_from((hash ^ (hash >> 32)) % u64::from(Self::COUNT)).unwrap_or_default())
    }

    /// All shards.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Its number, from 0.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name of its lease.
    pub fn lease_name(self) -> String {
        format!("{:02}", self.0)
    }

    /// The shard whose lease has this name.
    pub fn of_lease(name: &str) -> Option<Self> {
        name.parse().ok().filter(|&number| number < Self::COUNT).map(Self)
    }
}

/// One destination of a message, as stored: at most [`EntryRow::RECIPIENTS`] recipients. A message with more for one domain has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow {
    /// The domain part of the recipients as lower-case A-labels, or an address literal.
    pub destination: String,
    /// Rises whenever the entry gets another place among what is fresh, due or held. A [`Hint`] of another turn is void.
    pub turn: u32,
    /// Rises with each settlement, and with nothing else.
    pub revision: u32,
    /// Where it waits.
    pub schedule: Schedule,
    /// Attempts that were made to send it.
    pub attempts: u32,
    /// When the last attempt ended.
    pub last_attempt: Option<Duration>,
    /// An administrator wants it returned to its sender now, as if its lifetime were over.
    pub bounce: bool,
    /// The sender was told that it is delayed.
    pub delay_notified: bool,
    /// Its recipients, those that are done included.
    pub recipients: Vec<RecipientRow>,
}

impl EntryRow {
    /// The most recipients of one entry.
    pub const RECIPIENTS: usize = 100;

    /// The recipients that still wait, with their places in [`EntryRow::recipients`].
    pub fn waiting(&self) -> impl Iterator<Item = (usize, &RecipientRow)> {
        let waits = |row: &&RecipientRow| matches!(row.state, RecipientState::Waiting { .. });
        self.recipients.iter().enumerate().filter(move |(_, row)| waits(row))
    }
}

/// Where an entry waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// For its shard's owner to take it up: as soon as may be.
    Fresh,
    /// For this time, since the epoch.
    At(Duration),
    /// For an administrator to release it.
    Held,
}

/// A recipient of an entry, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRow {
    /// What RCPT says.
    pub recipient: Recipient,
    /// What became of it so far.
    pub state: RecipientState,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecipientState {
    /// It waits; why the last attempt did not help, if there was one.
    Waiting {
        /// The last failure.
        last: Option<Failure>,
    },
    /// Another server, or a mailbox here, has it.
    Sent {
        /// Who took it: `host [address]`.
        remote: String,
        /// Its reply.
        reply: String,
        /// When, since the epoch.
        at: Duration,
    },
    /// It is returned to the sender.
    Failed {
        /// Why.
        failure: Failure,
        /// When, since the epoch.
        at: Duration,
    },
}

/// What an index says of an entry: to be confirmed by [`crate::Spool::load`], which reads the entry itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The entry.
    pub entry: EntryId,
    /// The turn of the entry when this was written.
    pub turn: u32,
    /// Where the hint is.
    pub place: Place,
}

/// Where an entry waits, with what finds its row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Among what is fresh, in the order of commits.
    Fresh(Stamp),
    /// Among what is deferred, until this time since the epoch (whole milliseconds).
    Due(Duration),
    /// Nowhere: it is held.
    Held,
}

/// The versionstamp of a fresh hint.
pub type Stamp = [u8; 10];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_keeps_its_shard_and_shards_have_about_as_many() {
        // Stored rows depend on these: a change needs an upgrade of the store.
        let known =
            ["example.com", "EXAMPLE.com", "a.example", "[192.0.2.1]", ""].map(|d| Shard::of(d).number());
        assert_eq!(known, [37, 37, 57, 37, 1]);
        let mut shards = [0; Shard::COUNT as usize];
        for n in 0..6_400 {
            shards[usize::from(Shard::of(&format!("d{n}.example")).number())] += 1;
        }
        assert!(shards.iter().all(|count| (60..150).contains(count)), "{shards:?}");
        assert!(Shard::all().all(|shard| Shard::of_lease(&shard.lease_name()) == Some(shard)));
        assert_eq!((Shard::of_lease("64"), Shard::of_lease("x")), (None, None));
    }

    #[test]
    fn ids_are_read_back_as_they_were_printed() {
        let id = EntryId { message: QueueIds::default().next(&ekitei_kv::clock::SystemClock), number: 7 };
        assert_eq!(EntryId::parse(&id.to_string()), Some(id));
        assert_eq!(QueueId::parse(&id.message.to_string()), Some(id.message));
        for nonsense in ["", "-", "00-1", &format!("{}-x", id.message)] {
            assert_eq!(EntryId::parse(nonsense), None, "{nonsense}");
        }
        assert_eq!(QueueId::first_of(id.message.time()).time(), id.message.time());
        assert!(
            QueueId::first_of(id.message.time()) <= id.message && id.message < id.message.after_millisecond()
        );
    }
}
