//! A message that came in whole: what must not be in it, what is taken out of it, and what is put in front of it.

use std::time::Duration;

use bytes::Bytes;
use ekitei_config::Smtp;
use ekitei_directory::{Domain, EmailAddress};
use ekitei_filter::{Disposition, Judgement};

use crate::header::Header;
use crate::proto::data::Defects;
use crate::proto::reply::{self, Reply};
use crate::session::Transaction;
use crate::trace;

/// A message behind its trace fields.
#[derive(Debug)]
pub(crate) struct Message {
    octets: Vec<u8>,
    /// Where the message as received begins.
    start: usize,
    /// Its header; ranges count from `start`.
    pub(crate) header: Header,
    /// How its checks came out, as in Authentication-Results; to be sealed if it is forwarded.
    pub(crate) results: Option<String>,
    /// Domains for whose recipients it is junk; `None` if for all.
    junk_for: Option<Vec<String>>,
}

/// Refuses what no message may have.
pub(crate) fn check_octets(defects: Defects, longest_line: usize, limits: &Smtp) -> Result<(), Reply> {
    if defects.bare_newline {
        Err(reply::BARE_NEWLINE)
    } else if defects.nul {
        Err(reply::NUL)
    } else if longest_line > limits.max_line_length.as_usize() {
        Err(reply::LONG_LINE)
    } else {
        Ok(())
    }
}

impl Message {
    /// A message that begins at `start`, behind its trace fields.
    pub(crate) fn new(octets: Vec<u8>, start: usize) -> Self {
        let header = Header::scan(&octets[start..]);
        Self { octets, start, header, results: None, junk_for: Some(Vec::new()) }
    }

    /// Refuses what the header of this transaction's message must not have.
    pub(crate) fn check_header(&self, transaction: &Transaction, limits: &Smtp) -> Result<(), Reply> {
        if self.header.length > limits.max_header_size.as_usize() {
            Err(reply::LARGE_HEADER)
        } else if self.header.hops > limits.max_hops {
            Err(reply::TOO_MANY_HOPS)
        } else if limits.strict_smtputf8 && self.header.has_utf8 && !transaction.parameters.smtputf8 {
            Err(reply::HEADER_NEEDS_UTF8)
        } else {
            Ok(())
        }
    }

    /// The header fields as received.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.octets[self.start..self.start + self.header.length]
    }

    /// The message without its trace fields.
    pub(crate) fn as_received(&self) -> &[u8] {
        &self.octets[self.start..]
    }

    /// Where the message as received begins.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Lends the octets to those who share them; they have to be [put back](Self::put_octets).
    pub(crate) fn take_octets(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.octets))
    }

    /// Takes the octets back: without a copy, unless somebody holds on to them.
    pub(crate) fn put_octets(&mut self, octets: Bytes) {
        self.octets = Vec::from(octets);
    }

    /// Takes over what the filter made of the message: other octets, fields in front, and where it belongs.
    pub(crate) fn judged(&mut self, judgement: &Judgement) {
        if let Some(changed) = &judgement.message {
            self.octets.truncate(self.start);
            self.octets.extend_from_slice(changed);
            self.header = Header::scan(changed);
        }
        if !judgement.header.is_empty() {
            self.prepend(&judgement.header);
        }
        self.results = (!judgement.results.is_empty()).then(|| judgement.results.clone());
        let all = judgement.disposition == Disposition::Junk;
        self.junk_for = (!all).then(|| judgement.junk_for.clone());
    }

    /// Whether it belongs into the mailbox for junk of a recipient in this domain.
    pub(crate) fn is_junk_for(&self, domain: Option<&Domain>) -> bool {
        let Some(domains) = &self.junk_for else { return true };
        domain.is_some_and(|domain| domains.iter().any(|of| of == domain.as_ascii()))
    }

    /// Puts fields in front of everything.
    pub(crate) fn prepend(&mut self, fields: &[u8]) {
        self.octets.splice(..0, fields.iter().copied());
        self.start += fields.len();
    }

    /// Whether all its octets are ASCII, so that no host on its way needs 8BITMIME.
    pub(crate) fn is_ascii(&self) -> bool {
        self.octets.is_ascii()
    }

    /// The addresses of its Delivered-To fields.
    pub(crate) fn delivered_to(&self) -> Vec<EmailAddress> {
        let message = &self.octets[self.start..];
        let address = |range: &std::ops::Range<usize>| {
            let value = std::str::from_utf8(&message[range.clone()]).ok()?;
            EmailAddress::parse(value.trim().trim_start_matches('<').trim_end_matches('>')).ok()
        };
        self.header.delivered_to.iter().filter_map(address).collect()
    }

    /// Octets of the message with its trace fields.
    pub(crate) fn size(&self) -> u64 {
        self.octets.len() as u64
    }

    /// Takes out Return-Path fields, whose place is only in front (RFC 5321 §4.4); for a `submission`, also Bcc, and puts in the Date and
    /// Message-ID that it lacks (RFC 6409 §8). A message without header gets the empty line that keeps ours off its text.
    pub(crate) fn settle(&mut self, submission: Option<&Submission<'_>>) {
        let header = &self.header;
        let mut added = String::new();
        let mut removed = header.return_path.clone();
        if let Some(submission) = submission {
            added = submission.missing_fields(header);
            removed.extend(header.bcc.iter().cloned());
            removed.sort_by_key(|range| range.start);
        }
        if header.missing {
            added.push_str("\r\n");
        }
        if added.is_empty() && removed.is_empty() {
            return;
        }
        let fields = self.fields();
        let mut settled = added.into_bytes();
        let mut kept_from = 0;
        for range in removed {
            settled.extend_from_slice(&fields[kept_from..range.start]);
            kept_from = range.end;
        }
        settled.extend_from_slice(&fields[kept_from..]);
        self.octets.splice(self.start..self.start + self.header.length, settled);
        self.header = Header::scan(&self.octets[self.start..]);
    }

    /// The octets to store.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.octets)
    }
}

/// What the submission server adds where it is missing.
#[derive(Debug)]
pub(crate) struct Submission<'a> {
    pub(crate) id: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) time: Duration,
}

impl Submission<'_> {
    fn missing_fields(&self, header: &Header) -> String {
        let mut fields = String::new();
        if !header.has_date {
            fields.push_str(&format!("Date: {}\r\n", trace::date(self.time)));
        }
        if !header.has_message_id {
            fields.push_str(&format!("Message-ID: <{}@{}>\r\n", self.id, self.hostname));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &[u8] = b"Received: here\r\n";

    fn settled(message: &[u8], submission: Option<&Submission<'_>>) -> String {
        let mut message = Message::new([TRACE, message].concat(), TRACE.len());
        message.settle(submission);
        String::from_utf8_lossy(&message.into_bytes()).into_owned()
    }

    #[test]
    fn a_received_message_loses_only_its_return_path() {
        let message = b"Return-Path: <a@b>\r\nSubject: x\r\nReturn-Path:\r\n <c@d>\r\nBcc: e\r\n\r\nReturn-Path: body\r\n";
        assert_eq!(
            settled(message, None),
            "Received: here\r\nSubject: x\r\nBcc: e\r\n\r\nReturn-Path: body\r\n"
        );
        assert_eq!(settled(b"A: b\r\n\r\n", None), "Received: here\r\nA: b\r\n\r\n");
    }

    #[test]
    fn a_submitted_message_is_repaired() {
        let submission = Submission { id: "1a", hostname: "h.test", time: Duration::ZERO };
        assert_eq!(
            settled(b"Bcc: e\r\nFrom: a\r\nReturn-Path: x\r\n\r\nb", Some(&submission)),
            "Received: here\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <1a@h.test>\r\nFrom: a\r\n\r\nb"
        );
        let whole = b"Date: d\r\nMessage-Id: m\r\nFrom: a\r\n\r\nb";
        assert_eq!(settled(whole, Some(&submission)).as_bytes(), [TRACE, whole].concat());
    }

    #[test]
    fn text_without_a_header_does_not_become_one() {
        assert_eq!(settled(b"hello\r\n", None), "Received: here\r\n\r\nhello\r\n");
        assert_eq!(settled(b"\r\nhello\r\n", None), "Received: here\r\n\r\nhello\r\n");
    }

    #[test]
    fn addresses_of_earlier_deliveries_are_known() {
        let message =
            Message::new(b"Delivered-To: Alice@Example.test\r\nDelivered-To: junk\r\n\r\n".to_vec(), 0);
        let addresses: Vec<_> = message.delivered_to().iter().map(EmailAddress::to_wire).collect();
        assert_eq!(addresses, ["Alice@example.test"]);
    }

    #[test]
    fn they_are_still_known_when_what_stood_above_them_is_gone() {
        let looped = b"Return-Path: <somebody@some.where.test>\r\nDelivered-To: alice@example.test\r\n\r\n";
        let mut message = Message::new([TRACE, looped].concat(), TRACE.len());
        message.settle(None);
        let addresses: Vec<_> = message.delivered_to().iter().map(EmailAddress::to_wire).collect();
        assert_eq!(addresses, ["alice@example.test"]);
    }
}
