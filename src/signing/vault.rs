//! The encryption keys: what signing keys are stored under, and what is derived from them.
//!
//! The first key encrypts, all of them decrypt, and a row names the one that it needs, so that they can be replaced one after the other.

use std::path::Path;

use aws_lc_rs::hmac;
use ekitei_keyring::{MasterSecrets, SealError, Sealed, SealingKeys};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// All encryption keys of the service.
pub(crate) struct Vault {
    keys: SealingKeys,
    srs: Vec<hmac::Key>,
}

impl Vault {
    /// The keys of the configuration, and behind them the one in `file`, which is made if there is no other.
    pub(crate) fn open(settings: &ekitei_config::Signing, file: Option<&Path>) -> Result<Self> {
        let secrets = MasterSecrets::open(settings, file)?;
        // All is derived, so that no key serves two purposes.
        let srs = secrets.derive("ekitei srs").map(|key| hmac::Key::new(hmac::HMAC_SHA256, &*key)).collect();
        Ok(Self { keys: secrets.sealing("ekitei signing keys")?, srs })
    }

    /// Encrypts under the key in force; `bound_to` must be the same to decrypt.
    pub(crate) fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Sealed> {
        Ok(self.keys.seal(plain, bound_to)?)
    }

    /// Decrypts.
    pub(crate) fn open_sealed(&self, sealed: &Sealed, bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.keys.open(sealed, bound_to)?)
    }

    /// Whether it should be stored anew, under the key in force.
    pub(crate) fn is_outdated(&self, sealed: &Sealed) -> bool {
        self.keys.is_outdated(sealed)
    }

    /// The keys for rewritten senders: the first signs, all verify. Empty without an encryption key.
    pub(crate) fn srs_keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.srs.iter()
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        match error {
            SealError::NoKey => Self::NoEncryptionKey,
            SealError::OtherKey(id) => Self::Key(format!(
                "it is stored under the encryption key {id}, which is neither signing.encryptionKey nor among signing.previousEncryptionKeys"
            )),
            SealError::Changed => {
                Self::Key("what is stored of it was changed since, or belongs to another key".to_owned())
            }
            SealError::Library => Self::Key(error.to_string()),
        }
    }
}

impl From<ekitei_keyring::SecretError> for Error {
    fn from(error: ekitei_keyring::SecretError) -> Self {
        Self::EncryptionKey(error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use ekitei_config::{Secret, Signing};
    use ekitei_keyring::SECRET_OCTETS;

    use super::*;

    fn secret(octet: u8) -> Secret {
        Secret::new(BASE64.encode([octet; SECRET_OCTETS]))
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
        assert_eq!(vault(1, &[]).open_sealed(&sealed, b"a.test/s1").unwrap().as_slice(), b"secret");
        let moved = vault(1, &[]).open_sealed(&sealed, b"b.test/s1").unwrap_err();
        assert!(matches!(moved, Error::Key(_)), "{moved}");
        let wrong = vault(2, &[]).open_sealed(&sealed, b"a.test/s1").unwrap_err().to_string();
        assert!(wrong.contains("signing.previousEncryptionKeys"), "{wrong}");
        assert!(wrong.contains(&sealed.under().to_string()), "{wrong}");
    }

    #[test]
    fn an_encryption_key_can_be_replaced() {
        let sealed = vault(1, &[]).seal(b"secret", b"x").unwrap();
        let rotated = vault(2, &[1]);
        assert_eq!(rotated.open_sealed(&sealed, b"x").unwrap().as_slice(), b"secret");
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
        assert_eq!(again.open_sealed(&sealed, b"x").unwrap().as_slice(), b"secret");
        let configured = Signing { encryption_key: Some(secret(9)), ..Signing::default() };
        let moved = Vault::open(&configured, Some(&path)).unwrap();
        assert_eq!(
            moved.open_sealed(&sealed, b"x").unwrap().as_slice(),
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
