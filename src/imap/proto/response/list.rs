//! LIST, LSUB and NAMESPACE responses (RFC 9051 §7.3).

use super::ResponseWriter;
use super::text::{put_display, put_mailbox, put_string};
use crate::proto::mailbox_name::{DELIMITER, Encoding, MailboxName};
use crate::proto::mutf7;
use crate::proto::special_use::SpecialUse;

/// An attribute of a mailbox in LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListAttribute {
    /// `\HasChildren`
    HasChildren,
    /// `\HasNoChildren`
    HasNoChildren,
    /// `\Marked`
    Marked,
    /// `\NoInferiors`
    NoInferiors,
    /// `\NonExistent`: the name is only matched for its subscription or children.
    NonExistent,
    /// `\Noselect`
    NoSelect,
    /// `\Remote`
    Remote,
    /// `\Subscribed`
    Subscribed,
    /// `\Unmarked`
    Unmarked,
    /// `\Sent`, ...
    SpecialUse(SpecialUse),
}

impl ListAttribute {
    /// The attribute as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            ListAttribute::HasChildren => "\\HasChildren",
            ListAttribute::HasNoChildren => "\\HasNoChildren",
            ListAttribute::Marked => "\\Marked",
            ListAttribute::NoInferiors => "\\NoInferiors",
            ListAttribute::NonExistent => "\\NonExistent",
            ListAttribute::NoSelect => "\\Noselect",
            ListAttribute::Remote => "\\Remote",
            ListAttribute::Subscribed => "\\Subscribed",
            ListAttribute::Unmarked => "\\Unmarked",
            ListAttribute::SpecialUse(special) => special.as_str(),
        }
    }
}

/// One mailbox in a LIST response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// Its name.
    pub mailbox: &'a MailboxName,
    /// Its attributes.
    pub attributes: &'a [ListAttribute],
    /// `CHILDINFO ("SUBSCRIBED")`: children not listed themselves are subscribed (RFC 5258 §3.5).
    pub child_subscribed: bool,
    /// `OLDNAME`: the name the client used, or the name before a rename (RFC 9051 §6.3.9.7).
    pub old_name: Option<&'a MailboxName>,
}

/// One namespace (RFC 2342): its prefix, and its delimiter, which is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceEntry<'a> {
    /// The prefix; empty or ending in the delimiter.
    pub prefix: &'a str,
}

impl ResponseWriter<'_> {
    /// `* LIST (...) "/" mailbox`
    pub fn list(&mut self, entry: &ListEntry<'_>) {
        self.list_line("LIST", entry.attributes, entry.mailbox);
        if entry.child_subscribed || entry.old_name.is_some() {
            self.out.extend_from_slice(b" (");
            if entry.child_subscribed {
                self.out.extend_from_slice(b"\"CHILDINFO\" (\"SUBSCRIBED\")");
            }
            if let Some(old_name) = entry.old_name {
                self.out.extend_from_slice(if entry.child_subscribed { b" " } else { b"" });
                self.out.extend_from_slice(b"\"OLDNAME\" (");
                put_mailbox(self.out, old_name, self.encoding);
                self.out.extend_from_slice(b")");
            }
            self.out.extend_from_slice(b")");
        }
        self.end();
    }

    /// `* LSUB (...) "/" mailbox` (RFC 3501 §7.2.3)
    pub fn lsub(&mut self, mailbox: &MailboxName, attributes: &[ListAttribute]) {
        self.list_line("LSUB", attributes, mailbox);
        self.end();
    }

    /// `* LIST (\Noselect) "/" ""`: the answer to `LIST "" ""`, which asks for the delimiter.
    pub fn list_delimiter(&mut self) {
        put_display(self.out, format_args!("* LIST (\\Noselect) \"{DELIMITER}\" \"\"\r\n"));
    }

    fn list_line(&mut self, name: &str, attributes: &[ListAttribute], mailbox: &MailboxName) {
        put_display(self.out, format_args!("* {name} ("));
        for (i, attribute) in attributes.iter().enumerate() {
            self.out.extend_from_slice(if i > 0 { b" " } else { b"" });
            self.out.extend_from_slice(attribute.as_str().as_bytes());
        }
        put_display(self.out, format_args!(") \"{DELIMITER}\" "));
        put_mailbox(self.out, mailbox, self.encoding);
    }

    /// `* NAMESPACE personal others shared` (RFC 2342)
    pub fn namespace(
        &mut self,
        personal: &[NamespaceEntry<'_>],
        others: &[NamespaceEntry<'_>],
        shared: &[NamespaceEntry<'_>],
    ) {
        self.out.extend_from_slice(b"* NAMESPACE");
        for entries in [personal, others, shared] {
            self.out.extend_from_slice(if entries.is_empty() { b" NIL" } else { b" (" });
            for entry in entries {
                self.out.extend_from_slice(b"(");
                match self.encoding {
                    Encoding::Utf8 => put_string(self.out, entry.prefix.as_bytes(), self.encoding),
                    Encoding::ModifiedUtf7 => {
                        put_string(self.out, mutf7::encode(entry.prefix).as_bytes(), self.encoding);
                    }
                }
                put_display(self.out, format_args!(" \"{DELIMITER}\")"));
            }
            self.out.extend_from_slice(if entries.is_empty() { b"" } else { b")" });
        }
        self.end();
    }
}
