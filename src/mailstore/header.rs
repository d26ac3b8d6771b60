//! Header fields as they stand in a message: splitting, unfolding, and the tokens of structured fields (RFC 5322 §2.2, §3.2,
//! RFC 2045 §5.1). Values keep their encoded words, as IMAP wants them.

/// One field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// The name, as spelled.
    pub(crate) name: &'a str,
    /// The whole field with its line ends.
    pub(crate) raw: &'a [u8],
    /// What follows the colon, still folded.
    value: &'a [u8],
}

impl Field<'_> {
    /// Whether this is the field called `name`.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value on one line, trimmed; octets that are not UTF-8 are replaced.
    pub(crate) fn unfolded(&self) -> String {
        let text = String::from_utf8_lossy(self.value);
        text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect::<String>().trim().to_owned()
    }
}

/// The fields of a header, in order; lines that are no field are passed over. Ends at the empty line.
pub(crate) fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        loop {
            let raw = take_field(&mut rest)?;
            if let Some(field) = split_field(raw) {
                return Some(field);
            }
        }
    })
}

/// A line and the folded lines after it; `None` at the empty line or the end.
fn take_field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut end = line_length(rest);
    if rest.is_empty() || matches!(&rest[..end], b"\r\n" | b"\n") {
        return None;
    }
    while matches!(rest.get(end), Some(b' ' | b'\t')) {
        end += line_length(&rest[end..]);
    }
    let (field, after) = rest.split_at(end);
    *rest = after;
    Some(field)
}

fn line_length(text: &[u8]) -> usize {
    text.iter().position(|&b| b == b'\n').map_or(text.len(), |at| at + 1)
}

fn split_field(raw: &[u8]) -> Option<Field<'_>> {
    let colon = raw.iter().position(|&b| b == b':')?;
    let name = std::str::from_utf8(&raw[..colon]).ok()?.trim_end();
    let printable = |b: u8| b.is_ascii_graphic() && b != b':';
    (!name.is_empty() && name.bytes().all(printable)).then(|| Field { name, raw, value: &raw[colon + 1..] })
}

/// A value and its parameters: `text/plain; charset=utf-8`.
pub(crate) fn value_and_parameters(text: &str) -> (String, Vec<(String, String)>) {
    let mut tokens = Tokens { text };
    let value = tokens.until(&[';']);
    let mut parameters = Vec::new();
    while tokens.skip(';') {
        let name = tokens.until(&['=', ';']);
        if tokens.skip('=') {
            let value = tokens.until(&[';']);
            if !name.is_empty() {
                parameters.push((name, value));
            }
        }
    }
    (value, parameters)
}

/// Reads a structured field from the left; comments and white space between tokens vanish.
pub(crate) struct Tokens<'a> {
    pub(crate) text: &'a str,
}

impl Tokens<'_> {
    /// Skips `expected`, if it is next.
    pub(crate) fn skip(&mut self, expected: char) -> bool {
        self.skip_blank();
        match self.text.strip_prefix(expected) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    /// The next character that means something.
    pub(crate) fn peek(&mut self) -> Option<char> {
        self.skip_blank();
        self.text.chars().next()
    }

    /// Everything up to one of `ends`: words and quoted strings (without their quotes), a single space where there was any between
    /// them.
    pub(crate) fn until(&mut self, ends: &[char]) -> String {
        let mut found = String::new();
        self.skip_blank();
        let mut blank = false;
        while let Some(c) = self.text.chars().next() {
            if ends.contains(&c) {
                break;
            }
            if blank && !found.is_empty() {
                found.push(' ');
            }
            if c == '"' {
                self.quoted(&mut found);
            } else {
                found.push(c);
                self.text = &self.text[c.len_utf8()..];
            }
            blank = self.skip_blank();
        }
        found
    }

    /// Reads a quoted string; one that never ends goes to the end.
    fn quoted(&mut self, into: &mut String) {
        let mut chars = self.text.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.text = &self.text[at + 1..];
                    return;
                }
                '\\' => into.extend(chars.next().map(|(_, c)| c)),
                _ => into.push(c),
            }
        }
        self.text = "";
    }

    /// Skips white space and comments, nested ones too; whether there was any.
    pub(crate) fn skip_blank(&mut self) -> bool {
        let before = self.text.len();
        loop {
            self.text = self.text.trim_start();
            if !self.text.starts_with('(') {
                return self.text.len() < before;
            }
            self.comment();
        }
    }

    /// Reads a comment and returns what is in it.
    pub(crate) fn comment(&mut self) -> String {
        let mut depth = 0;
        let mut found = String::new();
        let mut chars = self.text.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '(' => depth += 1,
                ')' if depth == 1 => {
                    self.text = &self.text[at + 1..];
                    return found;
                }
                ')' => depth -= 1,
                '\\' => found.extend(chars.next().map(|(_, c)| c)),
                _ => found.push(c),
            }
        }
        self.text = "";
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_folded_lines_and_end_at_the_empty_line() {
        let header = b"Subject: a\r\n b\r\nnot a field\r\nX-Y:\tz\r\n\r\nBody: no\r\n";
        let all: Vec<_> = fields(header).map(|f| (f.name, f.raw, f.unfolded())).collect();
        assert_eq!(
            all,
            [
                ("Subject", &b"Subject: a\r\n b\r\n"[..], "a b".to_owned()),
                ("X-Y", &b"X-Y:\tz\r\n"[..], "z".to_owned()),
            ]
        );
    }

    #[test]
    fn parameters_are_read_with_quotes_comments_and_missing_ends() {
        let (value, parameters) = value_and_parameters(
            "text/plain (a \\) comment); charset=\"us\\\"ascii\" ; name=a b;x; format = flowed",
        );
        assert_eq!(value, "text/plain");
        let expected = [("charset", "us\"ascii"), ("name", "a b"), ("format", "flowed")];
        assert_eq!(parameters, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(value_and_parameters("x; y=\"never ends").1[0].1, "never ends");
        assert_eq!(value_and_parameters("(never ends").0, "");
    }
}
