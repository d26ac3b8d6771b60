//! One renewal of all that a process holds, as a transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use foundationdb_tuple::unpack;

use super::rows::{Row, lease_key, member_key, member_rows};
use super::{MemberId, NOBODY};
use crate::keys::subspace::CLUSTER;
use crate::keys::{key, range};
use crate::{Error, RangeOptions, Result, Transaction};

/// One renewal: what it knows when it begins. Each attempt of its transaction does the same.
pub(super) struct Round {
    pub(super) member: MemberId,
    pub(super) beat: u64,
    /// There can be no other process.
    pub(super) alone: bool,
    /// Processes whose beat has not changed for the duration of a lease, and that beat.
    pub(super) silent: HashMap<MemberId, u64>,
    pub(super) groups: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What a renewal found and did.
#[derive(Default)]
pub(super) struct Found {
    /// The other processes and their beats.
    pub(super) beats: HashMap<MemberId, u64>,
    pub(super) shares: BTreeMap<&'static str, Share>,
}

/// What a process has of a group.
#[derive(Default)]
pub(super) struct Share {
    /// Names and tokens.
    pub(super) held: BTreeMap<String, u64>,
    /// How many it should have at most.
    pub(super) part: usize,
    /// How many of them were taken now from processes that are dead.
    pub(super) taken_over: u64,
}

/// The processes that are alive.
#[derive(Default)]
struct Members {
    beats: HashMap<MemberId, u64>,
    groups: HashMap<String, usize>,
}

impl Round {
    pub(super) async fn write(&self, transaction: &Transaction) -> Result<Found> {
        let mut rows = read_members(transaction).await?;
        let known = rows.remove(&self.member).unwrap_or_default().groups;
        let members = self.bury(transaction, rows);
        transaction.set(&member_key(&self.member), &self.beat.to_le_bytes());
        let mut found = Found::default();
        for (group, names) in &self.groups {
            if !known.iter().any(|known| known == group) {
                transaction.set(&key(&(CLUSTER, "member", self.member.as_slice(), *group)), b"");
            }
            let others = members.groups.get(*group).copied().unwrap_or(0);
            let part = names.len().div_ceil(others + 1);
            let share = self.share(transaction, &members, group, names, part).await?;
            found.shares.insert(group, share);
        }
        found.beats = members.beats;
        Ok(found)
    }

    /// Of the others, those that are alive; the rows of the dead go.
    fn bury(&self, transaction: &Transaction, rows: HashMap<MemberId, Member>) -> Members {
        let mut members = Members::default();
        for (id, member) in rows {
            if self.alone || self.silent.get(&id) == Some(&member.beat) {
                // It may be alive after all, and renewing just now: then one of the two transactions has to begin again.
                transaction.add_read_conflict(one_key(member_key(&id)));
                transaction.clear_range(member_rows(&id));
                continue;
            }
            members.beats.insert(id, member.beat);
            for group in member.groups {
                *members.groups.entry(group).or_default() += 1;
            }
        }
        members
    }

    /// Takes what is free of a group, up to `part`; returns what the process holds then.
    async fn share(
        &self,
        transaction: &Transaction,
        members: &Members,
        group: &str,
        names: &BTreeSet<String>,
        part: usize,
    ) -> Result<Share> {
        let rows = transaction.get_range(range(&(CLUSTER, "lease", group)), RangeOptions::default()).await?;
        let mut leases: BTreeMap<String, Row> = BTreeMap::new();
        for row in rows {
            let (_, _, _, name): (u32, String, String, String) =
                unpack(&row.key).map_err(|_| Error::Corrupt("the key of a lease".into()))?;
            leases.insert(name, Row::decode(&row.value)?);
        }
        let ours = leases.iter().filter(|(_, row)| row.holder == self.member);
        let mut held: BTreeMap<String, u64> = ours.map(|(name, row)| (name.clone(), row.token)).collect();
        let mut taken_over = 0;
        for name in names {
            let row = leases.get(name).copied().unwrap_or(Row { token: 0, holder: NOBODY });
            if held.len() >= part || row.holder == self.member || members.beats.contains_key(&row.holder) {
                continue;
            }
            if row.holder != NOBODY {
                taken_over += 1;
                // Nobody knows this process any more. Should it come back meanwhile, this has to begin again.
                transaction.add_read_conflict(one_key(member_key(&row.holder)));
            }
            let taken = Row { token: row.token + 1, holder: self.member };
            transaction.set(&lease_key(group, name), &taken.encode());
            held.insert(name.clone(), taken.token);
        }
        Ok(Share { held, part, taken_over })
    }
}

/// A process, as its rows tell.
#[derive(Default)]
struct Member {
    beat: u64,
    groups: Vec<String>,
}

/// All processes that take part in anything. Without conflicts: whose absence or silence matters is told apart later.
async fn read_members(transaction: &Transaction) -> Result<HashMap<MemberId, Member>> {
    let corrupt = || Error::Corrupt("a row of a process".into());
    let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
    let mut members: HashMap<MemberId, Member> = HashMap::new();
    for row in transaction.get_range(range(&(CLUSTER, "member")), options).await? {
        let of = |id: Vec<u8>| MemberId::try_from(id).map_err(|_| corrupt());
        if let Ok((_, _, id)) = unpack::<(u32, String, Vec<u8>)>(&row.key) {
            let beat = <[u8; 8]>::try_from(&row.value[..]).map_err(|_| corrupt())?;
            members.entry(of(id)?).or_default().beat = u64::from_le_bytes(beat);
        } else {
            let (_, _, id, group): (u32, String, Vec<u8>, String) =
                unpack(&row.key).map_err(|_| corrupt())?;
            members.entry(of(id)?).or_default().groups.push(group);
        }
    }
    Ok(members)
}

fn one_key(key: Vec<u8>) -> Range<Vec<u8>> {
    let mut end = key.clone();
    end.push(0);
    key..end
}
