//! Message numbers of one session (RFC 9051 §2.3.1.2): what the client was told, what changed since, and when it may hear of it.
//!
//! A client numbers messages by the untagged EXISTS and EXPUNGE responses alone. So a session keeps the list that those responses made
//! ([`Numbering::told`]) beside the mailbox as last read, and [`Numbering::report`] is the only thing that moves the first towards the
//! second. A message that was expunged elsewhere keeps its number here, as a *ghost*, until an EXPUNGE response may be sent.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use ekitei_mailstore::{Entry, Snapshot};

use crate::proto::sequence::{NumberSet, SequenceBound, SequenceSet};

/// Whether EXPUNGE responses may be sent now (RFC 9051 §7.5.1): not during FETCH, STORE and SEARCH, and not without a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expunges {
    /// They may.
    Tell,
    /// They wait; new messages and changed flags are told.
    Withhold,
}

/// One untagged response that brings the client up to date; to be sent in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    /// `EXPUNGE` of this message number.
    Expunge(u32),
    /// `EXISTS` with this many messages.
    Exists(u32),
    /// `FETCH` with the FLAGS of the message at this index, in the numbering after all updates before it.
    Flags(usize),
}

/// A message number that no message has (RFC 9051 §9, `seq-number`: the client's mistake).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSuchNumber;

/// The numbering of one session.
#[derive(Debug)]
pub(crate) struct Numbering {
    /// The mailbox as the client knows it: the message number is the index plus 1.
    told: Arc<Snapshot>,
    /// The mailbox as last read.
    latest: Arc<Snapshot>,
    /// The mailbox of which all but its expunges was told.
    all_but_expunges: Option<Arc<Snapshot>>,
}

impl Numbering {
    /// The numbering right after SELECT, whose EXISTS told the whole mailbox.
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        let latest = without_gone(snapshot);
        Self { told: Arc::clone(&latest), latest, all_but_expunges: None }
    }

    /// The mailbox as the client knows it.
    pub(crate) fn told(&self) -> &Arc<Snapshot> {
        &self.told
    }

    /// How many messages the client knows.
    pub(crate) fn len(&self) -> usize {
        self.told.entries.len()
    }

    /// The message with this index.
    pub(crate) fn entry(&self, index: usize) -> &Entry {
        &self.told.entries[index]
    }

    /// Whether the message at this index is in the mailbox as last read.
    pub(crate) fn is_alive(&self, index: usize) -> bool {
        Arc::ptr_eq(&self.told, &self.latest) || self.latest.position(self.told.entries[index].uid).is_some()
    }

    /// Whether the mailbox was deleted, as last read.
    pub(crate) fn is_gone(&self) -> bool {
        self.latest.gone
    }

    /// Takes note of the mailbox as it is now; the client hears of it with the next [`Numbering::report`].
    pub(crate) fn refresh(&mut self, now: Arc<Snapshot>) {
        if !Arc::ptr_eq(&self.latest, &now) {
            self.latest = without_gone(now);
        }
    }

    /// What to tell the client, which then counts as told. `known(before, now)` says that the client can tell by itself that the flags
    /// of a message are now those (the effect of its own `STORE .SILENT`).
    pub(crate) fn report(
        &mut self,
        expunges: Expunges,
        known: impl Fn(&Entry, &Entry) -> bool,
    ) -> Vec<Update> {
        if Arc::ptr_eq(&self.told, &self.latest) {
            return Vec::new();
        }
        let told = self.all_but_expunges.as_ref().is_some_and(|told| Arc::ptr_eq(told, &self.latest));
        if told && expunges == Expunges::Withhold {
            return Vec::new();
        }
        let difference = Difference::between(&self.told.entries, &self.latest.entries, known);
        let mut updates = Vec::new();
        if expunges == Expunges::Tell {
            // From the last to the first, so that no number changes before it is sent.
            updates.extend(difference.gone.iter().rev().map(|&index| Update::Expunge(number(index))));
        }
        let withheld = expunges == Expunges::Withhold && !difference.gone.is_empty();
        let flagged = difference.flagged.iter().map(|&(told, latest)| if withheld { told } else { latest });
        let flagged: Vec<usize> = flagged.collect();
        let expunged = if withheld { 0 } else { difference.gone.len() };
        self.all_but_expunges = withheld.then(|| Arc::clone(&self.latest));
        let known_before = self.told.entries.len() - expunged;
        self.told = if withheld { self.with_ghosts(&difference) } else { Arc::clone(&self.latest) };
        if self.told.entries.len() > known_before {
            updates.push(Update::Exists(count(&self.told.entries)));
        }
        updates.extend(flagged.into_iter().map(Update::Flags));
        updates
    }

    /// The latest mailbox, with the messages that are gone at their old places.
    fn with_ghosts(&self, difference: &Difference) -> Arc<Snapshot> {
        let mut entries = Vec::with_capacity(self.latest.entries.len() + difference.gone.len());
        let mut latest = self.latest.entries.iter().peekable();
        for &index in &difference.gone {
            let ghost = &self.told.entries[index];
            while let Some(entry) = latest.next_if(|entry| entry.uid < ghost.uid) {
                entries.push(entry.clone());
            }
            entries.push(ghost.clone());
        }
        entries.extend(latest.cloned());
        Arc::new(Snapshot {
            entries,
            uid_validity: self.latest.uid_validity,
            uid_next: self.latest.uid_next,
            highest_modseq: self.latest.highest_modseq,
            gone: self.latest.gone,
        })
    }

    /// The messages that a set names: sequence numbers, UIDs, or the result that SEARCH saved as UIDs (RFC 5182).
    ///
    /// # Errors
    /// [`NoSuchNumber`] for a sequence number over the number of messages, which includes `*` in an empty mailbox. UIDs that no message
    /// has are passed over (RFC 9051 §6.4.9).
    pub(crate) fn select(
        &self,
        uid: bool,
        set: &SequenceSet,
        saved: &NumberSet,
    ) -> Result<Selection, NoSuchNumber> {
        if *set == SequenceSet::Saved {
            return Ok(self.with_uids(saved));
        }
        if uid {
            let largest = self.told.entries.last().map_or(0, |entry| entry.uid.get());
            return Ok(self.with_uids(&set.resolve(largest, saved)));
        }
        let count = count(&self.told.entries);
        let numbers = set.resolve(count, saved);
        if count == 0 || numbers.last().is_some_and(|last| last > count) {
            return Err(NoSuchNumber);
        }
        let ranges = numbers.ranges().map(|range| *range.start() as usize - 1..*range.end() as usize);
        Ok(Selection { ranges: ranges.collect() })
    }

    /// Whether a set of UIDs names one above all that the client knows here.
    pub(crate) fn is_beyond(&self, set: &SequenceSet) -> bool {
        let last = self.told.entries.last().map_or(0, |entry| entry.uid.get());
        let beyond = |bound| matches!(bound, SequenceBound::Number(uid) if uid.get() > last);
        match set {
            SequenceSet::Saved => false,
            SequenceSet::Ranges(ranges) => {
                ranges.iter().any(|range| beyond(range.start) || beyond(range.end))
            }
        }
    }

    /// The first and the last UID of a run of indices that is not empty.
    pub(crate) fn uids_of(&self, run: Range<usize>) -> RangeInclusive<u32> {
        self.entry(run.start).uid.get()..=self.entry(run.end - 1).uid.get()
    }

    /// The messages with these UIDs.
    pub(crate) fn with_uids(&self, uids: &NumberSet) -> Selection {
        let entries = &self.told.entries;
        let ranges = uids.ranges().map(|range| {
            let start = entries.partition_point(|entry| entry.uid.get() < *range.start());
            let end = entries.partition_point(|entry| entry.uid.get() <= *range.end());
            start..end
        });
        Selection { ranges: ranges.filter(|range| !range.is_empty()).collect() }
    }
}

/// A mailbox that was deleted has no messages, whatever it had before.
fn without_gone(snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
    if !snapshot.gone || snapshot.entries.is_empty() {
        return snapshot;
    }
    Arc::new(Snapshot {
        entries: Vec::new(),
        uid_validity: snapshot.uid_validity,
        uid_next: snapshot.uid_next,
        highest_modseq: snapshot.highest_modseq,
        gone: true,
    })
}

/// The message number of an index. A mailbox has fewer than 2^32 messages, since each has its UID.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

/// How many messages, as EXISTS says it.
fn count(entries: &[Entry]) -> u32 {
    u32::try_from(entries.len()).unwrap_or(u32::MAX)
}

/// How two states of a mailbox differ. New messages come last, since a UID never becomes visible before a lower one.
struct Difference {
    /// Indices in the old state of messages that are gone, ascending.
    gone: Vec<usize>,
    /// Indices in the old and in the new state of messages with other flags, ascending.
    flagged: Vec<(usize, usize)>,
}

impl Difference {
    fn between(old: &[Entry], new: &[Entry], known: impl Fn(&Entry, &Entry) -> bool) -> Self {
        let (mut gone, mut flagged) = (Vec::new(), Vec::new());
        let mut at = 0;
        for (index, before) in old.iter().enumerate() {
            while new.get(at).is_some_and(|entry| entry.uid < before.uid) {
                at += 1;
            }
            match new.get(at) {
                Some(now) if now.uid == before.uid => {
                    if flags_differ(before, now) && !known(before, now) {
                        flagged.push((index, at));
                    }
                    at += 1;
                }
                _ => gone.push(index),
            }
        }
        Self { gone, flagged }
    }
}

fn flags_differ(before: &Entry, now: &Entry) -> bool {
    before.modseq != now.modseq && (before.flags != now.flags || before.keywords != now.keywords)
}

/// Messages of a numbering, by index: ascending and without repetition. Counts no more memory than the set it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    ranges: Vec<Range<usize>>,
}

impl Selection {
    /// The indices, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranges.iter().cloned().flatten()
    }

    /// The runs of indices, ascending; none is empty.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.ranges.iter().cloned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
