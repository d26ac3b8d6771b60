//! Flags and keywords of a message, as a set of bits, and whose they are: each is changed by one client only, which therefore knows what it must be.

use std::fmt;

use ekitei_mailstore::{Entry, Flags, Keywords};

/// Clients of an account.
pub const CLIENTS: usize = 2;
/// The keywords that clients use; the number of a keyword is that of its client.
const KEYWORDS: [&str; CLIENTS] = ["$Zero", "one"];
/// The flags of each client. Only the first sets `\Deleted`, and expunges what has it.
const FLAGS: [Flags; CLIENTS] = [Flags::SEEN.union(Flags::DELETED), Flags::ANSWERED.union(Flags::FLAGGED)];

/// A set of flags and keywords.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    /// What a client may change.
    pub fn of_client(client: usize) -> Self {
        Self(u16::from(FLAGS[client].bits()) | 0x100 << client)
    }

    /// `\Deleted`
    pub const DELETED: Self = Self(Flags::DELETED.bits() as u16);

    /// What an entry of a view has.
    pub fn of_entry(entry: &Entry) -> Self {
        let bit =
            |(n, keyword): (usize, &&str)| if entry.keywords.contains(keyword) { 0x100 << n } else { 0 };
        let keywords: u16 = KEYWORDS.iter().enumerate().map(bit).sum();
        Self(u16::from(entry.flags.bits()) | keywords)
    }

    /// Those of them that `bits` chooses.
    pub fn chosen(self, bits: u64) -> Self {
        Self(self.0 & u16::try_from(bits & 0xFFFF).unwrap_or_default())
    }

    /// The flags among them.
    pub fn flags(self) -> Flags {
        Flags::from_bits((self.0 & 0xFF) as u8)
    }

    /// The keywords among them.
    pub fn keywords(self) -> Keywords {
        let named = KEYWORDS.iter().enumerate().filter(|(n, _)| self.0 & 0x100 << n != 0);
        named.map(|(_, keyword)| *keyword).collect()
    }

    /// Both sets together.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without another.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in both.
    pub fn among(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of another are in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03x}", self.0)
    }
}
