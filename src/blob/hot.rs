//! The hot tier: which bodies are rows and wait to be packed, and how much of everything there is in each group.

use std::time::Duration;

use ekitei_kv::{RangeOptions, Transaction, decode_counter};
use foundationdb_tuple::unpack;
use serde::{Deserialize, Serialize};

use crate::owner::{Group, Owner};
use crate::record::{BodyRecord, Place};
use crate::{Blobs, BodyId, Result, rows};

/// A body of the hot index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HotBody {
    pub(crate) body: BodyId,
    pub(crate) entry: HotEntry,
}

/// What the hot index says of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HotEntry {
    pub(crate) owner: Owner,
    /// Octets of its blocks as they are stored.
    pub(crate) octets: u64,
}

/// Something that is counted for each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Count {
    HotBodies,
    HotOctets,
    Segments,
    SegmentOctets,
    LiveBodies,
    LiveOctets,
}

impl Count {
    const ALL: [Self; 6] = [
        Self::HotBodies,
        Self::HotOctets,
        Self::Segments,
        Self::SegmentOctets,
        Self::LiveBodies,
        Self::LiveOctets,
    ];

    /// Its number, in keys.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bodies that are rows and wait to be packed.
    pub hot_bodies: u64,
    /// Octets of them, as they are stored.
    pub hot_octets: u64,
    /// Segments.
    pub segments: u64,
    /// Octets of all segments.
    pub segment_octets: u64,
    /// Bodies in segments.
    pub live_bodies: u64,
    /// Octets of them.
    pub live_octets: u64,
}

impl Figures {
    fn of(&mut self, count: Count) -> &mut u64 {
        match count {
            Count::HotBodies => &mut self.hot_bodies,
            Count::HotOctets => &mut self.hot_octets,
            Count::Segments => &mut self.segments,
            Count::SegmentOctets => &mut self.segment_octets,
            Count::LiveBodies => &mut self.live_bodies,
            Count::LiveOctets => &mut self.live_octets,
        }
    }
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, mut other: Self) {
        for count in Count::ALL {
            *self.of(count) += *other.of(count);
        }
    }
}

/// Adds to a count of a group, without a conflict.
pub(crate) fn count(transaction: &Transaction, group: Group, count: Count, delta: i64) {
    if delta != 0 {
        transaction.add(&rows::count(group, count), delta);
    }
}

/// Octets as a difference of a count.
pub(crate) fn signed(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

/// Puts a hot body into the index.
pub(crate) fn enter(transaction: &Transaction, body: BodyId, entry: HotEntry) {
    let group = Group::of(entry.owner);
    transaction.set(&rows::hot(group, body), &encode(entry));
    count(transaction, group, Count::HotBodies, 1);
    count(transaction, group, Count::HotOctets, signed(entry.octets));
}

/// Takes a body out of the index of a group, if it is there. What the row says is taken off the counts, so they stay exact whatever it says.
pub(crate) async fn leave(transaction: &Transaction, group: Group, body: BodyId) -> Result<bool> {
    let key = rows::hot(group, body);
    let Some(entry) = transaction.get(&key).await? else { return Ok(false) };
    transaction.clear(&key);
    count(transaction, group, Count::HotBodies, -1);
    count(transaction, group, Count::HotOctets, -decode(&entry).map_or(0, |entry| signed(entry.octets)));
    Ok(true)
}

/// The group whose index a body is in, if it is hot.
pub(crate) fn index_of(record: &BodyRecord) -> Option<Group> {
    record.owner.filter(|_| record.place == Place::Hot).map(Group::of)
}

fn encode(entry: HotEntry) -> Vec<u8> {
    // Serialising plain numbers into memory cannot fail.
    postcard::to_extend(&entry, Vec::new()).unwrap_or_default()
}

pub(crate) fn decode(value: &[u8]) -> Option<HotEntry> {
    postcard::from_bytes(value).ok()
}

/// The oldest bodies of a group, oldest first, at most `limit`, after `after`; without a conflict.
pub(crate) async fn oldest(
    transaction: &Transaction,
    group: Group,
    after: Option<BodyId>,
    limit: usize,
) -> Result<Vec<HotBody>> {
    let mut range = rows::all_hot(group);
    if let Some(after) = after {
        range.start = rows::hot(group, after);
        range.start.push(0);
    }
    let options = RangeOptions { limit, snapshot: true, ..RangeOptions::default() };
    let found = transaction.get_range(range, options).await?;
    Ok(found.iter().filter_map(|row| hot_body(&row.key, &row.value)).collect())
}

fn hot_body(key: &[u8], value: &[u8]) -> Option<HotBody> {
    let (_, _, _, body): (u32, u32, u32, Vec<u8>) = unpack(key).ok()?;
    // A row that says nothing is one of a body without octets: so it is looked at, and goes.
    let entry = decode(value).unwrap_or(HotEntry { owner: Owner::Transit, octets: 0 });
    Some(HotBody { body: BodyId::from_bytes(body.try_into().ok()?), entry })
}

/// How long the total is believed.
const TOTAL_LIFETIME: Duration = Duration::from_secs(1);

/// The octets of all hot bodies, as they were a moment ago.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HotTotal {
    octets: u64,
    read: Option<Duration>,
}

impl Blobs {
    /// How much there is of everything, in each group.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn figures(&self) -> Result<Vec<(Group, Figures)>> {
        let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
        let read = self
            .inner
            .database
            .read(|transaction| async move { transaction.get_range(rows::all_counts(), options).await });
        let mut figures: Vec<(Group, Figures)> =
            Group::all().map(|group| (group, Figures::default())).collect();
        for row in read.await? {
            let Ok((_, _, group, count)) = unpack::<(u32, u32, u32, u32)>(&row.key) else { continue };
            let counted = Count::ALL.into_iter().find(|known| known.number() == count);
            let of = figures.iter_mut().find(|(known, _)| known.number() == group);
            if let Some((count, (_, figures))) = counted.zip(of) {
                *figures.of(count) = u64::try_from(decode_counter(Some(&row.value))).unwrap_or(0);
            }
        }
        Ok(figures)
    }

    /// Octets of all hot bodies, read again when the last reading is a second old. If it cannot be read it is what it was.
    pub(crate) async fn hot_octets(&self) -> u64 {
        let now = self.inner.clock.now();
        let known = *self.hot_total();
        if known.read.is_some_and(|read| read <= now && now - read < TOTAL_LIFETIME) {
            return known.octets;
        }
        // Others need not read it, too.
        self.hot_total().read = Some(now);
        match self.figures().await {
            Ok(figures) => {
                let octets = figures.iter().map(|(_, figures)| figures.hot_octets).sum();
                self.hot_total().octets = octets;
                octets
            }
            Err(error) => {
                tracing::debug!(%error, "the octets of hot bodies cannot be read");
                known.octets
            }
        }
    }

    fn hot_total(&self) -> std::sync::MutexGuard<'_, HotTotal> {
        self.inner.hot_total.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
