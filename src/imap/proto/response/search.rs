//! SEARCH and ESEARCH responses (RFC 3501 §7.2.5, RFC 9051 §7.3.4).

use super::ResponseWriter;
use super::text::{put_display, put_string};
use crate::proto::search::SearchReturn;
use crate::proto::sequence::NumberSet;
use crate::proto::tag::Tag;

/// What an ESEARCH response tells of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchResult<'a> {
    /// The tag of the SEARCH.
    pub tag: &'a Tag,
    /// Whether `found` has UIDs.
    pub uid: bool,
    /// What was asked for.
    pub returns: SearchReturn,
    /// What was found, ascending.
    pub found: &'a NumberSet,
    /// The highest mod-sequence of what is returned (RFC 7162 §3.1.10), if MODSEQ was searched for.
    pub mod_seq: Option<u64>,
}

impl ResponseWriter<'_> {
    /// `* SEARCH n n ...` for IMAP4rev1, with `(MODSEQ n)` if given and something was found.
    pub fn search(&mut self, found: &NumberSet, mod_seq: Option<u64>) {
        self.out.extend_from_slice(b"* SEARCH");
        for number in found.iter() {
            put_display(self.out, format_args!(" {number}"));
        }
        if let (Some(mod_seq), false) = (mod_seq, found.is_empty()) {
            put_display(self.out, format_args!(" (MODSEQ {mod_seq})"));
        }
        self.end();
    }

    /// `* ESEARCH (TAG "a") UID MIN n MAX n ALL set COUNT n`; what does not exist is left out. Nothing at all
    /// is written if only SAVE was asked for (RFC 5182 §2.1).
    pub fn esearch(&mut self, result: &SearchResult<'_>) {
        if result.returns == (SearchReturn { save: true, ..SearchReturn::default() }) {
            return;
        }
        self.out.extend_from_slice(b"* ESEARCH (TAG ");
        put_string(self.out, result.tag.as_bytes(), self.encoding);
        self.out.extend_from_slice(if result.uid { b") UID" } else { b")" });
        let (returns, found) = (result.returns, result.found);
        if let Some(min) = found.first().filter(|_| returns.min) {
            put_display(self.out, format_args!(" MIN {min}"));
        }
        if let Some(max) = found.last().filter(|_| returns.max) {
            put_display(self.out, format_args!(" MAX {max}"));
        }
        if returns.all && !found.is_empty() {
            put_display(self.out, format_args!(" ALL {found}"));
        }
        if returns.count {
            put_display(self.out, format_args!(" COUNT {}", found.len()));
        }
        if let (Some(mod_seq), false) = (result.mod_seq, found.is_empty()) {
            put_display(self.out, format_args!(" MODSEQ {mod_seq}"));
        }
        self.end();
    }
}
