//! Zstandard (RFC 8878) with one context per thread: making a context costs more than compressing a mail.

use std::cell::RefCell;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses at a level (negative ones are faster, higher ones smaller); `None` if Zstandard fails.
pub fn compress(plain: &[u8], level: i32) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(have, _)| *have != level) {
            *slot = zstd::bulk::Compressor::new(level).ok().map(|compressor| (level, compressor));
        }
        slot.as_mut()?.1.compress(plain).ok()
    })
}

/// Decompresses to at most `capacity` octets; `None` for anything else.
pub fn decompress(compressed: &[u8], capacity: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Decompressor::new().ok();
        }
        slot.as_mut()?.decompress(compressed, capacity).ok()
    })
}
