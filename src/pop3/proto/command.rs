//! One command line.

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// RFC 2449 §5.
    Capa,
    /// RFC 1939 §7.
    User(String),
    /// RFC 1939 §7; all of the rest of the line.
    Pass(String),
    /// RFC 5034 §4.
    Auth {
        /// How the client wants to log in.
        mechanism: Mechanism,
        /// The initial response, still encoded.
        initial: Option<String>,
    },
    /// `AUTH` alone: which mechanisms there are.
    AuthList,
    /// RFC 2595 §4.
    Stls,
    /// RFC 6856 §2.
    Utf8,
    /// RFC 6856 §3; without a language, which there are.
    Lang(Option<String>),
    /// RFC 1939 §5 and §6.
    Quit,
    /// RFC 1939 §5.
    Stat,
    /// RFC 1939 §5; all messages, or one.
    List(Option<Number>),
    /// RFC 1939 §5.
    Retr(Number),
    /// RFC 1939 §5.
    Dele(Number),
    /// RFC 1939 §5.
    Noop,
    /// RFC 1939 §5.
    Rset,
    /// RFC 1939 §7: a message's header and so many lines of its body.
    Top(Number, u64),
    /// RFC 1939 §7; all messages, or one.
    Uidl(Option<Number>),
}

/// A message number, from 1.
pub type Number = usize;

/// A SASL mechanism that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Two prompts; never standardised, and used by old clients.
    Login,
}

/// Why a line is no command; the text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// No command has this name.
    #[error("this command is not known")]
    Unknown,
    /// Not UTF-8, or control characters.
    #[error("the line is not UTF-8 or has control characters")]
    Characters,
    /// An argument where there is none.
    #[error("this command takes no argument")]
    NoArgument,
    /// No argument where there must be one.
    #[error("an argument is missing")]
    Missing,
    /// Not a number, or 0.
    #[error("a message number from 1 is expected")]
    Number,
    /// More arguments than there may be.
    #[error("there are too many arguments")]
    TooMany,
    /// A mechanism that is not offered.
    #[error("this SASL mechanism is not supported")]
    Mechanism,
}

impl Command {
    /// Reads a line without its line end. Keywords are in any case (RFC 1939 §3).
    ///
    /// # Errors
    /// [`SyntaxError`], for the client.
    pub fn parse(line: &[u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(line).map_err(|_| SyntaxError::Characters)?;
        if text.chars().any(char::is_control) {
            return Err(SyntaxError::Characters);
        }
        let (keyword, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut words = rest.split_ascii_whitespace();
        let command = match keyword.to_ascii_uppercase().as_str() {
            // Passwords, and some login names, have spaces.
            "PASS" => return non_empty(rest).map(Self::Pass),
            "USER" => return non_empty(rest.trim()).map(Self::User),
            "CAPA" => Self::Capa,
            "STLS" => Self::Stls,
            "UTF8" => Self::Utf8,
            "QUIT" => Self::Quit,
            "STAT" => Self::Stat,
            "NOOP" => Self::Noop,
            "RSET" => Self::Rset,
            "LANG" => Self::Lang(words.next().map(str::to_owned)),
            "LIST" => Self::List(words.next().map(number).transpose()?),
            "UIDL" => Self::Uidl(words.next().map(number).transpose()?),
            "RETR" => Self::Retr(number(words.next().ok_or(SyntaxError::Missing)?)?),
            "DELE" => Self::Dele(number(words.next().ok_or(SyntaxError::Missing)?)?),
            "TOP" => {
                let message = number(words.next().ok_or(SyntaxError::Missing)?)?;
                let lines = words.next().ok_or(SyntaxError::Missing)?;
                Self::Top(message, lines.parse().map_err(|_| SyntaxError::Number)?)
            }
            "AUTH" => match words.next() {
                None => Self::AuthList,
                Some(name) => {
                    Self::Auth { mechanism: mechanism(name)?, initial: words.next().map(str::to_owned) }
                }
            },
            _ => return Err(SyntaxError::Unknown),
        };
        match words.next() {
            None => Ok(command),
            Some(_) if command.takes_no_argument() => Err(SyntaxError::NoArgument),
            Some(_) => Err(SyntaxError::TooMany),
        }
    }

    fn takes_no_argument(&self) -> bool {
        matches!(
            self,
            Self::Capa | Self::Stls | Self::Utf8 | Self::Quit | Self::Stat | Self::Noop | Self::Rset
        )
    }

    /// The name, for the labels of metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Capa => "capa",
            Self::User(_) => "user",
            Self::Pass(_) => "pass",
            Self::Auth { .. } | Self::AuthList => "auth",
            Self::Stls => "stls",
            Self::Utf8 => "utf8",
            Self::Lang(_) => "lang",
            Self::Quit => "quit",
            Self::Stat => "stat",
            Self::List(_) => "list",
            Self::Retr(_) => "retr",
            Self::Dele(_) => "dele",
            Self::Noop => "noop",
            Self::Rset => "rset",
            Self::Top(..) => "top",
            Self::Uidl(_) => "uidl",
        }
    }
}

fn non_empty(text: &str) -> Result<String, SyntaxError> {
    if text.is_empty() { Err(SyntaxError::Missing) } else { Ok(text.to_owned()) }
}

fn number(text: &str) -> Result<Number, SyntaxError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0).ok_or(SyntaxError::Number)
}

fn mechanism(name: &str) -> Result<Mechanism, SyntaxError> {
    match name.to_ascii_uppercase().as_str() {
        "PLAIN" => Ok(Mechanism::Plain),
        "LOGIN" => Ok(Mechanism::Login),
        _ => Err(SyntaxError::Mechanism),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_read_in_any_case() {
        let cases: [(&str, Command); 14] = [
            ("CAPA", Command::Capa),
            ("quit", Command::Quit),
            ("Stat ", Command::Stat),
            ("USER alice@example.test", Command::User("alice@example.test".into())),
            ("PASS two words ", Command::Pass("two words ".into())),
            ("LIST", Command::List(None)),
            ("list 7", Command::List(Some(7))),
            ("UIDL 1", Command::Uidl(Some(1))),
            ("RETR 12", Command::Retr(12)),
            ("TOP 3 0", Command::Top(3, 0)),
            ("AUTH", Command::AuthList),
            ("AUTH plain", Command::Auth { mechanism: Mechanism::Plain, initial: None }),
            ("AUTH PLAIN =", Command::Auth { mechanism: Mechanism::Plain, initial: Some("=".into()) }),
            ("LANG *", Command::Lang(Some("*".into()))),
        ];
        for (line, command) in cases {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_says_why() {
        let cases: [(&[u8], SyntaxError); 12] = [
            (b"", SyntaxError::Unknown),
            (b"XYZZY", SyntaxError::Unknown),
            (b"STAT 1", SyntaxError::NoArgument),
            (b"RETR", SyntaxError::Missing),
            (b"RETR 0", SyntaxError::Number),
            (b"RETR +1", SyntaxError::Number),
            (b"RETR 99999999999999999999999", SyntaxError::Number),
            (b"TOP 1", SyntaxError::Missing),
            (b"RETR 1 2", SyntaxError::TooMany),
            (b"PASS", SyntaxError::Missing),
            (b"USER a\0b", SyntaxError::Characters),
            (b"USER \xff", SyntaxError::Characters),
        ];
        for (line, error) in cases {
            assert_eq!(Command::parse(line), Err(error), "{:?}", String::from_utf8_lossy(line));
        }
        assert_eq!(Command::parse(b"AUTH CRAM-MD5"), Err(SyntaxError::Mechanism));
    }

    proptest! {
        #[test]
        fn no_line_is_a_surprise(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::parse(&line);
        }
    }
}
