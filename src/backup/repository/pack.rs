//! Packs: many chunks in one object, written once.
//!
//! A pack is its chunks one after the other, each encrypted by itself (so that one is read without the others); then the list of them, encrypted;
//! the length of that (u32, little-endian); and [`MAGIC`]. So a pack tells what is in it without any index.
//! A chunk, decrypted, is an octet for its encoding, the first half of the BLAKE3 hash of its octets, and the octets, compressed where
//! that pays.

use bytes::Bytes;
use ekitei_blob::compression;
use serde::{Deserialize, Serialize};

use crate::crypto::{self, ChunkId, KEY_OCTETS, Keys, TAG_OCTETS};
use crate::document::{decode, encode};
use crate::error::{Error, Result};

/// Octets of chunks at which a pack is full.
pub(crate) const PACK_SIZE: usize = 16 << 20;
/// The end of every pack.
const MAGIC: &[u8; 8] = b"EKIPACK1";
/// Octets behind the list.
const TAIL: usize = 4 + MAGIC.len();
/// The number that the list is encrypted under; no chunk has it.
const LIST: u32 = u32::MAX;
/// What the list is bound to.
const LIST_NAME: &[u8] = b"list";
const COMPRESSION_LEVEL: i32 = 3;
/// Shorter chunks are not compressed.
const COMPRESS_FROM: usize = 128;
const IDENTITY: u8 = 0;
const ZSTD: u8 = 1;
/// Octets in front of a decrypted chunk.
const HEAD: usize = 1 + 16;

/// Names a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PackId(pub(crate) [u8; 16]);

impl PackId {
    /// The name of its object, below the repository's prefix.
    pub(crate) fn object_name(self) -> String {
        format!("packs/{:032x}", u128::from_be_bytes(self.0))
    }

    /// The pack whose object has this name.
    pub(crate) fn of_object(name: &str) -> Option<Self> {
        let digits = name.rsplit('/').next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(|id| Self(id.to_be_bytes()))
    }
}

/// A chunk in a pack; its place in the list is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackedChunk {
    pub(crate) id: ChunkId,
    pub(crate) offset: u32,
    /// Octets in the pack.
    pub(crate) stored: u32,
    /// Octets before compression.
    pub(crate) raw: u32,
}

/// A pack that is being filled.
pub(crate) struct PackBuilder {
    pub(crate) id: PackId,
    key: [u8; KEY_OCTETS],
    octets: Vec<u8>,
    chunks: Vec<PackedChunk>,
}

impl PackBuilder {
    pub(crate) fn new(keys: &Keys) -> Self {
        let id = PackId(rand::random());
        Self { key: keys.of_pack(&id.0), id, octets: Vec::new(), chunks: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.octets.len() >= PACK_SIZE
    }

    /// Adds a chunk.
    pub(crate) fn add(&mut self, id: ChunkId, raw: &[u8]) -> Result<()> {
        let number = u32::try_from(self.chunks.len()).unwrap_or(LIST);
        let sealed = crypto::seal(&self.key, number, &id.0, encode_chunk(raw))?;
        let chunk =
            PackedChunk { id, offset: length(&self.octets)?, stored: length(&sealed)?, raw: length(raw)? };
        self.octets.extend_from_slice(&sealed);
        self.chunks.push(chunk);
        Ok(())
    }

    /// The octets of the pack, and what is in it.
    pub(crate) fn finish(mut self) -> Result<(PackId, Bytes, Vec<PackedChunk>)> {
        let list = crypto::seal(&self.key, LIST, LIST_NAME, encode(&self.chunks))?;
        let list_length = length(&list)?;
        self.octets.extend_from_slice(&list);
        self.octets.extend_from_slice(&list_length.to_le_bytes());
        self.octets.extend_from_slice(MAGIC);
        Ok((self.id, self.octets.into(), self.chunks))
    }
}

fn length(octets: &[u8]) -> Result<u32> {
    u32::try_from(octets.len()).map_err(|_| Error::Invalid("a chunk is too large for a pack".to_owned()))
}

/// How many octets at the end of a pack of `size` octets hold its list, as far as `tail` (its last octets) tells.
pub(crate) fn list_length(size: u64, tail: &[u8]) -> Option<u64> {
    let rest = tail.strip_suffix(MAGIC)?;
    let (_, length) = rest.split_last_chunk::<4>()?;
    let length = u64::from(u32::from_le_bytes(*length)) + TAIL as u64;
    (length <= size).then_some(length)
}

/// The list of a pack, from its last octets, as many as [`list_length`] says.
pub(crate) fn read_list(keys: &Keys, pack: PackId, tail: &[u8]) -> Option<Vec<PackedChunk>> {
    let list = tail.get(..tail.len().checked_sub(TAIL)?)?;
    let list = crypto::open(&keys.of_pack(&pack.0), LIST, LIST_NAME, list.to_vec())?;
    decode(&list, "the list of a pack").ok()
}

/// The octets of a chunk, from those it has in the pack; `None` if they are not as they were written.
pub(crate) fn read_chunk(
    keys: &Keys,
    pack: PackId,
    number: u32,
    chunk: &PackedChunk,
    stored: &[u8],
) -> Option<Bytes> {
    if stored.len() != chunk.stored as usize || stored.len() < TAG_OCTETS {
        return None;
    }
    let plain = crypto::open(&keys.of_pack(&pack.0), number, &chunk.id.0, stored.to_vec())?;
    decode_chunk(plain, chunk.raw as usize)
}

fn encode_chunk(raw: &[u8]) -> Vec<u8> {
    let compressed = (raw.len() >= COMPRESS_FROM)
        .then(|| compression::compress(raw, COMPRESSION_LEVEL))
        .flatten()
        .filter(|compressed| compressed.len() < raw.len());
    let mut plain = Vec::with_capacity(HEAD + raw.len() + TAG_OCTETS);
    plain.push(if compressed.is_some() { ZSTD } else { IDENTITY });
    plain.extend_from_slice(&blake3::hash(raw).as_bytes()[..16]);
    plain.extend_from_slice(compressed.as_deref().unwrap_or(raw));
    plain
}

fn decode_chunk(plain: Vec<u8>, length: usize) -> Option<Bytes> {
    let plain = Bytes::from(plain);
    let (head, octets) = (plain.get(..HEAD)?, plain.slice(HEAD..));
    let raw = match head[0] {
        IDENTITY => octets,
        ZSTD => compression::decompress(&octets, length)?.into(),
        _ => return None,
    };
    (raw.len() == length && blake3::hash(&raw).as_bytes()[..16] == head[1..]).then_some(raw)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_tells_what_is_in_it_and_gives_it_back() {
        let keys = Keys::generate();
        let mut builder = PackBuilder::new(&keys);
        let texts = [Bytes::from("all work and no play ".repeat(100)), Bytes::new(), Bytes::from("short")];
        for text in &texts {
            builder.add(keys.document_chunk(text), text).unwrap();
        }
        let (id, octets, chunks) = builder.finish().unwrap();
        assert!(octets.len() < 1000, "the first one is compressed");
        let size = octets.len() as u64;
        let list = list_length(size, &octets[octets.len() - 100..]).unwrap();
        let tail = &octets[octets.len() - usize::try_from(list).unwrap()..];
        assert_eq!(read_list(&keys, id, tail).unwrap(), chunks);
        for (number, (chunk, text)) in (0..).zip(chunks.iter().zip(&texts)) {
            let stored = &octets[chunk.offset as usize..(chunk.offset + chunk.stored) as usize];
            assert_eq!(read_chunk(&keys, id, number, chunk, stored).unwrap(), text);
            assert_eq!(read_chunk(&keys, id, number + 1, chunk, stored), None, "not in another's place");
        }
        assert_eq!(PackId::of_object(&id.object_name()), Some(id));
    }

    #[test]
    fn any_flipped_bit_of_a_chunk_or_a_list_is_noticed() {
        let keys = Keys::generate();
        let mut builder = PackBuilder::new(&keys);
        builder.add(keys.document_chunk(b"text"), b"text").unwrap();
        let (id, octets, chunks) = builder.finish().unwrap();
        for place in 0..octets.len() {
            let mut damaged = octets.to_vec();
            damaged[place] ^= 0x10;
            let chunk = &chunks[0];
            let whole = read_chunk(&keys, id, 0, chunk, &damaged[..chunk.stored as usize]).is_some();
            let listed = list_length(damaged.len() as u64, &damaged)
                .and_then(|length| {
                    read_list(&keys, id, &damaged[damaged.len() - usize::try_from(length).unwrap()..])
                })
                .is_some();
            assert!(!(whole && listed), "octet {place}");
        }
    }
}
