//! Password hashes: Argon2id for what is set here, and the schemes of other systems for what is imported.
//!
//! A stored hash is `{SCHEME}text`, the notation of Dovecot and OpenLDAP. What is not Argon2id of the configured cost is
//! replaced by that at the first login that succeeds ([`StoredHash::is_current`]). `{PLAIN}` is accepted for import only: it is
//! hashed before it is stored.
//!
//! Passwords are prepared as OpaqueString of RFC 8265 §4.2 asks where it matters to users: NFC, and every space is U+0020.

use std::borrow::Cow;

use argon2::Params;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha_crypt::ShaCrypt;
use sha1::{Digest, Sha1};
use sha2::Sha512;
use subtle::ConstantTimeEq;

use crate::argon2id;
use crate::error::{Error, Result};
use crate::settings::Argon2Cost;

/// Longest password in octets: more is not worth hashing, and would be a way to waste our time.
pub const PASSWORD_OCTETS: usize = 1024;

/// Longest imported hash in octets, with its scheme: room for `{PLAIN}` and the longest password, and for any salt that is not a
/// mistake.
const HASH_OCTETS: usize = 2048;
/// Costs beyond which an imported hash is refused, since each login would stall a processor.
const MAX_SHA_CRYPT_ROUNDS: u32 = 1_000_000;
const MAX_BCRYPT_COST: u32 = 15;
const MAX_ARGON2_KIB: u32 = 1024 * 1024;
const MAX_ARGON2_PASSES: u32 = 16;

/// A hash with its scheme, checked to be well formed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoredHash {
    /// PHC string.
    Argon2id(String),
    /// `$5$...` or `$6$...`.
    ShaCrypt(String),
    /// `$2b$...` and its relatives.
    Bcrypt(String),
    /// SHA-1 digest and salt.
    Ssha { digest: Vec<u8>, salt: Vec<u8> },
    /// SHA-512 digest and salt.
    Ssha512 { digest: Vec<u8>, salt: Vec<u8> },
    /// The password itself, on its way to being hashed.
    Plain(String),
}

impl StoredHash {
    /// Reads `{SCHEME}text`, or the text alone where it says what it is (`$argon2id$`, `$6$`, `$5$`, `$2y$`).
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > HASH_OCTETS {
            return Err(invalid("the password hash is longer than 2,048 octets"));
        }
        let (scheme, rest) = match text.strip_prefix('{').and_then(|text| text.split_once('}')) {
            Some((scheme, rest)) => (scheme.to_ascii_uppercase(), rest),
            None => (guess_scheme(text).to_owned(), text),
        };
        match scheme.as_str() {
            "ARGON2ID" => parse_argon2id(rest),
            "SHA512-CRYPT" => parse_sha_crypt(rest, "$6$"),
            "SHA256-CRYPT" => parse_sha_crypt(rest, "$5$"),
            "BLF-CRYPT" => parse_bcrypt(rest),
            "SSHA" => split_salted(rest, 20).map(|(digest, salt)| Self::Ssha { digest, salt }),
            "SSHA512" => split_salted(rest, 64).map(|(digest, salt)| Self::Ssha512 { digest, salt }),
            "PLAIN" => Ok(Self::Plain(rest.to_owned())),
            _ => Err(invalid(
                "the scheme is none of {ARGON2ID}, {SHA512-CRYPT}, {SHA256-CRYPT}, {BLF-CRYPT}, {SSHA}, {SSHA512} and {PLAIN}",
            )),
        }
    }

    /// The notation that [`StoredHash::parse`] reads.
    pub(crate) fn to_text(&self) -> String {
        let salted = |digest: &[u8], salt: &[u8]| STANDARD.encode([digest, salt].concat());
        match self {
            Self::Argon2id(phc) => format!("{{ARGON2ID}}{phc}"),
            Self::ShaCrypt(mcf) if mcf.starts_with("$5$") => format!("{{SHA256-CRYPT}}{mcf}"),
            Self::ShaCrypt(mcf) => format!("{{SHA512-CRYPT}}{mcf}"),
            Self::Bcrypt(mcf) => format!("{{BLF-CRYPT}}{mcf}"),
            Self::Ssha { digest, salt } => format!("{{SSHA}}{}", salted(digest, salt)),
            Self::Ssha512 { digest, salt } => format!("{{SSHA512}}{}", salted(digest, salt)),
            Self::Plain(password) => format!("{{PLAIN}}{password}"),
        }
    }

    /// Whether `password` is the one. Takes milliseconds to seconds of a processor.
    pub(crate) fn verify(&self, password: &str) -> bool {
        let prepared = prepare(password);
        // Another system may have hashed the octets as they came.
        self.verify_octets(prepared.as_bytes())
            || (prepared != password && self.verify_octets(password.as_bytes()))
    }

    fn verify_octets(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id(phc) => argon2id::verify(password, phc),
            Self::ShaCrypt(mcf) => ShaCrypt::default().verify_password(password, mcf.as_str()).is_ok(),
            Self::Bcrypt(mcf) => bcrypt::verify(password, mcf).unwrap_or(false),
            Self::Ssha { digest, salt } => {
                Sha1::new().chain_update(password).chain_update(salt).finalize().ct_eq(digest).into()
            }
            Self::Ssha512 { digest, salt } => {
                Sha512::new().chain_update(password).chain_update(salt).finalize().ct_eq(digest).into()
            }
            Self::Plain(plain) => blake3::hash(plain.as_bytes()) == blake3::hash(password),
        }
    }

    /// Whether it is what [`hash`] would make today.
    pub(crate) fn is_current(&self, cost: Argon2Cost) -> bool {
        let Self::Argon2id(phc) = self else { return false };
        PasswordHash::new(phc).ok().and_then(|hash| Params::try_from(&hash).ok()).is_some_and(|params| {
            params.m_cost() == cost.memory_kib
                && params.t_cost() == cost.passes
                && params.p_cost() == cost.lanes
        })
    }
}

/// Hashes a password with Argon2id and a fresh salt. Takes tens of milliseconds of a processor.
pub(crate) fn hash(password: &str, cost: Argon2Cost) -> Result<StoredHash> {
    let unusable = |error: String| Error::Unavailable(format!("the password cannot be hashed: {error}"));
    let salt: [u8; 16] = rand::random();
    let hash = argon2id::hash(prepare(password).as_bytes(), &salt, cost)
        .map_err(|error| unusable(error.to_string()))?;
    Ok(StoredHash::Argon2id(hash))
}

/// Refuses passwords that no user of ours should have.
pub(crate) fn check_new(password: &str, min_length: usize) -> Result<()> {
    if password.chars().count() < min_length {
        return Err(Error::Invalid(format!("the password is shorter than {min_length} characters")));
    }
    check_length(password)?;
    if password.chars().any(char::is_control) {
        return Err(invalid("the password contains a control character"));
    }
    Ok(())
}

/// Refuses what is too long to be hashed.
pub(crate) fn check_length(password: &str) -> Result<()> {
    if password.len() > PASSWORD_OCTETS {
        return Err(Error::Invalid(format!("the password is longer than {PASSWORD_OCTETS} octets")));
    }
    Ok(())
}

fn prepare(password: &str) -> Cow<'_, str> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    let spaced: String = password.chars().map(|c| if is_space_separator(c) { ' ' } else { c }).collect();
    Cow::Owned(icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(&spaced).into_owned())
}

/// Unicode's general category Zs.
fn is_space_separator(c: char) -> bool {
    matches!(c, ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}')
}

fn guess_scheme(text: &str) -> &'static str {
    match text.split('$').nth(1) {
        Some("argon2id") => "ARGON2ID",
        Some("6") => "SHA512-CRYPT",
        Some("5") => "SHA256-CRYPT",
        Some("2" | "2a" | "2b" | "2x" | "2y") => "BLF-CRYPT",
        _ => "",
    }
}

fn parse_argon2id(text: &str) -> Result<StoredHash> {
    let bad = || invalid("the {ARGON2ID} hash is not $argon2id$v=19$m=...,t=...,p=...$salt$hash");
    let hash = PasswordHash::new(text).map_err(|_| bad())?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err(bad());
    }
    let params = Params::try_from(&hash).map_err(|_| bad())?;
    if params.m_cost() > MAX_ARGON2_KIB || params.t_cost() > MAX_ARGON2_PASSES {
        return Err(invalid("the {ARGON2ID} hash costs more than 1 GiB or 16 passes"));
    }
    Ok(StoredHash::Argon2id(text.to_owned()))
}

fn parse_sha_crypt(text: &str, prefix: &str) -> Result<StoredHash> {
    let bad = || invalid("the hash is not $6$[rounds=n$]salt$hash ($5$ for SHA-256)");
    let fields: Vec<&str> = text.strip_prefix(prefix).ok_or_else(bad)?.split('$').collect();
    let (rounds, digest) = match fields.as_slice() {
        [_salt, digest] => (None, digest),
        [rounds, _salt, digest] => (Some(rounds.strip_prefix("rounds=").ok_or_else(bad)?), digest),
        _ => return Err(bad()),
    };
    if digest.len() != if prefix == "$6$" { 86 } else { 43 } {
        return Err(bad());
    }
    let rounds: u32 =
        rounds.map_or(Ok(sha_crypt::Params::RECOMMENDED_ROUNDS), |n| n.parse().map_err(|_| bad()))?;
    if !(sha_crypt::Params::ROUNDS_MIN..=MAX_SHA_CRYPT_ROUNDS).contains(&rounds) {
        return Err(invalid("the number of rounds of the hash is not between 1,000 and 1,000,000"));
    }
    Ok(StoredHash::ShaCrypt(text.to_owned()))
}

fn parse_bcrypt(text: &str) -> Result<StoredHash> {
    let parts: bcrypt::HashParts =
        text.parse().map_err(|_| invalid("the {BLF-CRYPT} hash is not $2y$cost$salt-and-hash"))?;
    if parts.get_cost() > MAX_BCRYPT_COST {
        return Err(invalid("the cost of the {BLF-CRYPT} hash is over 15"));
    }
    Ok(StoredHash::Bcrypt(text.to_owned()))
}

fn split_salted(text: &str, digest_octets: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    let bad = || invalid("the salted hash is not the Base64 of a digest and a salt");
    let engine = if text.ends_with('=') { STANDARD } else { STANDARD_NO_PAD };
    let mut digest = engine.decode(text).map_err(|_| bad())?;
    if digest.len() < digest_octets {
        return Err(bad());
    }
    let salt = digest.split_off(digest_octets);
    Ok((digest, salt))
}

fn invalid(message: &str) -> Error {
    Error::Invalid(message.to_owned())
}
