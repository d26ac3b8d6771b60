//! The encryption keys: what signing keys are stored under, and what is derived from them.
//!
//! The first key encrypts, all of them decrypt, and a row names the one that it needs, so that they can be replaced one after the other.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Octets of an encryption key.
const KEY_OCTETS: usize = 32;

/// Names an encryption key without telling anything about it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VaultKeyId([u8; 8]);

impl fmt::Display for VaultKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// An encrypted text (AES-256-GCM, its tag at the end).
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) under: VaultKeyId,
    nonce: [u8; 12],
    text: Vec<u8>,
}

/// All encryption keys of the service.
pub(crate) struct Vault {
    keys: Vec<VaultKey>,
}

struct VaultKey {
    id: VaultKeyId,
    cipher: RandomizedNonceKey,
    srs: hmac::Key,
}

impl VaultKey {
    /// Derives all that is needed, so that no key serves two purposes.
    fn new(secret: &[u8; KEY_OCTETS]) -> Result<Self> {
        let id = derive(secret, "ekitei key id");
        let short = id.first_chunk().copied().unwrap_or_default();
        Ok(Self {
            id: VaultKeyId(short),
            cipher: RandomizedNonceKey::new(&AES_256_GCM, &derive(secret, "ekitei signing keys"))?,
            srs: hmac::Key::new(hmac::HMAC_SHA256, &derive(secret, "ekitei srs")),
        })
    }
}

/// One block of HKDF-Expand (RFC 5869 §2.3); the secret is random already.
fn derive(secret: &[u8; KEY_OCTETS], purpose: &str) -> [u8; KEY_OCTETS] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(purpose.as_bytes());
    context.update(&[1]);
    let mut key = [0; KEY_OCTETS];
    key.copy_from_slice(context.sign().as_ref());
    key
}

impl Vault {
    /// The keys of the configuration, and behind them the one in `file`, which is made if there is no other.
    pub(crate) fn open(settings: &ekitei_config::Signing, file: Option<&Path>) -> Result<Self> {
        let mut secrets = Vec::new();
        if let Some(key) = &settings.encryption_key {
            secrets.push(decode("signing.encryptionKey", key.expose())?);
        }
        for (index, key) in settings.previous_encryption_keys.iter().enumerate() {
            secrets.push(decode(&format!("signing.previousEncryptionKeys[{index}]"), key.expose())?);
        }
        if let Some(file) = file {
            secrets.extend(from_file(file, settings.encryption_key.is_none())?);
        }
        if settings.encryption_key.is_none() && file.is_none() && !secrets.is_empty() {
            return Err(Error::EncryptionKey(
                "there are signing.previousEncryptionKeys, but no signing.encryptionKey".to_owned(),
            ));
        }
        // A key of a file is newer than the previous keys of the configuration, if that names none in force.
        if settings.encryption_key.is_none() {
            secrets.reverse();
        }
        Ok(Self { keys: secrets.iter().map(VaultKey::new).collect::<Result<_>>()? })
    }

    /// Encrypts under the key in force; `bound_to` must be the same to decrypt.
    pub(crate) fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Sealed> {
        let key = self.keys.first().ok_or(Error::NoEncryptionKey)?;
        let mut text = plain.to_vec();
        let nonce = key.cipher.seal_in_place_append_tag(Aad::from(bound_to), &mut text)?;
        Ok(Sealed { under: key.id, nonce: *nonce.as_ref(), text })
    }

    /// Decrypts.
    pub(crate) fn open_sealed(&self, sealed: &Sealed, bound_to: &[u8]) -> Result<Vec<u8>> {
        let Some(key) = self.keys.iter().find(|key| key.id == sealed.under) else {
            return Err(Error::Key(format!(
                "it is stored under the encryption key {}, which is neither signing.encryptionKey nor among signing.previousEncryptionKeys",
                sealed.under
            )));
        };
        let mut text = sealed.text.clone();
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let plain = key.cipher.open_in_place(nonce, Aad::from(bound_to), &mut text);
        let length = plain
            .map_err(|_| {
                Error::Key("what is stored of it was changed since, or belongs to another key".to_owned())
            })?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// Whether it should be stored anew, under the key in force.
    pub(crate) fn is_outdated(&self, sealed: &Sealed) -> bool {
        self.keys.first().is_some_and(|key| key.id != sealed.under)
    }

    /// The keys for rewritten senders: the first signs, all verify. Empty without an encryption key.
    pub(crate) fn srs_keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.keys.iter().map(|key| &key.srs)
    }
}

fn decode(whose: &str, text: &str) -> Result<[u8; KEY_OCTETS]> {
    let octets = BASE64.decode(text.trim()).unwrap_or_default();
    octets.try_into().map_err(|_| {
        Error::EncryptionKey(format!(
            "{whose} must be {KEY_OCTETS} octets in base64, such as `openssl rand -base64 {KEY_OCTETS}` gives"
        ))
    })
}

/// The key in a file; with `create` it is made if there is none.
fn from_file(path: &Path, create: bool) -> Result<Option<[u8; KEY_OCTETS]>> {
    let failed = |what: &str, error: &std::io::Error| {
        Error::EncryptionKey(format!(
            "cannot {what} the file of the encryption key {}: {error}",
            path.display()
        ))
    };
    match std::fs::read_to_string(path) {
        Ok(text) => decode(&path.display().to_string(), &text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !create => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = [0; KEY_OCTETS];
            aws_lc_rs::rand::fill(&mut secret)?;
            write_new(path, &BASE64.encode(secret)).map_err(|error| failed("create", &error))?;
            Ok(Some(secret))
        }
        Err(error) => Err(failed("read", &error)),
    }
}

/// Writes a file that only its owner may read, and makes it durable before anything is stored under what is in it. It appears whole or not at all.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ekitei_config::{Secret, Signing};

    use super::*;

    fn secret(octet: u8) -> Secret {
        Secret::new(BASE64.encode([octet; KEY_OCTETS]))
    }

    fn vault(current: u8, previous: &[u8]) -> Vault {
        let settings = Signing {
            encryption_key: Some(secret(current)),
            previous_encryption_keys: previous.iter().map(|&octet| secret(octet)).collect(),
            ..Signing::default()
        };
        Vault::open(&settings, None).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_its_binding() {
        let sealed = vault(1, &[]).seal(b"secret", b"a.test/s1").unwrap();
        assert_eq!(vault(1, &[]).open_sealed(&sealed, b"a.test/s1").unwrap(), b"secret");
        let moved = vault(1, &[]).open_sealed(&sealed, b"b.test/s1").unwrap_err();
        assert!(matches!(moved, Error::Key(_)), "{moved}");
        let wrong = vault(2, &[]).open_sealed(&sealed, b"a.test/s1").unwrap_err().to_string();
        assert!(wrong.contains("signing.previousEncryptionKeys"), "{wrong}");
        assert!(wrong.contains(&sealed.under.to_string()), "{wrong}");
    }

    #[test]
    fn an_encryption_key_can_be_replaced() {
        let sealed = vault(1, &[]).seal(b"secret", b"x").unwrap();
        let rotated = vault(2, &[1]);
        assert_eq!(rotated.open_sealed(&sealed, b"x").unwrap(), b"secret");
        assert!(rotated.is_outdated(&sealed));
        assert!(!rotated.is_outdated(&rotated.seal(b"secret", b"x").unwrap()));
    }

    #[test]
    fn a_key_is_made_beside_the_store_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let sealed = Vault::open(&Signing::default(), Some(&path)).unwrap().seal(b"secret", b"x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Vault::open(&Signing::default(), Some(&path)).unwrap();
        assert_eq!(again.open_sealed(&sealed, b"x").unwrap(), b"secret");
        let configured = Signing { encryption_key: Some(secret(9)), ..Signing::default() };
        let moved = Vault::open(&configured, Some(&path)).unwrap();
        assert_eq!(
            moved.open_sealed(&sealed, b"x").unwrap(),
            b"secret",
            "the file's key is a previous one now"
        );
        assert!(moved.is_outdated(&sealed));
    }

    #[test]
    fn a_bad_key_is_refused_by_its_name() {
        let settings = Signing { encryption_key: Some(Secret::new("short")), ..Signing::default() };
        let error = Vault::open(&settings, None).err().unwrap().to_string();
        assert!(error.starts_with("signing.encryptionKey must be 32 octets in base64"), "{error}");
    }

    #[test]
    fn without_a_key_nothing_is_stored() {
        let vault = Vault::open(&Signing::default(), None).unwrap();
        assert!(matches!(vault.seal(b"secret", b"x"), Err(Error::NoEncryptionKey)));
    }
}
