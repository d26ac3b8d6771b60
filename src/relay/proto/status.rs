//! Enhanced status codes (RFC 3463, RFC 5248), and what stands in for them where a server sends none.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status(pub u8, pub u16, pub u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection: the greeting.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or a chunk that is not the last.
    Data,
    /// The end of the message.
    End,
}

impl Status {
    /// Reads a status code from the front of a reply's line: three numbers of at most three digits, then a space or the end. Returns what follows it.
    pub fn parse(line: &str) -> Option<(Self, &str)> {
        let end = line.find([' ', '\t']).unwrap_or(line.len());
        let (code, rest) = line.split_at(end);
        let mut numbers = code.splitn(3, '.');
        let class = number(numbers.next()?)?;
        let (subject, detail) = (number(numbers.next()?)?, number(numbers.next()?)?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        Some((Self(class, subject, detail), rest.trim_start()))
    }

    /// What a reply code means where no enhanced code came with it, or one of another class.
    pub fn of_code(code: u16, phase: Phase) -> Self {
        use Phase::{Auth, Data, End, Mail, Rcpt};
        let class = match code / 100 {
            2 | 3 => 2,
            4 => 4,
            _ => 5,
        };
        let (subject, detail) = match (code, phase) {
            (421, _) => (3, 2),
            (450, Rcpt) => (2, 0),
            (450, Mail) => (1, 0),
            (451, _) => (3, 0),
            (452, Rcpt) => (5, 3),
            (452, _) => (3, 1),
            (_, Auth) => (7, 8),
            (454 | 530 | 538, _) => (7, 0),
            (500, _) => (5, 2),
            (502 | 503, _) => (5, 1),
            (455 | 501 | 504 | 555, _) => (5, 4),
            (521, _) => (3, 2),
            (550 | 554, Mail | Rcpt) => (1, 0),
            (551, Rcpt) => (1, 6),
            (552, Rcpt) => (2, 2),
            (552, Mail | Data | End) => (3, 4),
            (553, Rcpt) => (1, 3),
            (553, Mail) => (1, 7),
            (556, _) => (1, 10),
            _ => (0, 0),
        };
        Self(class, subject, detail)
    }

    /// Whether it is about the server or the way to it, so that another server may do better: mail system (x.3.z, but for what is about the message) or
    /// network (x.4.z).
    pub fn is_of_host(self) -> bool {
        matches!((self.1, self.2), (3, 0 | 1 | 2 | 5) | (4, _))
    }
}

fn number(digits: &str) -> Option<u16> {
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_numbers_and_nothing_else() {
        assert_eq!(Status::parse("5.1.1 No such user"), Some((Status(5, 1, 1), "No such user")));
        assert_eq!(Status::parse("4.7.500"), Some((Status(4, 7, 500), "")));
        for not in [
            "", "5.1", "5.1.", "5.1.1.1", "3.1.1 x", "5.1.1x", "5.1.1000", "55.1.1", "5.+1.1", "5. 1.1",
            "a.b.c",
        ] {
            assert_eq!(Status::parse(not), None, "{not:?}");
        }
    }

    #[test]
    fn the_reply_code_stands_in_by_what_it_answers() {
        assert_eq!(Status::of_code(450, Phase::Rcpt), Status(4, 2, 0));
        assert_eq!(Status::of_code(552, Phase::Rcpt), Status(5, 2, 2));
        assert_eq!(Status::of_code(552, Phase::End), Status(5, 3, 4));
        assert_eq!(Status::of_code(535, Phase::Auth), Status(5, 7, 8));
        assert_eq!(Status::of_code(599, Phase::End), Status(5, 0, 0));
        for code in 200..600 {
            let class = u16::from(Status::of_code(code, Phase::Mail).0);
            assert!(class == code / 100 || (class == 2 && code / 100 == 3), "{code}");
        }
    }
}
