//! The encryption keys of the configuration (`signing.encryptionKey`), under which the service stores small secrets: signing keys, keys of certificates.
//!
//! Nothing is encrypted under them themselves: for each purpose a key is derived from each of them.

use std::path::Path;

use zeroize::Zeroizing;

use crate::sealing::{SealError, SealingKeys};
use crate::secret::{MasterSecret, SECRET_OCTETS, SecretError};

/// The encryption keys; the first one is in force, the others are there for what was stored before.
pub struct MasterSecrets(Vec<MasterSecret>);

impl MasterSecrets {
    /// The keys of the configuration, and behind them the one in `file`, which is made if there is no other. There may be none.
    ///
    /// # Errors
    /// A key is malformed, the file cannot be read or made, or there are only previous keys.
    pub fn open(settings: &ekitei_config::Signing, file: Option<&Path>) -> Result<Self, SecretError> {
        let mut secrets = Vec::new();
        if let Some(key) = &settings.encryption_key {
            secrets.push(MasterSecret::parse("signing.encryptionKey", key.expose())?);
        }
        for (index, key) in settings.previous_encryption_keys.iter().enumerate() {
            let whose = format!("signing.previousEncryptionKeys[{index}]");
            secrets.push(MasterSecret::parse(&whose, key.expose())?);
        }
        if let Some(file) = file {
            secrets.extend(MasterSecret::from_file(file, settings.encryption_key.is_none())?);
        }
        if settings.encryption_key.is_none() && file.is_none() && !secrets.is_empty() {
            return Err(SecretError::new(
                "there are signing.previousEncryptionKeys, but no signing.encryptionKey",
            ));
        }
        // A key of a file is newer than the previous keys of the configuration, if that names none in force.
        if settings.encryption_key.is_none() {
            secrets.reverse();
        }
        Ok(Self(secrets))
    }

    /// The keys that seal for a purpose.
    ///
    /// # Errors
    /// [`SealError::Library`].
    pub fn sealing(&self, purpose: &str) -> Result<SealingKeys, SealError> {
        SealingKeys::new(&self.0, purpose)
    }

    /// One key for a purpose from each, in their order.
    pub fn derive(&self, purpose: &str) -> impl Iterator<Item = Zeroizing<[u8; SECRET_OCTETS]>> {
        self.0.iter().map(move |secret| secret.derive(purpose))
    }
}
