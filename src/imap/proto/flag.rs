//! Message flags: the system flags and keywords (RFC 9051 §2.3.2).

use std::fmt;
use std::hash::{Hash, Hasher};

/// A message flag. Flags are compared without regard to case; a keyword keeps the case it was written in.
#[derive(Debug, Clone)]
pub enum Flag {
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Seen`
    Seen,
    /// `\Draft`
    Draft,
    /// `\Recent`: told to IMAP4rev1 clients, never settable.
    Recent,
    /// A keyword such as `$Forwarded`.
    Keyword(Keyword),
}

/// A keyword: a flag whose name is an atom (RFC 9051 §9, `flag-keyword`).
#[derive(Debug, Clone)]
pub struct Keyword(Box<str>);

impl Keyword {
    /// Takes `name` as a keyword; `None` if it is not an atom.
    pub fn new(name: &str) -> Option<Keyword> {
        let good = !name.is_empty() && name.bytes().all(super::lexer::is_atom_char);
        good.then(|| Keyword(name.into()))
    }

    /// The keyword in the case it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Flag {
    /// The flag of this name (`\Seen`, `$Junk`, ...); `None` for an unknown system flag or what is no atom.
    pub fn new(name: &str) -> Option<Flag> {
        let system = [Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Seen, Flag::Draft, Flag::Recent];
        if name.starts_with('\\') {
            return system.into_iter().find(|flag| flag.as_str().eq_ignore_ascii_case(name));
        }
        Keyword::new(name).map(Flag::Keyword)
    }

    /// The flag as it is written in the protocol.
    pub fn as_str(&self) -> &str {
        match self {
            Flag::Answered => "\\Answered",
            Flag::Flagged => "\\Flagged",
            Flag::Deleted => "\\Deleted",
            Flag::Seen => "\\Seen",
            Flag::Draft => "\\Draft",
            Flag::Recent => "\\Recent",
            Flag::Keyword(keyword) => keyword.as_str(),
        }
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl Hash for Keyword {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl PartialEq for Flag {
    fn eq(&self, other: &Flag) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for Flag {}

impl Hash for Flag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.as_str().bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn flags_are_case_insensitive_and_keep_their_case() {
        assert_eq!(Flag::new("\\sEEN"), Some(Flag::Seen));
        assert_eq!(Flag::new("$forwarded"), Flag::new("$Forwarded"));
        assert_eq!(Flag::new("$Forwarded").map(|f| f.to_string()), Some("$Forwarded".to_owned()));
        let set: HashSet<Flag> =
            ["$Junk", "$JUNK", "\\Seen", "\\seen"].iter().filter_map(|n| Flag::new(n)).collect();
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for name in ["", "\\", "\\Foo", "a b", "a(b", "\"q\"", "a\r\nb", "caf\u{e9}", "a]b"] {
            assert_eq!(Flag::new(name), None, "{name:?}");
        }
    }
}
