//! What a look found.

use ekitei_dns::Error;

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `SPF`, `PTR of 192.0.2.1`.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and why it is right or not.
    pub detail: String,
    /// What to publish, as lines of a zone file.
    pub publish: Vec<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Right,
    /// Mail goes without it; with it, better.
    Advice,
    /// Mail suffers from it.
    Wrong,
    /// It cannot be known from here.
    Unknown,
}

impl Finding {
    fn new(name: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict, detail: printable(detail.into()), publish: Vec::new() }
    }

    pub(crate) fn right(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Right, detail)
    }

    pub(crate) fn advice(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Advice, detail)
    }

    pub(crate) fn wrong(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Wrong, detail)
    }

    pub(crate) fn unknown(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Unknown, detail)
    }

    /// A lookup that failed: what DNSSEC refuses is wrong for everybody who validates; what does not answer now tells nothing.
    pub(crate) fn failed(name: impl Into<String>, error: &Error) -> Self {
        match error {
            Error::Bogus => Self::wrong(
                name,
                "its DNSSEC signatures do not verify: whoever validates sees nothing at all",
            ),
            error => Self::unknown(name, error.to_string()),
        }
    }

    /// With what to publish.
    #[must_use]
    pub(crate) fn publish(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.publish.extend(lines.into_iter().map(printable));
        self
    }
}

/// Records and replies of strangers are quoted, and shown on a terminal.
fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "?") } else { text }
}

/// A TXT record as a line of a zone file, in strings of at most 255 octets (RFC 1035 §3.3.14).
pub(crate) fn txt_line(name: &str, text: &str) -> String {
    let octets = text.as_bytes();
    let strings: Vec<String> = octets
        .chunks(255)
        .map(|part| {
            format!("\"{}\"", String::from_utf8_lossy(part).replace('\\', "\\\\").replace('"', "\\\""))
        })
        .collect();
    format!("{name}. IN TXT {}", strings.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_cannot_move_the_cursor() {
        let finding = Finding::wrong("SPF", "v=spf1\u{1b}[2J\r\n").publish(["a\u{9b}b".to_owned()]);
        assert_eq!((finding.detail.as_str(), finding.publish[0].as_str()), ("v=spf1?[2J??", "a?b"));
    }
}
