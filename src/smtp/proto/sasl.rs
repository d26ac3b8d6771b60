//! The SASL mechanisms PLAIN (RFC 4616) and LOGIN, as octets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A login name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The authentication identity.
    pub login: String,
    /// The password. `Debug` does not show it.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Decodes a line of base64 into text without NUL; `None` where it is neither.
pub fn text(base64: &str) -> Option<String> {
    let octets = STANDARD.decode(base64).ok()?;
    String::from_utf8(octets).ok().filter(|text| !text.contains('\0'))
}

/// Decodes the response of PLAIN: `[authzid] NUL authcid NUL password`. An authorization identity must be the same as the
/// authentication identity: nobody acts for others here.
pub fn plain(base64: &str) -> Option<Credentials> {
    let octets = STANDARD.decode(base64).ok()?;
    let response = String::from_utf8(octets).ok()?;
    let mut fields = response.split('\0');
    let (authorize, login, password) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || login.is_empty() || !(authorize.is_empty() || authorize == login) {
        return None;
    }
    Some(Credentials { login: login.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plain_has_three_fields() {
        let found = plain(&STANDARD.encode("\0tim\0tanstaaf")).unwrap();
        assert_eq!((found.login.as_str(), found.password.as_str()), ("tim", "tanstaaf"));
        assert!(plain(&STANDARD.encode("tim\0tim\0x")).is_some());
        for bad in ["tim\0x", "other\0tim\0x", "\0\0x", "\0tim\0x\0y"] {
            assert_eq!(plain(&STANDARD.encode(bad)), None, "{bad:?}");
        }
        assert_eq!(plain("not base64!"), None);
    }

    #[test]
    fn a_password_is_not_shown() {
        let found = plain(&STANDARD.encode("\0tim\0tanstaaf")).unwrap();
        assert!(!format!("{found:?}").contains("tanstaaf"));
    }
}
