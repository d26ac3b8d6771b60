//! Argon2id (RFC 9106) over memory that is kept for the next hash.
//!
//! A hash fills some 20 MiB. Taken from the allocator and given back each time, from whichever thread of the blocking pool the
//! work is on, that memory ends up held once for every thread's arena, and a burst of logins leaves the process five times as
//! large as it was. So it is held here, once for each hash that runs at the same time, of which [`crate::verifier`] allows few.

use std::sync::{Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

use crate::settings::Argon2Cost;

/// Octets of a new digest.
const DIGEST_OCTETS: usize = 32;
/// Memory over this many blocks of 1 KiB is given back after its use: only an imported hash asks for that.
const KEPT_BLOCKS: usize = 64 * 1024;

/// Memory that is not in use.
static SPARE: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// Hashes a password; the result is a PHC string.
pub(crate) fn hash(password: &[u8], salt: &[u8], cost: Argon2Cost) -> argon2::Result<String> {
    let Argon2Cost { memory_kib, passes, lanes } = cost;
    let params = Params::new(memory_kib, passes, lanes, Some(DIGEST_OCTETS))?;
    let mut digest = [0; DIGEST_OCTETS];
    fill(Version::V0x13, params, password, salt, &mut digest)?;
    let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
    Ok(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${digest}"))
}

/// Whether `password` is what the PHC string `phc` was made of.
pub(crate) fn verify(password: &[u8], phc: &str) -> bool {
    let Ok(hash) = PasswordHash::new(phc) else { return false };
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return false };
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from);
    let (Ok(version), Ok(params)) = (version, Params::try_from(&hash)) else { return false };
    let mut digest = vec![0; expected.len()];
    fill(version, params, password, salt.as_ref(), &mut digest).is_ok()
        && digest.ct_eq(expected.as_ref()).into()
}

fn fill(
    version: Version,
    params: Params,
    password: &[u8],
    salt: &[u8],
    digest: &mut [u8],
) -> argon2::Result<()> {
    let blocks = params.block_count();
    let mut memory = spare().pop().unwrap_or_default();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let argon2 = Argon2::new(Algorithm::Argon2id, version, params);
    let result = argon2.hash_password_into_with_memory(password, salt, digest, &mut memory[..blocks]);
    if memory.len() <= KEPT_BLOCKS {
        spare().push(memory);
    }
    result
}

fn spare() -> std::sync::MutexGuard<'static, Vec<Vec<Block>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    const COST: Argon2Cost = Argon2Cost { memory_kib: 64, passes: 2, lanes: 1 };

    #[test]
    fn a_hash_is_what_the_standard_interface_makes() {
        for (password, cost) in
            [(&b"first"[..], COST), (b"second", Argon2Cost { memory_kib: 32, ..COST }), (b"", COST)]
        {
            let phc = hash(password, b"saltsaltsaltsalt", cost).unwrap();
            assert!(verify(password, &phc));
            assert!(!verify(b"other", &phc));
            let parsed = PasswordHash::new(&phc).unwrap();
            assert!(Argon2::default().verify_password(password, &parsed).is_ok());
        }
    }

    #[test]
    fn what_is_no_hash_is_no_password() {
        for phc in [
            "",
            "$argon2id$v=19$m=64",
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=1$m=64,t=2,p=1$c29tZXNhbHQ$AAAA",
        ] {
            assert!(!verify(b"", phc), "{phc:?}");
        }
    }
}
