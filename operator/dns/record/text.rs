//! Values in the presentation format of zone files (RFC 1035 §5.1).

use std::fmt::{self, Write};

use super::{RecordType, Tag, Txt, Value};
use crate::name::Name;

/// A text that is not what it should be: whoever wrote it has to change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct BadValue {
    wanted: String,
    text: String,
}

impl BadValue {
    pub(crate) fn new(wanted: impl Into<String>, text: impl Into<String>) -> Self {
        Self { wanted: wanted.into(), text: text.into() }
    }
}

impl Value {
    /// Reads what [`fmt::Display`] writes, and other forms that mean the same: unquoted strings, TLSA data in several parts, names in any case.
    ///
    /// # Errors
    /// The text is no data of this type.
    pub fn parse(record_type: RecordType, text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue::new(format!("data of a {record_type} record"), text);
        let fields = fields(text).ok_or_else(bad)?;
        let plain: Vec<&str> =
            fields.iter().map(|field| std::str::from_utf8(field).unwrap_or("\\")).collect();
        let name = |text: &str| text.parse::<Name>().map_err(|_| bad());
        let number = |text: &str| text.parse::<u16>().map_err(|_| bad());
        let octet = |text: &str| text.parse::<u8>().map_err(|_| bad());
        Ok(match (record_type, plain.as_slice()) {
            (RecordType::A, [one]) => Self::A(one.parse().map_err(|_| bad())?),
            (RecordType::Aaaa, [one]) => Self::Aaaa(one.parse().map_err(|_| bad())?),
            (RecordType::Caa, [flags, tag, _]) => Self::Caa {
                flags: octet(flags)?,
                tag: Tag::new(*tag),
                value: fields.into_iter().next_back().unwrap_or_default(),
            },
            (RecordType::Cname, [one]) => Self::Cname(name(one)?),
            (RecordType::Ns, [one]) => Self::Ns(name(one)?),
            (RecordType::Ptr, [one]) => Self::Ptr(name(one)?),
            (RecordType::Mx, [preference, exchange]) => {
                Self::Mx { preference: number(preference)?, exchange: name(exchange)? }
            }
            (RecordType::Srv, [priority, weight, port, target]) => Self::Srv {
                priority: number(priority)?,
                weight: number(weight)?,
                port: number(port)?,
                target: name(target)?,
            },
            (RecordType::Tlsa, [usage, selector, matching, data @ ..]) if !data.is_empty() => Self::Tlsa {
                usage: octet(usage)?,
                selector: octet(selector)?,
                matching: octet(matching)?,
                data: unhex(&data.concat()).ok_or_else(bad)?,
            },
            (RecordType::Txt, [_, ..]) => Self::Txt(Txt::from_strings(fields)),
            _ => return Err(bad()),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => write!(f, "{address}"),
            Self::Aaaa(address) => write!(f, "{address}"),
            Self::Caa { flags, tag, value } => {
                write!(f, "{flags} {tag} ")?;
                quote(f, value)
            }
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => target(f, name),
            Self::Mx { preference, exchange } => {
                write!(f, "{preference} ")?;
                target(f, exchange)
            }
            Self::Srv { priority, weight, port, target: name } => {
                write!(f, "{priority} {weight} {port} ")?;
                target(f, name)
            }
            Self::Tlsa { usage, selector, matching, data } => {
                write!(f, "{usage} {selector} {matching} ")?;
                data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
            Self::Txt(txt) => {
                for (index, string) in txt.strings().iter().enumerate() {
                    if index > 0 {
                        f.write_char(' ')?;
                    }
                    quote(f, string)?;
                }
                Ok(())
            }
        }
    }
}

fn target(f: &mut fmt::Formatter<'_>, name: &Name) -> fmt::Result {
    f.write_str(&name.absolute())
}

fn quote(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    f.write_char('"')?;
    for octet in octets {
        match octet {
            b'"' | b'\\' => write!(f, "\\{}", char::from(*octet))?,
            b' '..=b'~' => f.write_char(char::from(*octet))?,
            other => write!(f, "\\{other:03}")?,
        }
    }
    f.write_char('"')
}

/// Words and quoted strings, their escapes resolved; none if a quote does not end.
fn fields(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    let mut octets = text.bytes().peekable();
    while let Some(first) = octets.next() {
        if first.is_ascii_whitespace() {
            continue;
        }
        let quoted = first == b'"';
        let mut field = Vec::new();
        let mut next = if quoted { octets.next() } else { Some(first) };
        loop {
            match next {
                None if quoted => return None,
                None => break,
                Some(b'"') if quoted => break,
                Some(octet) if !quoted && octet.is_ascii_whitespace() => break,
                Some(b'\\') => field.push(unescape(&mut octets)?),
                Some(octet) => field.push(octet),
            }
            next = octets.next();
        }
        fields.push(field);
    }
    Some(fields)
}

/// What follows a backslash: three digits, or the octet itself.
fn unescape(octets: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let first = octets.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digits = [first, octets.next()?, octets.next()?];
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0 && !digits.is_empty())?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_value_has_many_spellings() {
        for (record_type, one, other) in [
            (RecordType::Txt, "\"v=spf1 -all\"", "\"v=spf1\" \" -all\""),
            (RecordType::Txt, "abc", "\"a\\098c\""),
            (RecordType::Mx, "10 MX.example.org", "10 mx.example.org."),
            (RecordType::Tlsa, "3 1 1 ABCD", "3 1 1 ab cd"),
            (RecordType::Aaaa, "2001:DB8::0:1", "2001:db8::1"),
            (RecordType::Caa, "0 Issue letsencrypt.org", "0 issue \"letsencrypt.org\""),
        ] {
            assert_eq!(Value::parse(record_type, one), Value::parse(record_type, other));
            assert!(Value::parse(record_type, one).is_ok());
        }
    }

    #[test]
    fn what_is_no_data_of_the_type_is_refused() {
        for (record_type, bad) in [
            (RecordType::A, "2001:db8::1"),
            (RecordType::Mx, "mx.example.org"),
            (RecordType::Mx, "70000 mx.example.org"),
            (RecordType::Txt, ""),
            (RecordType::Txt, "\"open"),
            (RecordType::Tlsa, "3 1 1 abc"),
            (RecordType::Srv, "0 1 993"),
        ] {
            assert!(Value::parse(record_type, bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_text_of_any_octets_and_length_comes_back(text in prop::collection::vec(any::<u8>(), 0..700)) {
            let value = Value::txt(&text);
            let read = Value::parse(RecordType::Txt, &value.to_string()).unwrap();
            prop_assert_eq!(&read, &value);
            let Value::Txt(read) = read else { unreachable!() };
            prop_assert!(read.strings().iter().all(|string| string.len() <= 255));
            prop_assert_eq!(read.joined(), text);
        }
    }
}
