//! The message as it follows DATA (RFC 5321 §4.5.2): lines that begin with a dot get another one, without copying the message.

use bytes::Bytes;
use memchr::memmem;

/// What ends the message.
const END: &[u8] = b".\r\n";

/// The message in pieces to be written one after the other, ending with `.` on a line of its own. A message that does not end with CRLF gets one. Pieces
/// are parts of those given; nothing is copied. The end is the last piece, alone.
pub fn transparent(message: &[Bytes]) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(message.len() + 1);
    // Behind a bare LF, too: a server that takes it for a line end must not find the end of the message there.
    let finder = memmem::Finder::new(b"\n.");
    // Whether the octet before this piece ends a line.
    let mut at_line_start = true;
    let mut tail = Tail::default();
    for piece in message.iter().filter(|piece| !piece.is_empty()) {
        let mut from = 0;
        if at_line_start && piece[0] == b'.' {
            pieces.push(Bytes::from_static(b"."));
        }
        for lf in finder.find_iter(piece) {
            pieces.push(piece.slice(from..=lf));
            pieces.push(Bytes::from_static(b"."));
            from = lf + 1;
        }
        pieces.push(piece.slice(from..));
        tail.note(piece);
        at_line_start = piece.ends_with(b"\n");
    }
    pieces.push(tail.end());
    pieces
}

/// The octets of a message: what SIZE (RFC 1870 §3) and BDAT (RFC 3030 §2) say.
pub fn size(message: &[Bytes]) -> u64 {
    message.iter().map(|piece| piece.len() as u64).sum()
}

/// The last two octets of a message.
#[derive(Default)]
struct Tail {
    seen: bool,
    last: [u8; 2],
}

impl Tail {
    fn note(&mut self, piece: &[u8]) {
        self.seen = true;
        for &octet in &piece[piece.len().saturating_sub(2)..] {
            self.last = [self.last[1], octet];
        }
    }

    fn end(&self) -> Bytes {
        if !self.seen || self.last == *b"\r\n" {
            Bytes::from_static(END)
        } else {
            Bytes::from_static(b"\r\n.\r\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(message: &[u8], at: usize) -> Vec<Bytes> {
        message.chunks(at.max(1)).map(Bytes::copy_from_slice).collect()
    }

    /// The rule in its plainest form, over whole lines.
    fn reference(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in message.split_inclusive(|&c| c == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line);
        }
        if !out.is_empty() && !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(END);
        out
    }

    #[test]
    fn a_dot_at_the_start_of_a_line_is_doubled() {
        assert_eq!(
            transparent(&[Bytes::from_static(b".a\r\n.\r\nb.\r\n")]).concat(),
            b"..a\r\n..\r\nb.\r\n.\r\n"
        );
        assert_eq!(transparent(&[]).concat(), b".\r\n");
        assert_eq!(transparent(&[Bytes::from_static(b"a")]).concat(), b"a\r\n.\r\n");
    }

    #[test]
    fn a_message_without_such_lines_is_not_cut() {
        let message = Bytes::from_static(b"a\r\nb\r\n");
        let pieces = transparent(std::slice::from_ref(&message));
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0].as_ptr(), message.as_ptr(), "nor copied");
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_octets(
            parts in proptest::collection::vec(proptest::sample::select(vec!["a", ".", "\r\n", "..", "\r\n."]), 0..30),
            at in 1usize..7,
        ) {
            let message = parts.concat().into_bytes();
            prop_assert_eq!(transparent(&cut(&message, at)).concat(), reference(&message));
        }
    }
}
