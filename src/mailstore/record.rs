//! The record of a message: what is stored of it beside its body and its places.
//!
//! All recipients of one delivery share most of it, so that part is encoded and compressed once: a record is a format octet, the
//! length (u32) and octets of the header fields that are this account's own, then the shared part: its length (u32) before
//! compression, and Zstandard of its postcard.

use std::sync::Arc;

use bytes::Bytes;
use ekitei_blob::compression;
use ekitei_kv::{KeyValue, Transaction};
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, envelope};
use crate::mime::Parsed;
use crate::rows;
use crate::structure::Part;
use crate::types::{AccountId, MessageId};
use crate::{Error, Result};

const FORMAT: u8 = 1;
/// Octets of one row; a record with very many parts takes several.
const PIECE: usize = 90_000;
/// Octets that a decoded record may have: the largest header that SMTP takes, and as much of a structure. A structure beyond it is not
/// kept, a header beyond it is refused.
const MAX_DECODED: usize = 2 << 20;
const COMPRESSION_LEVEL: i32 = 1;

/// What is stored of a message beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Which message.
    pub id: MessageId,
    /// RFC822.SIZE, in octets.
    pub size: u64,
    /// The header fields that clients list by, raw, each with its CRLF, in order (see [`crate::envelope::LISTED`]).
    pub listed_headers: Bytes,
    /// Names the conversation: the same for all messages that share the first of their References.
    pub thread: [u8; 16],
    /// Where its parts are.
    pub structure: Part,
    /// Header fields of this account's own, in front of the body that is shared with others.
    pub(crate) own_header: Bytes,
}

impl MessageRecord {
    /// ENVELOPE (RFC 9051 §7.5.2), from the listed header fields.
    pub fn envelope(&self) -> Envelope {
        envelope(&self.listed_headers)
    }

    /// Octets in memory, about.
    pub(crate) fn weight(&self) -> u64 {
        fn parts(part: &Part) -> u64 {
            use crate::structure::Content;
            400 + match &part.content {
                Content::Leaf => 0,
                Content::Multipart(inner) => inner.iter().map(parts).sum(),
                Content::Message(message) => message.headers.len() as u64 + parts(&message.part),
            }
        }
        self.listed_headers.len() as u64 + self.own_header.len() as u64 + parts(&self.structure)
    }
}

#[derive(Serialize, Deserialize)]
struct Shared<T> {
    size: u64,
    thread: [u8; 16],
    structure: T,
    listed_headers: Vec<u8>,
}

/// The part of a record that all recipients share, encoded.
#[derive(Clone, Debug)]
pub(crate) struct SharedRecord(Arc<[u8]>);

impl SharedRecord {
    /// Encodes what was read of a message of `size` octets.
    ///
    /// # Errors
    /// [`Error::Limit`] for a header or a structure beyond all measure.
    pub(crate) fn encode(parsed: Parsed, size: u64) -> Result<Self> {
        let mut shared = Shared {
            size,
            thread: parsed.thread,
            structure: parsed.structure,
            listed_headers: parsed.listed_headers,
        };
        let plain = |shared: &Shared<Part>| {
            postcard::to_stdvec(shared).map_err(|_| Error::Corrupt("a record that was just made"))
        };
        let mut plain_record = plain(&shared)?;
        if plain_record.len() > MAX_DECODED {
            // Thousands of parts with long fields: the message is kept, but in one piece.
            shared.structure = crate::mime::in_one_piece(shared.structure);
            plain_record = plain(&shared)?;
        }
        let plain = plain_record;
        if plain.len() > MAX_DECODED {
            return Err(Error::Limit("the header of the message is too large"));
        }
        let length = u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes();
        let compressed = compression::compress(&plain, COMPRESSION_LEVEL)
            .ok_or(Error::Corrupt("a record that was just made"))?;
        Ok(Self([&length[..], &compressed].concat().into()))
    }

    /// Octets that a record of it takes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes the record of one account.
    pub(crate) fn store(
        &self,
        transaction: &Transaction,
        account: AccountId,
        message: MessageId,
        own_header: &[u8],
    ) {
        let mut value = Vec::with_capacity(5 + own_header.len() + self.0.len());
        value.push(FORMAT);
        value.extend_from_slice(&u32::try_from(own_header.len()).unwrap_or(u32::MAX).to_le_bytes());
        value.extend_from_slice(own_header);
        value.extend_from_slice(&self.0);
        store_octets(transaction, account, message, &value);
    }
}

/// Writes an encoded record.
pub(crate) fn store_octets(transaction: &Transaction, account: AccountId, message: MessageId, value: &[u8]) {
    for (n, piece) in value.chunks(PIECE).enumerate() {
        transaction.set(&rows::record_piece(account, message, n), piece);
    }
}

/// How many octets of header fields of its own an encoded record has.
pub(crate) fn own_header_length(value: &[u8]) -> Option<u64> {
    let (&format, rest) = value.split_first()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    (format == FORMAT).then(|| u64::from(u32::from_le_bytes(*length)))
}

/// Reads the record that these rows hold; `None` if there are none.
pub(crate) fn decode(id: MessageId, pieces: &[KeyValue]) -> Result<Option<MessageRecord>> {
    let value = match pieces {
        [] => return Ok(None),
        [one] => one.value.clone(),
        many => many.iter().flat_map(|piece| &piece.value).copied().collect(),
    };
    decode_value(id, &value).map(Some).ok_or(Error::Corrupt("the record of a message"))
}

fn decode_value(id: MessageId, value: &Bytes) -> Option<MessageRecord> {
    let (&format, rest) = value.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (own_header, shared) = rest.split_at_checked(length)?;
    if format != FORMAT {
        return None;
    }
    let (plain_length, shared) = shared.split_first_chunk::<4>()?;
    let plain_length = usize::try_from(u32::from_le_bytes(*plain_length)).ok()?;
    let plain = compression::decompress(shared, plain_length.min(MAX_DECODED))?;
    let shared: Shared<Part> = postcard::from_bytes(&plain).ok()?;
    let mut structure = shared.structure;
    structure.prepend_header(own_header.len() as u64);
    Some(MessageRecord {
        id,
        size: shared.size + own_header.len() as u64,
        listed_headers: shared.listed_headers.into(),
        thread: shared.thread,
        structure,
        own_header: value.slice(5..5 + length),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ekitei_kv::{Database, RangeOptions};

    #[tokio::test]
    async fn a_record_of_several_rows_is_read_back_with_its_own_header_in_front() {
        let message = format!(
            "Subject: x\r\nTo: {}\r\n\r\nbody\r\n",
            (0..25_000).map(|_| format!("{:x}@x.test,\r\n ", rand::random::<u64>())).collect::<String>()
        );
        let shared =
            SharedRecord::encode(crate::mime::parse(message.as_bytes()), message.len() as u64).unwrap();
        assert!(shared.len() > PIECE);
        let (account, id) = (AccountId::new(1), MessageId::from_bytes([7; 16]));
        let database = Database::in_memory();
        let rows = database
            .transact(async |transaction| {
                shared.store(&transaction, account, id, b"Delivered-To: me\r\n");
                transaction.get_range(rows::record(account, id), RangeOptions::default()).await
            })
            .await
            .unwrap();
        let record = decode(id, &rows).unwrap().unwrap();
        assert_eq!(record.size, message.len() as u64 + 18);
        assert_eq!(record.structure.header.length, record.structure.body.offset);
        assert_eq!(record.structure.body.end(), record.size);
        assert!(record.listed_headers.starts_with(b"Subject: x\r\nTo: "));
        assert_eq!(record.own_header, "Delivered-To: me\r\n");
    }

    #[test]
    fn a_structure_beyond_all_measure_is_not_kept() {
        let part = format!("--b\r\nContent-Type: text/html; name={}\r\n\r\nx\r\n", "x".repeat(1000));
        let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", part.repeat(4000));
        let size = message.len() as u64;
        let encoded = SharedRecord::encode(crate::mime::parse(message.as_bytes()), size).unwrap();
        let id = MessageId::from_bytes([7; 16]);
        let value = [&[FORMAT, 0, 0, 0, 0][..], &encoded.0].concat().into();
        let record = decode_value(id, &value).unwrap();
        assert!(record.structure.fields.is("text", "plain") && record.structure.body.end() == size);
    }

    #[test]
    fn a_header_beyond_all_measure_is_refused() {
        let message = format!("To: {}\r\n\r\n", "x".repeat(2 << 20));
        let parsed = crate::mime::parse(message.as_bytes());
        assert!(matches!(SharedRecord::encode(parsed, 1), Err(Error::Limit(_))));
    }
}
