//! Blocks: a body in pieces that are compressed and checked one by one, so that a part of a large body is read without the rest.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::compression;

/// What is known of a stored block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Octets it has in the store.
    pub(crate) stored: u32,
    /// How they are encoded.
    pub(crate) encoding: Encoding,
    /// The first half of the BLAKE3 hash of the block's octets before encoding.
    pub(crate) checksum: [u8; 16],
}

/// How a block is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Shorter blocks do not win by compression what the frame costs.
const COMPRESS_FROM: usize = 256;

/// Encodes a block; `level` 0 does not compress.
pub(crate) fn encode(raw: Bytes, level: i32) -> (Block, Bytes) {
    let checksum = checksum(&raw);
    let (encoding, stored) = match compress(&raw, level) {
        Some(compressed) => (Encoding::Zstd, compressed.into()),
        None => (Encoding::Identity, raw),
    };
    // A block is at most `Settings::block_size`, which is far below 4 GiB.
    let length = u32::try_from(stored.len()).unwrap_or(u32::MAX);
    (Block { stored: length, encoding, checksum }, stored)
}

/// The compressed octets, if they are at least a tenth fewer.
fn compress(raw: &[u8], level: i32) -> Option<Vec<u8>> {
    if level == 0 || raw.len() < COMPRESS_FROM {
        return None;
    }
    let compressed = compression::compress(raw, level)?;
    (compressed.len() <= raw.len() / 10 * 9).then_some(compressed)
}

/// Decodes a block that has `length` octets and checks it; the error says what does not fit.
pub(crate) fn decode(block: &Block, stored: Bytes, length: usize) -> Result<Bytes, &'static str> {
    if stored.len() != block.stored as usize {
        return Err("a block is cut off");
    }
    let raw = match block.encoding {
        Encoding::Identity => stored,
        Encoding::Zstd => {
            compression::decompress(&stored, length).ok_or("a block does not decompress")?.into()
        }
    };
    if raw.len() != length {
        return Err("a block has another length");
    }
    if checksum(&raw) != block.checksum {
        return Err("a block has another checksum");
    }
    Ok(raw)
}

fn checksum(raw: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(raw).as_bytes()[..16]);
    half
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_compressed_only_where_that_pays() {
        let text = Bytes::from(b"all work and no play ".repeat(100));
        let (block, stored) = encode(text.clone(), 1);
        assert_eq!(block.encoding, Encoding::Zstd);
        assert!(stored.len() < text.len() / 4);
        assert_eq!(decode(&block, stored, text.len()).unwrap(), text);

        let noise = Bytes::from((0..4096).map(|_| rand::random::<u8>()).collect::<Vec<_>>());
        assert_eq!(encode(noise, 1).0.encoding, Encoding::Identity);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let text = Bytes::from(b"all work and no play ".repeat(100));
        for level in [0, 1] {
            let (block, stored) = encode(text.clone(), level);
            for position in 0..stored.len() {
                let mut damaged = stored.to_vec();
                damaged[position] ^= 0x40;
                // Zstandard has bits that do not matter; the octets that come out must then be the right ones.
                if let Ok(raw) = decode(&block, damaged.into(), text.len()) {
                    assert_eq!(raw, text);
                    assert_eq!(level, 1);
                }
            }
            assert!(decode(&block, stored.slice(..stored.len() - 1), text.len()).is_err());
        }
    }
}
