//! Command lines out of a buffer, over any split of the input, in bounded memory.
//!
//! A line ends with CRLF and with nothing else (RFC 5321 §2.3.8). A bare LF cannot be told from the end of a line by whoever
//! forwards what somebody else wrote, so it is an error of its own, after which the connection ends.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Longest line of any command but AUTH, with its CRLF: 512 octets (RFC 5321 §4.5.3.1.4), and what the extensions add
/// for the parameters of MAIL (SIZE 26, BODY 17, AUTH 500, SMTPUTF8 10, RET and ENVID 116, REQUIRETLS 11) or RCPT (ORCPT and
/// NOTIFY 529), rounded up.
pub const COMMAND_OCTETS: usize = 2048;

/// Why there is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It was longer than allowed, and was skipped to its end.
    TooLong,
    /// It ended with a bare LF.
    BareLf,
}

/// Finds lines in a buffer that grows. Remembers how far it has looked.
#[derive(Debug, Default)]
pub struct LineReader {
    /// Octets at the front of the buffer that hold no LF.
    scanned: usize,
    /// The line began with more than was allowed: skipping to its end.
    overlong: bool,
}

impl LineReader {
    /// Takes a line without its CRLF from the front of `buffer`; `None` when it is not there yet. What `limit` says of the line
    /// so far is the most octets that it may have with its CRLF.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        limit: impl Fn(&[u8]) -> usize,
    ) -> Option<Result<Bytes, LineError>> {
        let found = memchr(b'\n', &buffer[self.scanned..]).map(|at| self.scanned + at);
        let Some(lf) = found else {
            self.scanned = buffer.len();
            if self.overlong || buffer.len() >= limit(buffer) {
                self.overlong = true;
                self.scanned = 0;
                // The last octet may be the CR of the CRLF.
                buffer.advance(buffer.len().saturating_sub(1));
            }
            return None;
        };
        self.scanned = 0;
        let line = buffer.split_to(lf + 1).freeze();
        let Some(line_end) = lf.checked_sub(1).filter(|&at| line[at] == b'\r') else {
            self.overlong = false;
            return Some(Err(LineError::BareLf));
        };
        if std::mem::take(&mut self.overlong) || line.len() > limit(&line) {
            return Some(Err(LineError::TooLong));
        }
        Some(Ok(line.slice(..line_end)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]], limit: usize) -> Vec<Result<Vec<u8>, LineError>> {
        let (mut reader, mut buffer, mut found) = (LineReader::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(line) = reader.next(&mut buffer, |_| limit) {
                found.push(line.map(|line| line.to_vec()));
            }
            assert!(buffer.len() < limit.max(2), "what is kept is bounded");
        }
        found
    }

    #[test]
    fn lines_end_with_crlf() {
        assert_eq!(lines(&[b"a\r\nb\r\n\r\nc"], 10), [Ok(b"a".to_vec()), Ok(b"b".to_vec()), Ok(vec![])]);
        assert_eq!(lines(&[b"a\nb\r\n"], 10), [Err(LineError::BareLf), Ok(b"b".to_vec())]);
        assert_eq!(lines(&[b"\n"], 10), [Err(LineError::BareLf)]);
    }

    #[test]
    fn an_overlong_line_is_skipped_and_the_next_one_is_read() {
        assert_eq!(lines(&[b"12345678\r\n"], 10), [Ok(b"12345678".to_vec())]);
        assert_eq!(lines(&[b"123456789\r\nb\r\n"], 10), [Err(LineError::TooLong), Ok(b"b".to_vec())]);
        let long = vec![b'x'; 1000];
        assert_eq!(
            lines(&[&long, &long, b"\r", b"\nb\r\n"], 10),
            [Err(LineError::TooLong), Ok(b"b".to_vec())]
        );
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_lines(
            input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cut in 1usize..7,
        ) {
            let whole: Vec<&[u8]> = input.chunks(1).collect();
            let pieces: Vec<&[u8]> = input.chunks(cut).collect();
            prop_assert_eq!(lines(&whole, 8), lines(&pieces, 8));
        }
    }
}
