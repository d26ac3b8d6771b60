//! Reverse-paths and forward-paths (RFC 5321 §4.1.2), with the Unicode of RFC 6531 §3.3.
//!
//! A source route (`<@a,@b:user@host>`) is read and dropped, as RFC 5321 §3.3 and appendix C want: the mail then goes
//! where `user@host` goes, so a route never makes a relay. Everything else is taken literally: `user%host` and `host!user` are
//! nothing but local parts.

use std::fmt;

/// Longest path with its angle brackets (RFC 5321 §4.5.3.1.3).
const PATH_OCTETS: usize = 256;

/// `local-part@domain`, checked for its syntax only, in the spelling of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    text: String,
    /// Where the `@` is.
    at: usize,
}

/// Where a message comes from: the argument of MAIL FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`: a notification that must not be answered.
    Null,
    /// An address.
    Mailbox(Mailbox),
}

/// Where a message goes: the argument of RCPT TO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<postmaster>`, in any case, which every server takes (RFC 5321 §4.5.1).
    Postmaster,
    /// An address.
    Mailbox(Mailbox),
}

/// What stands between the angle brackets.
#[derive(Debug, PartialEq, Eq)]
enum Inside {
    Empty,
    Local(String),
    Mailbox(Mailbox),
}

impl Mailbox {
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is before the `@`, with its quotes.
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// What is after the `@`.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// Whether it needs SMTPUTF8 (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ReversePath {
    /// Reads a path from the front of `text` and returns what follows it.
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        match parse_path(text)? {
            (Inside::Empty, rest) => Some((Self::Null, rest)),
            (Inside::Mailbox(mailbox), rest) => Some((Self::Mailbox(mailbox), rest)),
            (Inside::Local(_), _) => None,
        }
    }

    /// Whether it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        matches!(self, Self::Null) || matches!(self, Self::Mailbox(mailbox) if mailbox.is_ascii())
    }

    /// The address, without angle brackets; empty for `<>`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }
}

impl ForwardPath {
    /// Reads a path from the front of `text` and returns what follows it.
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        match parse_path(text)? {
            (Inside::Mailbox(mailbox), rest) => Some((Self::Mailbox(mailbox), rest)),
            (Inside::Local(local), rest) if local.eq_ignore_ascii_case("postmaster") => {
                Some((Self::Postmaster, rest))
            }
            _ => None,
        }
    }

    /// Whether it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        matches!(self, Self::Postmaster) || matches!(self, Self::Mailbox(mailbox) if mailbox.is_ascii())
    }

    /// The address, without angle brackets.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Postmaster => "postmaster",
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }
}

fn parse_path(text: &str) -> Option<(Inside, &str)> {
    let inside = text.strip_prefix('<')?;
    let inside = strip_source_route(inside)?;
    let local_end = local_part_end(inside)?;
    let after_local = &inside[local_end..];
    if local_end == 0 {
        return after_local.strip_prefix('>').map(|rest| (Inside::Empty, rest));
    }
    let local = &inside[..local_end];
    if let Some(rest) = after_local.strip_prefix('>') {
        return Some((Inside::Local(local.to_owned()), rest));
    }
    let domain_on = after_local.strip_prefix('@')?;
    let (domain, rest) = domain_on.split_once('>')?;
    let whole = &inside[..local_end + 1 + domain.len()];
    if !is_domain(domain) || whole.len() + 2 > PATH_OCTETS {
        return None;
    }
    Some((Inside::Mailbox(Mailbox { text: whole.to_owned(), at: local_end }), rest))
}

/// Takes `@a,@b:` from the front.
fn strip_source_route(text: &str) -> Option<&str> {
    if !text.starts_with('@') {
        return Some(text);
    }
    let (route, rest) = text.split_once(':')?;
    route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(is_domain)).then_some(rest)
}

/// The length of the local part at the front of `text`: a dot-string, or a quoted string with its quotes. Dots may stand
/// together and at the ends, as some large providers have issued such addresses.
fn local_part_end(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !(c == '.' || is_atext(c))).unwrap_or(text.len());
        return Some(end);
    };
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if c.is_ascii_control() => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    None
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

/// A name of labels, or an address literal. Underscores are let through: names of real senders have them.
pub(crate) fn is_domain(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[') {
        let octet = |c: char| c.is_ascii_alphanumeric() || ":.-".contains(c);
        return literal.strip_suffix(']').is_some_and(|inner| !inner.is_empty() && inner.chars().all(octet));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| {
                c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && !c.is_control())
            })
    };
    text.len() <= 255 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn forward(text: &str) -> Option<String> {
        ForwardPath::parse(text).map(|(path, rest)| format!("{}|{rest}", path.as_str()))
    }

    #[test]
    fn paths_are_read_and_the_rest_is_left() {
        for (text, want) in [
            ("<a@b.test>", "a@b.test|"),
            ("<a@b.test> NOTIFY=NEVER", "a@b.test| NOTIFY=NEVER"),
            ("<\"a b>@\\\" c\"@b.test> X", "\"a b>@\\\" c\"@b.test| X"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]|"),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]|"),
            ("<PostMaster>", "postmaster|"),
            ("<駅@例え.test>", "駅@例え.test|"),
            ("<user%host.test@b.test>", "user%host.test@b.test|"),
            ("<host!user@b.test>", "host!user@b.test|"),
        ] {
            assert_eq!(forward(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn a_source_route_is_dropped() {
        assert_eq!(forward("<@x.test,@y.test:a@b.test>").as_deref(), Some("a@b.test|"));
        for bad in ["<@x.test a@b.test>", "<@x.test>", "<@:a@b.test>", "<x.test:a@b.test>"] {
            assert_eq!(forward(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in [
            "",
            "a@b.test",
            "<a@b.test",
            "<a>",
            "<>",
            "<a@>",
            "<@b.test>",
            "<a b@c.test>",
            "<a@b@c.test>",
            "<a@b..test>",
            "<a@b.test.>",
            "<\"a@b.test>",
            "<\"a\"b@c.test>",
            "<a@[]>",
            "<a@b c>",
            "<a\0@b.test>",
            "<a@b.test\r>",
        ] {
            assert_eq!(forward(bad), None, "{bad:?}");
        }
        let long = format!("<{}@b.test>", "a".repeat(248));
        assert_eq!(long.len(), 257);
        assert_eq!(forward(&long), None);
    }

    #[test]
    fn only_the_reverse_path_may_be_empty() {
        assert_eq!(ReversePath::parse("<> SIZE=1"), Some((ReversePath::Null, " SIZE=1")));
        assert_eq!(ReversePath::parse("<postmaster>"), None);
    }
}
