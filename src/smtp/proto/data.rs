//! The message that follows DATA (RFC 5321 §4.1.1.4, §4.5.2), over any split of the input.
//!
//! Only CRLF `.` CRLF ends it. A CR or LF that stands alone never ends a line, let alone the message: it is content, which
//! is remembered as a [`Defects::bare_newline`], and the message is refused after its proper end. So nobody who reads the
//! same octets differently can make one message look like two here ("SMTP smuggling").

use memchr::memchr3;

/// What a message must not contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    /// A CR without LF, or an LF without CR (RFC 5321 §2.3.8).
    pub bare_newline: bool,
    /// NUL, which neither RFC 5322 nor IMAP's literals can carry.
    pub nul: bool,
}

/// Looks at the octets of a message as they pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    pub(super) defects: Defects,
    /// Octets since the last CRLF.
    current: usize,
    /// The longest line so far, with its CRLF.
    longest: usize,
    after_cr: bool,
}

impl Lines {
    /// The next octets of the message. Returns where the first CRLF ends, if `until_line_end`, else the whole length.
    pub(super) fn scan(&mut self, octets: &[u8], until_line_end: bool) -> usize {
        let mut at = 0;
        while at < octets.len() {
            if std::mem::take(&mut self.after_cr) {
                if octets[at] == b'\n' {
                    at += 1;
                    self.longest = self.longest.max(self.current + 1);
                    self.current = 0;
                    if until_line_end {
                        return at;
                    }
                    continue;
                }
                self.defects.bare_newline = true;
            }
            let rest = &octets[at..];
            let Some(found) = memchr3(b'\r', b'\n', 0, rest) else {
                self.current += rest.len();
                return octets.len();
            };
            self.current += found + 1;
            at += found + 1;
            match rest[found] {
                b'\r' => self.after_cr = true,
                b'\n' => self.defects.bare_newline = true,
                _ => self.defects.nul = true,
            }
        }
        at
    }

    /// Whether a CRLF was the last thing, or nothing came yet.
    pub(super) fn at_line_start(&self) -> bool {
        self.current == 0
    }

    /// Whether a CR was the last thing.
    pub(super) fn after_cr(&self) -> bool {
        self.after_cr
    }

    /// The longest line so far, with its CRLF.
    pub(super) fn longest(&self) -> usize {
        self.longest.max(self.current)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the text; at the start of a line if [`Lines::at_line_start`].
    Text,
    /// After a dot at the start of a line, which is not content.
    Dot,
    /// After a dot and a CR at the start of a line: the end, if LF follows.
    DotCr,
    Ended,
}

/// Reads the content that follows `354`.
#[derive(Clone, Copy, Debug)]
pub struct DataReader {
    state: State,
    lines: Lines,
    size: u64,
}

impl Default for DataReader {
    fn default() -> Self {
        Self { state: State::Text, lines: Lines::default(), size: 0 }
    }
}

impl DataReader {
    /// Takes the next octets from the client and gives those of the message, without the dots put in for transparency, to
    /// `keep`. Returns how many octets of `input` belong to the message once it has ended.
    pub fn feed(&mut self, input: &[u8], mut keep: impl FnMut(&[u8])) -> Option<usize> {
        let mut at = 0;
        // Octets of input from here on are content that was not kept yet.
        let mut run = 0;
        while at < input.len() && self.state != State::Ended {
            match self.state {
                State::Text if self.lines.at_line_start() && input[at] == b'.' => {
                    self.keep(&input[run..at], &mut keep);
                    at += 1;
                    run = at;
                    self.state = State::Dot;
                }
                State::Text => at += self.lines.scan(&input[at..], true),
                State::Dot if input[at] == b'\r' => {
                    at += 1;
                    run = at;
                    self.state = State::DotCr;
                }
                State::Dot => {
                    self.state = State::Text;
                    at += self.lines.scan(&input[at..], true);
                }
                State::DotCr if input[at] == b'\n' => {
                    at += 1;
                    run = at;
                    self.state = State::Ended;
                }
                State::DotCr => {
                    self.lines.scan(b"\r", true);
                    self.keep(b"\r", &mut keep);
                    self.state = State::Text;
                }
                State::Ended => {}
            }
        }
        if self.state == State::Ended {
            return Some(at);
        }
        self.keep(&input[run..], &mut keep);
        None
    }

    fn keep(&mut self, octets: &[u8], keep: &mut impl FnMut(&[u8])) {
        if !octets.is_empty() {
            self.size += octets.len() as u64;
            keep(octets);
        }
    }

    /// Octets of the message so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is wrong with the message so far.
    pub fn defects(&self) -> Defects {
        self.lines.defects
    }

    /// Octets of the longest line so far, with its CRLF.
    pub fn longest_line(&self) -> usize {
        self.lines.longest()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Found {
        message: Vec<u8>,
        used: Option<usize>,
        defects: Defects,
        longest: usize,
    }

    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Found {
        let (mut reader, mut message, mut before) = (DataReader::default(), Vec::new(), 0);
        for piece in pieces {
            let used = reader.feed(piece, |octets| message.extend_from_slice(octets));
            assert_eq!(reader.size(), message.len() as u64);
            if let Some(used) = used {
                let (defects, longest) = (reader.defects(), reader.longest_line());
                return Found { message, used: Some(before + used), defects, longest };
            }
            before += piece.len();
        }
        Found { message, used: None, defects: reader.defects(), longest: reader.longest_line() }
    }

    fn whole(input: &[u8]) -> Found {
        read(std::iter::once(input))
    }

    /// How a client sends a message of CRLF lines.
    fn stuffed(message: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        for line in message.split_inclusive(|&c| c == b'\n') {
            if line.starts_with(b".") {
                sent.push(b'.');
            }
            sent.extend_from_slice(line);
        }
        sent.extend_from_slice(b".\r\n");
        sent
    }

    /// The rule in its plainest form, over the whole input.
    fn reference(input: &[u8]) -> Option<(Vec<u8>, usize)> {
        let lined = [b"\r\n", input].concat();
        let end = lined.windows(5).position(|window| window == b"\r\n.\r\n")?;
        let mut message = Vec::new();
        let mut at = 0;
        let text = &lined[..end + 2];
        while at < text.len() {
            if text[at..].starts_with(b"\r\n.") {
                message.extend_from_slice(b"\r\n");
                at += 3;
            } else {
                message.push(text[at]);
                at += 1;
            }
        }
        Some((message.split_off(2), end + 3))
    }

    #[test]
    fn a_dot_alone_on_a_line_ends_the_message() {
        let found = whole(b"a\r\n..b\r\n.\r\nQUIT\r\n");
        assert_eq!((found.message.as_slice(), found.used), (&b"a\r\n.b\r\n"[..], Some(11)));
        assert_eq!(found.defects, Defects::default());
        assert_eq!(whole(b".\r\n").used, Some(3), "an empty message");
        assert_eq!(whole(b".a\r\n.\r\n").message, b"a\r\n", "a dot before anything else is dropped");
    }

    #[test]
    fn nothing_else_ends_it() {
        for smuggled in [
            &b"a\n.\nMAIL FROM:<x@y>\r\n"[..],
            b"a\r\n.\nMAIL\r\n",
            b"a\n.\r\nMAIL\r\n",
            b"a\r.\rMAIL\r\n",
            b"a\r\n.\rMAIL\r\n",
            b"a\r.\r\nMAIL\r\n",
            b"a\r\n.\r\r\nMAIL\r\n",
            b"a\r\r\n.\r\r\nMAIL\r\n",
            b"a\r\n\0.\r\nMAIL\r\n",
            b".\nMAIL\r\n",
            b"\n.\r\n",
        ] {
            let found = whole(smuggled);
            assert_eq!(found.used, None, "{:?}", String::from_utf8_lossy(smuggled));
            assert_ne!(found.defects, Defects::default(), "{:?}", String::from_utf8_lossy(smuggled));
            let ended = whole(&[smuggled, b".\r\n"].concat());
            assert_eq!(ended.used, Some(smuggled.len() + 3), "the proper end is still found");
        }
    }

    #[test]
    fn the_longest_line_counts_its_crlf() {
        assert_eq!(whole(b"abc\r\na\r\n.\r\n").longest, 5);
        assert_eq!(whole(b"abcdef").longest, 6);
    }

    fn tricky() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a'), Just(0u8)];
        let piece = prop_oneof![
            4 => Just(b"\r\n".to_vec()),
            2 => Just(b"\r\n.".to_vec()),
            1 => Just(b"\r\n.\r\n".to_vec()),
            4 => proptest::collection::vec(octet, 0..4),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_message(input in tricky(), cut in 1usize..9) {
            let expected = whole(&input);
            prop_assert_eq!(&read(input.chunks(cut)), &expected);
            for at in 0..input.len() {
                let (head, tail) = input.split_at(at);
                prop_assert_eq!(&read([head, tail].into_iter()), &expected);
            }
        }

        #[test]
        fn the_reader_agrees_with_the_rule(input in tricky()) {
            let found = whole(&input);
            match reference(&input) {
                Some((message, used)) => {
                    prop_assert_eq!(found.used, Some(used));
                    let mut rest = message.as_slice();
                    let mut bare = false;
                    while let Some((&octet, after)) = rest.split_first() {
                        rest = after;
                        match octet {
                            b'\r' if rest.first() == Some(&b'\n') => rest = &rest[1..],
                            b'\r' | b'\n' => bare = true,
                            _ => {}
                        }
                    }
                    prop_assert_eq!(found.defects, Defects { bare_newline: bare, nul: message.contains(&0) });
                    prop_assert_eq!(found.message, message);
                }
                None => prop_assert_eq!(found.used, None),
            }
        }

        #[test]
        fn dot_stuffing_is_undone(lines in proptest::collection::vec("[.a-z]{0,5}", 0..10)) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let found = whole(&stuffed(message.as_bytes()));
            prop_assert_eq!(found.message, message.into_bytes());
            prop_assert_eq!(found.defects, Defects::default());
        }
    }
}
