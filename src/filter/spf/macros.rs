//! Macros (RFC 7208 §7): parsed once with the record, expanded for each sender.

use std::net::IpAddr;

use super::record::Malformed;

/// The longest name that is looked up; what is longer loses labels on the left (§7.3).
const MAX_NAME: usize = 253;
/// The most that one expansion may grow to before it is cut; a name is far shorter.
const MAX_EXPANSION: usize = 8192;

/// A text with macros in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MacroString(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Macro(Macro),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    /// In lower case.
    letter: char,
    /// An upper case letter: the value is escaped as in a URL.
    escape: bool,
    /// How many parts are kept, on the right; 0 is all.
    keep: usize,
    reverse: bool,
    /// Where the value is split.
    delimiters: String,
}

/// What the letters stand for.
#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    pub(super) sender: &'a str,
    pub(super) local: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) domain: &'a str,
    pub(super) client: IpAddr,
    pub(super) helo: &'a str,
    /// The validated name of the client.
    pub(super) validated: &'a str,
    /// Who checks, for `r`.
    pub(super) receiver: &'a str,
    /// Seconds since the epoch, for `t`.
    pub(super) now: u64,
}

impl MacroString {
    /// Reads a text. `explanation` allows `c`, `r` and `t` (§7.2).
    pub(super) fn parse(text: &str, explanation: bool) -> Result<Self, Malformed> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, behind) = rest.split_at(rest.find('%').unwrap_or(rest.len()));
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let Some(behind) = behind.strip_prefix('%') else { break };
            let mut chars = behind.chars();
            let literal = match chars.next() {
                Some('%') => "%",
                Some('_') => " ",
                Some('-') => "%20",
                Some('{') => {
                    let (inner, behind) = chars.as_str().split_once('}').ok_or(Malformed)?;
                    pieces.push(Piece::Macro(Macro::parse(inner, explanation)?));
                    rest = behind;
                    continue;
                }
                _ => return Err(Malformed),
            };
            pieces.push(Piece::Literal(literal.to_owned()));
            rest = chars.as_str();
        }
        Ok(Self(pieces))
    }

    /// Whether it ends as a domain-spec must: with a macro, or with a dot and a top label (§7.1).
    pub(super) fn ends_as_domain(&self) -> bool {
        match self.0.last() {
            Some(Piece::Macro(_)) => true,
            Some(Piece::Literal(literal)) => {
                let literal = literal.strip_suffix('.').unwrap_or(literal);
                literal.rsplit_once('.').is_some_and(|(_, top)| is_top_label(top))
            }
            None => false,
        }
    }

    /// Whether `p` is asked for, which costs lookups.
    pub(super) fn needs_validated(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Macro(found) if found.letter == 'p'))
    }

    /// The text with its values.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let mut expanded = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => expanded.push_str(literal),
                Piece::Macro(found) => found.expand(values, &mut expanded),
            }
            if expanded.len() > MAX_EXPANSION {
                let end = (0..=MAX_EXPANSION).rev().find(|at| expanded.is_char_boundary(*at)).unwrap_or(0);
                expanded.truncate(end);
                break;
            }
        }
        expanded
    }

    /// The text as a name to look up: at most 253 octets, without a dot at its end.
    pub(super) fn expand_name(&self, values: &Values<'_>) -> String {
        let expanded = self.expand(values);
        let mut name = expanded.trim_end_matches('.');
        while name.len() > MAX_NAME {
            match name.split_once('.') {
                Some((_, behind)) => name = behind,
                None => return String::new(),
            }
        }
        name.to_owned()
    }
}

/// `toplabel`: alphanumeric with a letter, or with a hyphen inside.
fn is_top_label(label: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
    label.chars().all(inside)
        && label.starts_with(|c: char| c.is_ascii_alphanumeric())
        && label.ends_with(|c: char| c.is_ascii_alphanumeric())
        && label.chars().any(|c| c.is_ascii_alphabetic() || c == '-')
}

impl Macro {
    /// What stands between `%{` and `}`.
    fn parse(inner: &str, explanation: bool) -> Result<Self, Malformed> {
        let mut chars = inner.chars();
        let written = chars.next().ok_or(Malformed)?;
        let letter = written.to_ascii_lowercase();
        let known = "slodiphv".contains(letter) || explanation && "crt".contains(letter);
        if !known {
            return Err(Malformed);
        }
        let rest = chars.as_str();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = rest.split_at(digits);
        let keep = match number {
            "" => 0,
            number => match number.parse::<usize>() {
                Ok(0) => return Err(Malformed),
                Ok(keep) => keep.min(128),
                // More digits than a number has keep everything.
                Err(_) => 0,
            },
        };
        let unreversed = rest.strip_prefix(['r', 'R']);
        let delimiters = unreversed.unwrap_or(rest);
        if !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
            return Err(Malformed);
        }
        let delimiters = if delimiters.is_empty() { "." } else { delimiters };
        Ok(Self {
            letter,
            escape: written.is_ascii_uppercase(),
            keep,
            reverse: unreversed.is_some(),
            delimiters: delimiters.to_owned(),
        })
    }

    fn expand(&self, values: &Values<'_>, out: &mut String) {
        let value = self.value(values);
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.reverse {
            parts.reverse();
        }
        let kept = if self.keep == 0 { 0 } else { parts.len().saturating_sub(self.keep) };
        let joined = parts[kept..].join(".");
        if self.escape {
            escape(&joined, out);
        } else {
            out.push_str(&joined);
        }
    }

    fn value(&self, values: &Values<'_>) -> String {
        match self.letter {
            's' => values.sender.to_owned(),
            'l' => values.local.to_owned(),
            'o' => values.sender_domain.to_owned(),
            'd' => values.domain.to_owned(),
            'i' => dotted(values.client),
            'p' => values.validated.to_owned(),
            'h' => values.helo.to_owned(),
            'v' => if values.client.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
            'c' => values.client.to_string(),
            'r' => values.receiver.to_owned(),
            't' => values.now.to_string(),
            _ => String::new(),
        }
    }
}

/// An address as `i` has it: IPv6 as nibbles with dots between them.
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

/// Escapes all but the unreserved characters of RFC 3986 §2.3.
fn escape(text: &str, out: &mut String) {
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn expanded(text: &str, client: &str) -> String {
        let values = Values {
            sender: "strong-bad@email.example.com",
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            client: client.parse().unwrap(),
            helo: "mx.example.org",
            validated: "mx.example.org",
            receiver: "here.test",
            now: 7,
        };
        MacroString::parse(text, false).unwrap().expand_name(&values)
    }

    #[test]
    fn the_examples_of_section_7_4() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l-}", "strong.bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ] {
            assert_eq!(expanded(text, "192.0.2.3"), expected, "{text}");
        }
        assert_eq!(
            expanded("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01"),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn a_long_name_loses_labels_on_its_left() {
        let long = format!("{}.%{{d}}", vec!["a123456789"; 30].join("."));
        let name = expanded(&long, "192.0.2.3");
        assert!(
            name.len() <= 253 && name.starts_with("a123456789.") && name.ends_with(".example.com"),
            "{name}"
        );
    }

    #[test]
    fn what_is_no_macro_is_malformed() {
        for text in ["%", "%{", "%{}", "%{x}", "%{d0}", "%{d2rr}", "%{d!}", "%a", "%{c}", "%{t}"] {
            assert!(MacroString::parse(text, false).is_err(), "{text}");
        }
        assert!(MacroString::parse("%{c} %{t}%%", true).is_ok());
    }
}
