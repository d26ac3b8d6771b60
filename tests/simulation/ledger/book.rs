//! What is known of one mailbox: every message that was ever put into it, and what became of it.

use std::collections::BTreeMap;

use ekitei_mailstore::{MessageId, ModSeq, Uid};

use super::marks::{CLIENTS, Marks};

/// Numbers operations in the order in which they begin, and moments between them.
pub type Moment = u64;

/// A message in a mailbox.
#[derive(Debug, Default)]
pub struct Kept {
    /// Which message; `None` as long as nobody looked.
    pub message: Option<MessageId>,
    /// The name of the message; `None` as long as only its UID is known.
    pub name: Option<String>,
    /// What it is marked with; `None` as long as nobody looked.
    pub marks: Option<Marks>,
    /// It was promised to be there, or seen.
    pub added: bool,
    /// It was promised.
    pub promised: bool,
    /// Somebody began to remove it.
    pub removal_began: bool,
    /// When somebody was told that it is removed.
    pub removed: Option<Moment>,
    /// Operations that may have removed it.
    pub doubtful: Vec<Moment>,
    /// Somebody was told that it is not there.
    pub missed: bool,
    /// It is there at the end.
    pub is_there: bool,
    /// Changes of each client's marks: how many are under way, and when the last one began or ended.
    pub changing: [(u32, Moment); CLIENTS],
}

impl Kept {
    /// Whether nobody tried to remove it, so that everybody must see it.
    pub fn is_sure(&self) -> bool {
        self.added && !self.removal_began
    }

    /// Whether a client's marks are not, and were not since `moment`, about to change.
    pub fn is_settled(&self, client: usize, moment: Moment) -> bool {
        let (under_way, last) = self.changing[client];
        under_way == 0 && last < moment
    }

    /// What it is marked with, as far as that is settled since `moment`: the marks that count, and which of them it has.
    pub fn settled_marks(&self, moment: Moment) -> Option<(Marks, Marks)> {
        let marks = self.marks?;
        let settled = (0..CLIENTS)
            .filter(|&client| self.is_settled(client, moment))
            .fold(Marks::default(), |all, client| all.with(Marks::of_client(client)));
        Some((settled, marks.among(settled)))
    }
}

/// A mailbox.
#[derive(Debug)]
pub struct Book {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// Who alone adds to it; `None` for INBOX, to which all do.
    pub owner: Option<usize>,
    /// Its messages.
    pub kept: BTreeMap<Uid, Kept>,
    /// The highest UID that was promised.
    pub highest: u32,
    /// The highest MODSEQ that was told.
    pub modseq: ModSeq,
    /// Somebody began to delete it.
    pub deletion_began: bool,
    /// It is deleted.
    pub gone: bool,
}

impl Book {
    /// An empty mailbox.
    pub fn new(uid_validity: u32, owner: Option<usize>) -> Self {
        Self {
            uid_validity,
            owner,
            kept: BTreeMap::new(),
            highest: 0,
            modseq: ModSeq::default(),
            deletion_began: false,
            gone: false,
        }
    }

    /// What is known of a UID.
    pub fn entry(&mut self, uid: Uid) -> &mut Kept {
        self.kept.entry(uid).or_default()
    }

    /// A message was promised to be there under a UID that must be above `floor`; what is wrong with that.
    pub fn add(&mut self, uid: Uid, name: &str, marks: Option<Marks>, floor: u32) -> Option<String> {
        let (highest, owned) = (self.highest, self.owner.is_some());
        self.highest = highest.max(uid.get());
        let kept = self.entry(uid);
        let twice = std::mem::replace(&mut kept.promised, true);
        kept.added = true;
        kept.marks = kept.marks.or(marks);
        if twice {
            return Some(format!("UID {uid} is given twice"));
        }
        if let Some(other) = kept.name.replace(name.to_owned()).filter(|other| other != name) {
            return Some(format!("UID {uid} is {other}, and was promised to be {name}"));
        }
        if uid.get() <= floor {
            return Some(format!("UID {uid} is given after {floor} was"));
        }
        (owned && uid.get() != highest + 1)
            .then(|| format!("UID {uid} is given after {highest}: one is left out"))
    }

    /// Somebody is told that a message is removed; what is wrong with that.
    pub fn remove(&mut self, uid: Uid, now: Moment) -> Option<String> {
        let kept = self.entry(uid);
        kept.removal_began = true;
        kept.removed.replace(now).map(|_| format!("UID {uid} is removed twice"))
    }

    /// Somebody is told that a message is not there; what is wrong with that.
    pub fn miss(&mut self, uid: Uid) -> Option<String> {
        let deletion_began = self.deletion_began;
        let kept = self.entry(uid);
        kept.missed = true;
        (kept.is_sure() && !deletion_began).then(|| format!("UID {uid} is missed, and nobody removed it"))
    }
}
