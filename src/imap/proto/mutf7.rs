//! Modified UTF-7, in which IMAP4rev1 writes mailbox names (RFC 3501 §5.1.3).
//!
//! The mapping is kept one to one: only the form that [`encode`] writes is accepted by [`decode`], so two
//! spellings never mean one mailbox.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// Writes `name` in modified UTF-7: printable ASCII only.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    for c in name.chars() {
        if !is_direct(c) {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
            continue;
        }
        flush(&mut shifted, &mut out);
        out.push(c);
        if c == '&' {
            out.push('-');
        }
    }
    flush(&mut shifted, &mut out);
    out
}

fn is_direct(c: char) -> bool {
    matches!(c, ' '..='~')
}

fn flush(shifted: &mut Vec<u8>, out: &mut String) {
    if !shifted.is_empty() {
        out.push('&');
        BASE64.encode_string(&shifted, out);
        out.push('-');
        shifted.clear();
    }
}

/// Reads modified UTF-7; `None` if it is malformed or not the canonical form.
pub fn decode(text: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'&' {
            out.push(char::from(byte));
            continue;
        }
        let end = rest.iter().position(|&b| b == b'-')?;
        if end == 0 {
            out.push('&');
        } else {
            push_utf16(&BASE64.decode(&rest[..end]).ok()?, &mut out)?;
        }
        rest = &rest[end + 1..];
    }
    (encode(&out).as_bytes() == text).then_some(out)
}

fn push_utf16(octets: &[u8], out: &mut String) -> Option<()> {
    let (units, odd) = octets.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    for c in char::decode_utf16(units.iter().map(|pair| u16::from_be_bytes(*pair))) {
        out.push(c.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_examples() {
        // RFC 3501 §5.1.3.
        let name = "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}";
        assert_eq!(encode(name), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(decode(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(), Some(name));
        assert_eq!(decode(b"&Jjo-!").as_deref(), Some("\u{263a}!"));
        assert_eq!(decode(b"&U,BTF2XlZyyKng-").as_deref(), Some("\u{53f0}\u{5317}\u{65e5}\u{672c}\u{8a9e}"));
        assert_eq!(encode("R&D \u{1f4ec}"), "R&-D &2D3c7A-");
    }

    #[test]
    fn malformed_and_non_canonical_forms_are_refused() {
        let bad: [&[u8]; 11] = [
            b"&Jjo!",              // RFC 3501: does not shift back to US-ASCII
            b"&U,BTFw-&ZeVnLIqe-", // RFC 3501: superfluous shift
            b"&",
            b"a&b",
            b"&AGE-", // 'a' represents itself
            b"&Jj-",  // half a unit
            b"&Jjp-", // bits left over
            b"&2D0-", // lone surrogate
            b"&Jj/-", // '/' is ',' here
            "caf\u{e9}".as_bytes(),
            b"a\x7fb",
        ];
        for text in bad {
            assert_eq!(decode(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn every_string_round_trips_in_printable_ascii(name in any::<String>()) {
            let text = encode(&name);
            prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert_eq!(decode(text.as_bytes()), Some(name));
        }

        #[test]
        fn what_is_accepted_is_canonical(text in "[ -~]{0,3}&[A-Za-z0-9+,-]{0,12}-?[ -~]{0,3}") {
            if let Some(name) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&name), text);
            }
        }

        #[test]
        fn arbitrary_octets_do_not_panic(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&text);
        }
    }
}
