//! The parts of a message that may be reports, unpacked within a budget: what comes from strangers may be made to burst.

use std::io::{Cursor, Read};

use mail_auth::flate2::read::GzDecoder;
use mail_auth::zip::ZipArchive;
use mail_parser::{Message, MessagePart, MimeHeaders as _, PartType};

/// Files of an archive that are looked at: reports have one.
const FILES: usize = 10;
/// Parts of a message that are looked at.
const PARTS: usize = 100;

/// What may be a report.
pub(super) struct Candidate {
    pub(super) octets: Vec<u8>,
    pub(super) form: Form,
}

/// What a candidate looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Xml,
    Json,
    /// `message/feedback-report`
    Feedback,
}

/// Why a part was not unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    TooLarge,
    TooManyFiles,
    Damaged(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("it is larger, unpacked, than reports.maxUnpackedSize"),
            Self::TooManyFiles => write!(f, "its archive has more than {FILES} files"),
            Self::Damaged(reason) => write!(f, "its archive is damaged: {reason}"),
        }
    }
}

/// Calls `found` with each candidate until that returns true. `budget` octets may come out of all archives together.
///
/// # Errors
/// Why a part could not be unpacked, if none was what is looked for.
pub(super) fn candidates(
    message: &Message<'_>,
    mut budget: usize,
    mut found: impl FnMut(Candidate) -> bool,
) -> Result<(), Trouble> {
    let mut trouble = None;
    for part in message.parts.iter().take(PARTS) {
        for unpacked in unpacked(part, &mut budget) {
            match unpacked {
                Ok(candidate) => {
                    if found(candidate) {
                        return Ok(());
                    }
                }
                Err(reason) => trouble = trouble.or(Some(reason)),
            }
        }
    }
    trouble.map_or(Ok(()), Err)
}

/// How a part is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zip,
}

fn unpacked(part: &MessagePart<'_>, budget: &mut usize) -> Vec<Result<Candidate, Trouble>> {
    let octets: &[u8] = match &part.body {
        PartType::Text(text) | PartType::Html(text) => text.as_bytes(),
        PartType::Binary(octets) | PartType::InlineBinary(octets) => octets,
        PartType::Message(_) | PartType::Multipart(_) => return Vec::new(),
    };
    if part.is_content_type("message", "feedback-report") {
        return vec![Ok(Candidate { octets: octets.to_vec(), form: Form::Feedback })];
    }
    match packing(part, octets) {
        Packing::Gzip => vec![capped(GzDecoder::new(octets), budget)],
        Packing::Zip => archive(octets, budget),
        Packing::Plain if is_plain_report(part) => vec![capped(octets, budget)],
        Packing::Plain => Vec::new(),
    }
    .into_iter()
    .map(|octets| octets.map(|octets| Candidate { form: form(&octets), octets }))
    .collect()
}

/// By what it is, since senders name it as they like (RFC 1952 §2.3.1, and the local file header of ZIP).
fn packing(part: &MessagePart<'_>, octets: &[u8]) -> Packing {
    if octets.starts_with(&[0x1f, 0x8b]) {
        Packing::Gzip
    } else if octets.starts_with(b"PK\x03\x04") && !part.is_content_type("text", "plain") {
        Packing::Zip
    } else {
        Packing::Plain
    }
}

fn is_plain_report(part: &MessagePart<'_>) -> bool {
    let subtype = part.content_type().and_then(|kind| kind.subtype()).unwrap_or_default();
    let name = part.attachment_name().unwrap_or_default().to_ascii_lowercase();
    ["xml", "tlsrpt+json", "json"].iter().any(|known| subtype.eq_ignore_ascii_case(known))
        || name.ends_with(".xml")
        || name.ends_with(".json")
}

fn form(octets: &[u8]) -> Form {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    match octets.iter().find(|octet| !octet.is_ascii_whitespace()) {
        Some(b'{') => Form::Json,
        _ => Form::Xml,
    }
}

fn archive(octets: &[u8], budget: &mut usize) -> Vec<Result<Vec<u8>, Trouble>> {
    let damaged = |error: mail_auth::zip::result::ZipError| Trouble::Damaged(error.to_string());
    let mut archive = match ZipArchive::new(Cursor::new(octets)) {
        Ok(archive) if archive.len() > FILES => return vec![Err(Trouble::TooManyFiles)],
        Ok(archive) => archive,
        Err(error) => return vec![Err(damaged(error))],
    };
    (0..archive.len())
        .map(|index| match archive.by_index(index) {
            Ok(file) => capped(file, budget),
            Err(error) => Err(damaged(error)),
        })
        .collect()
}

/// Reads at most what is left of the budget, and takes it from that.
fn capped(reader: impl Read, budget: &mut usize) -> Result<Vec<u8>, Trouble> {
    let mut octets = Vec::new();
    let most = u64::try_from(*budget).unwrap_or(u64::MAX);
    let read = reader.take(most.saturating_add(1)).read_to_end(&mut octets);
    let is_too_large = octets.len() > *budget;
    *budget = budget.saturating_sub(octets.len());
    if is_too_large {
        return Err(Trouble::TooLarge);
    }
    read.map(|_| octets).map_err(|error| Trouble::Damaged(error.to_string()))
}
