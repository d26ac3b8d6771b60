//! Which version of a password was set, so that it is set again only when the Secret has another one, and nothing about it can be learnt from that.

use std::fmt;

use aws_lc_rs::hmac;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

/// Octets of the code that are kept.
const CODE: usize = 16;

/// A password as a Secret has it.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The password itself.
    Plain(String),
    /// A hash with its scheme: `{SHA512-CRYPT}$6$...`.
    Hash(String),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Hash(_) => "Hash",
        })
    }
}

/// A Secret that has no password: a person has to change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// It has no such key.
    #[error("the Secret {secret} has no key {key}")]
    NoKey {
        /// Its name.
        secret: String,
        /// The key.
        key: String,
    },
    /// It is empty.
    #[error("the password in the Secret {0} is empty")]
    Empty(String),
    /// It is not UTF-8.
    #[error("the password in the Secret {0} is not text in UTF-8")]
    NotText(String),
}

impl Password {
    /// The password in one key of a Secret. A line break at its end, as editors leave it, is not part of it.
    ///
    /// # Errors
    /// [`BadPassword`].
    pub fn read(secret: &Secret, key: &str) -> Result<Self, BadPassword> {
        let name = || secret.name_any();
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        let value = value.ok_or_else(|| BadPassword::NoKey { secret: name(), key: key.to_owned() })?;
        let text = std::str::from_utf8(&value.0).map_err(|_| BadPassword::NotText(name()))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match text {
            "" => Err(BadPassword::Empty(name())),
            hash if has_scheme(hash) => Ok(Self::Hash(hash.to_owned())),
            plain => Ok(Self::Plain(plain.to_owned())),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Hash(text) => text,
        }
    }
}

/// Whether it begins with `{SCHEME}`.
fn has_scheme(text: &str) -> bool {
    let scheme = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(scheme, _)| scheme);
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(allowed))
}

/// The version of a password: where it comes from, and an authentication code of what it is.
///
/// The code is made with a key that only the operator has, so whoever may read the status cannot try passwords against it. It is for
/// Secrets that were touched, but have the same password: setting it again would undo what the user changed it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// UID and resource version of the Secret.
    origin: String,
    code: String,
}

impl Version {
    /// The version of a password in a Secret; `key` is the operator's.
    pub fn of(password: &Password, secret: &Secret, account: u64, key: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut context = hmac::Context::with_key(&key);
        context.update(b"ekitei-operator password version 1\0");
        context.update(&account.to_be_bytes());
        context.update(password.text().as_bytes());
        let tag = context.sign();
        let code = tag.as_ref().iter().take(CODE).map(|octet| format!("{octet:02x}")).collect();
        let version = secret.resource_version().unwrap_or_default();
        Self { origin: format!("{}/{version}", secret.uid().unwrap_or_default()), code }
    }

    /// Whether a version that was written down has the same password: it is of the same version of the Secret (then the key may have changed), or it has the same
    /// code (then the Secret may have been touched or made anew).
    pub fn is(&self, written: &str) -> bool {
        written.split_once('.').is_some_and(|(origin, code)| origin == self.origin || code == self.code)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.origin, self.code)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(version: &str, password: &[u8]) -> Secret {
        let mut secret = Secret::default();
        secret.metadata.name = Some("alice".to_owned());
        secret.metadata.uid = Some("4e7d".to_owned());
        secret.metadata.resource_version = Some(version.to_owned());
        secret.data = Some([("password".to_owned(), ByteString(password.to_vec()))].into());
        secret
    }

    fn version(resource_version: &str, password: &str, key: &[u8]) -> Version {
        let secret = secret(resource_version, password.as_bytes());
        Version::of(&Password::read(&secret, "password").unwrap(), &secret, 7, key)
    }

    #[test]
    fn a_scheme_in_braces_makes_a_hash() {
        let read = |text: &str| Password::read(&secret("1", text.as_bytes()), "password").unwrap();
        assert_eq!(read("{SHA512-CRYPT}$6$a$b"), Password::Hash("{SHA512-CRYPT}$6$a$b".to_owned()));
        for plain in ["correct horse", "{}x", "{not a scheme}x", "{SSHA", " {SSHA}x"] {
            assert_eq!(read(plain), Password::Plain(plain.to_owned()));
        }
        assert_eq!(read("secret\r\n"), Password::Plain("secret".to_owned()));
        assert_eq!(read("two\nlines\n"), Password::Plain("two\nlines".to_owned()));
    }

    #[test]
    fn a_secret_without_a_password_says_why() {
        let error =
            |value: &[u8], key: &str| Password::read(&secret("1", value), key).unwrap_err().to_string();
        assert_eq!(error(b"x", "other"), "the Secret alice has no key other");
        assert_eq!(error(b"\n", "password"), "the password in the Secret alice is empty");
        assert!(error(b"\xff", "password").contains("UTF-8"));
    }

    #[test]
    fn only_another_password_is_another_version() {
        let set = version("1", "correct horse", b"key").to_string();
        assert!(version("1", "correct horse", b"key").is(&set));
        assert!(version("2", "correct horse", b"key").is(&set), "the Secret got a label");
        assert!(version("1", "correct horse", b"another").is(&set), "the operator's key was replaced");
        assert!(!version("2", "battery staple", b"key").is(&set));
        assert!(!version("2", "correct horse", b"another").is(&set), "nothing says that it is the same");
        assert!(!version("1", "correct horse", b"key").is(""));
    }

    #[test]
    fn equal_passwords_of_two_accounts_do_not_look_equal() {
        let secret = secret("1", b"correct horse");
        let password = Password::read(&secret, "password").unwrap();
        let one = Version::of(&password, &secret, 7, b"key");
        let other = Version::of(&password, &secret, 8, b"key");
        assert_ne!(one.code, other.code);
        assert!(!one.to_string().contains("horse") && !format!("{password:?}").contains("horse"));
    }
}
