//! xtext (RFC 3461 §4): how a MAIL or RCPT parameter carries octets that may not stand in it.

/// Decodes xtext; `None` where it is not xtext. Lower-case hexadecimal digits are read too, since clients send them.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'+' => {
                let (high, low) = (hex(*rest.first()?)?, hex(*rest.get(1)?)?);
                octets.push(high << 4 | low);
                rest = &rest[2..];
            }
            b'=' => return None,
            b'!'..=b'~' | 0x80.. => octets.push(octet),
            _ => return None,
        }
    }
    Some(octets)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plus_and_two_digits_stand_for_an_octet() {
        assert_eq!(decode("Bob+2BJones@a+3Db").unwrap(), b"Bob+Jones@a=b");
        assert_eq!(decode("").unwrap(), b"");
        for bad in ["+", "+2", "+G0", "a=b", "a b", "a\u{7f}"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
