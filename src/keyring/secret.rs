//! Secrets of the configuration: 32 random octets that keys are derived from, each for one purpose.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

/// Octets of a secret.
pub const SECRET_OCTETS: usize = 32;

/// Why there is no secret: the operator's fault. It names the key of the configuration, or the file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl SecretError {
    pub(crate) fn new(what: &str) -> Self {
        Self(what.to_owned())
    }

    pub(crate) fn unusable(error: impl std::fmt::Display) -> Self {
        Self(format!("a master key cannot be used: {error}"))
    }
}

/// A secret. Cleared from memory when it is dropped.
pub struct MasterSecret(Zeroizing<[u8; SECRET_OCTETS]>);

impl MasterSecret {
    /// The secret that `text` is in base64; `whose` names it in the error.
    ///
    /// # Errors
    /// It is anything else.
    pub fn parse(whose: &str, text: &str) -> Result<Self, SecretError> {
        let octets = Zeroizing::new(BASE64.decode(text.trim()).unwrap_or_default());
        let octets = <[u8; SECRET_OCTETS]>::try_from(octets.as_slice()).map_err(|_| {
            SecretError(format!(
                "{whose} must be {SECRET_OCTETS} octets in base64, such as `openssl rand -base64 {SECRET_OCTETS}` gives"
            ))
        })?;
        Ok(Self(Zeroizing::new(octets)))
    }

    /// The secret in a file; with `create` it is made if there is none.
    ///
    /// # Errors
    /// The file cannot be read or made, or has something else in it.
    pub fn from_file(path: &Path, create: bool) -> Result<Option<Self>, SecretError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            SecretError(format!("cannot {what} the file of the encryption key {}: {error}", path.display()))
        };
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => Self::parse(&path.display().to_string(), &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !create => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut secret = Zeroizing::new([0; SECRET_OCTETS]);
                aws_lc_rs::rand::fill(&mut *secret).map_err(|error| failed("create", &error))?;
                let text = Zeroizing::new(BASE64.encode(*secret));
                write_new(path, &text).map_err(|error| failed("create", &error))?;
                Ok(Some(Self(secret)))
            }
            Err(error) => Err(failed("read", &error)),
        }
    }

    /// A key for one purpose: one block of HKDF-Expand (RFC 5869 §2.3); the secret is random already.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; SECRET_OCTETS]> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0));
        context.update(purpose.as_bytes());
        context.update(&[1]);
        let mut key = Zeroizing::new([0; SECRET_OCTETS]);
        key.copy_from_slice(context.sign().as_ref());
        key
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
    use super::*;

    #[test]
    fn a_secret_is_refused_by_its_name() {
        let error = MasterSecret::parse("encryption.masterKey", "c2hvcnQ=").err().unwrap().to_string();
        assert!(error.starts_with("encryption.masterKey must be 32 octets in base64"), "{error}");
        assert!(!error.contains("c2hvcnQ="));
    }

    #[test]
    fn what_is_derived_differs_by_purpose_and_not_by_time() {
        let secret = || MasterSecret::parse("x", &BASE64.encode([5; SECRET_OCTETS])).unwrap();
        assert_eq!(*secret().derive("one"), *secret().derive("one"));
        assert_ne!(*secret().derive("one"), *secret().derive("other"));
    }
}
