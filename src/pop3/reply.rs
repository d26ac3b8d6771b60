//! Replies: `+OK`, or `-ERR` with a response code (RFC 2449 §8, RFC 3206, RFC 6856).

use std::borrow::Cow;

/// A response code, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The credentials are wrong, or not allowed like this (RFC 3206 §4).
    Auth,
    /// Another session has the mailbox (RFC 2449 §8.1.2).
    InUse,
    /// Try again later (RFC 3206 §3).
    SysTemp,
    /// An operator must see to it (RFC 3206 §3).
    SysPerm,
    /// The message needs UTF8 (RFC 6856 §5).
    Utf8,
}

impl Code {
    const fn text(self) -> &'static str {
        match self {
            Self::Auth => "[AUTH] ",
            Self::InUse => "[IN-USE] ",
            Self::SysTemp => "[SYS/TEMP] ",
            Self::SysPerm => "[SYS/PERM] ",
            Self::Utf8 => "[UTF8] ",
        }
    }
}

/// How a command is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `+OK` with a text.
    Ok(Cow<'static, str>),
    /// `-ERR` with a text.
    Err(Option<Code>, Cow<'static, str>),
    /// `+OK` with several lines, which were sent already.
    Sent,
}

impl Reply {
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Ok(text.into())
    }

    pub(crate) fn err(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Err(None, text.into())
    }

    pub(crate) fn code(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Err(Some(code), text.into())
    }

    /// Whether the command did what it should, for the labels of metrics.
    pub(crate) const fn result(&self) -> &'static str {
        match self {
            Self::Ok(_) | Self::Sent => "ok",
            Self::Err(..) => "err",
        }
    }

    /// The line with its line end.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Ok(text) => format!("+OK {text}\r\n"),
            Self::Err(code, text) => format!("-ERR {}{text}\r\n", code.map_or("", Code::text)),
            Self::Sent => String::new(),
        }
    }
}
