//! The selected mailbox of a session, and how the client hears of its changes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::io;
use std::sync::Arc;

use ekitei_mailstore::{Entry, Error, Flags, Keywords, Mailbox, Snapshot, Uid, View};

use crate::numbering::{Expunges, NoSuchNumber, Numbering, Selection, Update, number};
use crate::proto::flag::{Flag, Keyword};
use crate::proto::response::FetchWriter;
use crate::proto::sequence::{NumberSet, SequenceSet};
use crate::reply::{Reply, Stop};
use crate::session::Session;

/// The selected mailbox.
pub(crate) struct Selected {
    /// The mailbox, with its name at the time it was selected.
    pub(crate) mailbox: Mailbox,
    /// EXAMINE: nothing may be changed.
    pub(crate) read_only: bool,
    view: View,
    /// The message numbers.
    pub(crate) numbering: Numbering,
    /// `$`: the UIDs that SEARCH saved (RFC 5182). Those that are expunged are no longer found by it.
    pub(crate) saved: NumberSet,
    /// The keywords that FLAGS has told.
    keywords: ToldKeywords,
}

/// The most keywords that FLAGS tells: a mailbox may have any number of them.
const MAX_KEYWORDS: usize = 1000;

/// Keywords by their lower-case names.
#[derive(Default)]
struct ToldKeywords(BTreeMap<String, Keyword>);

impl ToldKeywords {
    /// Adds keywords; whether any is new.
    fn learn(&mut self, keywords: &Keywords) -> bool {
        let before = self.0.len();
        for name in keywords.iter() {
            if self.0.len() >= MAX_KEYWORDS {
                break;
            }
            if let (Place::Vacant(place), Some(keyword)) =
                (self.0.entry(name.to_ascii_lowercase()), Keyword::new(name))
            {
                place.insert(keyword);
            }
        }
        self.0.len() > before
    }
}

impl Selected {
    pub(crate) fn new(mailbox: Mailbox, read_only: bool, view: View, snapshot: Arc<Snapshot>) -> Self {
        let mut keywords = ToldKeywords::default();
        for entry in &snapshot.entries {
            keywords.learn(&entry.keywords);
        }
        Self {
            mailbox,
            read_only,
            view,
            numbering: Numbering::new(snapshot),
            saved: NumberSet::new(),
            keywords,
        }
    }

    /// The flags that messages of this mailbox have or may have, for FLAGS and PERMANENTFLAGS.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = wire_flags(Flags::ALL, &Keywords::default());
        flags.extend(self.keywords.0.values().cloned().map(Flag::Keyword));
        flags
    }

    /// The messages that a set of a command names.
    pub(crate) fn choose(&self, uid: bool, set: &SequenceSet) -> Result<Selection, Stop> {
        let chosen = self.numbering.select(uid, set, &self.saved);
        chosen.map_err(|NoSuchNumber| Reply::client_bug("There is no message with such a number").into())
    }

    /// The UIDs of messages, ascending.
    pub(crate) fn uids(&self, chosen: &Selection) -> Vec<Uid> {
        chosen.iter().map(|index| self.numbering.entry(index).uid).collect()
    }

    /// Reads the mailbox as it is now. One that was deleted has no messages.
    pub(crate) async fn refresh(&mut self) -> Result<(), Error> {
        let now = match self.view.refresh().await {
            Err(Error::NoSuchMailbox) => gone(self.numbering.told()),
            other => other?,
        };
        self.numbering.refresh(now);
        Ok(())
    }
}

fn gone(before: &Snapshot) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        entries: Vec::new(),
        uid_validity: before.uid_validity,
        uid_next: before.uid_next,
        highest_modseq: before.highest_modseq,
        gone: true,
    })
}

/// Flags in the words of the protocol.
pub(crate) fn wire_flags(flags: Flags, keywords: &Keywords) -> Vec<Flag> {
    const SYSTEM: [(Flags, Flag); 5] = [
        (Flags::ANSWERED, Flag::Answered),
        (Flags::FLAGGED, Flag::Flagged),
        (Flags::DELETED, Flag::Deleted),
        (Flags::SEEN, Flag::Seen),
        (Flags::DRAFT, Flag::Draft),
    ];
    let system = SYSTEM.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, flag)| flag);
    system.chain(keywords.iter().filter_map(Keyword::new).map(Flag::Keyword)).collect()
}

/// Flags in the words of the store.
pub(crate) fn stored_flags(flags: &[Flag]) -> (Flags, Keywords) {
    let mut system = Flags::NONE;
    let mut keywords = Vec::new();
    for flag in flags {
        match flag {
            Flag::Answered => system = system.union(Flags::ANSWERED),
            Flag::Flagged => system = system.union(Flags::FLAGGED),
            Flag::Deleted => system = system.union(Flags::DELETED),
            Flag::Seen => system = system.union(Flags::SEEN),
            Flag::Draft => system = system.union(Flags::DRAFT),
            // Only the server could set it, and this one never does.
            Flag::Recent => {}
            Flag::Keyword(keyword) => keywords.push(keyword.as_str()),
        }
    }
    (system, keywords.into_iter().collect())
}

/// Nothing changed that the client could know of by itself.
pub(crate) fn nothing_known(_: &Entry, _: &Entry) -> bool {
    false
}

impl Session {
    /// Reads the selected mailbox as it is now; the client is told later.
    pub(crate) async fn refresh_selected(&mut self) -> Result<(), Stop> {
        match &mut self.selected {
            Some(selected) => Ok(selected.refresh().await?),
            None => Ok(()),
        }
    }

    /// Reads the selected mailbox and tells the client what changed.
    pub(crate) async fn sync(&mut self, expunges: Expunges, with_uid: bool) -> Result<(), Stop> {
        if let Some(selected) = &mut self.selected {
            selected.refresh().await?;
            self.tell(expunges, with_uid, nothing_known).await?;
        }
        Ok(())
    }

    /// Takes note of new messages before a UID command that may mean them: from APPENDUID, or from another connection, a client knows
    /// UIDs that it was not told of here, and `OK` would say that something was done to them.
    pub(crate) async fn learn_uids(&mut self, uid: bool, set: &SequenceSet) -> Result<(), Stop> {
        if uid && self.selected()?.numbering.is_beyond(set) {
            self.sync(Expunges::Withhold, uid).await?;
        }
        Ok(())
    }

    /// Tells the client what changed since it was last told, as far as that was read. See [`Numbering::report`] for `known`.
    pub(crate) async fn tell(
        &mut self,
        expunges: Expunges,
        with_uid: bool,
        known: impl Fn(&Entry, &Entry) -> bool,
    ) -> io::Result<()> {
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let updates = selected.numbering.report(expunges, known);
        for update in updates {
            match update {
                Update::Expunge(number) => self.wire.responses(self.encoding).expunge(number),
                Update::Exists(count) => self.wire.responses(self.encoding).exists(count),
                Update::Flags(index) => self.tell_flags(index, with_uid || self.rev2),
            }
            self.wire.drain().await?;
        }
        Ok(())
    }

    /// Writes a FETCH response with the flags of one message.
    pub(crate) fn tell_flags(&mut self, index: usize, with_uid: bool) {
        self.tell_keywords(index);
        let Some(selected) = &self.selected else { return };
        let entry = selected.numbering.entry(index);
        let out = &mut self.wire.out;
        let mut fetch = FetchWriter::begin(out, number(index), self.encoding);
        if with_uid {
            fetch.uid(out, entry.uid.get());
        }
        fetch.flags(out, &wire_flags(entry.flags, &entry.keywords));
        fetch.end(out);
    }

    /// Tells of keywords that the mailbox did not have before, so that a client knows every flag before it sees it (RFC 9051 §7.3.5).
    pub(crate) fn tell_keywords(&mut self, index: usize) {
        let Some(selected) = &mut self.selected else { return };
        if !selected.keywords.learn(&selected.numbering.entry(index).keywords) {
            return;
        }
        let flags = selected.flags();
        self.wire.responses(self.encoding).flags(&flags);
    }
}
