//! Replies (RFC 5321 §4.2) out of a buffer, over any split of the input, in bounded memory.
//!
//! Lines end with CRLF; a bare LF is taken too, since servers send it and nothing can be smuggled to a client that way. What is not text becomes
//! `?`, so that a reply can be logged and put into a notification.

use bytes::BytesMut;
use memchr::memchr;

use super::status::{Phase, Status};

/// The most that one reply may have. A server that sends more is not heard to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Octets, line ends included.
    pub octets: usize,
    /// Lines.
    pub lines: usize,
}

/// Why what the server sent is no reply. Nothing that follows it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// More octets than allowed.
    #[error("the server's reply is too long")]
    TooLong,
    /// More lines than allowed.
    #[error("the server's reply has too many lines")]
    TooManyLines,
    /// A line that does not begin with a reply code.
    #[error("the server sent something that is no reply")]
    NotAReply,
    /// The lines of one reply contradict each other: codes of different classes.
    #[error("the lines of the server's reply contradict each other")]
    Inconsistent,
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// The text of the lines, without the reply codes, separated by `\n`.
    text: String,
}

impl Reply {
    /// A reply in memory: the lines of `text` are separated by `\n`.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The reply code, 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text of each line, with an enhanced status code if there is one.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// 2xx
    pub fn is_positive(&self) -> bool {
        self.code < 300
    }

    /// 3xx: it waits for more.
    pub fn is_intermediate(&self) -> bool {
        (300..400).contains(&self.code)
    }

    /// 4xx
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5xx
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The enhanced status code (RFC 2034), if there is one and its class is that of the reply code.
    pub fn enhanced(&self) -> Option<Status> {
        let (status, _) =
            Status::parse(&self.text[..memchr(b'\n', self.text.as_bytes()).unwrap_or(self.text.len())])?;
        (u16::from(status.0) == self.code / 100).then_some(status)
    }

    /// The enhanced status code, or what the reply code means as an answer in `phase`.
    pub fn status(&self, phase: Phase) -> Status {
        self.enhanced().unwrap_or_else(|| Status::of_code(self.code, phase))
    }

    /// The text as one line without codes, of at most `max` octets.
    pub fn summary(&self, max: usize) -> String {
        let mut summary = String::new();
        for line in self.lines() {
            let text = Status::parse(line).map_or(line, |(_, rest)| rest).trim();
            if !summary.is_empty() && !text.is_empty() {
                summary.push(' ');
            }
            summary.push_str(text);
        }
        truncate(&mut summary, max);
        summary
    }
}

/// Cuts to at most `max` octets, between characters.
pub fn truncate(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

/// Finds replies in a buffer that grows.
#[derive(Debug)]
pub struct ReplyReader {
    limits: ReplyLimits,
    /// Octets at the front of the buffer that hold no LF.
    scanned: usize,
    /// Octets and lines of the reply that were taken from the buffer.
    octets: usize,
    lines: usize,
    /// The code of its lines so far.
    code: u16,
    text: String,
}

impl ReplyReader {
    /// A reader that takes no more than this for one reply.
    pub fn new(limits: ReplyLimits) -> Self {
        Self { limits, scanned: 0, octets: 0, lines: 0, code: 0, text: String::new() }
    }

    /// Takes the next reply from the front of `buffer`; `None` when it is not there yet.
    ///
    /// # Errors
    /// [`ReplyError`], after which the connection is of no use.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        loop {
            let Some(lf) = memchr(b'\n', &buffer[self.scanned..]).map(|at| self.scanned + at) else {
                self.scanned = buffer.len();
                let is_over = self.octets + buffer.len() >= self.limits.octets;
                return if is_over { Err(ReplyError::TooLong) } else { Ok(None) };
            };
            self.scanned = 0;
            let line = buffer.split_to(lf + 1);
            self.octets += line.len();
            self.lines += 1;
            if self.octets > self.limits.octets {
                return Err(ReplyError::TooLong);
            }
            if self.lines > self.limits.lines {
                return Err(ReplyError::TooManyLines);
            }
            if self.take_line(&line[..lf])? {
                (self.octets, self.lines) = (0, 0);
                return Ok(Some(Reply { code: self.code, text: std::mem::take(&mut self.text) }));
            }
        }
    }

    /// Takes a line without its LF; `true` when it is the last of the reply.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (digits, rest) = line.split_at_checked(3).ok_or(ReplyError::NotAReply)?;
        if !digits.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&digits[0]) {
            return Err(ReplyError::NotAReply);
        }
        let (is_last, text) = match rest.split_first() {
            // "250" alone is a last line too (RFC 5321 §4.2.1).
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::NotAReply),
        };
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        if self.lines > 1 {
            if code / 100 != self.code / 100 {
                return Err(ReplyError::Inconsistent);
            }
            self.text.push('\n');
        }
        self.code = code;
        let text = String::from_utf8_lossy(text);
        self.text.extend(text.chars().map(|c| if c.is_control() || c == '\u{fffd}' { '?' } else { c }));
        Ok(is_last)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const LIMITS: ReplyLimits = ReplyLimits { octets: 60, lines: 4 };

    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<ReplyError>) {
        let (mut reader, mut buffer, mut found) = (ReplyReader::new(LIMITS), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match reader.next(&mut buffer) {
                    Ok(Some(reply)) => found.push(reply),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
            assert!(buffer.len() <= LIMITS.octets, "what is kept is bounded");
        }
        (found, None)
    }

    fn whole(input: &[u8]) -> (Vec<Reply>, Option<ReplyError>) {
        read(std::iter::once(input))
    }

    fn one(input: &[u8]) -> Reply {
        let (mut replies, error) = whole(input);
        assert_eq!((replies.len(), error), (1, None));
        replies.remove(0)
    }

    fn error(input: &[u8]) -> ReplyError {
        whole(input).1.unwrap()
    }

    #[test]
    fn replies_have_one_line_or_many() {
        let reply = one(b"250-2.1.0 a\r\n250-2.1.0 b\r\n250 2.1.0 c\r\n");
        assert_eq!(reply.lines().collect::<Vec<_>>(), ["2.1.0 a", "2.1.0 b", "2.1.0 c"]);
        assert_eq!(
            (reply.code(), reply.enhanced(), reply.summary(99)),
            (250, Some(Status(2, 1, 0)), "a b c".into())
        );
        let (replies, _) = whole(b"250\r\n354 go on\n550 \r\n");
        assert_eq!(replies.iter().map(Reply::code).collect::<Vec<_>>(), [250, 354, 550]);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bad in [
            &b"\r\n"[..],
            b"25\r\n",
            b"hello\r\n",
            b"250x\r\n",
            b"150 a\r\n",
            b"600 a\r\n",
            b"2\x000 a\r\n",
            b"HTTP/1.1 400\r\n",
        ] {
            assert_eq!(error(bad), ReplyError::NotAReply, "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(error(b"250-a\r\n550 b\r\n"), ReplyError::Inconsistent);
    }

    #[test]
    fn an_endless_reply_is_cut_off() {
        assert_eq!(error(&b"250-a\r\n".repeat(5)), ReplyError::TooManyLines);
        assert_eq!(error(&[b"250 ", [b'x'; 70].as_slice()].concat()), ReplyError::TooLong, "an endless line");
        assert_eq!(
            error(&[b"250-", [b'x'; 40].as_slice(), b"\r\n250-", [b'x'; 40].as_slice()].concat()),
            ReplyError::TooLong
        );
    }

    #[test]
    fn the_text_is_fit_to_be_shown() {
        assert_eq!(one(b"550 a\0b\x1b[1m\xff\rc\r\n").summary(99), "a?b?[1m??c");
        assert_eq!(one("550 5.1.1 é\r\n".as_bytes()).summary(1), "");
    }

    #[test]
    fn an_enhanced_code_counts_if_it_agrees_with_the_reply_code() {
        assert_eq!(one(b"550 4.1.1 x\r\n").status(Phase::Rcpt), Status(5, 1, 0));
        assert_eq!(one(b"550 5.7.1 x\r\n").status(Phase::Rcpt), Status(5, 7, 1));
        assert_eq!(one(b"450 greylisted\r\n").status(Phase::Rcpt), Status(4, 2, 0));
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_replies(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec!["250", "550", "-", " ", "\r\n", "\n", "\r", "x", "5.1.1 ", "é", "\0"]),
                0..40,
            ),
            cut in 1usize..9,
        ) {
            let input = pieces.concat().into_bytes();
            let expected = whole(&input);
            prop_assert_eq!(&read(input.chunks(cut)), &expected);
            prop_assert_eq!(&read(input.chunks(1)), &expected);
        }

        #[test]
        fn what_a_server_writes_is_read(code in 200u16..600, lines in proptest::collection::vec("[ -~]{0,9}", 1..4)) {
            let mut wire = String::new();
            for (at, line) in lines.iter().enumerate() {
                wire.push_str(&format!("{code}{}{line}\r\n", if at + 1 == lines.len() { ' ' } else { '-' }));
            }
            let reply = one(wire.as_bytes());
            prop_assert_eq!(reply.code(), code);
            prop_assert_eq!(reply.lines().collect::<Vec<_>>(), lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
