//! Mailbox names and the patterns of LIST, decoded to Unicode whatever the session speaks.

use std::fmt;

use super::mutf7;

/// What separates the levels of a mailbox name.
pub const DELIMITER: char = '/';

/// How names and strings travel in a session (RFC 9051 §5.1, RFC 6855).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// IMAP4rev1: mailbox names in modified UTF-7, quoted strings in ASCII.
    #[default]
    ModifiedUtf7,
    /// After ENABLE IMAP4rev2 or UTF8=ACCEPT: UTF-8 in names and quoted strings.
    Utf8,
}

/// The name of a mailbox in Unicode, without control characters; a first level of `inbox` in any case is
/// written `INBOX`. May be empty only as the reference of LIST.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxName(Box<str>);

impl MailboxName {
    /// Takes `name`, which is Unicode already; `None` if it is empty or has control characters.
    pub fn new(name: &str) -> Option<MailboxName> {
        (!name.is_empty() && !name.chars().any(char::is_control)).then(|| MailboxName(canonical(name).into()))
    }

    /// The mailbox every account has.
    pub fn inbox() -> MailboxName {
        MailboxName("INBOX".into())
    }

    /// Reads a name as the client wrote it; `None` if it is not well-formed in `encoding`.
    pub fn decode(octets: &[u8], encoding: Encoding) -> Option<MailboxName> {
        MailboxName::new(&decode_text(octets, encoding)?)
    }

    /// The name in Unicode.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the INBOX itself.
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The octets of a name or pattern as Unicode, in the session's encoding.
pub(super) fn decode_text(octets: &[u8], encoding: Encoding) -> Option<String> {
    match encoding {
        Encoding::ModifiedUtf7 => mutf7::decode(octets),
        Encoding::Utf8 => std::str::from_utf8(octets).ok().map(str::to_owned),
    }
}

/// `name` with a first level `inbox`, in any case, written `INBOX`: its children must stay with it.
fn canonical(name: &str) -> String {
    let (first, rest) = name.split_at(name.find(DELIMITER).unwrap_or(name.len()));
    if first.eq_ignore_ascii_case("INBOX") { format!("INBOX{rest}") } else { name.to_owned() }
}

/// A pattern of LIST or LSUB in Unicode: `*` matches anything, `%` anything within one level. A first level
/// of `inbox` in any case is written `INBOX`, as in names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListPattern {
    text: Box<str>,
    chars: Box<[char]>,
}

impl ListPattern {
    /// Takes `pattern`, which is Unicode already; `None` if it has control characters.
    pub fn new(pattern: &str) -> Option<ListPattern> {
        if pattern.chars().any(char::is_control) {
            return None;
        }
        let text = canonical(pattern);
        Some(ListPattern { chars: text.chars().collect(), text: text.into() })
    }

    /// Reads a pattern as the client wrote it; `None` if it is not well-formed in `encoding`.
    pub fn decode(octets: &[u8], encoding: Encoding) -> Option<ListPattern> {
        ListPattern::new(&decode_text(octets, encoding)?)
    }

    /// The pattern in Unicode; empty in `LIST "" ""`, which asks for the delimiter.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pattern interpreted under the `reference` of its LIST (RFC 9051 §6.3.9): put in front, unless
    /// the pattern is rooted at the delimiter. `None` if the reference has control characters.
    pub fn under(&self, reference: &str) -> Option<ListPattern> {
        if self.text.starts_with(DELIMITER) {
            return Some(self.clone());
        }
        ListPattern::new(&format!("{reference}{}", self.text))
    }

    /// Whether `name` matches. Takes time proportional to the product of the lengths at worst.
    pub fn matches(&self, name: &MailboxName) -> bool {
        // reachable[i]: the name so far can be matched by the first i characters of the pattern.
        let mut reachable = vec![false; self.chars.len() + 1];
        let mut next = reachable.clone();
        reachable[0] = true;
        skip_wildcards(&self.chars, &mut reachable);
        // INBOX has no case, in whatever pattern.
        let caseless = if name.is_inbox() || name.as_str().starts_with("INBOX/") { "INBOX".len() } else { 0 };
        for (at, c) in name.as_str().chars().enumerate() {
            let same = |p: char| p == c || at < caseless && p.eq_ignore_ascii_case(&c);
            next.fill(false);
            for (i, &p) in self.chars.iter().enumerate() {
                match p {
                    _ if !reachable[i] => {}
                    '%' if c == DELIMITER => {}
                    '*' | '%' => next[i] = true,
                    _ => next[i + 1] |= same(p),
                }
            }
            skip_wildcards(&self.chars, &mut next);
            std::mem::swap(&mut reachable, &mut next);
        }
        reachable[self.chars.len()]
    }
}

/// A wildcard may match nothing: where it is reachable, so is what follows it.
fn skip_wildcards(pattern: &[char], reachable: &mut [bool]) {
    for (i, p) in pattern.iter().enumerate() {
        if reachable[i] && matches!(p, '*' | '%') {
            reachable[i + 1] = true;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn inbox_is_case_insensitive_and_takes_its_children_along() {
        let name = |text: &str| MailboxName::new(text).unwrap().as_str().to_owned();
        assert_eq!(name("iNbOx"), "INBOX");
        assert_eq!(name("inbox/Work"), "INBOX/Work");
        assert_eq!(name("Inboxes"), "Inboxes");
        assert_eq!(name("a/inbox"), "a/inbox");
        assert!(MailboxName::new("inbox").unwrap().is_inbox());
    }

    #[test]
    fn names_that_could_break_a_line_are_refused() {
        for encoding in [Encoding::ModifiedUtf7, Encoding::Utf8] {
            for octets in [&b""[..], b"a\r\nb", b"a\0b", b"\xff\xfe", b"a\x7f"] {
                assert_eq!(MailboxName::decode(octets, encoding), None, "{octets:?}");
            }
        }
        // A line end inside the base64 part.
        assert_eq!(MailboxName::decode(b"a&AA0ACg-b", Encoding::ModifiedUtf7), None);
    }

    #[test]
    fn encoding_decides_what_an_ampersand_means() {
        let read = |encoding| MailboxName::decode(b"&Jjo-!", encoding).unwrap().as_str().to_owned();
        assert_eq!(read(Encoding::ModifiedUtf7), "\u{263a}!");
        assert_eq!(read(Encoding::Utf8), "&Jjo-!");
    }

    #[test]
    fn patterns_match_by_level() {
        let matches = |pattern: &str, name: &str| {
            ListPattern::new(pattern).unwrap().matches(&MailboxName::new(name).unwrap())
        };
        assert!(matches("*", "a/b/c"));
        assert!(matches("%", "a"));
        assert!(!matches("%", "a/b"));
        assert!(matches("a/%", "a/b"));
        assert!(!matches("a/%", "a/b/c"));
        assert!(matches("a*c", "a/b/c"));
        assert!(matches("inbox", "INBOX"));
        assert!(matches("Inbox/%", "INBOX/x"));
        assert!(
            matches("in%", "INBOX") && matches("inbox*", "INBOX/Old") && !matches("INBOX/o*", "INBOX/Old")
        );
        assert!(!matches("INBOX*", "inboxes") && matches("i*", "inboxes"));
        assert!(!matches("", "a"));
        assert!(matches("%/%", "a/b"));
        assert_eq!(ListPattern::new("%").unwrap().under("Work/").unwrap().as_str(), "Work/%");
        assert_eq!(ListPattern::new("/x").unwrap().under("Work/").unwrap().as_str(), "/x");
    }

    fn naive(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((&w @ ('*' | '%'), rest)) => {
                naive(rest, name)
                    || name
                        .split_first()
                        .is_some_and(|(&c, tail)| (w == '*' || c != DELIMITER) && naive(pattern, tail))
            }
            Some((p, rest)) => name.split_first().is_some_and(|(c, tail)| c == p && naive(rest, tail)),
        }
    }

    proptest! {
        #[test]
        fn matching_equals_a_backtracking_model(pattern in "[ab/*%]{0,7}", name in "[ab/]{1,7}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            let matched = ListPattern::new(&pattern).unwrap().matches(&MailboxName::new(&name).unwrap());
            prop_assert_eq!(matched, naive(&p, &n));
        }
    }
}
