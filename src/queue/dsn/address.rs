//! Addresses as notifications write them: `rfc822; bob@example.com`, and the forms of RFC 6533 §3 for what is not ASCII.

use std::fmt::Write as _;

use ekitei_relay::OriginalRecipient;

/// The address type of an address that is ASCII.
const RFC822: &str = "rfc822";
/// The address type of one that is not (RFC 6533 §3).
const UTF8: &str = "utf-8";

/// A typed address as a field has it. `unicode` says whether the field may hold UTF-8 (a `message/global-delivery-status` part);
/// otherwise what is not ASCII is written as `utf-8-addr-xtext`.
pub(super) fn field(address: &str, unicode: bool) -> String {
    if address.is_ascii() {
        return format!("{RFC822}; {}", printable(address));
    }
    let written = if unicode { printable(address) } else { embed(address) };
    format!("{UTF8}; {written}")
}

/// ORCPT as `Original-Recipient` has it: the sender's own words, decoded (RFC 3464 §2.3.1).
pub(super) fn original(recipient: &OriginalRecipient, unicode: bool) -> String {
    let address_type = recipient.address_type.to_ascii_lowercase();
    if address_type == UTF8 {
        let address = unembed(&recipient.address);
        let written = if unicode { printable(&address) } else { embed(&address) };
        return format!("{UTF8}; {written}");
    }
    let address = decode_xtext(&recipient.address);
    let is_token = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let kind: String = address_type.chars().filter(|&c| is_token(c)).collect();
    if unicode || address.is_ascii() {
        return format!("{kind}; {}", printable(&address));
    }
    // Octets over 127 have no place in an ASCII field: the address stays as it was encoded.
    let ascii = |c: char| if c.is_ascii() { c } else { '?' };
    format!("{kind}; {}", printable(&recipient.address.chars().map(ascii).collect::<String>()))
}

/// Reads what [`field`] and [`original`] write, and what others do: the type in lower case, and the address.
pub(super) fn read(value: &str) -> Option<(String, String)> {
    let (address_type, address) = value.split_once(';')?;
    let address_type = address_type.trim().to_ascii_lowercase();
    let address = address.trim();
    let address = address.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')).unwrap_or(address);
    if address_type.is_empty() || address.is_empty() {
        return None;
    }
    let address = if address_type == UTF8 { unembed(address) } else { address.to_owned() };
    Some((address_type, address))
}

/// Without what would end the field or hide something in it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `utf-8-addr-xtext` (RFC 6533 §3): what is not printable ASCII, and the three characters that xtext needs, as `\x{20AC}`.
fn embed(address: &str) -> String {
    let mut out = String::with_capacity(address.len() * 2);
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=') {
            out.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{{{:02X}}}", u32::from(c));
        }
    }
    out
}

/// The opposite of [`embed`]; what is no `\x{...}` stands for itself.
fn unembed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\\x{") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 3..];
        let decoded = after.split_once('}').and_then(|(digits, tail)| {
            let valid = (2..=6).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
            let code = u32::from_str_radix(digits, 16).ok().filter(|_| valid)?;
            // Nothing that a terminal would obey.
            Some((char::from_u32(code).filter(|c| !c.is_control())?, tail))
        });
        match decoded {
            Some((c, tail)) => {
                out.push(c);
                rest = tail;
            }
            None => {
                out.push_str("\\x{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// xtext (RFC 3461 §4); what is not xtext stands for itself.
fn decode_xtext(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let hex = pair.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| octet == b'+') {
            Some(decoded) => {
                octets.push(decoded);
                rest = &after[2..];
            }
            None => {
                octets.push(octet);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn orcpt(address_type: &str, address: &str) -> OriginalRecipient {
        OriginalRecipient { address_type: address_type.into(), address: address.into() }
    }

    #[test]
    fn an_original_recipient_is_shown_as_the_sender_wrote_it() {
        assert_eq!(original(&orcpt("rfc822", "Bob+2BJones@a.example"), false), "rfc822; Bob+Jones@a.example");
        assert_eq!(original(&orcpt("UTF-8", "b\\x{F6}b@a.example"), true), "utf-8; böb@a.example");
        assert_eq!(original(&orcpt("utf-8", "böb@a.example"), false), "utf-8; b\\x{F6}b@a.example");
        assert_eq!(original(&orcpt("x-odd", "a+0D+0Ab"), false), "x-odd; a??b");
    }

    #[test]
    fn an_address_that_is_not_ascii_has_the_type_of_rfc_6533() {
        assert_eq!(field("bob@a.example", false), "rfc822; bob@a.example");
        assert_eq!(field("b+ö@a.example", true), "utf-8; b+ö@a.example");
        assert_eq!(field("b+ö@a.example", false), "utf-8; b\\x{2B}\\x{F6}@a.example");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(address in "[^\\p{C}\\s<>\\\\]{1,40}", unicode: bool) {
            let (_, read) = read(&field(&address, unicode)).unwrap();
            prop_assert_eq!(read, address);
        }

        #[test]
        fn a_field_in_ascii_is_ascii_and_one_line(address in ".{1,40}", address_type in ".{0,10}") {
            for text in [field(&address, false), original(&orcpt(&address_type, &address), false)] {
                prop_assert!(text.chars().all(|c| c.is_ascii() && !c.is_control()), "{:?}", text);
            }
        }
    }
}
