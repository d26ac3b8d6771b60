//! The record (RFC 7208 §4.5, §4.6.1, §12): text to terms. A mistake anywhere spoils the whole record.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::SpfResult;
use super::macros::MacroString;

/// The text is no SPF record as RFC 7208 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// A mechanism, and the result if it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) qualifier: SpfResult,
    pub(super) mechanism: Mechanism,
}

/// A mechanism (§5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Target),
    Mx(Target),
    Ptr(Option<MacroString>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(MacroString),
}

/// A name (none: the domain itself) and how many bits of its addresses count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: Option<MacroString>,
    pub(super) bits4: u8,
    pub(super) bits6: u8,
}

impl Mechanism {
    /// Whether it counts towards the limit of lookups (§4.6.4).
    pub(super) fn looks_up(&self) -> bool {
        !matches!(self, Self::All | Self::Ip4(..) | Self::Ip6(..))
    }
}

/// Whether a TXT record is meant to be one for SPF (§4.5).
pub(super) fn is_spf(text: &[u8]) -> bool {
    let version = b"v=spf1";
    text.len() >= version.len()
        && text[..version.len()].eq_ignore_ascii_case(version)
        && text.get(version.len()).is_none_or(|next| *next == b' ')
}

impl Record {
    /// Reads the text of a record, with its version.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let printable = text.iter().all(|octet| matches!(octet, b' '..=b'~'));
        let text = std::str::from_utf8(text).ok().filter(|_| printable).ok_or(Malformed)?;
        let mut record = Self::default();
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            match modifier(term) {
                Some((name, value)) => record.modify(name, value)?,
                None => record.directives.push(directive(term)?),
            }
        }
        Ok(record)
    }

    fn modify(&mut self, name: &str, value: &str) -> Result<(), Malformed> {
        let place = if name.eq_ignore_ascii_case("redirect") {
            &mut self.redirect
        } else if name.eq_ignore_ascii_case("exp") {
            &mut self.explanation
        } else {
            // Unknown ones are ignored, if they are well-formed.
            return MacroString::parse(value, false).map(drop);
        };
        if place.is_some() {
            return Err(Malformed);
        }
        *place = Some(domain_spec(value)?);
        Ok(())
    }
}

/// `name=value`, if the term is a modifier.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(inside);
    is_name.then_some((name, value))
}

fn directive(term: &str) -> Result<Directive, Malformed> {
    let (qualifier, term) = match term.as_bytes().first() {
        Some(b'+') => (SpfResult::Pass, &term[1..]),
        Some(b'-') => (SpfResult::Fail, &term[1..]),
        Some(b'~') => (SpfResult::SoftFail, &term[1..]),
        Some(b'?') => (SpfResult::Neutral, &term[1..]),
        _ => (SpfResult::Pass, term),
    };
    let (name, rest) = term.split_at(term.find([':', '/']).unwrap_or(term.len()));
    let argument = rest.strip_prefix(':');
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(domain_spec(argument.ok_or(Malformed)?)?),
        "exists" => Mechanism::Exists(domain_spec(argument.ok_or(Malformed)?)?),
        "a" => Mechanism::A(target(rest)?),
        "mx" => Mechanism::Mx(target(rest)?),
        "ptr" if rest.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(domain_spec(argument.ok_or(Malformed)?)?)),
        "ip4" => {
            let (address, bits) = network(argument.ok_or(Malformed)?, 32)?;
            Mechanism::Ip4(address.parse().map_err(|_| Malformed)?, bits)
        }
        "ip6" => {
            let (address, bits) = network(argument.ok_or(Malformed)?, 128)?;
            Mechanism::Ip6(address.parse().map_err(|_| Malformed)?, bits)
        }
        _ => return Err(Malformed),
    };
    Ok(Directive { qualifier, mechanism })
}

fn domain_spec(text: &str) -> Result<MacroString, Malformed> {
    let spec = MacroString::parse(text, false)?;
    if spec.ends_as_domain() { Ok(spec) } else { Err(Malformed) }
}

/// `[":" domain-spec] ["/" bits] ["//" bits]`.
fn target(rest: &str) -> Result<Target, Malformed> {
    // A name may have slashes too, so the bits are what is at the very end.
    let (rest, bits6) = match digits_behind(rest, "//") {
        Some((rest, digits)) => (rest, bits(digits, 128)?),
        None => (rest, 128),
    };
    let (front, bits4) = match digits_behind(rest, "/") {
        Some((front, digits)) => (front, bits(digits, 32)?),
        None => (rest, 32),
    };
    let name = match front {
        "" => None,
        front => Some(domain_spec(front.strip_prefix(':').ok_or(Malformed)?)?),
    };
    Ok(Target { name, bits4, bits6 })
}

/// Splits off digits at the end that stand behind a mark.
fn digits_behind<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let front = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &text[front.len()..];
    front.strip_suffix(mark).filter(|_| !digits.is_empty()).map(|front| (front, digits))
}

/// `address ["/" bits]`.
fn network(text: &str, width: u8) -> Result<(&str, u8), Malformed> {
    match text.split_once('/') {
        Some((address, count)) => Ok((address, bits(count, width)?)),
        None => Ok((text, width)),
    }
}

/// A number of bits, without leading zeros.
fn bits(text: &str, width: u8) -> Result<u8, Malformed> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !digits || text.len() > 1 && text.starts_with('0') {
        return Err(Malformed);
    }
    text.parse().ok().filter(|bits| *bits <= width).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_spoils_the_record() {
        for text in [
            "v=spf1 al",
            "v=spf1 all:x.test",
            "v=spf1 all/8",
            "v=spf1 include",
            "v=spf1 include:",
            "v=spf1 a:nodots",
            "v=spf1 a/33",
            "v=spf1 a/08",
            "v=spf1 a//129",
            "v=spf1 a/",
            "v=spf1 mx:a.test/24/64",
            "v=spf1 ip4:1.2.3",
            "v=spf1 ip4:1.2.3.4/33",
            "v=spf1 ip6:1.2.3.4",
            "v=spf1 redirect=a.test redirect=b.test",
            "v=spf1 exp=",
            "v=spf1 -all\tx",
            "v=spf1 a:x.123",
            "v=spf1 --all",
            "v=spf1 x=%{",
            "v=spf1 ptr/0",
        ] {
            assert_eq!(Record::parse(text.as_bytes()), Err(Malformed), "{text}");
        }
        for text in [
            "v=spf1",
            "v=spf1  ",
            "V=SPF1 -ALL",
            "v=spf1 a/24//64 mx:%{d/}/24 ptr ptr:a.test.",
            "v=spf1 x-y.z=1 ?all",
            "v=spf1 a:a.b-c ip6:::1/0 ip4:1.2.3.4 exists:%{i} redirect=a.test exp=b.test",
        ] {
            assert!(Record::parse(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn only_the_whole_version_counts() {
        assert!(is_spf(b"v=spf1") && is_spf(b"V=SPF1 a"));
        assert!(!is_spf(b"v=spf10 a") && !is_spf(b"v=spf1\ta") && !is_spf(b" v=spf1") && !is_spf(b""));
    }

    proptest::proptest! {
        #[test]
        fn no_record_is_too_strange(terms in "[-+~?a-z0-9:/%{}=._ ]{0,80}") {
            if let Ok(record) = Record::parse(format!("v=spf1 {terms}").as_bytes()) {
                proptest::prop_assert!(record.directives.len() <= terms.len());
            }
        }
    }
}
