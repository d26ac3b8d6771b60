//! Blocks: a body in pieces that are compressed, encrypted and checked one by one, so that a part of a large body is read without the rest.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::compression;
use crate::encryption::{BodyKey, SealFailed};

/// What is known of a stored block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Octets it has in the store.
    pub(crate) stored: u32,
    /// How they are encoded.
    pub(crate) encoding: Encoding,
    /// The first half of a BLAKE3 hash: of the block's octets before encoding, or of what is stored if it is encrypted, since the other would tell
    /// which bodies are equal.
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

/// The key of a body, and the number of a block in it.
pub(crate) type Sealing<'a> = Option<(&'a BodyKey, usize)>;

/// Encodes a block and, with a key, encrypts it; `level` 0 does not compress.
pub(crate) fn encode(raw: Bytes, level: i32, sealing: Sealing<'_>) -> Result<(Block, Bytes), SealFailed> {
    let compressed = compress(&raw, level);
    let encoding = if compressed.is_some() { Encoding::Zstd } else { Encoding::Identity };
    let (checksum, stored) = match (sealing, compressed) {
        (Some((key, index)), compressed) => {
            let sealed = key.seal(index, encoding, compressed.unwrap_or_else(|| Vec::from(raw)))?;
            (checksum(&sealed), sealed.into())
        }
        (None, Some(compressed)) => (checksum(&raw), compressed.into()),
        (None, None) => (checksum(&raw), raw),
    };
    // A block is at most `Settings::block_size`, which is far below 4 GiB.
    let length = u32::try_from(stored.len()).unwrap_or(u32::MAX);
    Ok((Block { stored: length, encoding, checksum }, stored))
}

/// The compressed octets, if they are at least a tenth fewer.
fn compress(raw: &[u8], level: i32) -> Option<Vec<u8>> {
    if level == 0 || raw.len() < COMPRESS_FROM {
        return None;
    }
    let compressed = compression::compress(raw, level)?;
    (compressed.len() <= raw.len() / 10 * 9).then_some(compressed)
}

/// Checks what is stored of an encrypted block, which takes no key.
pub(crate) fn check_sealed(block: &Block, stored: &[u8]) -> Result<(), &'static str> {
    if stored.len() != block.stored as usize {
        return Err("a block is cut off");
    }
    if checksum(stored) != block.checksum {
        return Err("a block has another checksum");
    }
    Ok(())
}

/// Decodes a block that has `length` octets and checks it; the error says what does not fit.
pub(crate) fn decode(
    block: &Block,
    stored: Bytes,
    length: usize,
    sealing: Sealing<'_>,
) -> Result<Bytes, &'static str> {
    let encoded = match sealing {
        Some((key, index)) => {
            check_sealed(block, &stored)?;
            let opened = key.open(index, block.encoding, stored);
            opened.ok_or(
                "a block does not decrypt: it, or the record, was changed or belongs to another body",
            )?
        }
        None if stored.len() != block.stored as usize => return Err("a block is cut off"),
        None => stored,
    };
    let raw = match block.encoding {
        Encoding::Identity => encoded,
        Encoding::Zstd => {
            compression::decompress(&encoded, length).ok_or("a block does not decompress")?.into()
        }
    };
    if raw.len() != length {
        return Err("a block has another length");
    }
    if sealing.is_none() && checksum(&raw) != block.checksum {
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
    use ekitei_kv::clock::SystemClock;
    use proptest::prelude::*;

    use super::*;
    use crate::encryption::{BodySeal, DataKey};
    use crate::{BodyId, DataKeyId};

    fn body_key(size: u64) -> BodyKey {
        let data_key = DataKey::new(DataKeyId::new(1), &[7; 32]);
        let body = BodyId::generate(&SystemClock);
        BodyKey::derive(&data_key, &BodySeal::new(data_key.id()), body, size, 4096).unwrap()
    }

    #[test]
    fn a_block_is_compressed_only_where_that_pays() {
        let text = Bytes::from(b"all work and no play ".repeat(100));
        let (block, stored) = encode(text.clone(), 1, None).unwrap();
        assert_eq!(block.encoding, Encoding::Zstd);
        assert!(stored.len() < text.len() / 4);
        assert_eq!(decode(&block, stored, text.len(), None).unwrap(), text);

        let noise = Bytes::from((0..4096).map(|_| rand::random::<u8>()).collect::<Vec<_>>());
        assert_eq!(encode(noise, 1, None).unwrap().0.encoding, Encoding::Identity);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let text = Bytes::from(b"all work and no play ".repeat(100));
        let key = body_key(text.len() as u64);
        for (level, sealing) in [(0, None), (1, None), (0, Some((&key, 0))), (1, Some((&key, 0)))] {
            let (block, stored) = encode(text.clone(), level, sealing).unwrap();
            for position in 0..stored.len() {
                let mut damaged = stored.to_vec();
                damaged[position] ^= 0x40;
                // Zstandard has bits that do not matter; the octets that come out must then be the right ones.
                if let Ok(raw) = decode(&block, damaged.into(), text.len(), sealing) {
                    assert_eq!(raw, text);
                    assert!(level == 1 && sealing.is_none());
                }
            }
            assert!(decode(&block, stored.slice(..stored.len() - 1), text.len(), sealing).is_err());
        }
    }

    #[test]
    fn equal_texts_have_nothing_equal_when_they_are_encrypted() {
        let text = Bytes::from(b"all work and no play ".repeat(100));
        let (one, other) = (body_key(text.len() as u64), body_key(text.len() as u64));
        let (first, first_stored) = encode(text.clone(), 1, Some((&one, 0))).unwrap();
        let (second, second_stored) = encode(text.clone(), 1, Some((&other, 0))).unwrap();
        let (third, third_stored) = encode(text, 1, Some((&one, 1))).unwrap();
        assert!(first.checksum != second.checksum && first_stored != second_stored);
        assert!(first.checksum != third.checksum && first_stored != third_stored, "nor within a body");
    }

    proptest! {
        #[test]
        fn what_was_encrypted_comes_back_and_a_changed_bit_does_not(
            text in proptest::collection::vec(any::<u8>(), 0..3000),
            repeated in 1usize..5,
            index in 0usize..1000,
            flip in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let text = Bytes::from(text.repeat(repeated));
            let key = body_key(text.len() as u64);
            let (block, stored) = encode(text.clone(), 1, Some((&key, index))).unwrap();
            prop_assert_eq!(check_sealed(&block, &stored), Ok(()));
            let back = decode(&block, stored.clone(), text.len(), Some((&key, index)));
            prop_assert_eq!(back.unwrap(), text.clone());

            let mut changed = stored.to_vec();
            changed[flip.index(stored.len())] ^= 1 << bit;
            prop_assert!(check_sealed(&block, &changed).is_err());
            // Who changes the block can change the record as well: then the tag tells.
            let forged = Block { checksum: checksum(&changed), ..block };
            prop_assert!(decode(&forged, changed.into(), text.len(), Some((&key, index))).is_err());
        }
    }
}
