//! Undoing Content-Transfer-Encoding piece by piece (RFC 2045 §6), for BINARY (RFC 9051 §6.4.5).

/// Whitespace at the end of a quoted-printable line that is kept while looking for the line's end; more of it is content.
const MAX_TRAILING_SPACE: usize = 1024;

/// A decoder that is fed the encoded octets in pieces of any size. Octets that have no meaning in the encoding are
/// passed over (base64) or kept as they are (quoted-printable), as RFC 2045 asks of a robust reader.
#[derive(Clone, Debug)]
pub(crate) enum TransferDecoder {
    /// `7bit`, `8bit`, `binary`.
    Identity,
    /// `base64`: the bits that do not make an octet yet, and how many there are.
    Base64 {
        /// Bits read and not written.
        bits: u32,
        /// How many of them.
        count: u32,
    },
    /// `quoted-printable`: octets whose meaning depends on what follows.
    QuotedPrintable {
        /// An unfinished `=XY`, or whitespace that may turn out to be at the end of a line.
        pending: Vec<u8>,
    },
}

impl TransferDecoder {
    /// The decoder for the value of a Content-Transfer-Encoding field; `None` for an unknown one (`UNKNOWN-CTE`).
    pub(crate) fn new(encoding: &str) -> Option<Self> {
        let encoding = encoding.trim();
        let is = |name: &str| encoding.eq_ignore_ascii_case(name);
        if is("") || is("7bit") || is("8bit") || is("binary") {
            Some(Self::Identity)
        } else if is("base64") {
            Some(Self::Base64 { bits: 0, count: 0 })
        } else if is("quoted-printable") {
            Some(Self::QuotedPrintable { pending: Vec::new() })
        } else {
            None
        }
    }

    /// Whether what comes out is what goes in.
    pub(crate) fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }

    /// Decodes `input` and appends what is certain to `output`.
    pub(crate) fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) {
        match self {
            Self::Identity => output.extend_from_slice(input),
            Self::Base64 { bits, count } => {
                for &byte in input {
                    feed_base64(byte, bits, count, output);
                }
            }
            Self::QuotedPrintable { pending } => {
                for &byte in input {
                    feed_quoted_printable(byte, pending, output);
                }
            }
        }
    }

    /// Appends what was waiting for more input.
    pub(crate) fn finish(&mut self, output: &mut Vec<u8>) {
        if let Self::QuotedPrintable { pending } = self {
            // A soft line break or an escape that was cut off, or whitespace at the very end: only the cut escape is content.
            if pending.first() == Some(&b'=') && pending.len() > 1 && pending != b"=\r" {
                output.append(pending);
            }
            pending.clear();
        }
    }
}

fn feed_base64(byte: u8, bits: &mut u32, count: &mut u32, output: &mut Vec<u8>) {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        // Padding ends a group; what follows, if anything, begins a new one.
        b'=' => {
            *count = 0;
            return;
        }
        _ => return,
    };
    *bits = *bits << 6 | u32::from(value);
    *count += 6;
    if *count >= 8 {
        *count -= 8;
        output.push((*bits >> *count) as u8);
    }
}

fn feed_quoted_printable(byte: u8, pending: &mut Vec<u8>, output: &mut Vec<u8>) {
    if pending.first() == Some(&b'=') {
        return feed_escape(byte, pending, output);
    }
    match byte {
        b'=' => {
            output.append(pending);
            pending.push(b'=');
        }
        // A CR is kept back with the whitespace before it: only before LF does it end the line.
        b' ' | b'\t' | b'\r' => {
            if pending.len() >= MAX_TRAILING_SPACE {
                output.append(pending);
            }
            pending.push(byte);
        }
        b'\n' => {
            let crlf = pending.last() == Some(&b'\r');
            pending.clear();
            output.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
        }
        _ => {
            output.append(pending);
            output.push(byte);
        }
    }
}

/// Goes on after a `=`: `=XY`, `=` CRLF with whitespace between, or something that is no escape and stays.
fn feed_escape(byte: u8, pending: &mut Vec<u8>, output: &mut Vec<u8>) {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let soft_break = pending[1..].iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'));
    match (pending.as_slice(), byte) {
        (_, b'\n') if soft_break => pending.clear(),
        (_, b' ' | b'\t' | b'\r') if soft_break && pending.len() < MAX_TRAILING_SPACE => pending.push(byte),
        ([b'='], _) if hex(byte).is_some() => pending.push(byte),
        ([b'=', first], _) if let (Some(high), Some(low)) = (hex(*first), hex(byte)) => {
            pending.clear();
            output.push((high << 4 | low) as u8);
        }
        _ => {
            output.append(pending);
            feed_quoted_printable(byte, pending, output);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Decodes in pieces of every size, which must not matter.
    fn decode(encoding: &str, input: &[u8]) -> Vec<u8> {
        let mut results = (1..=input.len().max(1)).map(|size| {
            let mut decoder = TransferDecoder::new(encoding).unwrap();
            let mut output = Vec::new();
            input.chunks(size).for_each(|piece| decoder.feed(piece, &mut output));
            decoder.finish(&mut output);
            output
        });
        let first = results.next().unwrap();
        assert!(results.all(|other| other == first), "the size of the pieces matters");
        first
    }

    #[test]
    fn base64_passes_over_line_ends_and_other_octets() {
        assert_eq!(decode("Base64", b"SGVs\r\nbG8s IHdv\r\ncmxkIQ==\r\n"), b"Hello, world!");
        assert_eq!(decode("base64", b"AAEC*/w=="), [0, 1, 2, 0xff]);
        assert_eq!(decode("base64", b"TQ==TQ=="), b"MM", "encodings one after the other");
        assert_eq!(decode("base64", b"TWE"), b"Ma", "padding may be missing");
        assert_eq!(decode("base64", b""), b"");
    }

    #[test]
    fn quoted_printable_follows_rfc_2045() {
        assert_eq!(decode("quoted-printable", b"a=3D=E4b=\r\nc \t\r\nd\r\n"), b"a=\xe4bc\r\nd\r\n");
        assert_eq!(decode("quoted-printable", b"soft= \t\r\nbreak=\nagain"), b"softbreakagain");
        assert_eq!(decode("quoted-printable", b"a b\tc"), b"a b\tc", "whitespace inside a line stays");
        assert_eq!(
            decode("quoted-printable", b"=zz =4 =e4=E4"),
            b"=zz =4 \xe4\xe4",
            "what is no escape stays"
        );
        assert_eq!(decode("quoted-printable", b"end ="), b"end ");
        assert_eq!(decode("quoted-printable", b"cut =4"), b"cut =4");
    }

    #[test]
    fn identity_encodings_change_nothing_and_others_are_unknown() {
        for encoding in ["7BIT", "8bit", " binary ", ""] {
            assert_eq!(decode(encoding, b"a=3D\0\r\n"), b"a=3D\0\r\n");
        }
        assert!(TransferDecoder::new("x-uuencode").is_none());
    }
}
