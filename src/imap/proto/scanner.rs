//! Where lines end, and which of them announce a literal: the one rule by which commands are cut from the
//! stream of octets, used alike for those that are read and those that are skipped.

/// Looks for line ends in octets given piece by piece; keeps no octets.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    announce: Announce,
    /// The last octet was a CR.
    cr: bool,
}

/// How much of `{n}` or `{n+}` the last octets of the line are.
#[derive(Debug, Default, Clone, Copy)]
enum Announce {
    #[default]
    None,
    Open,
    Digits(u64),
    Plus(u64),
    Closed {
        size: u64,
        synchronizing: bool,
    },
}

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// CRLF.
    Plain,
    /// `{n}` or `{n+}` and CRLF: `size` octets follow, which belong to the command, at once or when asked
    /// for. As RFC 7888 §3 demands, every line is looked at, quoted or not. Sizes beyond u64 are its maximum.
    Literal { size: u64, synchronizing: bool },
    /// No end, but a CR or LF of its own. `after_announcement` if it stands where the CRLF of a
    /// non-synchronizing literal should be: it is unknowable whether octets of a literal follow.
    Bare { after_announcement: bool },
}

impl Scanner {
    /// Looks at `octets` up to the first line end: how many octets have been looked at, and the end found.
    pub(super) fn scan(&mut self, octets: &[u8]) -> (usize, Option<LineEnd>) {
        for (i, &byte) in octets.iter().enumerate() {
            let end = match byte {
                b'\n' if self.cr => self.line_end(),
                b'\n' => self.bare(),
                _ if self.cr => {
                    let end = self.bare();
                    *self = Scanner::default();
                    // The octet after a bare CR has not been looked at yet: it may be a CR itself.
                    return (i, Some(end));
                }
                b'\r' => {
                    self.cr = true;
                    continue;
                }
                _ => {
                    self.announce = self.announce.then(byte);
                    continue;
                }
            };
            *self = Scanner::default();
            return (i + 1, Some(end));
        }
        (octets.len(), None)
    }

    fn line_end(&self) -> LineEnd {
        match self.announce {
            Announce::Closed { size, synchronizing } => LineEnd::Literal { size, synchronizing },
            _ => LineEnd::Plain,
        }
    }

    fn bare(&self) -> LineEnd {
        let after_announcement = matches!(self.announce, Announce::Closed { synchronizing: false, .. });
        LineEnd::Bare { after_announcement }
    }
}

impl Announce {
    fn then(self, byte: u8) -> Announce {
        match (self, byte) {
            (_, b'{') => Announce::Open,
            (Announce::Open, b'0'..=b'9') => Announce::Digits(u64::from(byte - b'0')),
            (Announce::Digits(size), b'0'..=b'9') => {
                Announce::Digits(size.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (Announce::Digits(size), b'+') => Announce::Plus(size),
            (Announce::Digits(size), b'}') => Announce::Closed { size, synchronizing: true },
            (Announce::Plus(size), b'}') => Announce::Closed { size, synchronizing: false },
            _ => Announce::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(octets: &[u8]) -> (usize, Option<LineEnd>) {
        Scanner::default().scan(octets)
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(scan(b"a NOOP\r\nb"), (8, Some(LineEnd::Plain)));
        assert_eq!(scan(b"a NOOP"), (6, None));
        assert_eq!(scan(b"a NOOP\nb"), (7, Some(LineEnd::Bare { after_announcement: false })));
        assert_eq!(scan(b"a NOOP\rb"), (7, Some(LineEnd::Bare { after_announcement: false })));
        assert_eq!(scan(b"a\r\r\n"), (2, Some(LineEnd::Bare { after_announcement: false })));
        assert_eq!(scan(b"a {5+}\nb"), (7, Some(LineEnd::Bare { after_announcement: true })));
    }

    #[test]
    fn only_a_count_in_braces_right_before_the_line_end_announces_a_literal() {
        let literal = |size, synchronizing| Some(LineEnd::Literal { size, synchronizing });
        assert_eq!(scan(b"a LOGIN {11}\r\n").1, literal(11, true));
        assert_eq!(scan(b"a LOGIN {0011+}\r\n").1, literal(11, false));
        assert_eq!(scan(b"{{5}\r\n").1, literal(5, true));
        assert_eq!(scan(b"{99999999999999999999999+}\r\n").1, literal(u64::MAX, false));
        for line in ["{5} \r\n", "{5-}\r\n", "{}\r\n", "{+}\r\n", "{5++}\r\n", "5}\r\n", "{5\r\n", "{5 }\r\n"]
        {
            assert_eq!(scan(line.as_bytes()).1, Some(LineEnd::Plain), "{line:?}");
        }
    }

    #[test]
    fn the_pieces_do_not_matter() {
        for line in ["a LOGIN {123+}\r\n", "a NOOP\r\n", "a {1}\n", "a\rb"] {
            let whole = scan(line.as_bytes());
            for cut in 0..line.len() {
                let mut scanner = Scanner::default();
                let (first, end) = scanner.scan(&line.as_bytes()[..cut]);
                let pieces = match end {
                    Some(end) => (first, Some(end)),
                    None => {
                        let (second, end) = scanner.scan(&line.as_bytes()[cut..]);
                        (first + second, end)
                    }
                };
                assert_eq!(pieces, whole, "{line:?} cut at {cut}");
            }
        }
    }
}
