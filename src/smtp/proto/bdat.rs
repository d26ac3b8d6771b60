//! The chunks that follow BDAT (RFC 3030): counted octets, without dots to undo.

use super::data::{Defects, Lines};

/// Looks at the chunks of one message as they pass, over any split.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkReader {
    lines: Lines,
    size: u64,
}

impl ChunkReader {
    /// The next octets of the message.
    pub fn feed(&mut self, octets: &[u8]) {
        self.size += octets.len() as u64;
        self.lines.scan(octets, false);
    }

    /// Octets of the message so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is wrong with the message, if it ends here. For BODY=BINARYMIME a bare CR or LF, and NUL, are only wrong outside
    /// of binary parts.
    pub fn defects(&self) -> Defects {
        let defects = self.lines.defects;
        Defects { bare_newline: defects.bare_newline || self.lines.after_cr(), ..defects }
    }

    /// Octets of the longest line so far, with its CRLF.
    pub fn longest_line(&self) -> usize {
        self.lines.longest()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Defects, usize, u64) {
        let mut reader = ChunkReader::default();
        pieces.for_each(|piece| reader.feed(piece));
        (reader.defects(), reader.longest_line(), reader.size())
    }

    #[test]
    fn bare_newlines_and_nul_are_seen() {
        let defects = |input: &[u8]| read(std::iter::once(input)).0;
        assert_eq!(defects(b"a\r\n.\r\nb"), Defects::default(), "a dot means nothing here");
        assert!(
            defects(b"a\n").bare_newline && defects(b"a\rb").bare_newline && defects(b"a\r").bare_newline
        );
        assert!(defects(b"a\0").nul);
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_result(
            input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(0u8), Just(b'a')], 0..60),
            cut in 1usize..7,
        ) {
            prop_assert_eq!(read(input.chunks(cut)), read(std::iter::once(input.as_slice())));
        }
    }
}
