//! A message on its way to the client: dot-stuffed, cut for TOP, ended by a line with a dot (RFC 1939 §3).

/// Encodes a message that comes in pieces.
#[derive(Debug)]
pub struct Encoder {
    at: At,
    /// Lines of the body that are still to be sent; `None` for all.
    lines_left: Option<u64>,
    /// The last byte that was sent, for telling whether the message ends with a line end.
    last: [u8; 2],
    finished: bool,
}

/// Where in the message the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a line of the header.
    HeaderLine,
    /// Within a line of the header.
    Header,
    /// After a CR at the start of a line of the header: an LF makes it the empty line.
    HeaderEnd,
    /// At the start of a line of the body.
    BodyLine,
    /// Within a line of the body.
    Body,
}

impl Encoder {
    /// For RETR: the whole message.
    pub fn whole() -> Self {
        Self { at: At::HeaderLine, lines_left: None, last: *b"\r\n", finished: false }
    }

    /// For TOP: the header, the empty line and so many lines of the body.
    pub fn top(lines: u64) -> Self {
        Self { lines_left: Some(lines), ..Self::whole() }
    }

    /// Whether nothing more is wanted, since TOP has all its lines.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Appends a piece of the message to `out`.
    ///
    /// A dot is doubled after a bare LF as well: strict clients take the dot away only after CRLF and would show one
    /// too many, but lenient ones, which take LF for a line end, would take `LF . CRLF` for the end of the message.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len());
        let mut rest = piece;
        while !rest.is_empty() && !self.finished {
            let starts_line = matches!(self.at, At::HeaderLine | At::BodyLine);
            if self.at == At::BodyLine && self.lines_left == Some(0) {
                self.finished = true;
                return;
            }
            if starts_line && rest[0] == b'.' {
                out.push(b'.');
            }
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(end);
            out.extend_from_slice(line);
            self.note_last(line);
            self.advance(line);
            rest = after;
        }
    }

    /// Appends the end: a line end if the message has none, and the line with the dot.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.last != *b"\r\n" {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }

    fn note_last(&mut self, line: &[u8]) {
        self.last = match line {
            [.., before, last] => [*before, *last],
            [last] => [self.last[1], *last],
            [] => self.last,
        };
    }

    /// Moves on by the bytes of one line, which may be without its end.
    fn advance(&mut self, line: &[u8]) {
        let complete = line.ends_with(b"\n");
        self.at = match (self.at, line) {
            (At::HeaderLine, b"\r\n" | b"\n") | (At::HeaderEnd, b"\n") => At::BodyLine,
            (At::HeaderLine, b"\r") => At::HeaderEnd,
            (At::HeaderLine | At::Header | At::HeaderEnd, _) if complete => At::HeaderLine,
            (At::HeaderLine | At::Header | At::HeaderEnd, _) => At::Header,
            (At::BodyLine | At::Body, _) if complete => {
                self.lines_left = self.lines_left.map(|left| left.saturating_sub(1));
                At::BodyLine
            }
            (At::BodyLine | At::Body, _) => At::Body,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Encodes `message` in pieces of `size` bytes.
    fn encode(mut encoder: Encoder, message: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in message.chunks(size) {
            encoder.push(piece, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    /// What a client makes of a multi-line response (RFC 1939 §3).
    fn decode(wire: &[u8]) -> Vec<u8> {
        let text = wire.strip_suffix(b".\r\n").unwrap_or_default();
        let mut message = Vec::new();
        let mut starts_line = true;
        for byte in text {
            if !(starts_line && *byte == b'.') {
                message.push(*byte);
            }
            starts_line = message.ends_with(b"\r\n") && *byte == b'\n';
        }
        message
    }

    #[test]
    fn dots_are_doubled_at_the_start_of_lines_only() {
        let message = b"A: .\r\n\r\n.\r\n..x\r\na.b\r\n";
        assert_eq!(encode(Encoder::whole(), message, 100), b"A: .\r\n\r\n..\r\n...x\r\na.b\r\n.\r\n");
        assert_eq!(encode(Encoder::whole(), b"A: b\r\n\r\nno end", 100), b"A: b\r\n\r\nno end\r\n.\r\n");
        assert_eq!(encode(Encoder::whole(), b"", 100), b".\r\n");
        assert_eq!(
            encode(Encoder::whole(), b"x\n.\r\n", 100),
            b"x\n..\r\n.\r\n",
            "no false end for lenient clients"
        );
    }

    #[test]
    fn top_sends_the_header_and_so_many_lines() {
        let message = b"A: b\r\n c\r\nD: e\r\n\r\none\r\n.two\r\nthree";
        for size in 1..message.len() + 1 {
            let top = |lines| encode(Encoder::top(lines), message, size);
            assert_eq!(top(0), b"A: b\r\n c\r\nD: e\r\n\r\n.\r\n");
            assert_eq!(top(2), b"A: b\r\n c\r\nD: e\r\n\r\none\r\n..two\r\n.\r\n");
            assert_eq!(top(99), b"A: b\r\n c\r\nD: e\r\n\r\none\r\n..two\r\nthree\r\n.\r\n");
        }
    }

    #[test]
    fn top_stops_reading_when_it_has_its_lines() {
        let mut encoder = Encoder::top(1);
        encoder.push(b"A: b\r\n\r\none\r\ntwo", &mut Vec::new());
        assert!(encoder.is_finished());
    }

    proptest! {
        #[test]
        fn a_message_comes_back_whatever_the_pieces(
            lines in proptest::collection::vec("[.a-c]{0,4}", 0..20),
            size in 1_usize..9,
        ) {
            let message: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
            let wire = encode(Encoder::whole(), &message, size);
            prop_assert_eq!(decode(&wire), message);
            prop_assert!(!wire[..wire.len() - 3].windows(5).any(|part| part == b"\r\n.\r\n"));
        }

        #[test]
        fn pieces_make_no_difference_and_there_is_no_false_end(
            message in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40),
            size in 1_usize..9,
            lines in 0_u64..5,
        ) {
            for encoder in [Encoder::whole as fn() -> Encoder, || Encoder::top(1)] {
                prop_assert_eq!(encode(encoder(), &message, size), encode(encoder(), &message, 1000));
            }
            let wire = encode(Encoder::top(lines), &message, size);
            let text = wire.strip_suffix(b".\r\n").unwrap_or_default();
            // Also for a client that takes LF alone for a line end.
            let mut lines = text.split(|byte| *byte == b'\n');
            prop_assert!(lines.all(|line| line.strip_suffix(b"\r").unwrap_or(line) != b"."));
        }
    }
}
