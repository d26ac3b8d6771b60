//! A message as signatures see it: header fields, and the body behind them.

/// The most instances of one field that a signature covers, from the bottom up; a message that is valid has few.
const INSTANCES: usize = 50;

/// A message in parts; nothing is copied.
pub(crate) struct Message<'a> {
    /// The fields from the top down.
    pub(crate) fields: Vec<Field<'a>>,
    pub(crate) body: &'a [u8],
}

/// A header field as it stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    /// What follows the colon, folded, without the last line end.
    pub(crate) value: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the header; a line that is no field is skipped.
    pub(crate) fn parse(octets: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        let mut rest = octets;
        loop {
            let end = field_end(rest);
            let (field, behind) = rest.split_at(end);
            let field = without_line_end(field);
            if field.is_empty() {
                return Self { fields, body: behind };
            }
            fields.extend(Field::parse(field));
            rest = behind;
        }
    }
}

impl<'a> Field<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let colon = line.iter().position(|&octet| octet == b':')?;
        let (name, value) = (line.get(..colon)?.trim_ascii_end(), line.get(colon + 1..)?);
        (!name.is_empty()).then_some(Self { name, value })
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Appends the field in the relaxed form (RFC 6376 §3.4.2), without a line end.
    pub(crate) fn relaxed(&self, into: &mut Vec<u8>) {
        into.extend(self.name.iter().map(u8::to_ascii_lowercase));
        into.push(b':');
        let begin = into.len();
        let mut space = false;
        for &octet in self.value {
            match octet {
                b'\r' | b'\n' => {}
                b' ' | b'\t' => space = true,
                _ => {
                    if space && into.len() > begin {
                        into.push(b' ');
                    }
                    space = false;
                    into.push(octet);
                }
            }
        }
    }
}

/// Where the first field of `octets` ends, behind its line end.
fn field_end(octets: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let Some(line) = octets.get(end..).and_then(|rest| rest.iter().position(|&octet| octet == b'\n'))
        else {
            return octets.len();
        };
        let is_empty = without_line_end(&octets[end..=end + line]).is_empty();
        end += line + 1;
        if is_empty || !matches!(octets.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What a signature covers of a header.
pub(crate) struct Selection {
    /// The names for `h=`, in order.
    pub(crate) names: Vec<String>,
    /// The fields in the relaxed form, each with a line end.
    pub(crate) canonical: Vec<u8>,
}

/// Selects the fields to sign: of those named `oversigned` all, and the absence of another (RFC 6376 §8.15), and of those named `signed` all.
pub(crate) fn select(message: &Message<'_>, oversigned: &[String], signed: &[String]) -> Selection {
    let mut selection = Selection { names: Vec::new(), canonical: Vec::new() };
    let mut seen: Vec<&str> = Vec::new();
    let from = "From".to_owned();
    // RFC 6376 §5.4: From has to be signed.
    let oversigned = std::iter::once(&from).chain(oversigned).map(|name| (name, true));
    for (name, more) in oversigned.chain(signed.iter().map(|name| (name, false))) {
        if seen.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            continue;
        }
        seen.push(name);
        let present = message.fields.iter().rev().filter(|field| field.is(name));
        let mut instances = 0;
        for field in present.take(INSTANCES) {
            field.relaxed(&mut selection.canonical);
            selection.canonical.extend_from_slice(b"\r\n");
            selection.names.push(name.clone());
            instances += 1;
        }
        // Where there are more than are covered, another name would stand for one of those.
        if more && instances < INSTANCES {
            selection.names.push(name.clone());
        }
    }
    selection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relaxed(line: &str) -> String {
        let message = Message::parse(line.as_bytes());
        let mut canonical = Vec::new();
        message.fields[0].relaxed(&mut canonical);
        String::from_utf8_lossy(&canonical).into_owned()
    }

    #[test]
    fn relaxed_fields_are_those_of_the_standard() {
        // RFC 6376 §3.4.5, example 1.
        assert_eq!(relaxed("A: X\r\n\r\n"), "a:X");
        assert_eq!(relaxed("B : Y\t\r\n\tZ  \r\n\r\n"), "b:Y Z");
        assert_eq!(relaxed("Empty:\r\n"), "empty:");
    }

    #[test]
    fn a_message_is_divided_at_the_first_empty_line() {
        let message = Message::parse(b"A: 1\r\n 2\r\nno field\r\nB:3\r\n\r\nC: body\r\n");
        let names: Vec<&[u8]> = message.fields.iter().map(|field| field.name).collect();
        assert_eq!(names, [&b"A"[..], b"B"]);
        assert_eq!(message.fields[0].value, b" 1\r\n 2");
        assert_eq!(message.body, b"C: body\r\n");
    }

    #[test]
    fn a_message_without_an_end_of_the_header_has_no_body() {
        for text in ["A: 1", "A: 1\r\n", "A: 1\r\n\r\n", "", "\r\n", "A: 1\r\n "] {
            assert_eq!(Message::parse(text.as_bytes()).body, b"", "{text:?}");
        }
    }

    #[test]
    fn fields_are_signed_from_the_bottom_and_oversigned_once_more() {
        let message = Message::parse(b"To: 1\r\nFrom: f\r\nTo: 2\r\nList-Id: l\r\nX: x\r\n\r\n");
        let name = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let selection = select(&message, &name(&["to", "Cc", "from"]), &name(&["List-Id", "Sender", "to"]));
        assert_eq!(selection.names, ["From", "From", "to", "to", "to", "Cc", "List-Id"]);
        assert_eq!(selection.canonical, b"from:f\r\nto:2\r\nto:1\r\nlist-id:l\r\n");
    }
}
