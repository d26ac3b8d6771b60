//! Response codes: what a status response says to a program (RFC 9051 §7.1, RFC 5530).

use std::borrow::Cow;

use bytes::BytesMut;

use super::text::{put_display, put_flags, put_printable};
use crate::proto::flag::Flag;
use crate::proto::sequence::NumberSet;

/// A response code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// `ALERT`: the text must be shown to the user.
    Alert,
    /// `ALREADYEXISTS`: the mailbox is there already.
    AlreadyExists,
    /// `APPENDUID`: the UIDs of the messages appended (RFC 4315), ascending as they were sent.
    AppendUid {
        /// UIDVALIDITY of the mailbox.
        uid_validity: u32,
        /// The new UIDs.
        uids: NumberSet,
    },
    /// `AUTHENTICATIONFAILED`: wrong credentials.
    AuthenticationFailed,
    /// `AUTHORIZATIONFAILED`: right credentials, but not for the identity asked for.
    AuthorizationFailed,
    /// `BADCHARSET`: the charsets that are supported.
    BadCharset(Vec<Cow<'static, str>>),
    /// `CANNOT`: can never work, such as an invalid mailbox name.
    Cannot,
    /// `CAPABILITY`: see [`super::ResponseWriter::capability`].
    Capability(Vec<Cow<'static, str>>),
    /// `CLIENTBUG`: the client seems to have a bug.
    ClientBug,
    /// `CLOSED`: the mailbox selected before is closed.
    Closed,
    /// `CONTACTADMIN`: a human must act.
    ContactAdmin,
    /// `COPYUID`: where messages went (RFC 4315). The n-th smallest of `source` became the n-th smallest of
    /// `destination`.
    CopyUid {
        /// UIDVALIDITY of the destination.
        uid_validity: u32,
        /// UIDs in the selected mailbox.
        source: NumberSet,
        /// UIDs in the destination.
        destination: NumberSet,
    },
    /// `CORRUPTION`: stored data is damaged.
    Corruption,
    /// `EXPIRED`: the credentials are too old.
    Expired,
    /// `EXPUNGEISSUED`: some of the messages are gone.
    ExpungeIssued,
    /// `HASCHILDREN`: the mailbox cannot be deleted for its children.
    HasChildren,
    /// `HIGHESTMODSEQ` (RFC 7162)
    HighestModSeq(u64),
    /// `INUSE`: someone else uses it; try later.
    InUse,
    /// `LIMIT`: beyond a limit of the server.
    Limit,
    /// `MAILBOXID` (RFC 8474)
    MailboxId(String),
    /// `MODIFIED`: messages that a conditional STORE left alone (RFC 7162).
    Modified(NumberSet),
    /// `NOMODSEQ`: the mailbox keeps no mod-sequences (RFC 7162).
    NoModSeq,
    /// `NONEXISTENT`: no such mailbox.
    NonExistent,
    /// `NOPERM`: not allowed.
    NoPerm,
    /// `NOTSAVED`: the search result was not saved (RFC 5182).
    NotSaved,
    /// `OVERQUOTA`: beyond the quota.
    OverQuota,
    /// `PARSE`: a message could not be parsed.
    Parse,
    /// `PERMANENTFLAGS`: what can be changed for ever.
    PermanentFlags {
        /// These flags.
        flags: Vec<Flag>,
        /// `\*`: and new keywords.
        more: bool,
    },
    /// `PRIVACYREQUIRED`: only under TLS.
    PrivacyRequired,
    /// `READ-ONLY`
    ReadOnly,
    /// `READ-WRITE`
    ReadWrite,
    /// `SERVERBUG`: the server seems to have a bug.
    ServerBug,
    /// `TOOBIG`: larger than the server takes (RFC 4469, RFC 7888).
    TooBig,
    /// `TRYCREATE`: the destination would have to be created first.
    TryCreate,
    /// `UIDNEXT`
    UidNext(u32),
    /// `UIDNOTSTICKY`
    UidNotSticky,
    /// `UIDVALIDITY`
    UidValidity(u32),
    /// `UNAVAILABLE`: something behind the server is away; try later.
    Unavailable,
    /// `UNKNOWN-CTE`: the transfer encoding cannot be undone (RFC 3516).
    UnknownCte,
    /// `UNSEEN`: the first message not seen (RFC 3501).
    Unseen(u32),
    /// `USEATTR`: the special use cannot be given (RFC 6154).
    UseAttr,
}

impl Code {
    /// The code's name.
    pub fn name(&self) -> &'static str {
        match self {
            Code::Alert => "ALERT",
            Code::AlreadyExists => "ALREADYEXISTS",
            Code::AppendUid { .. } => "APPENDUID",
            Code::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Code::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Code::BadCharset(_) => "BADCHARSET",
            Code::Cannot => "CANNOT",
            Code::Capability(_) => "CAPABILITY",
            Code::ClientBug => "CLIENTBUG",
            Code::Closed => "CLOSED",
            Code::ContactAdmin => "CONTACTADMIN",
            Code::CopyUid { .. } => "COPYUID",
            Code::Corruption => "CORRUPTION",
            Code::Expired => "EXPIRED",
            Code::ExpungeIssued => "EXPUNGEISSUED",
            Code::HasChildren => "HASCHILDREN",
            Code::HighestModSeq(_) => "HIGHESTMODSEQ",
            Code::InUse => "INUSE",
            Code::Limit => "LIMIT",
            Code::MailboxId(_) => "MAILBOXID",
            Code::Modified(_) => "MODIFIED",
            Code::NoModSeq => "NOMODSEQ",
            Code::NonExistent => "NONEXISTENT",
            Code::NoPerm => "NOPERM",
            Code::NotSaved => "NOTSAVED",
            Code::OverQuota => "OVERQUOTA",
            Code::Parse => "PARSE",
            Code::PermanentFlags { .. } => "PERMANENTFLAGS",
            Code::PrivacyRequired => "PRIVACYREQUIRED",
            Code::ReadOnly => "READ-ONLY",
            Code::ReadWrite => "READ-WRITE",
            Code::ServerBug => "SERVERBUG",
            Code::TooBig => "TOOBIG",
            Code::TryCreate => "TRYCREATE",
            Code::UidNext(_) => "UIDNEXT",
            Code::UidNotSticky => "UIDNOTSTICKY",
            Code::UidValidity(_) => "UIDVALIDITY",
            Code::Unavailable => "UNAVAILABLE",
            Code::UnknownCte => "UNKNOWN-CTE",
            Code::Unseen(_) => "UNSEEN",
            Code::UseAttr => "USEATTR",
        }
    }

    /// Writes the code without its brackets.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.name().as_bytes());
        match self {
            Code::AppendUid { uid_validity, uids } => {
                put_display(out, format_args!(" {uid_validity} {uids}"))
            }
            Code::CopyUid { uid_validity, source, destination } => {
                put_display(out, format_args!(" {uid_validity} {source} {destination}"));
            }
            Code::BadCharset(charsets) if charsets.is_empty() => {}
            Code::BadCharset(charsets) => {
                out.extend_from_slice(b" (");
                for (i, charset) in charsets.iter().enumerate() {
                    out.extend_from_slice(if i > 0 { b" " } else { b"" });
                    put_printable(out, charset);
                }
                out.extend_from_slice(b")");
            }
            Code::Capability(capabilities) => {
                for capability in capabilities {
                    out.extend_from_slice(b" ");
                    put_printable(out, capability);
                }
            }
            Code::HighestModSeq(n) => put_display(out, format_args!(" {n}")),
            Code::MailboxId(id) => {
                out.extend_from_slice(b" (");
                put_printable(out, id);
                out.extend_from_slice(b")");
            }
            Code::Modified(set) => put_display(out, format_args!(" {set}")),
            Code::PermanentFlags { flags, more } => {
                out.extend_from_slice(b" ");
                put_flags(out, flags, *more);
            }
            Code::UidNext(n) | Code::UidValidity(n) | Code::Unseen(n) => {
                put_display(out, format_args!(" {n}"))
            }
            _ => {}
        }
    }
}
