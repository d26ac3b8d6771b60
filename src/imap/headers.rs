//! Choosing header fields by name, for `BODY[HEADER.FIELDS ...]` (RFC 9051 §6.4.5.1).

/// The fields of a raw `header` whose names are wanted, as they stand there and in their order, and the empty line that ends a header.
/// Lines that belong to no field have the empty name.
pub(crate) fn choose_fields(header: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut chosen = Vec::new();
    let mut rest = header;
    while let Some((name, field, after)) = next_field(rest) {
        if wanted(name) {
            chosen.extend_from_slice(field);
            if !field.ends_with(b"\n") {
                chosen.extend_from_slice(b"\r\n");
            }
        }
        rest = after;
    }
    chosen.extend_from_slice(b"\r\n");
    chosen
}

/// Splits the first field off: its name, the field with its continuation lines, and what follows. `None` at the empty line or the end.
fn next_field(header: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut end = line_length(header);
    let first = &header[..end];
    if matches!(first, b"" | b"\r\n" | b"\n") {
        return None;
    }
    while matches!(header.get(end), Some(b' ' | b'\t')) {
        end += line_length(&header[end..]);
    }
    let name =
        first.iter().position(|&b| b == b':').map_or(&b""[..], |colon| first[..colon].trim_ascii_end());
    Some((name, &header[..end], &header[end..]))
}

/// The length of the first line with its line end.
fn line_length(text: &[u8]) -> usize {
    text.iter().position(|&b| b == b'\n').map_or(text.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] =
        b"From: a\r\nSUBJECT : long\r\n\tsubject\r\nno colon\r\nTo: b\r\nfrom: c\r\n\r\nSubject: body\r\n";

    fn choose(names: &[&str]) -> String {
        let chosen =
            choose_fields(HEADER, |name| names.iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes())));
        String::from_utf8_lossy(&chosen).into_owned()
    }

    #[test]
    fn fields_keep_their_order_their_spelling_and_their_continuation_lines() {
        assert_eq!(choose(&["from", "Subject"]), "From: a\r\nSUBJECT : long\r\n\tsubject\r\nfrom: c\r\n\r\n");
        assert_eq!(choose(&["To"]), "To: b\r\n\r\n");
        assert_eq!(choose(&["Cc"]), "\r\n", "the empty line is there even without fields");
    }

    #[test]
    fn all_but_some_fields_and_a_header_without_end() {
        let but_from = choose_fields(HEADER, |name| !name.eq_ignore_ascii_case(b"from"));
        assert_eq!(but_from, b"SUBJECT : long\r\n\tsubject\r\nno colon\r\nTo: b\r\n\r\n");
        assert_eq!(choose_fields(b"To: b", |_| true), b"To: b\r\n\r\n");
        assert_eq!(choose_fields(b"", |_| true), b"\r\n");
    }
}
