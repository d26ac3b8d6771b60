//! The rows of the mailstore.
//!
//! | key | value |
//! |---|---|
//! | `(MAILBOXES, account, 0, mailbox)` | postcard of [`MailboxRow`] |
//! | `(MAILBOXES, account, 1, name)` | the mailbox of that name: u32 |
//! | `(MAILBOXES, account, 2, mailbox)` | UIDNEXT: u32 |
//! | `(MAILBOXES, account, 3, mailbox, counter)` | a [`Counter`]: i64, added to |
//! | `(MAILBOXES, account, 4, name)` | subscribed to that name; empty |
//! | `(MAILBOXES, account, 5, counter)` | octets and messages of the account: i64, added to |
//! | `(MAILBOXES, account, 6)` | the next mailbox id and the latest UIDVALIDITY: u32, u32 |
//! | `(MAILBOXES, account, 7)` | versionstamp of the account's latest change; watched |
//! | `(MAILBOXES, account, 8, mailbox)` | versionstamp up to which the mailbox's change log was cut off |
//! | `(MAILBOXES, account, 9)` | the account is being restored, and has no mailbox until that is done; empty |
//! | `(MAILBOXES, account, 10)` | the domain that the account's usage counts for: its name in A-labels |
//! | `(MAILBOXES, account, 11)` | the recount that last repaired counters of the account: its operation (16 octets) |
//! | `(MAILBOXES, "domain", domain, 0, shard, counter)` | octets and messages of the domain's accounts: i64, added to |
//! | `(MAILBOXES, "domain", domain, 1, shard, account)` | the account counts for the domain; empty |
//! | `(MAILBOXES, "domain", domain, 2)` | the recount that last repaired counters of the domain: its operation (16 octets) |
//! | `(MAILBOXES, "counted")` | all accounts count for their domains; empty |
//! | `(MAILBOXES, "long log", account, mailbox)` | the change log of the mailbox may be too long; empty |
//! | `(MAILBOXES, 0, account, mailbox)` | a deleted mailbox whose messages are still to be removed; empty |
//! | `(INDEX, account, mailbox, uid)` | an [`IndexRow`] |
//! | `(MESSAGES, account, message, 0, n)` | piece `n` of the record, see [`crate::record`] |
//! | `(MESSAGES, account, message, 1, mailbox, uid)` | the message is there; empty |
//! | `(CHANGES, account, mailbox, versionstamp)` | postcard of [`ChangeRow`] |
//! | `(CLUSTER, "delivery", process)` | the operation of the process's latest delivery (16 octets), and when it was: ms |
//!
//! Accounts count from 1. Integers are little-endian; postcard values begin with a format octet.

use std::ops::Range;
use std::time::Duration;

use ekitei_directory::Domain;
use ekitei_kv::keys::subspace::{CHANGES, CLUSTER, INDEX, MAILBOXES, MESSAGES};
use ekitei_kv::keys::{key, range};
use serde::{Deserialize, Serialize};

use crate::types::{AccountId, Flags, Keywords, MailboxId, MessageId, ModSeq, SpecialUse, Uid};
use crate::view::Entry;
use crate::{Error, Result};

/// Octets of a versionstamp.
pub(crate) const STAMP: usize = 10;
/// Form of postcard values.
const FORMAT: u8 = 1;
/// The type octet of a versionstamp in a tuple (FoundationDB's tuple layer).
const VERSIONSTAMP_ELEMENT: u8 = 0x33;

/// A mailbox, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxRow {
    pub(crate) name: String,
    pub(crate) uid_validity: u32,
    pub(crate) special_use: Option<SpecialUse>,
}

/// What one transaction changed in a mailbox, as runs of UIDs (first, how many).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeRow {
    /// The operation that did it: how a repeated transaction knows its own work.
    pub(crate) operation: [u8; 16],
    pub(crate) added: Vec<(u32, u32)>,
    pub(crate) updated: Vec<(u32, u32)>,
    pub(crate) expunged: Vec<(u32, u32)>,
}

/// Counters of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Messages = 0,
    Unseen = 1,
    Deleted = 2,
    Bytes = 3,
}

impl Counter {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [Self::Messages, Self::Unseen, Self::Deleted, Self::Bytes];
}

/// Counters of an account, and of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageCounter {
    Bytes = 0,
    Messages = 1,
}

impl UsageCounter {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 2] = [Self::Bytes, Self::Messages];
}

/// How a process knows its latest delivery again, whatever became of the message meanwhile.
pub(crate) fn delivery_trace(process: [u8; 16]) -> Vec<u8> {
    key(&(CLUSTER, "delivery", process.as_slice()))
}

pub(crate) fn delivery_traces() -> Range<Vec<u8>> {
    range(&(CLUSTER, "delivery"))
}

pub(crate) fn encode_trace(operation: [u8; 16], now: Duration) -> [u8; 24] {
    let mut value = [0; 24];
    value[..16].copy_from_slice(&operation);
    value[16..].copy_from_slice(&u64::try_from(now.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
    value
}

/// When the delivery was that a trace is of.
pub(crate) fn trace_time(value: &[u8]) -> Option<Duration> {
    Some(Duration::from_millis(u64::from_le_bytes(value.get(16..)?.try_into().ok()?)))
}

pub(crate) fn mailbox(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 0u32, mailbox.0))
}

pub(crate) fn mailboxes(account: AccountId) -> Range<Vec<u8>> {
    range(&(MAILBOXES, account.get(), 0u32))
}

/// The mailbox that a key of [`mailboxes`] names.
pub(crate) fn mailbox_of(key: &[u8]) -> Result<MailboxId> {
    let (_, _, _, id): (u32, u64, u32, u32) =
        foundationdb_tuple::unpack(key).map_err(|_| Error::Corrupt("the key of a mailbox"))?;
    Ok(MailboxId(id))
}

pub(crate) fn name(account: AccountId, name: &str) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 1u32, name))
}

pub(crate) fn uid_next(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 2u32, mailbox.0))
}

pub(crate) fn counter(account: AccountId, mailbox: MailboxId, counter: Counter) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 3u32, mailbox.0, counter as u32))
}

pub(crate) fn counters(account: AccountId, mailbox: MailboxId) -> Range<Vec<u8>> {
    range(&(MAILBOXES, account.get(), 3u32, mailbox.0))
}

pub(crate) fn subscription(account: AccountId, name: &str) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 4u32, name))
}

pub(crate) fn subscriptions(account: AccountId) -> Range<Vec<u8>> {
    range(&(MAILBOXES, account.get(), 4u32))
}

/// The name that a key of [`subscriptions`] holds.
pub(crate) fn subscribed_name(key: &[u8]) -> Result<String> {
    let (_, _, _, name): (u32, u64, u32, String) =
        foundationdb_tuple::unpack(key).map_err(|_| Error::Corrupt("the key of a subscription"))?;
    Ok(name)
}

pub(crate) fn usage(account: AccountId, counter: UsageCounter) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 5u32, counter as u32))
}

pub(crate) fn usages(account: AccountId) -> Range<Vec<u8>> {
    range(&(MAILBOXES, account.get(), 5u32))
}

/// Counters of all mailboxes of an account.
pub(crate) fn all_counters(account: AccountId) -> Range<Vec<u8>> {
    range(&(MAILBOXES, account.get(), 3u32))
}

/// Which counter a key names: its last element.
pub(crate) fn counter_of(key: &[u8]) -> Result<usize> {
    let elements: Vec<foundationdb_tuple::Element<'_>> =
        foundationdb_tuple::unpack(key).map_err(|_| Error::Corrupt("the key of a counter"))?;
    let last = elements.last().and_then(foundationdb_tuple::Element::as_i64);
    last.and_then(|last| usize::try_from(last).ok()).ok_or(Error::Corrupt("the key of a counter"))
}

/// Rows that the counters of a domain are spread over.
pub(crate) const DOMAIN_SHARDS: u64 = 16;

fn shard(account: AccountId) -> u64 {
    account.get() % DOMAIN_SHARDS
}

pub(crate) fn domain_counter(domain: &Domain, account: AccountId, counter: UsageCounter) -> Vec<u8> {
    domain_shard_counter(domain, shard(account), counter)
}

pub(crate) fn domain_shard_counter(domain: &Domain, shard: u64, counter: UsageCounter) -> Vec<u8> {
    key(&(MAILBOXES, "domain", domain.as_ascii(), 0u32, shard, counter as u32))
}

pub(crate) fn domain_counters(domain: &Domain) -> Range<Vec<u8>> {
    range(&(MAILBOXES, "domain", domain.as_ascii(), 0u32))
}

/// The counters of one shard of a domain.
pub(crate) fn domain_shard(domain: &Domain, shard: u64) -> Range<Vec<u8>> {
    range(&(MAILBOXES, "domain", domain.as_ascii(), 0u32, shard))
}

pub(crate) fn domain_member(domain: &Domain, account: AccountId) -> Vec<u8> {
    key(&(MAILBOXES, "domain", domain.as_ascii(), 1u32, shard(account), account.get()))
}

/// The accounts that count in one shard of a domain.
pub(crate) fn domain_members(domain: &Domain, shard: u64) -> Range<Vec<u8>> {
    range(&(MAILBOXES, "domain", domain.as_ascii(), 1u32, shard))
}

/// The account in a key of [`domain_members`].
pub(crate) fn member_of(key: &[u8]) -> Result<AccountId> {
    let (_, _, _, _, _, account): (u32, String, String, u32, u64, u64) =
        foundationdb_tuple::unpack(key).map_err(|_| Error::Corrupt("the key of an account of a domain"))?;
    Ok(AccountId::new(account))
}

pub(crate) fn domain_recount(domain: &Domain) -> Vec<u8> {
    key(&(MAILBOXES, "domain", domain.as_ascii(), 2u32))
}

pub(crate) fn all_counted() -> Vec<u8> {
    key(&(MAILBOXES, "counted"))
}

pub(crate) fn counted_domain(account: AccountId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 10u32))
}

pub(crate) fn recount(account: AccountId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 11u32))
}

/// The domain in a row of [`counted_domain`].
pub(crate) fn decode_domain(value: &[u8]) -> Result<Domain> {
    let name = std::str::from_utf8(value).ok().and_then(|name| Domain::parse(name).ok());
    name.ok_or(Error::Corrupt("the domain of an account"))
}

pub(crate) fn allocation(account: AccountId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 6u32))
}

pub(crate) fn latest_change(account: AccountId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 7u32))
}

pub(crate) fn log_begin(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 8u32, mailbox.0))
}

pub(crate) fn restoring(account: AccountId) -> Vec<u8> {
    key(&(MAILBOXES, account.get(), 9u32))
}

/// Everything about the mailboxes of an account.
pub(crate) fn all_mailbox_rows(account: AccountId) -> Range<Vec<u8>> {
    range(&(MAILBOXES, account.get()))
}

pub(crate) fn purge(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    key(&(MAILBOXES, 0u32, account.get(), mailbox.0))
}

/// The deleted mailboxes of an account.
pub(crate) fn purges_of(account: AccountId) -> Range<Vec<u8>> {
    range(&(MAILBOXES, 0u32, account.get()))
}

pub(crate) fn purges() -> Range<Vec<u8>> {
    range(&(MAILBOXES, 0u32))
}

/// The mailbox that a key of [`purges`] names.
pub(crate) fn purge_of(key: &[u8]) -> Result<(AccountId, MailboxId)> {
    let (_, _, account, id): (u32, u32, u64, u32) =
        foundationdb_tuple::unpack(key).map_err(|_| Error::Corrupt("the key of a deleted mailbox"))?;
    Ok((AccountId::new(account), MailboxId(id)))
}

pub(crate) fn index(account: AccountId, mailbox: MailboxId, uid: Uid) -> Vec<u8> {
    key(&(INDEX, account.get(), mailbox.0, uid.get()))
}

pub(crate) fn index_of_mailbox(account: AccountId, mailbox: MailboxId) -> Range<Vec<u8>> {
    range(&(INDEX, account.get(), mailbox.0))
}

/// Index rows of `first` to `last`, both included.
pub(crate) fn index_between(account: AccountId, mailbox: MailboxId, first: Uid, last: Uid) -> Range<Vec<u8>> {
    let mut end = index(account, mailbox, last);
    end.push(0);
    index(account, mailbox, first)..end
}

/// The UID in the key of an index row.
pub(crate) fn uid_of(key: &[u8]) -> Result<Uid> {
    let (_, _, _, uid): (u32, u64, u32, u32) =
        foundationdb_tuple::unpack(key).map_err(|_| Error::Corrupt("the key of an index row"))?;
    Uid::new(uid).ok_or(Error::Corrupt("UID 0"))
}

pub(crate) fn record_piece(account: AccountId, message: MessageId, n: usize) -> Vec<u8> {
    key(&(MESSAGES, account.get(), message.as_bytes().as_slice(), 0u32, n as u64))
}

pub(crate) fn record(account: AccountId, message: MessageId) -> Range<Vec<u8>> {
    range(&(MESSAGES, account.get(), message.as_bytes().as_slice(), 0u32))
}

pub(crate) fn place(account: AccountId, message: MessageId, mailbox: MailboxId, uid: Uid) -> Vec<u8> {
    key(&(MESSAGES, account.get(), message.as_bytes().as_slice(), 1u32, mailbox.0, uid.get()))
}

pub(crate) fn places(account: AccountId, message: MessageId) -> Range<Vec<u8>> {
    range(&(MESSAGES, account.get(), message.as_bytes().as_slice(), 1u32))
}

/// The key of a change and where its versionstamp goes: the tuple's versionstamp element is a type octet, ten octets of stamp, two of
/// user version.
pub(crate) fn change(account: AccountId, mailbox: MailboxId) -> (Vec<u8>, usize) {
    let mut key = key(&(CHANGES, account.get(), mailbox.0));
    key.push(VERSIONSTAMP_ELEMENT);
    let offset = key.len();
    key.extend_from_slice(&[0; STAMP + 2]);
    (key, offset)
}

pub(crate) fn changes(account: AccountId, mailbox: MailboxId) -> Range<Vec<u8>> {
    range(&(CHANGES, account.get(), mailbox.0))
}

/// Changes after the one with this versionstamp.
pub(crate) fn changes_after(account: AccountId, mailbox: MailboxId, stamp: &[u8; STAMP]) -> Range<Vec<u8>> {
    let (mut begin, offset) = change(account, mailbox);
    begin[offset..offset + STAMP].copy_from_slice(stamp);
    begin.push(0);
    begin..changes(account, mailbox).end
}

/// Changes up to the one with this versionstamp, itself included.
pub(crate) fn changes_until(account: AccountId, mailbox: MailboxId, stamp: &[u8; STAMP]) -> Range<Vec<u8>> {
    changes(account, mailbox).start..changes_after(account, mailbox, stamp).start
}

/// A hint that the change log of a mailbox may be too long.
pub(crate) fn long_log(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    key(&(MAILBOXES, "long log", account.get(), mailbox.0))
}

pub(crate) fn long_logs() -> Range<Vec<u8>> {
    range(&(MAILBOXES, "long log"))
}

/// The mailbox in a key of [`long_logs`].
pub(crate) fn long_log_of(key: &[u8]) -> Result<(AccountId, MailboxId)> {
    let (_, _, account, mailbox): (u32, String, u64, u32) =
        foundationdb_tuple::unpack(key).map_err(|_| Error::Corrupt("the key of a long change log"))?;
    Ok((AccountId::new(account), MailboxId(mailbox)))
}

/// The versionstamp in the key of a change.
pub(crate) fn stamp_of(key: &[u8]) -> Result<[u8; STAMP]> {
    key.len()
        .checked_sub(STAMP + 2)
        .and_then(|begin| key[begin..begin + STAMP].try_into().ok())
        .ok_or(Error::Corrupt("the key of a change"))
}

/// The commit version in a versionstamp.
pub(crate) fn version_of(stamp: &[u8; STAMP]) -> u64 {
    let mut version = [0; 8];
    version.copy_from_slice(&stamp[..8]);
    u64::from_be_bytes(version)
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Serialising numbers, strings and vectors into memory cannot fail.
    postcard::to_extend(value, vec![FORMAT]).unwrap_or_default()
}

pub(crate) fn decode<T: for<'a> Deserialize<'a>>(value: &[u8], what: &'static str) -> Result<T> {
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| Error::Corrupt(what)),
        _ => Err(Error::Corrupt(what)),
    }
}

pub(crate) fn decode_u32(value: &[u8], what: &'static str) -> Result<u32> {
    value.try_into().map(u32::from_le_bytes).map_err(|_| Error::Corrupt(what))
}

/// One message in one mailbox: format octet, versionstamp, incarnation u16, message id, flags u8, INTERNALDATE i64, size u64, then
/// each keyword as its length u8 and its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexRow {
    pub(crate) message: MessageId,
    pub(crate) flags: Flags,
    pub(crate) keywords: Keywords,
    /// INTERNALDATE, seconds since the epoch.
    pub(crate) received: i64,
    pub(crate) size: u64,
}

impl IndexRow {
    /// Where the versionstamp goes.
    pub(crate) const STAMP_OFFSET: usize = 1;
    const FIXED: usize = 1 + STAMP + 2 + 16 + 1 + 8 + 8;

    pub(crate) fn encode(&self, incarnation: u16) -> Vec<u8> {
        let mut value = Vec::with_capacity(Self::FIXED);
        value.push(FORMAT);
        value.extend_from_slice(&[0; STAMP]);
        value.extend_from_slice(&incarnation.to_le_bytes());
        value.extend_from_slice(self.message.as_bytes());
        value.push(self.flags.bits());
        value.extend_from_slice(&self.received.to_le_bytes());
        value.extend_from_slice(&self.size.to_le_bytes());
        for keyword in self.keywords.iter() {
            value.push(u8::try_from(keyword.len()).unwrap_or(u8::MAX));
            value.extend_from_slice(&keyword.as_bytes()[..keyword.len().min(usize::from(u8::MAX))]);
        }
        value
    }

    pub(crate) fn decode(uid: Uid, value: &[u8]) -> Result<Entry> {
        Self::decode_fields(uid, value).ok_or(Error::Corrupt("an index row"))
    }

    fn decode_fields(uid: Uid, value: &[u8]) -> Option<Entry> {
        let (&format, rest) = value.split_first()?;
        if format != FORMAT {
            return None;
        }
        let (stamp, rest) = rest.split_first_chunk::<STAMP>()?;
        let (incarnation, rest) = rest.split_first_chunk::<2>()?;
        let (message, rest) = rest.split_first_chunk::<16>()?;
        let (&flags, rest) = rest.split_first()?;
        let (received, rest) = rest.split_first_chunk::<8>()?;
        let (size, mut rest) = rest.split_first_chunk::<8>()?;
        let mut keywords: Vec<&str> = Vec::new();
        while let Some((&length, tail)) = rest.split_first() {
            let (keyword, tail) = tail.split_at_checked(usize::from(length))?;
            keywords.push(std::str::from_utf8(keyword).ok()?);
            rest = tail;
        }
        Some(Entry {
            uid,
            message: MessageId::from_bytes(*message),
            modseq: ModSeq::new(u16::from_le_bytes(*incarnation), version_of(stamp)),
            flags: Flags::from_bits(flags),
            keywords: keywords.into_iter().collect(),
            received: i64::from_le_bytes(*received),
            size: u64::from_le_bytes(*size),
        })
    }
}

/// Ascending numbers as runs.
pub(crate) fn runs(uids: &[Uid]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for uid in uids.iter().map(|uid| uid.get()) {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == uid => *count += 1,
            _ => runs.push((uid, 1)),
        }
    }
    runs
}

/// The numbers of runs.
pub(crate) fn uids_of(runs: &[(u32, u32)]) -> impl Iterator<Item = Uid> + '_ {
    runs.iter().flat_map(|&(first, count)| (first..first.saturating_add(count)).filter_map(Uid::new))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_index_row_is_read_back_as_it_was_written(
            message: [u8; 16], flags in 0u8..32, received: i64, size: u64, incarnation in 0u16..4000,
            keywords in proptest::collection::vec("[a-z$]{1,20}", 0..5),
        ) {
            let row = IndexRow {
                message: MessageId::from_bytes(message),
                flags: Flags::from_bits(flags),
                keywords: keywords.into_iter().collect(),
                received,
                size,
            };
            let uid = Uid::new(7).unwrap();
            let entry = IndexRow::decode(uid, &row.encode(incarnation)).unwrap();
            prop_assert_eq!(entry.modseq, ModSeq::new(incarnation, 0));
            prop_assert_eq!((entry.message, entry.flags, entry.received), (row.message, row.flags, received));
            prop_assert_eq!((entry.keywords, entry.size), (row.keywords, size));
        }

        #[test]
        fn a_damaged_index_row_never_panics(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = IndexRow::decode(Uid::FIRST, &value);
        }

        #[test]
        fn runs_hold_the_same_numbers(numbers in proptest::collection::btree_set(1u32..200, 0..60)) {
            let uids: Vec<Uid> = numbers.into_iter().map(|n| Uid::new(n).unwrap()).collect();
            prop_assert_eq!(uids_of(&runs(&uids)).collect::<Vec<_>>(), uids);
        }
    }

    #[test]
    fn changes_after_a_stamp_begin_behind_it() {
        let (account, mailbox) = (AccountId::new(3), MailboxId(9));
        let (mut at, offset) = change(account, mailbox);
        at[offset..offset + STAMP].copy_from_slice(&[5; STAMP]);
        assert_eq!(stamp_of(&at).unwrap(), [5; STAMP]);
        let range = changes_after(account, mailbox, &[5; STAMP]);
        assert!(!range.contains(&at));
        at[offset + STAMP - 1] += 1;
        assert!(range.contains(&at) && changes(account, mailbox).contains(&at));
        assert!(!changes_until(account, mailbox, &[5; STAMP]).contains(&at));
        at[offset + STAMP - 1] -= 1;
        assert!(changes_until(account, mailbox, &[5; STAMP]).contains(&at));
        assert_eq!(long_log_of(&long_log(account, mailbox)).unwrap(), (account, mailbox));
    }
}
