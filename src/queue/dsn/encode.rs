//! How text gets into a header or a part: folded fields, quoted-printable, and the other direction.

/// The longest line of quoted-printable (RFC 2045 §6.7).
const QP_LINE: usize = 76;
/// Where a field is folded.
const FOLD: usize = 76;
/// The longest field body that is written.
const FIELD: usize = 2000;

/// A field with its CRLF: one line, or folded at spaces. Control characters become spaces, and what is not ASCII `?` unless `unicode`.
pub(super) fn field(name: &str, value: &str, unicode: bool) -> String {
    let plain = |c: char| match c {
        c if c.is_control() => ' ',
        c if !unicode && !c.is_ascii() => '?',
        c => c,
    };
    let value: String = value.chars().map(plain).take(FIELD).collect();
    let mut out = format!("{name}:");
    let mut column = out.len();
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        let width = word.chars().count();
        if column + 1 + width > FOLD && column > name.len() + 1 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + width;
    }
    out.push_str("\r\n");
    out
}

/// Quoted-printable of text with CRLF line ends.
pub(super) fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 8);
    let mut column = 0;
    let mut rest = octets;
    while let Some((&octet, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            (column, rest) = (0, after);
            continue;
        }
        let at_line_end = after.is_empty() || after.starts_with(b"\r\n");
        let literal =
            matches!(octet, b'!'..=b'<' | b'>'..=b'~') || matches!(octet, b' ' | b'\t') && !at_line_end;
        let width = if literal { 1 } else { 3 };
        if column + width > QP_LINE - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if literal {
            out.push(octet);
        } else {
            out.extend_from_slice(&[b'=', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
        }
        column += width;
        rest = after;
    }
    out
}

/// Decodes quoted-printable; what is none stands for itself.
pub(super) fn decode_quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'=' {
            out.push(octet);
        } else if let Some(next) = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")) {
            rest = next;
        } else if let Some(decoded) = after.get(..2).and_then(hex_pair) {
            out.push(decoded);
            rest = &after[2..];
        } else {
            out.push(octet);
        }
    }
    out
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_field_is_folded_and_cannot_be_broken() {
        let value = format!("smtp; 550 {}\r\nInjected: yes", "word ".repeat(40));
        let written = field("Diagnostic-Code", &value, false);
        assert!(written.lines().all(|line| line.len() <= FOLD), "{written}");
        assert!(written.lines().skip(1).all(|line| line.starts_with(' ')), "{written}");
        assert_eq!(field("A", "b\u{fc}", false), "A: b?\r\n");
    }

    proptest! {
        #[test]
        fn quoted_printable_reads_back_in_short_ascii_lines(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let encoded = quoted_printable(&text);
            prop_assert!(encoded.is_ascii());
            let lines: Vec<_> = encoded.split(|&b| b == b'\n').collect();
            prop_assert!(lines.iter().all(|line| line.len() <= QP_LINE + 1));
            prop_assert_eq!(decode_quoted_printable(&encoded), text);
        }
    }
}
