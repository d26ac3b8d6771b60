//! Every row of the LIMITS subspace: what is counted, who is banned, what the greylist knows.
//!
//! | key after the subspace | value | until |
//! |---|---|---|
//! | `0` | versionstamp (10 octets) of the last change of a ban; watched | for ever |
//! | `1, network` | [`BanRow`] | `filter.limits.bans.memory` after the ban's end |
//! | `2, versionstamp` | a change of a ban: when (seconds, 8 octets), then the network as text | an hour |
//! | `3` | the versionstamp up to which `2` was cut off | for ever |
//! | `4, dead, kind, subject` | a counter, added to: what happened in one window, see [`crate::limits::counters`] | `dead` |
//! | `5, process` | the last batch that a process added to counters: its number, when (8 octets each) | a day |
//! | `6, dead, login, network` | empty: somebody logged in from there; `login` is a digest | `dead` |
//! | `7, dead, network, sender, recipient` | when an attempt was put off (seconds, 8 octets) | `dead` |
//! | `8, dead, network, sender, recipient` | when a combination passed last (seconds, 8 octets) | `dead` |
//! | `9, dead, network` | a counter: combinations that passed from a network | `dead` |
//! | `10, dead, domain` | empty: mail shown to be of the domain was accepted | `dead` |
//!
//! Networks are texts such as `192.0.2.0/24`. Integers in values are big-endian, counters apart.
//!
//! **Expiry.** Rows with `dead`, in seconds since the epoch, belong to a [`Period`]: they are written under the current one and looked up under it
//! and the one before, so that a row is found for one to two lengths of a period after it was written. What is dead stands together at
//! the beginning of its table, and maintenance removes it without looking at anything that lives.

use std::ops::Range;
use std::time::Duration;

use ekitei_config::Cidr;
use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{Error, Result, Transaction};
use serde::{Deserialize, Serialize};

/// The octets of a versionstamp.
pub(crate) const STAMP: usize = 10;
/// A versionstamp; zeros are before all.
pub(crate) type Stamp = [u8; STAMP];

/// The form of postcard values.
const FORMAT: u8 = 1;
const SUBSPACE: u32 = subspace::LIMITS;

const BANS_VERSION: u32 = 0;
const BAN: u32 = 1;
const BAN_CHANGE: u32 = 2;
const BAN_CHANGES_CUT: u32 = 3;
const COUNTER: u32 = 4;
const BATCH: u32 = 5;
const FAMILIAR: u32 = 6;
const PUT_OFF: u32 = 7;
const PASSED: u32 = 8;
const PASSED_FROM: u32 = 9;
const KNOWN_DOMAIN: u32 = 10;

/// The tables whose rows have `dead` in their keys.
pub(crate) const EXPIRING: [u32; 6] = [COUNTER, FAMILIAR, PUT_OFF, PASSED, PASSED_FROM, KNOWN_DOMAIN];

/// How long clocks of processes may differ before one removes what another still uses.
const CLOCK_SKEW: u64 = 120;

/// A stretch of time between two multiples of its length, and the rows that are written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Period {
    /// Seconds; not 0.
    length: u64,
    /// How many of them the epoch is away.
    index: u64,
}

impl Period {
    /// The one of this length that `now` is in.
    pub(crate) fn at(now: Duration, length: Duration) -> Self {
        let length = length.as_secs().max(1);
        Self { length, index: now.as_secs() / length }
    }

    /// The one before.
    pub(crate) fn before(self) -> Self {
        Self { index: self.index.saturating_sub(1), ..self }
    }

    /// Whether it comes right before `other`.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.length == other.length && self.index + 1 == other.index
    }

    /// Whether it comes somewhere after `other`.
    pub(crate) fn is_after(self, other: Self) -> bool {
        self.length == other.length && self.index > other.index
    }

    /// How much of it is over at `now`, from 0 to 1.
    pub(crate) fn elapsed(self, now: Duration) -> f64 {
        let begin = Duration::from_secs(self.index.saturating_mul(self.length));
        (now.saturating_sub(begin).as_secs_f64() / Duration::from_secs(self.length).as_secs_f64()).min(1.0)
    }

    /// When nobody looks for its rows any more, in seconds: the end of the next one.
    fn dead(self) -> u64 {
        self.index.saturating_add(2).saturating_mul(self.length)
    }
}

/// A ban, as stored; times in seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BanRow {
    pub(crate) reason: String,
    pub(crate) manual: bool,
    pub(crate) created: u64,
    /// `None` is without an end.
    pub(crate) until: Option<u64>,
    /// How many bans the network has had, this one included, each within the memory of the one before.
    pub(crate) times: u32,
}

impl BanRow {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_extend(self, vec![FORMAT]).map_err(|_| Error::Misuse("a ban cannot be written"))
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        match value.split_first() {
            Some((&FORMAT, rest)) => {
                postcard::from_bytes(rest).map_err(|error| Error::Corrupt(format!("a ban: {error}")))
            }
            _ => Err(Error::Corrupt("a ban has a form that this version does not know".to_owned())),
        }
    }
}

pub(crate) fn bans_version() -> Vec<u8> {
    keys::key(&(SUBSPACE, BANS_VERSION))
}

pub(crate) fn ban(network: Cidr) -> Vec<u8> {
    keys::key(&(SUBSPACE, BAN, network.to_string()))
}

pub(crate) fn bans() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, BAN))
}

/// The network in the key of a ban.
pub(crate) fn network_of_ban(key: &[u8]) -> Result<Cidr> {
    let damaged = || Error::Corrupt("the key of a ban".to_owned());
    let (_, _, network): (u32, u32, String) = foundationdb_tuple::unpack(key).map_err(|_| damaged())?;
    network.parse().map_err(|_| damaged())
}

/// The key of a change of a ban, and where its versionstamp goes.
fn ban_change() -> (Vec<u8>, usize) {
    let mut key = keys::key(&(SUBSPACE, BAN_CHANGE));
    // As the tuple layer has it: a type octet, the versionstamp, two octets of order within the transaction.
    key.push(0x33);
    let offset = key.len();
    key.extend_from_slice(&[0; STAMP + 2]);
    (key, offset)
}

/// Notes that the ban of `network` changed, for other processes. Once in a transaction: all in one would have the same versionstamp.
pub(crate) fn note_ban_change(tx: &Transaction, network: Cidr, now: Duration) {
    let (key, offset) = ban_change();
    let value = [now.as_secs().to_be_bytes().as_slice(), network.to_string().as_bytes()].concat();
    tx.set_versionstamped_key(&key, offset, &value);
    tx.set_versionstamped_value(&bans_version(), &[0; STAMP], 0);
}

/// Changes after the one with this versionstamp.
pub(crate) fn ban_changes_after(stamp: &Stamp) -> Range<Vec<u8>> {
    let (mut begin, offset) = ban_change();
    begin[offset..offset + STAMP].copy_from_slice(stamp);
    begin[offset + STAMP..].fill(0xFF);
    begin..keys::range(&(SUBSPACE, BAN_CHANGE)).end
}

pub(crate) fn ban_changes() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, BAN_CHANGE))
}

/// The versionstamp in the key of a change.
pub(crate) fn stamp_of_change(key: &[u8]) -> Result<Stamp> {
    let (_, offset) = ban_change();
    let stamp = key.get(offset..offset + STAMP).and_then(|stamp| stamp.try_into().ok());
    stamp.ok_or_else(|| Error::Corrupt("the key of a change of a ban".to_owned()))
}

/// When a change was made, and which network's ban it was.
pub(crate) fn decode_ban_change(value: &[u8]) -> Result<(u64, Cidr)> {
    let parsed = value.split_first_chunk::<8>().and_then(|(when, network)| {
        Some((u64::from_be_bytes(*when), std::str::from_utf8(network).ok()?.parse().ok()?))
    });
    parsed.ok_or_else(|| Error::Corrupt("a change of a ban".to_owned()))
}

pub(crate) fn ban_changes_cut() -> Vec<u8> {
    keys::key(&(SUBSPACE, BAN_CHANGES_CUT))
}

/// A versionstamp as a value; none is before all.
pub(crate) fn decode_stamp(value: Option<&[u8]>) -> Stamp {
    value.and_then(|value| value.try_into().ok()).unwrap_or_default()
}

pub(crate) fn counter(period: Period, kind: &str, subject: &str) -> Vec<u8> {
    keys::key(&(SUBSPACE, COUNTER, period.dead(), kind, subject))
}

pub(crate) fn batch(process: &str) -> Vec<u8> {
    keys::key(&(SUBSPACE, BATCH, process))
}

pub(crate) fn batches() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, BATCH))
}

/// The number of a process's last batch, and when it was added, in seconds.
pub(crate) fn encode_batch(number: u64, now: Duration) -> Vec<u8> {
    [number.to_be_bytes(), now.as_secs().to_be_bytes()].concat()
}

pub(crate) fn decode_batch(value: &[u8]) -> Option<(u64, u64)> {
    let (number, when) = value.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), decode_seconds(when)?))
}

pub(crate) fn familiar(period: Period, login: &str, network: Cidr) -> Vec<u8> {
    keys::key(&(SUBSPACE, FAMILIAR, period.dead(), login, network.to_string()))
}

/// Who sends what to whom, as the greylist tells mails apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Combination {
    pub(crate) network: Cidr,
    pub(crate) sender: String,
    pub(crate) recipient: String,
}

pub(crate) fn put_off(period: Period, combination: &Combination) -> Vec<u8> {
    combined(PUT_OFF, period, combination)
}

pub(crate) fn passed(period: Period, combination: &Combination) -> Vec<u8> {
    combined(PASSED, period, combination)
}

fn combined(table: u32, period: Period, combination: &Combination) -> Vec<u8> {
    let Combination { network, sender, recipient } = combination;
    keys::key(&(SUBSPACE, table, period.dead(), network.to_string(), sender.as_str(), recipient.as_str()))
}

/// All attempts that were put off, or all combinations that passed.
pub(crate) fn combinations(have_passed: bool) -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, if have_passed { PASSED } else { PUT_OFF }))
}

/// The same of one network, in one period.
pub(crate) fn combinations_of(have_passed: bool, period: Period, network: Cidr) -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, if have_passed { PASSED } else { PUT_OFF }, period.dead(), network.to_string()))
}

/// The combination in the key of one of those.
pub(crate) fn combination_of(key: &[u8]) -> Result<Combination> {
    let damaged = || Error::Corrupt("a key of the greylist".to_owned());
    let (_, _, _, network, sender, recipient): (u32, u32, u64, String, String, String) =
        foundationdb_tuple::unpack(key).map_err(|_| damaged())?;
    let network = network.parse().map_err(|_| damaged())?;
    Ok(Combination { network, sender, recipient })
}

pub(crate) fn passed_from(period: Period, network: Cidr) -> Vec<u8> {
    keys::key(&(SUBSPACE, PASSED_FROM, period.dead(), network.to_string()))
}

pub(crate) fn known_domain(period: Period, domain: &str) -> Vec<u8> {
    keys::key(&(SUBSPACE, KNOWN_DOMAIN, period.dead(), domain))
}

pub(crate) fn encode_seconds(time: Duration) -> [u8; 8] {
    time.as_secs().to_be_bytes()
}

pub(crate) fn decode_seconds(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// The rows of an expiring table that are dead.
pub(crate) fn dead_rows(table: u32, now: Duration) -> Range<Vec<u8>> {
    let first_living = now.as_secs().saturating_sub(CLOCK_SKEW).saturating_add(1);
    keys::range(&(SUBSPACE, table)).start..keys::key(&(SUBSPACE, table, first_living))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_row_is_found_for_at_least_a_period_and_dead_after_two() {
        let written = Period::at(HOUR * 10 + HOUR / 2, HOUR);
        let later = Period::at(HOUR * 11 + HOUR / 2, HOUR);
        assert_eq!(later.before(), written);
        assert!(written.is_before(later) && later.is_after(written));
        let (key, skew) = (counter(written, "x", "y"), Duration::from_secs(CLOCK_SKEW));
        assert!(!dead_rows(COUNTER, HOUR * 12 + skew - Duration::from_secs(1)).contains(&key));
        assert!(dead_rows(COUNTER, HOUR * 12 + skew).contains(&key));
    }

    #[test]
    fn changes_of_bans_are_found_after_a_stamp() {
        let (mut key, offset) = ban_change();
        key[offset..offset + STAMP].copy_from_slice(&[1; STAMP]);
        assert_eq!(stamp_of_change(&key).ok(), Some([1; STAMP]));
        assert!(ban_changes().contains(&key) && ban_changes_after(&[0; STAMP]).contains(&key));
        assert!(!ban_changes_after(&[1; STAMP]).contains(&key));
    }
}
