//! The words of the mailstore: UID, MODSEQ, flags, mailbox names.

use std::fmt;
use std::sync::Arc;

pub use ekitei_blob::BodyId;
pub use ekitei_directory::AccountId;

/// A message of an account. It is the id of its body: one delivery shares one body among all its recipients, and
/// COPY within an account shares the message.
pub type MessageId = BodyId;

/// A unique identifier of a message in a mailbox (RFC 9051 §2.3.1.1); never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(u32);

impl Uid {
    /// The lowest UID.
    pub const FIRST: Self = Self(1);

    /// The UID with this number, unless it is 0.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a change: `incarnation << 51 | commit version` (RFC 7162 wants it below 2^63). Two changes in one commit share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModSeq(u64);

impl ModSeq {
    const VERSION_BITS: u32 = 51;

    /// The MODSEQ of a commit in an incarnation of the cluster.
    pub const fn new(incarnation: u16, version: u64) -> Self {
        Self((incarnation as u64) << Self::VERSION_BITS | version & ((1 << Self::VERSION_BITS) - 1))
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A mailbox of an account; never given again after the mailbox is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(pub u32);

impl MailboxId {
    /// Every account's INBOX.
    pub const INBOX: Self = Self(1);
}

/// System flags (RFC 9051 §2.3.2), as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `\Seen`
    pub const SEEN: Self = Self(1);
    /// `\Answered`
    pub const ANSWERED: Self = Self(1 << 1);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(1 << 2);
    /// `\Deleted`
    pub const DELETED: Self = Self(1 << 3);
    /// `\Draft`
    pub const DRAFT: Self = Self(1 << 4);
    /// Every flag there is.
    pub const ALL: Self = Self(0b1_1111);

    /// The set with these bits; bits that mean nothing are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Its bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Keywords of a message: flags that clients name (`$Forwarded`, `Important`). Compared without case, kept as first spelled,
/// sorted; shared between all messages with the same set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keywords(Arc<[Box<str>]>);

impl Default for Keywords {
    fn default() -> Self {
        static EMPTY: std::sync::OnceLock<Arc<[Box<str>]>> = std::sync::OnceLock::new();
        Self(EMPTY.get_or_init(|| Arc::from([])).clone())
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for Keywords {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Self::default();
        }
        names.sort_by(|a, b| compare(a, b));
        names.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        Self(names.into())
    }
}

fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let lower = |s: &str| s.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
    lower(a).cmp(&lower(b))
}

impl Keywords {
    /// The keywords, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `name` is one of them, in any case.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|keyword| keyword.eq_ignore_ascii_case(name))
    }

    /// Both sets together.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.iter().all(|name| self.contains(name)) {
            return self.clone();
        }
        self.iter().chain(other.iter()).collect()
    }

    /// This set without `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if !self.iter().any(|name| other.contains(name)) {
            return self.clone();
        }
        self.iter().filter(|name| !other.contains(name)).collect()
    }
}

/// What a mailbox is for (RFC 6154).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum SpecialUse {
    /// `\Drafts`
    Drafts,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
    /// `\Junk`
    Junk,
    /// `\Archive`
    Archive,
}

/// The name of a mailbox: UTF-8, levels separated by `/`, no empty level, no control character; `INBOX` in any case is
/// `INBOX` (RFC 9051 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(String);

/// Why a text is not the name of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMailboxName {
    /// No name, or a level of it, is empty.
    #[error("a mailbox name has no empty level")]
    Empty,
    /// More than [`MailboxName::MAX_LENGTH`] bytes.
    #[error("a mailbox name has at most {} bytes", MailboxName::MAX_LENGTH)]
    TooLong,
    /// A control character, or one that LIST takes as a wildcard.
    #[error("a mailbox name has no control character and neither * nor %")]
    Character,
}

impl MailboxName {
    /// The hierarchy separator.
    pub const SEPARATOR: char = '/';
    /// Longest name, in bytes of UTF-8.
    pub const MAX_LENGTH: usize = 1000;

    /// The INBOX.
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidMailboxName`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, InvalidMailboxName> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidMailboxName::TooLong);
        }
        if text.split(Self::SEPARATOR).any(str::is_empty) {
            return Err(InvalidMailboxName::Empty);
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '*' | '%' | '\u{2028}' | '\u{2029}')) {
            return Err(InvalidMailboxName::Character);
        }
        let (first, rest) = text.split_once(Self::SEPARATOR).map_or((text, None), |(a, b)| (a, Some(b)));
        if first.eq_ignore_ascii_case("INBOX") {
            return Ok(rest.map_or_else(Self::inbox, |rest| Self(format!("INBOX/{rest}"))));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the INBOX itself.
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// How many levels it has.
    pub fn depth(&self) -> usize {
        self.0.split(Self::SEPARATOR).count()
    }

    /// The name one level up.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(Self::SEPARATOR).map(|(parent, _)| Self(parent.into()))
    }

    /// Whether this is below `ancestor`.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.starts_with(Self::SEPARATOR))
    }

    /// This name with its leading `from` replaced by `to`; `None` if it is neither `from` nor below it.
    pub fn rebased(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&from.0)?;
        (rest.is_empty() || rest.starts_with(Self::SEPARATOR)).then(|| Self(format!("{}{rest}", to.0)))
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inbox_is_the_same_in_any_case_also_as_a_parent() {
        assert!(MailboxName::new("inBox").unwrap().is_inbox());
        assert_eq!(MailboxName::new("inbox/Old").unwrap().as_str(), "INBOX/Old");
        assert_eq!(MailboxName::new("inboxes").unwrap().as_str(), "inboxes");
    }

    #[test]
    fn names_without_a_meaning_are_refused() {
        for (name, error) in [
            ("", InvalidMailboxName::Empty),
            ("a//b", InvalidMailboxName::Empty),
            ("/a", InvalidMailboxName::Empty),
            ("a/", InvalidMailboxName::Empty),
            ("a\rb", InvalidMailboxName::Character),
            ("a*", InvalidMailboxName::Character),
        ] {
            assert_eq!(MailboxName::new(name), Err(error), "{name:?}");
        }
        assert_eq!(MailboxName::new(&"x".repeat(1001)), Err(InvalidMailboxName::TooLong));
    }

    #[test]
    fn a_rename_takes_the_levels_below_along() {
        let name = |s| MailboxName::new(s).unwrap();
        assert_eq!(name("a/b/c").rebased(&name("a/b"), &name("x")), Some(name("x/c")));
        assert_eq!(name("a/bc").rebased(&name("a/b"), &name("x")), None);
        assert!(name("a/b").is_below(&name("a")) && !name("ab").is_below(&name("a")));
    }

    #[test]
    fn keywords_are_one_set_whatever_their_case() {
        let set: Keywords = ["b", "A", "a"].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), ["A", "b"]);
        assert!(set.contains("B"));
        assert_eq!(set.difference(&["B"].into_iter().collect()).len(), 1);
        assert_eq!(set.union(&["C"].into_iter().collect()).len(), 3);
    }
}
