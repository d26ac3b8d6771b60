//! The rows of reports.
//!
//! Keys are tuples whose first element is [`subspace::REPORTS`] and whose second says which table. `day` counts days (UTC) since 1970-01-01, `domain` is the
//! A-label text of a domain, ids are 16 octets. Values are a format byte ([`FORMAT`]) followed by postcard.
//!
//! | key after the subspace | value |
//! |---|---|
//! | `1, day, domain, batch` | [`DmarcBatch`]: what one process collected for the owner of a domain between two flushes |
//! | `2, day, domain, batch` | [`TlsBatch`]: likewise, of TLS with a domain |
//! | `3, day, domain, destination` | the TLS report of the day was handed over to one of its destinations; empty |
//! | `4, report` | [`PendingRow`]: a message that came in and is still to be read |
//! | `5` | not postcard: the versionstamp (10 bytes) of the last message of `4` |
//! | `6, report` | [`ReceivedRow`]: a report of somebody else, in the order of arrival |
//! | `7, report, number` | `Vec<`[`ReceivedRecord`]`>`: what it says in detail, in parts |
//! | `8, digest` | [`ReportId`]: the report with these names is here already |
//! | `9` | [`OrderRow`]: the last order to send without waiting, and what became of it |
//!
//! A batch has a random id and is written whole, so that it can be written again without counting anything twice.

use std::ops::Range;

use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{self as kv};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::model::ReportId;
#[cfg(doc)]
use crate::{
    collect::{DmarcBatch, TlsBatch},
    model::{ReceivedRecord, ReceivedRow},
    receive::PendingRow,
    send::OrderRow,
};

/// The format of the values that this version writes; it reads no other yet.
const FORMAT: u8 = 1;

const DMARC: u32 = 1;
const TLS: u32 = 2;
const HANDED_OVER: u32 = 3;
const PENDING: u32 = 4;
const LAST_PENDING: u32 = 5;
const RECEIVED: u32 = 6;
const RECORDS: u32 = 7;
const KNOWN: u32 = 8;
const ORDER: u32 = 9;

const SUBSPACE: u32 = subspace::REPORTS;

/// Octets of the list in a value that is made of parts; with what else is in the value, below the store's limit.
pub(crate) const PART: usize = 50_000;

/// What is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    Dmarc,
    Tls,
}

impl Collected {
    fn table(self) -> u32 {
        match self {
            Self::Dmarc => DMARC,
            Self::Tls => TLS,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dmarc => "dmarc",
            Self::Tls => "tls",
        }
    }

    pub(crate) fn all(self) -> Range<Vec<u8>> {
        keys::range(&(SUBSPACE, self.table()))
    }

    pub(crate) fn group(self, day: u64, domain: &str) -> Range<Vec<u8>> {
        keys::range(&(SUBSPACE, self.table(), day, domain))
    }

    pub(crate) fn batch(self, day: u64, domain: &str, id: [u8; 16]) -> Vec<u8> {
        keys::key(&(SUBSPACE, self.table(), day, domain, id.as_slice()))
    }
}

/// The day and the domain that a batch belongs to.
pub(crate) fn group_of(key: &[u8]) -> Result<(u64, String)> {
    let unpacked: Result<(u32, u32, u64, String, Vec<u8>), _> = foundationdb_tuple::unpack(key);
    let (_, _, day, domain, _) =
        unpacked.map_err(|error| kv::Error::Corrupt(format!("the key of a report: {error}")))?;
    Ok((day, domain))
}

pub(crate) fn handed_over(day: u64, domain: &str, destination: &str) -> Vec<u8> {
    keys::key(&(SUBSPACE, HANDED_OVER, day, domain, destination))
}

pub(crate) fn all_handed_over(day: u64, domain: &str) -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, HANDED_OVER, day, domain))
}

pub(crate) fn pending(id: ReportId) -> Vec<u8> {
    keys::key(&(SUBSPACE, PENDING, id.as_bytes().as_slice()))
}

pub(crate) fn all_pending() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, PENDING))
}

pub(crate) fn last_pending() -> Vec<u8> {
    keys::key(&(SUBSPACE, LAST_PENDING))
}

pub(crate) fn received(id: ReportId) -> Vec<u8> {
    keys::key(&(SUBSPACE, RECEIVED, id.as_bytes().as_slice()))
}

pub(crate) fn all_received() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, RECEIVED))
}

pub(crate) fn records(id: ReportId, number: usize) -> Vec<u8> {
    keys::key(&(SUBSPACE, RECORDS, id.as_bytes().as_slice(), number as u64))
}

pub(crate) fn all_records(id: ReportId) -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, RECORDS, id.as_bytes().as_slice()))
}

pub(crate) fn known(digest: [u8; 16]) -> Vec<u8> {
    keys::key(&(SUBSPACE, KNOWN, digest.as_slice()))
}

pub(crate) fn order() -> Vec<u8> {
    keys::key(&(SUBSPACE, ORDER))
}

/// The id in a key of the tables by report.
pub(crate) fn report_of(key: &[u8]) -> Result<ReportId> {
    let unpacked: Result<(u32, u32, Vec<u8>), _> = foundationdb_tuple::unpack(key);
    let id = unpacked.ok().and_then(|(_, _, id)| id.try_into().ok());
    Ok(id.map(ReportId::from_bytes).ok_or_else(|| kv::Error::Corrupt("the key of a report".to_owned()))?)
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT]).map_err(|error| Error::Compose(error.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let damaged = |what: String| Error::Store(kv::Error::Corrupt(format!("a row of reports {what}")));
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            postcard::from_bytes(rest).map_err(|error| damaged(format!("is damaged: {error}")))
        }
        Some((format, _)) => Err(damaged(format!("has format {format}, which this version does not know"))),
        None => Err(damaged("is empty".to_owned())),
    }
}

/// Divides items into lists whose encoding has at most about [`PART`] octets each.
pub(crate) fn in_parts<T: Serialize>(items: impl IntoIterator<Item = T>) -> Result<Vec<Vec<T>>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut octets = PART;
    for item in items {
        let size = encode(&item)?.len();
        if octets + size > PART {
            parts.push(Vec::new());
            octets = 0;
        }
        octets += size;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    Ok(parts)
}
