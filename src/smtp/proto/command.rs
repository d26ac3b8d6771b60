//! The commands of a client (RFC 5321 §4.1, 2033, 3030, 3207, 4954), one line each.

use super::params::{MailParameters, RcptParameters, number};
use super::path::{ForwardPath, ReversePath};

/// A command that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `EHLO name`
    Ehlo(String),
    /// `HELO name`
    Helo(String),
    /// `LHLO name` (RFC 2033)
    Lhlo(String),
    /// `MAIL FROM:<...> parameters`
    Mail(ReversePath, MailParameters),
    /// `RCPT TO:<...> parameters`
    Rcpt(ForwardPath, RcptParameters),
    /// `DATA`
    Data,
    /// `BDAT size [LAST]` (RFC 3030)
    Bdat {
        /// Octets that follow the command.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `QUIT`
    Quit,
    /// `VRFY`
    Vrfy,
    /// `EXPN`
    Expn,
    /// `HELP`
    Help,
    /// `STARTTLS` (RFC 3207)
    StartTls,
    /// `AUTH mechanism [initial-response]` (RFC 4954)
    Auth {
        /// In upper case.
        mechanism: String,
        /// Base64, or `=` for an empty one.
        initial: Option<String>,
    },
}

/// Why a line is no command. Always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// No command begins like that, or it is not text: `500 5.5.2`.
    #[error("unknown command")]
    Unknown,
    /// The arguments are missing, too many or malformed: `501 5.5.4`.
    #[error("wrong arguments")]
    Arguments,
    /// MAIL or RCPT has a parameter that nobody knows: `555 5.5.4`.
    #[error("unknown parameter")]
    UnknownParameter,
    /// The reverse-path is no address: `501 5.1.7`.
    #[error("malformed reverse-path")]
    ReversePath,
    /// The forward-path is no address: `501 5.1.3`.
    #[error("malformed forward-path")]
    ForwardPath,
}

impl Command {
    /// Reads a line without its CRLF.
    ///
    /// # Errors
    /// [`SyntaxError`].
    pub fn parse(line: &[u8]) -> Result<Self, SyntaxError> {
        let line = std::str::from_utf8(line).map_err(|_| SyntaxError::Unknown)?;
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(SyntaxError::Unknown);
        }
        // White space before the CRLF is dropped (RFC 5321 §4.1.1).
        let line = line.trim_end_matches([' ', '\t']);
        let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let nothing = |command: Self| {
            if arguments.is_empty() { Ok(command) } else { Err(SyntaxError::Arguments) }
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => client_name(arguments).map(Self::Ehlo),
            "HELO" => client_name(arguments).map(Self::Helo),
            "LHLO" => client_name(arguments).map(Self::Lhlo),
            "MAIL" => mail(arguments),
            "RCPT" => rcpt(arguments),
            "DATA" => nothing(Self::Data),
            "BDAT" => bdat(arguments),
            "RSET" => nothing(Self::Rset),
            "NOOP" => Ok(Self::Noop),
            "QUIT" => nothing(Self::Quit),
            "VRFY" | "EXPN" if arguments.is_empty() => Err(SyntaxError::Arguments),
            "VRFY" => Ok(Self::Vrfy),
            "EXPN" => Ok(Self::Expn),
            "HELP" => Ok(Self::Help),
            "STARTTLS" => nothing(Self::StartTls),
            "AUTH" => auth(arguments),
            _ => Err(SyntaxError::Unknown),
        }
    }
}

/// The argument of EHLO. Clients put all kinds of names there, so any printable ASCII without a space is taken.
fn client_name(text: &str) -> Result<String, SyntaxError> {
    let name = text.trim_start_matches(' ');
    if name.is_empty() || name.len() > 255 || !name.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(SyntaxError::Arguments);
    }
    Ok(name.to_owned())
}

/// What follows `FROM:` or `TO:`, with spaces that many clients put there taken away.
fn after_keyword<'a>(arguments: &'a str, keyword: &str) -> Result<&'a str, SyntaxError> {
    let arguments = arguments.trim_start_matches(' ');
    let (head, rest) = arguments.split_once(':').ok_or(SyntaxError::Arguments)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(SyntaxError::Arguments);
    }
    Ok(rest.trim_start_matches(' '))
}

/// Parameters must be set off from the path by a space.
fn set_off(rest: &str) -> Result<&str, SyntaxError> {
    if rest.is_empty() || rest.starts_with(' ') { Ok(rest) } else { Err(SyntaxError::Arguments) }
}

fn mail(arguments: &str) -> Result<Command, SyntaxError> {
    let path = after_keyword(arguments, "FROM")?;
    let (path, rest) = ReversePath::parse(path).ok_or(SyntaxError::ReversePath)?;
    Ok(Command::Mail(path, MailParameters::parse(set_off(rest)?)?))
}

fn rcpt(arguments: &str) -> Result<Command, SyntaxError> {
    let path = after_keyword(arguments, "TO")?;
    let (path, rest) = ForwardPath::parse(path).ok_or(SyntaxError::ForwardPath)?;
    Ok(Command::Rcpt(path, RcptParameters::parse(set_off(rest)?)?))
}

fn bdat(arguments: &str) -> Result<Command, SyntaxError> {
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    let size = number(words.next().ok_or(SyntaxError::Arguments)?)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(SyntaxError::Arguments),
    };
    if words.next().is_some() { Err(SyntaxError::Arguments) } else { Ok(Command::Bdat { size, last }) }
}

fn auth(arguments: &str) -> Result<Command, SyntaxError> {
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(SyntaxError::Arguments)?;
    let valid = mechanism.len() <= 20
        && mechanism.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    let initial = words.next().map(str::to_owned);
    if !valid || words.next().is_some() {
        return Err(SyntaxError::Arguments);
    }
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn verbs_are_read_in_any_case() {
        assert_eq!(Command::parse(b"ehlo mx.test"), Ok(Command::Ehlo("mx.test".into())));
        assert_eq!(Command::parse(b"Quit  "), Ok(Command::Quit));
        assert_eq!(Command::parse(b"NOOP anything at all"), Ok(Command::Noop));
        assert_eq!(Command::parse(b"BDAT 10 last"), Ok(Command::Bdat { size: 10, last: true }));
        assert_eq!(
            Command::parse(b"auth plain AGEAYg=="),
            Ok(Command::Auth { mechanism: "PLAIN".into(), initial: Some("AGEAYg==".into()) })
        );
        let Ok(Command::Mail(path, parameters)) = Command::parse(b"MAIL from: <a@b.test> SIZE=5") else {
            panic!("a space behind the colon is common")
        };
        assert_eq!((path.as_str(), parameters.size), ("a@b.test", Some(5)));
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        for (line, error) in [
            (&b""[..], SyntaxError::Unknown),
            (b"XYZZY", SyntaxError::Unknown),
            (b"NOOP \0", SyntaxError::Unknown),
            (b"NOOP a\rb", SyntaxError::Unknown),
            (b"NOOP \xff", SyntaxError::Unknown),
            (b"EHLO", SyntaxError::Arguments),
            (b"EHLO a b", SyntaxError::Arguments),
            (b"DATA now", SyntaxError::Arguments),
            (b"BDAT", SyntaxError::Arguments),
            (b"BDAT x", SyntaxError::Arguments),
            (b"BDAT -1", SyntaxError::Arguments),
            (b"BDAT 1 FIRST", SyntaxError::Arguments),
            (b"VRFY", SyntaxError::Arguments),
            (b"MAIL <a@b.test>", SyntaxError::Arguments),
            (b"MAIL FROM:a@b.test", SyntaxError::ReversePath),
            (b"MAIL FROM:<a@b.test>SIZE=1", SyntaxError::Arguments),
            (b"MAIL FROM:<a@b.test> FUTURE", SyntaxError::UnknownParameter),
            (b"RCPT TO:<a>", SyntaxError::ForwardPath),
            (b"RCPT TO:<>", SyntaxError::ForwardPath),
            (b"AUTH", SyntaxError::Arguments),
            (b"AUTH PLAIN a b", SyntaxError::Arguments),
        ] {
            assert_eq!(Command::parse(line), Err(error), "{:?}", String::from_utf8_lossy(line));
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Command::parse(&line);
        }

        #[test]
        fn anything_behind_a_verb_is_read_without_panic(
            verb in "(MAIL FROM:|RCPT TO:|BDAT|AUTH|EHLO|MAIL FROM:<a@b> )",
            rest in "\\PC{0,80}",
        ) {
            let _ = Command::parse(format!("{verb}{rest}").as_bytes());
        }
    }
}
