//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034, 3463, 5248), and the one table of all that are used.

use std::borrow::Cow;

/// A reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code.
    pub code: u16,
    /// The enhanced status code; `None` where RFC 2034 has none: the greeting, EHLO, 3xx.
    pub enhanced: Option<Cow<'static, str>>,
    /// The text; each `\n` begins another line of the reply.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced status code.
    pub const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self { code, enhanced: Some(Cow::Borrowed(enhanced)), text: Cow::Borrowed(text) }
    }

    /// A reply without one.
    pub const fn plain(code: u16, text: &'static str) -> Self {
        Self { code, enhanced: None, text: Cow::Borrowed(text) }
    }

    /// The same reply with another text.
    #[must_use]
    pub fn with_text(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// The same reply about this address. What a client sent as an address has no control characters.
    #[must_use]
    pub fn about(self, address: &str) -> Self {
        let text = format!("<{address}>: {}", self.text);
        self.with_text(text)
    }

    /// Whether it says yes (2xx, 3xx).
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// Whether it asks to come again (4xx).
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Writes all its lines.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            out.extend_from_slice(self.code.to_string().as_bytes());
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(enhanced) = &self.enhanced {
                out.extend_from_slice(enhanced.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

macro_rules! table {
    ($( $(#[$doc:meta])* $name:ident = $code:literal $enhanced:literal $text:literal; )*) => {
        $( $(#[$doc])* pub const $name: Reply = Reply::new($code, $enhanced, $text); )*

        #[cfg(test)]
        const TABLE: &[(&str, Reply)] = &[ $( (stringify!($name), $name), )* ];
    };
}

table! {
    /// To RSET, NOOP and what else succeeds.
    OK = 250 "2.0.0" "OK";
    /// To MAIL.
    SENDER_OK = 250 "2.1.0" "Sender OK";
    /// To RCPT.
    RECIPIENT_OK = 250 "2.1.5" "Recipient OK";
    /// To BDAT that is not the last.
    CHUNK_OK = 250 "2.0.0" "Chunk received";
    /// To VRFY: neither yes nor no (RFC 5321 §3.5.3).
    VRFY = 252 "2.5.2" "Send some mail and see";
    /// To HELP.
    HELP = 214 "2.0.0" "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS AUTH QUIT\nSee RFC 5321";
    /// To HELP over LMTP.
    HELP_LMTP = 214 "2.0.0" "Commands: LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS QUIT\nSee RFC 2033";
    /// To QUIT.
    BYE = 221 "2.0.0" "Goodbye";
    /// To STARTTLS.
    START_TLS = 220 "2.0.0" "Go ahead";
    /// To AUTH.
    AUTHENTICATED = 235 "2.7.0" "Authentication succeeded";

    /// No such command.
    UNKNOWN_COMMAND = 500 "5.5.2" "Command not recognized";
    /// A command line over its limit.
    LINE_TOO_LONG = 500 "5.5.2" "Line too long";
    /// An AUTH response over its limit (RFC 4954 §4).
    AUTH_LINE_TOO_LONG = 500 "5.5.6" "Authentication exchange line too long";
    /// A command line that ends with a bare LF; the connection ends.
    BARE_LF_COMMAND = 521 "5.5.2" "Bare LF received; lines end with CRLF";
    /// Arguments are missing, too many or malformed.
    BAD_ARGUMENTS = 501 "5.5.4" "Wrong arguments";
    /// The address of MAIL is malformed.
    BAD_SENDER = 501 "5.1.7" "Malformed sender address";
    /// The address of RCPT is malformed.
    BAD_RECIPIENT = 501 "5.1.3" "Malformed recipient address";
    /// EXPN, and AUTH where it is not offered.
    NOT_IMPLEMENTED = 502 "5.5.1" "Command not implemented";
    /// A command in the wrong order.
    BAD_SEQUENCE = 503 "5.5.1" "Wrong sequence of commands";
    /// MAIL before EHLO.
    HELLO_FIRST = 503 "5.5.1" "Say EHLO first";
    /// LMTP without LHLO, or EHLO on LMTP (RFC 2033 §4.1).
    LHLO_EXPECTED = 500 "5.5.1" "This is LMTP: say LHLO";
    /// MAIL within a transaction.
    NESTED_MAIL = 503 "5.5.1" "A transaction is open already";
    /// RCPT or DATA without MAIL.
    MAIL_FIRST = 503 "5.5.1" "Say MAIL first";
    /// DATA without RCPT.
    RCPT_FIRST = 503 "5.5.1" "Say RCPT first";
    /// DATA after every RCPT was refused.
    NO_VALID_RECIPIENTS = 554 "5.5.1" "No valid recipients";
    /// DATA for a message in chunks, or for BODY=BINARYMIME (RFC 3030 §2, §3).
    BDAT_EXPECTED = 503 "5.5.1" "Send this message with BDAT";
    /// A parameter of MAIL or RCPT that is not offered.
    UNKNOWN_PARAMETER = 555 "5.5.4" "Parameter not recognized";

    /// STARTTLS with more input behind it; the connection ends (RFC 3207 §4.2, CVE-2011-0411).
    TLS_INJECTION = 501 "5.5.4" "Nothing may follow STARTTLS before the handshake";
    /// STARTTLS where TLS is spoken.
    TLS_ACTIVE = 503 "5.5.1" "TLS is active already";
    /// STARTTLS without a certificate.
    TLS_UNAVAILABLE = 454 "4.7.0" "TLS is not available";

    /// AUTH twice.
    AUTH_AGAIN = 503 "5.5.1" "Already authenticated";
    /// A mechanism that is not offered.
    AUTH_MECHANISM = 504 "5.5.4" "Unknown authentication mechanism";
    /// AUTH before TLS.
    AUTH_NEEDS_TLS = 538 "5.7.11" "Encryption required for authentication";
    /// `*` (RFC 4954 §4).
    AUTH_CANCELLED = 501 "5.7.0" "Authentication cancelled";
    /// A response that is no base64 or no credentials.
    AUTH_MALFORMED = 501 "5.5.2" "Malformed authentication response";
    /// Unknown user or wrong password.
    AUTH_FAILED = 535 "5.7.8" "Authentication credentials invalid";
    /// The account may not log in.
    AUTH_DISABLED = 535 "5.7.13" "The account is disabled";
    /// The directory cannot answer now.
    AUTH_TEMPORARY = 454 "4.7.0" "Temporary authentication failure";
    /// Too many logins failed, from there or to this account.
    AUTH_LIMITED = 454 "4.7.0" "Too many logins failed; try again later";
    /// MAIL on submission before AUTH.
    AUTH_REQUIRED = 530 "5.7.0" "Authentication required";

    /// MAIL from an address that the account may not use.
    SENDER_NOT_OWNED = 553 "5.7.1" "Not an address of your account";
    /// The From field of a submitted message names such an address.
    FROM_NOT_OWNED = 550 "5.7.1" "The From field names an address that is not of your account";
    /// A submitted message without From.
    FROM_MISSING = 550 "5.6.0" "The message has no valid From field";
    /// A submitted message with more than one Sender field (RFC 5322 §3.6): readers choose different ones.
    SEVERAL_SENDERS = 550 "5.6.0" "The message has several Sender fields";
    /// An address outside of ASCII without SMTPUTF8 (RFC 6531 §3.5).
    ADDRESS_NEEDS_UTF8 = 553 "5.6.7" "The address needs SMTPUTF8";
    /// A header outside of ASCII without SMTPUTF8.
    HEADER_NEEDS_UTF8 = 550 "5.6.7" "The header needs SMTPUTF8";
    /// The declared or real size is over the limit.
    TOO_LARGE = 552 "5.3.4" "The message is too large";
    /// The memory for messages in flight is used up.
    NO_MEMORY = 452 "4.3.1" "Insufficient system storage; try again later";

    /// The domain is not ours, and the client may not relay.
    RELAY_DENIED = 550 "5.7.1" "Relaying denied";
    /// Mail of our users to an address elsewhere has kept bouncing (`queue.suppression`).
    SUPPRESSED_RECIPIENT = 550 "5.1.1" "Mail to this address keeps coming back, so none is sent to it for now";
    /// A user, or all of a domain, have written to too many recipients elsewhere (`queue.quotas`).
    TOO_MUCH_MAIL = 450 "4.7.1" "Too many recipients of other domains; try again later";
    /// Mail that is judged as junk and would only go on to other hosts (`filter.forwardJunk`).
    JUNK_NOT_FORWARDED = 550 "5.7.1" "The message looks like spam, and is not sent on to another host";
    /// Nobody has that address.
    UNKNOWN_RECIPIENT = 550 "5.1.1" "No such user here";
    /// Everyone behind the address is disabled.
    DISABLED_RECIPIENT = 550 "5.2.1" "The mailbox is disabled";
    /// Aliases in circles and the like: mail waits until that is mended.
    MISCONFIGURED_RECIPIENT = 451 "4.3.5" "The address is misconfigured; try again later";
    /// The directory or the store cannot answer.
    TEMPORARY = 451 "4.3.0" "Temporary failure; try again later";
    /// The account is over its quota.
    MAILBOX_FULL = 452 "4.2.2" "The mailbox is full";
    /// This message will never fit into the account's quota.
    MAILBOX_TOO_SMALL = 552 "5.2.2" "The mailbox cannot hold a message of that size";
    /// Too many recipients in one transaction.
    TOO_MANY_RECIPIENTS = 452 "4.5.3" "Too many recipients";

    /// A bare CR or LF in the message.
    BARE_NEWLINE = 550 "5.6.11" "The message has a bare CR or LF; lines end with CRLF";
    /// NUL in the message.
    NUL = 550 "5.6.0" "The message has a NUL octet";
    /// A line over the configured limit.
    LONG_LINE = 550 "5.6.0" "The message has an overlong line";
    /// A header over the configured limit.
    LARGE_HEADER = 552 "5.3.4" "The header of the message is too large";
    /// A message whose structure is beyond what is kept of one.
    TOO_COMPLEX = 554 "5.6.0" "The message is too complex";
    /// A message with BODY=BINARYMIME that cannot be made readable for all clients.
    NOT_CONVERTIBLE = 554 "5.6.1" "Binary octets outside of parts with Content-Transfer-Encoding: binary";
    /// Too many Received fields.
    TOO_MANY_HOPS = 554 "5.4.6" "Too many hops; the message loops";
    /// The message was delivered to the same address before.
    DELIVERY_LOOP = 554 "5.4.6" "The message was delivered to this address before; it loops";

    /// The service stops.
    SHUTTING_DOWN = 421 "4.3.2" "Shutting down; try again later";
    /// The client was silent for too long.
    TIMEOUT = 421 "4.4.2" "Timeout; closing the connection";
    /// Too many connections over all, or on this listener.
    TOO_MANY_CONNECTIONS = 421 "4.7.0" "Too many connections; try again later";
    /// Too many connections from one address.
    TOO_MANY_FROM_ADDRESS = 421 "4.7.0" "Too many connections from your address; try again later";
    /// The client's address is not let in for a while.
    BANNED = 421 "4.7.0" "Too much went wrong from your address; try again later";
    /// The client's address is not let in (RFC 5321 §3.1: instead of the greeting).
    BLOCKED = 554 "5.7.1" "Your address is blocked";
    /// Too many errors.
    TOO_MANY_ERRORS = 421 "4.7.0" "Too many errors; closing the connection";
    /// Too many unknown recipients.
    TOO_MANY_UNKNOWN = 421 "4.7.0" "Too many unknown recipients; closing the connection";
    /// Too many messages on one connection.
    TOO_MANY_MESSAGES = 421 "4.7.0" "Too many messages on this connection; open another";
    /// Too many commands that bring no mail forward.
    TOO_MANY_COMMANDS = 421 "4.7.0" "Too many commands without mail; closing the connection";
    /// Too many messages a minute from one address or account.
    TOO_FAST = 450 "4.7.1" "Too many messages; try again later";
    /// LMTP from a network that is not listed.
    NOT_TRUSTED = 554 "5.7.1" "LMTP is not for you";
}

/// To DATA.
pub const SEND_DATA: Reply = Reply::plain(354, "End the message with a dot on a line of its own");

/// Asks for the next response of an AUTH exchange; `challenge` is base64.
pub fn challenge(challenge: &'static str) -> Reply {
    Reply::plain(334, challenge)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_carries_both_codes() {
        let mut out = Vec::new();
        Reply::new(214, "2.0.0", "a\nb").write(&mut out);
        SEND_DATA.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("214-2.0.0 a\r\n214 2.0.0 b\r\n354 End"), "{text}");
    }

    #[test]
    fn the_table_is_consistent() {
        for (name, reply) in TABLE {
            let class = reply.enhanced.as_deref().unwrap().split('.').next().unwrap().parse::<u16>().unwrap();
            assert_eq!(reply.code / 100, class, "{name}: the classes of both codes agree (RFC 2034 §4)");
            assert!(reply.text.is_ascii() && !reply.text.contains('\r'), "{name}");
            assert!(reply.text.split('\n').all(|line| line.len() < 490), "{name}: a line fits 512 octets");
            assert_eq!(reply.is_temporary(), class == 4, "{name}");
        }
    }
}
