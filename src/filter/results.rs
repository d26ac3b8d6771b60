//! Authentication-Results (RFC 8601): written for readers behind us, read where sealers wrote it, and removed where somebody else wrote it in
//! our name.

use std::fmt::Write as _;

/// The value of the field, as it grows.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    authserv_id: String,
    methods: Vec<String>,
}

impl Results {
    pub(crate) fn new(authserv_id: &str) -> Self {
        Self { authserv_id: authserv_id.to_owned(), methods: Vec::new() }
    }

    /// Adds the result of a method. Properties without a value are left out.
    pub(crate) fn add(&mut self, method: &str, result: &str, comment: &str, properties: &[(&str, &str)]) {
        let mut text = format!("{method}={result}");
        if !comment.is_empty() {
            let _ = write!(text, " ({})", comment_text(comment));
        }
        for (name, value) in properties.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(text, " {name}={}", pvalue(value));
        }
        self.methods.push(text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// The value: each method on a line of its own.
    pub(crate) fn value(&self) -> String {
        let mut value = self.authserv_id.clone();
        for method in &self.methods {
            let _ = write!(value, ";\r\n\t{method}");
        }
        if self.methods.is_empty() {
            value.push_str("; none");
        }
        value
    }

    /// The field with its CRLF.
    pub(crate) fn field(&self) -> String {
        format!("Authentication-Results: {}\r\n", self.value())
    }
}

/// The longest value that is written; addresses and names are far shorter.
const MAX_VALUE: usize = 320;

/// A value: as it is if it is a token or an address, else quoted (RFC 8601 §2.2). Control characters are dropped.
fn pvalue(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`{|}~@".contains(c) || !c.is_ascii();
    let value: String = value.chars().filter(|c| !c.is_control()).take(MAX_VALUE).collect();
    if !value.is_empty() && value.chars().all(plain) {
        return value;
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn comment_text(comment: &str) -> String {
    comment.chars().filter(|c| matches!(c, ' '..='~') && !"()\\".contains(*c)).take(MAX_VALUE).collect()
}

/// One method in a field that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    /// In lower case, without a version.
    pub(crate) method: String,
    /// In lower case.
    pub(crate) result: String,
    properties: Vec<(String, String)>,
}

impl Reported {
    /// The value of a property such as `header.from`.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the value of a field: authserv-id, then methods. `None` if it makes no sense.
pub(crate) fn reported(value: &str) -> Option<Vec<Reported>> {
    let mut parts = words(value)?.into_iter();
    parts.next()?;
    let mut methods = Vec::new();
    for part in parts {
        let mut words = part.into_iter();
        let Some((method, result)) = words.next().and_then(|word| pair(&word)) else { continue };
        let method = method.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let properties = words
            .filter_map(|word| pair(&word).map(|(name, value)| (name.to_ascii_lowercase(), value)))
            .collect();
        methods.push(Reported { method, result: result.to_ascii_lowercase(), properties });
    }
    Some(methods)
}

fn pair(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// The words of a value, by the parts between its semicolons. Comments are left out, quotes are taken off, and blanks around `=` do not
/// count. `None` if a quote or comment does not end.
fn words(value: &str) -> Option<Vec<Vec<String>>> {
    let mut parts = vec![Vec::new()];
    let mut word = String::new();
    let mut glue = false;
    let mut pending = false;
    let mut chars = value.chars();
    let finish = |word: &mut String, parts: &mut Vec<Vec<String>>| {
        if !word.is_empty()
            && let Some(part) = parts.last_mut()
        {
            part.push(std::mem::take(word));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '(' => {
                skip_comment(&mut chars)?;
                pending = true;
            }
            c if c.is_ascii_whitespace() => pending = true,
            ';' => {
                finish(&mut word, &mut parts);
                parts.push(Vec::new());
                (glue, pending) = (false, false);
            }
            '=' => {
                word.push('=');
                (glue, pending) = (true, false);
            }
            c => {
                if pending && !glue {
                    finish(&mut word, &mut parts);
                }
                (glue, pending) = (false, false);
                if c == '"' { quoted(&mut chars, &mut word)? } else { word.push(c) }
            }
        }
    }
    finish(&mut word, &mut parts);
    Some(parts)
}

/// Skips the rest of a comment, with those inside it.
pub(crate) fn skip_comment(chars: &mut std::str::Chars<'_>) -> Option<()> {
    let mut depth = 1;
    while depth > 0 {
        match chars.next()? {
            '\\' => drop(chars.next()?),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    Some(())
}

/// Takes the rest of a quoted string.
pub(crate) fn quoted(chars: &mut std::str::Chars<'_>, into: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => into.push(chars.next()?),
            '\r' | '\n' => {}
            c => into.push(c),
        }
    }
}

/// Whether a field claims to be ours, or is so malformed that a reader may take it for ours.
fn claims(value: &str, authserv_id: &str) -> bool {
    let Some(parts) = words(value) else { return true };
    let Some(id) = parts.first().and_then(|part| part.first()) else { return true };
    // A version may stand behind the id, with or without a blank.
    let id = id.split('/').next().unwrap_or_default().trim_end_matches('.');
    id.is_empty() || crate::auth::a_labels(&id.to_lowercase()).eq_ignore_ascii_case(authserv_id)
}

/// The message without the fields that only we may write: Authentication-Results with our id, and [`NOTES`]. `None` if there are none.
pub(crate) fn without_forged(message: &[u8], authserv_id: &str) -> Option<Vec<u8>> {
    let forged: Vec<std::ops::Range<usize>> = fields(message)
        .filter(|field| {
            let name = field.name(message);
            name.eq_ignore_ascii_case(NOTES.as_bytes())
                || name.eq_ignore_ascii_case(b"Authentication-Results")
                    && claims(&String::from_utf8_lossy(field.value(message)), authserv_id)
        })
        .map(|field| field.whole)
        .collect();
    if forged.is_empty() {
        return None;
    }
    tracing::info!(fields = forged.len(), "fields in our name were removed");
    let mut kept = Vec::with_capacity(message.len());
    let mut from = 0;
    for range in forged {
        kept.extend_from_slice(&message[from..range.start]);
        from = range.end;
    }
    kept.extend_from_slice(&message[from..]);
    Some(kept)
}

/// The field that says what was noted about a message.
pub(crate) const NOTES: &str = "X-Ekitei-Filter";

/// Where a field is in a message.
struct Field {
    whole: std::ops::Range<usize>,
    colon: usize,
}

impl Field {
    fn name<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        message[self.whole.start..self.colon].trim_ascii()
    }

    fn value<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        &message[self.colon + 1..self.whole.end]
    }
}

/// The fields of a header. Lines that are none are skipped.
fn fields(message: &[u8]) -> impl Iterator<Item = Field> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at;
            let rest = &message[start..];
            if rest.is_empty() || rest.starts_with(b"\r\n") || rest.starts_with(b"\n") {
                return None;
            }
            loop {
                at += line_length(&message[at..]);
                if !matches!(message.get(at), Some(b' ' | b'\t')) {
                    break;
                }
            }
            // Readers take a name that is folded before its colon for a name.
            if let Some(colon) = message[start..at].iter().position(|octet| *octet == b':') {
                return Some(Field { whole: start..at, colon: start + colon });
            }
        }
    })
}

/// Octets up to and with the next LF, or to the end.
fn line_length(octets: &[u8]) -> usize {
    octets.iter().position(|octet| *octet == b'\n').map_or(octets.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut results = Results::new("mx.here.test");
        results.add("spf", "pass", "", &[("smtp.mailfrom", "a@b.test"), ("smtp.helo", "")]);
        results.add("dkim", "fail", "why (not)", &[("header.d", "b.test"), ("header.b", "a/b+c=")]);
        assert_eq!(
            results.field(),
            "Authentication-Results: mx.here.test;\r\n\tspf=pass smtp.mailfrom=a@b.test;\r\n\t\
             dkim=fail (why not) header.d=b.test header.b=\"a/b+c=\"\r\n"
        );
        let methods = reported(&results.value()).unwrap();
        assert_eq!(methods[0].property("smtp.mailfrom"), Some("a@b.test"));
        assert_eq!((methods[1].method.as_str(), methods[1].property("header.b")), ("dkim", Some("a/b+c=")));
        assert_eq!(Results::new("here").field(), "Authentication-Results: here; none\r\n");
    }

    #[test]
    fn a_value_from_outside_cannot_leave_its_place() {
        let mut results = Results::new("here.test");
        results.add("spf", "none", "x) dmarc=pass (", &[("smtp.mailfrom", "\"a; dmarc=pass\"@b\r\nX: y")]);
        let methods = reported(&results.value()).unwrap();
        assert_eq!(methods.len(), 1);
        assert!(!results.field().contains("\r\nX"));
    }

    #[test]
    fn the_examples_of_rfc_8601_can_be_read() {
        let methods = reported(
            "example.com 1; auth=pass (cram-md5)\r\n smtp.auth=sender@example.com; spf = pass smtp.mailfrom = x",
        )
        .unwrap();
        assert_eq!(methods[0].property("smtp.auth"), Some("sender@example.com"));
        assert_eq!((methods[1].method.as_str(), methods[1].result.as_str()), ("spf", "pass"));
        let versioned = reported("a.test; dkim/1 = PASS (x (y) \\) z) header.d=\"b.test\"").unwrap();
        assert_eq!((versioned[0].method.as_str(), versioned[0].result.as_str()), ("dkim", "pass"));
        assert_eq!(versioned[0].property("header.d"), Some("b.test"));
    }

    #[test]
    fn fields_in_our_name_are_removed_however_they_are_written() {
        for forged in [
            "Authentication-Results: mx.here.test; dmarc=pass\r\n",
            "authentication-RESULTS : MX.Here.Test; dmarc=pass\r\n",
            "Authentication-Results:\r\n\tmx.here.test\r\n ; dmarc=pass\r\n",
            "Authentication-Results\r\n : mx.here.test; dmarc=pass\r\n",
            "Authentication-Results: \"mx.here.test\"; dmarc=pass\r\n",
            "Authentication-Results: \"mx.\\here.test\"; dmarc=pass\r\n",
            "Authentication-Results: (a (comment)) mx.here.test 1; dmarc=pass\r\n",
            "Authentication-Results: mx.here.test/1; dmarc=pass\r\n",
            "Authentication-Results: mx.here.test.; dmarc=pass\r\n",
            "Authentication-Results: ; dmarc=pass\r\n",
            "Authentication-Results: \"mx.here.test; dmarc=pass\r\n",
            "Authentication-Results: (mx.here.test; dmarc=pass\r\n",
            "X-Ekitei-Filter: fine\r\n",
        ] {
            let message = format!("Subject: a\r\n{forged}To: b\r\n\r\n{forged}");
            let kept = without_forged(message.as_bytes(), "mx.here.test");
            let kept = String::from_utf8(kept.unwrap_or_else(|| panic!("{forged}"))).unwrap();
            assert_eq!(kept, format!("Subject: a\r\nTo: b\r\n\r\n{forged}"));
        }
    }

    #[test]
    fn fields_of_others_stay() {
        for field in [
            "Authentication-Results: mx.there.test; dmarc=pass\r\n",
            "Authentication-Results: a.mx.here.test; spf=pass (mx.here.test)\r\n",
            "ARC-Authentication-Results: i=1; mx.here.test; dmarc=pass\r\n",
            "no field at all\r\n",
        ] {
            assert_eq!(without_forged(format!("{field}\r\nx").as_bytes(), "mx.here.test"), None, "{field}");
        }
        assert_eq!(without_forged(b"", "mx.here.test"), None);
        assert_eq!(without_forged(b"\r\nAuthentication-Results: mx.here.test; x\r\n", "mx.here.test"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_field_is_too_strange(value in "[ -~\\r\\n\\t\\PC]{0,80}", id in "[a-z.]{1,12}") {
            let _ = reported(&value);
            let message = format!("Authentication-Results: {id}{value}\r\nSubject: x\r\n\r\n{value}");
            if let Some(kept) = without_forged(message.as_bytes(), &id) {
                let kept = String::from_utf8(kept).unwrap();
                proptest::prop_assert!(kept.ends_with(&value) && kept.len() < message.len());
                proptest::prop_assert_eq!(without_forged(kept.as_bytes(), &id), None);
            }
        }

        #[test]
        fn what_is_written_of_any_value_is_read_back(value in "\\PC{0,60}") {
            let mut results = Results::new("here.test");
            results.add("spf", "pass", &value, &[("smtp.mailfrom", &value)]);
            let methods = reported(&results.value()).unwrap();
            proptest::prop_assert_eq!(methods.len(), 1);
            let written: String = value.chars().filter(|c| !c.is_control()).collect();
            proptest::prop_assert_eq!(methods[0].property("smtp.mailfrom").unwrap_or_default(), written);
        }
    }
}
