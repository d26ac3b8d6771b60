//! Why a command is refused, and what the standard reply is.

use super::response::{Code, Status};

/// What is wrong with a command. Always the client's fault; repeating the same command does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The command is not in the grammar: what was expected, and at which octet of the command.
    #[error("{expected} expected at octet {at} of the command")]
    Expected {
        /// What the grammar wants there.
        expected: &'static str,
        /// Octets before the fault, from 0, counting literals.
        at: usize,
    },
    /// The line is empty, or does not begin with a tag and a space.
    #[error("a command starts with a tag, a space and the command's name")]
    NoTag,
    /// No such command.
    #[error("unknown command")]
    UnknownCommand,
    /// A CR or LF that is not part of a CRLF. What follows, up to the next CRLF, has been thrown away.
    #[error("lines end with CRLF: a bare CR or LF is not accepted")]
    BareLineEnd,
    /// `{n}` where no literal can be.
    #[error("a literal is not possible here")]
    MisplacedLiteral,
    /// The text of the command is longer than [`super::Limits::line`].
    #[error("the command line is too long")]
    LineTooLong,
    /// A literal, or all of them, are larger than the limits.
    #[error("the literal is too large")]
    LiteralTooLarge,
    /// A special use that does not exist (RFC 6154).
    #[error("no such special use")]
    UnknownSpecialUse,
    /// More of something than the limits allow.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// Nested deeper than [`super::Limits::nesting`].
    #[error("nested too deeply")]
    TooDeep,
}

impl CommandError {
    /// BAD for what is not IMAP, NO for what is beyond a limit.
    pub fn status(&self) -> Status {
        match self {
            CommandError::LiteralTooLarge
            | CommandError::UnknownSpecialUse
            | CommandError::TooMany(_)
            | CommandError::TooDeep => Status::No,
            _ => Status::Bad,
        }
    }

    /// The response code that says so to a program.
    pub fn code(&self) -> Option<Code> {
        match self {
            CommandError::LiteralTooLarge => Some(Code::TooBig),
            CommandError::UnknownSpecialUse => Some(Code::UseAttr),
            CommandError::TooMany(_) | CommandError::TooDeep | CommandError::LineTooLong => Some(Code::Limit),
            _ => None,
        }
    }
}

/// The result of parsing.
pub type Result<T> = std::result::Result<T, CommandError>;
