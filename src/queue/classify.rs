//! What kind of failure it is: for those who look at the queue, for metrics, and for the words that a sender reads.
//!
//! The enhanced status code (RFC 3463) decides where it is specific. Many servers give `5.7.1` or `5.0.0` for everything, so there
//! the words of the reply are looked at before the code.

use ekitei_relay::{Failure, FailureKind, Status};

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// The address does not exist, or is no address.
    BadMailbox,
    /// The domain does not exist, or takes no mail.
    BadDomain,
    /// The mailbox exists and takes no mail: disabled, moved, abandoned.
    Inactive,
    /// The mailbox is full.
    Full,
    /// The receiver takes the message for spam, or its sender for a spammer.
    Spam,
    /// The receiver's rules forbid it.
    Policy,
    /// SPF, DKIM, DMARC or the reverse name of our address do not satisfy the receiver.
    Authentication,
    /// Too much in too short a time.
    RateLimited,
    /// First contact: come back later.
    Greylisted,
    /// The message is too large.
    TooLarge,
    /// The message's form or content is refused: an attachment, a virus, broken MIME, an extension that the receiver lacks.
    Content,
    /// The receiver does not relay for the domain, or the smart host wants a login.
    Relaying,
    /// Name resolution failed for now.
    Dns,
    /// No connection.
    Connection,
    /// TLS as required is not to be had.
    Tls,
    /// The receiver's server is in trouble: no space, maintenance, a fault of its own.
    Server,
    /// The receiver did not keep to the protocol.
    Protocol,
    /// A loop.
    Loop,
    /// It was not delivered within its time.
    Expired,
    /// An administrator here did it, or a limit here.
    Local,
    /// Nothing is known.
    Other,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 21] = [
        Self::BadMailbox,
        Self::BadDomain,
        Self::Inactive,
        Self::Full,
        Self::Spam,
        Self::Policy,
        Self::Authentication,
        Self::RateLimited,
        Self::Greylisted,
        Self::TooLarge,
        Self::Content,
        Self::Relaying,
        Self::Dns,
        Self::Connection,
        Self::Tls,
        Self::Server,
        Self::Protocol,
        Self::Loop,
        Self::Expired,
        Self::Local,
        Self::Other,
    ];

    /// The category of a failure.
    pub fn of(failure: &Failure) -> Self {
        match failure.kind {
            FailureKind::Dns if failure.status.0 == 5 => return Self::BadDomain,
            FailureKind::Dns => return Self::Dns,
            FailureKind::Connection => return Self::Connection,
            FailureKind::Tls => return Self::Tls,
            FailureKind::Protocol => return Self::Protocol,
            FailureKind::Fenced => return Self::Local,
            FailureKind::Host | FailureKind::Sender | FailureKind::Recipient | FailureKind::Message => {}
        }
        let specific = by_status(failure.status);
        if failure.code.is_none() && failure.remote.is_none() {
            // Nobody else was asked.
            return specific.filter(|_| !is_catch_all(failure.status)).unwrap_or(Self::Local);
        }
        if let Some(category) = specific.filter(|_| !is_catch_all(failure.status)) {
            return category;
        }
        let from_words = by_words(&failure.text);
        from_words.or(specific).or_else(|| failure.code.and_then(by_code)).unwrap_or(match failure.kind {
            FailureKind::Recipient if failure.code == Some(550) => Self::BadMailbox,
            FailureKind::Message if failure.status.0 == 5 => Self::Content,
            _ => Self::Other,
        })
    }

    /// Its name: for metrics, the command line, filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMailbox => "bad-mailbox",
            Self::BadDomain => "bad-domain",
            Self::Inactive => "inactive",
            Self::Full => "full",
            Self::Spam => "spam",
            Self::Policy => "policy",
            Self::Authentication => "auth",
            Self::RateLimited => "rate-limited",
            Self::Greylisted => "greylisted",
            Self::TooLarge => "too-large",
            Self::Content => "content",
            Self::Relaying => "relaying",
            Self::Dns => "dns",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Server => "server",
            Self::Protocol => "protocol",
            Self::Loop => "loop",
            Self::Expired => "expired",
            Self::Local => "local",
            Self::Other => "other",
        }
    }

    /// A sentence for the sender, who may know nothing of mail servers.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::BadMailbox => "There is no such address. Please check how it is spelled.",
            Self::BadDomain => "The domain of the address does not exist, or does not take mail.",
            Self::Inactive => "The mailbox exists, but does not take mail any more.",
            Self::Full => "The mailbox is full.",
            Self::Spam => "The recipient's mail service takes the message for unwanted mail.",
            Self::Policy => "The recipient's mail service does not allow the message.",
            Self::Authentication => {
                "The recipient's mail service could not verify that the message comes from its sender's domain."
            }
            Self::RateLimited => "The recipient's mail service takes no more messages from here for now.",
            Self::Greylisted => "The recipient's mail service asked to try again later.",
            Self::TooLarge => "The message is larger than the recipient's mail service takes.",
            Self::Content => "The recipient's mail service does not take a message of this form or content.",
            Self::Relaying => "The next mail service does not take mail for this address from here.",
            Self::Dns => "The domain of the address could not be looked up.",
            Self::Connection => "The recipient's mail service could not be reached.",
            Self::Tls => {
                "A connection as secure as it has to be could not be made to the recipient's mail service."
            }
            Self::Server => "The recipient's mail service has a problem of its own.",
            Self::Protocol => "The recipient's mail service did not answer as a mail service should.",
            Self::Loop => "The message came back to where it had been: addresses forward to each other.",
            Self::Expired => "The message could not be delivered in the time that it had.",
            Self::Local => "The administrator or a rule of this mail service ended the delivery.",
            Self::Other => "The recipient's mail service refused the message.",
        }
    }
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Codes that servers give for all kinds of reasons.
fn is_catch_all(Status(_, subject, detail): Status) -> bool {
    matches!((subject, detail), (_, 0) | (7, 1) | (2, 1) | (3, 2) | (5, _) | (6, 1))
}

/// RFC 3463 §3, RFC 7372, RFC 7505, RFC 8689, and the registry of enhanced status codes.
fn by_status(Status(class, subject, detail): Status) -> Option<Category> {
    Some(match (subject, detail) {
        (1, 1 | 3 | 4) => Category::BadMailbox,
        (1, 2 | 10) => Category::BadDomain,
        (1, 6) => Category::Inactive,
        (1, 7 | 8) => Category::Policy,
        (2, 1) => Category::Inactive,
        (2, 2) => Category::Full,
        (2, 3) | (3, 4) => Category::TooLarge,
        (3, 1 | 2) => Category::Server,
        (3, 3) | (6, 1..=10) => Category::Content,
        (4, 1 | 2) => Category::Connection,
        (4, 3 | 4) => Category::Dns,
        (4, 5) => Category::RateLimited,
        (4, 6) => Category::Loop,
        (4, 7) if class == 5 => Category::Expired,
        (4, 7) => Category::Greylisted,
        (5, 3) => Category::RateLimited,
        (5, 1 | 2 | 4 | 5) => Category::Protocol,
        (5, 6) => Category::Content,
        (7, 8 | 9 | 14) => Category::Relaying,
        (7, 10 | 30) => Category::Tls,
        (7, 20..=27 | 29) => Category::Authentication,
        (7, 28) => Category::RateLimited,
        (7, _) => Category::Policy,
        _ => return None,
    })
}

fn by_code(code: u16) -> Option<Category> {
    Some(match code {
        421 | 451 | 452 => Category::Server,
        450 => Category::Greylisted,
        500..=504 => Category::Protocol,
        530 | 535 => Category::Relaying,
        552 => Category::Full,
        553 | 551 => Category::BadMailbox,
        556 => Category::BadDomain,
        _ => return None,
    })
}

/// What well-known servers say, in lower case; the first that occurs counts, so the more specific stand first.
const WORDS: &[(&str, Category)] = &[
    ("greylist", Category::Greylisted),
    ("graylist", Category::Greylisted),
    ("grey-list", Category::Greylisted),
    ("too many", Category::RateLimited),
    ("rate limit", Category::RateLimited),
    ("ratelimit", Category::RateLimited),
    ("unusual rate", Category::RateLimited),
    ("throttl", Category::RateLimited),
    ("exceeded the limit", Category::RateLimited),
    ("dmarc", Category::Authentication),
    ("dkim", Category::Authentication),
    ("spf ", Category::Authentication),
    ("sender policy framework", Category::Authentication),
    ("unauthenticated", Category::Authentication),
    ("reverse dns", Category::Authentication),
    ("ptr record", Category::Authentication),
    ("reverse hostname", Category::Authentication),
    ("virus", Category::Content),
    ("malware", Category::Content),
    ("attachment", Category::Content),
    ("blacklist", Category::Spam),
    ("block list", Category::Spam),
    ("blocklist", Category::Spam),
    ("black list", Category::Spam),
    ("spamhaus", Category::Spam),
    ("barracuda", Category::Spam),
    ("spam", Category::Spam),
    ("reputation", Category::Spam),
    ("unsolicited", Category::Spam),
    ("blocked using", Category::Spam),
    ("relay", Category::Relaying),
    ("authentication required", Category::Relaying),
    ("mailbox full", Category::Full),
    ("mailbox is full", Category::Full),
    ("over quota", Category::Full),
    ("overquota", Category::Full),
    ("quota exceeded", Category::Full),
    ("exceeded storage", Category::Full),
    ("out of storage", Category::Full),
    ("too large", Category::TooLarge),
    ("too big", Category::TooLarge),
    ("size limit", Category::TooLarge),
    ("exceeds size", Category::TooLarge),
    ("user unknown", Category::BadMailbox),
    ("unknown user", Category::BadMailbox),
    ("no such user", Category::BadMailbox),
    ("no such recipient", Category::BadMailbox),
    ("no such mailbox", Category::BadMailbox),
    ("unknown recipient", Category::BadMailbox),
    ("recipient unknown", Category::BadMailbox),
    ("invalid recipient", Category::BadMailbox),
    ("recipient not found", Category::BadMailbox),
    ("address not found", Category::BadMailbox),
    ("does not exist", Category::BadMailbox),
    ("doesn't exist", Category::BadMailbox),
    ("mailbox unavailable", Category::BadMailbox),
    ("mailbox not found", Category::BadMailbox),
    ("unrouteable address", Category::BadMailbox),
    ("account disabled", Category::Inactive),
    ("account is disabled", Category::Inactive),
    ("mailbox disabled", Category::Inactive),
    ("inactive", Category::Inactive),
    ("suspended", Category::Inactive),
    ("no longer", Category::Inactive),
    ("loop", Category::Loop),
    ("hop count", Category::Loop),
    ("insufficient system", Category::Server),
    ("temporarily unavailable", Category::Server),
    ("try again later", Category::Server),
    ("policy", Category::Policy),
    ("not allowed", Category::Policy),
    ("denied", Category::Policy),
    ("prohibited", Category::Policy),
];

fn by_words(text: &str) -> Option<Category> {
    let text = text.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| text.contains(words)).map(|&(_, category)| category)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server said to RCPT.
    fn reply(code: u16, status: (u8, u16, u16), text: &str) -> Failure {
        let status = Status(status.0, status.1, status.2);
        let remote = Some("mx.example [192.0.2.1]".to_owned());
        Failure { kind: FailureKind::Recipient, status, code: Some(code), text: text.to_owned(), remote }
    }

    #[test]
    fn well_known_replies_are_recognised() {
        let cases = [
            (
                550,
                (5, 1, 1),
                "5.1.1 The email account that you tried to reach does not exist.",
                Category::BadMailbox,
            ),
            (550, (5, 0, 0), "User unknown", Category::BadMailbox),
            (550, (5, 0, 0), "Not today", Category::BadMailbox),
            (452, (4, 2, 2), "4.2.2 The email account that you tried to reach is over quota", Category::Full),
            (552, (5, 2, 2), "5.2.2 Mailbox full", Category::Full),
            (
                550,
                (5, 2, 1),
                "5.2.1 The email account that you tried to reach is disabled.",
                Category::Inactive,
            ),
            (550, (5, 7, 26), "5.7.26 Unauthenticated email is not accepted", Category::Authentication),
            (
                421,
                (4, 7, 28),
                "4.7.28 unusual rate of unsolicited mail originating from your IP",
                Category::RateLimited,
            ),
            (550, (5, 7, 1), "Service unavailable, Client host blocked using Spamhaus", Category::Spam),
            (554, (5, 7, 1), "Relay access denied", Category::Relaying),
            (550, (5, 7, 1), "Message rejected due to DMARC policy", Category::Authentication),
            (550, (5, 7, 1), "Access denied", Category::Policy),
            (451, (4, 7, 1), "Greylisting in action, please come back later", Category::Greylisted),
            (450, (4, 2, 0), "Recipient address rejected: Greylisted", Category::Greylisted),
            (552, (5, 3, 4), "Message size exceeds fixed limit", Category::TooLarge),
            (556, (5, 1, 10), "Domain does not accept mail", Category::BadDomain),
            (554, (5, 4, 6), "Too many hops", Category::Loop),
            (452, (4, 3, 1), "Insufficient system storage", Category::Server),
            (530, (5, 7, 10), "Encryption needed", Category::Tls),
        ];
        for (code, status, text, category) in cases {
            assert_eq!(Category::of(&reply(code, status, text)), category, "{code} {text}");
        }
    }

    #[test]
    fn what_no_server_said_is_told_by_its_kind() {
        let own = |kind, status| Failure { kind, code: None, ..reply(0, status, "connection refused") };
        assert_eq!(Category::of(&own(FailureKind::Connection, (4, 4, 1))), Category::Connection);
        assert_eq!(Category::of(&own(FailureKind::Dns, (4, 4, 3))), Category::Dns);
        assert_eq!(Category::of(&own(FailureKind::Dns, (5, 1, 2))), Category::BadDomain);
        assert_eq!(Category::of(&own(FailureKind::Tls, (5, 7, 30))), Category::Tls);
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::HashSet<_> =
            Category::ALL.iter().map(|category| category.as_str()).collect();
        assert_eq!(names.len(), Category::ALL.len());
    }
}
