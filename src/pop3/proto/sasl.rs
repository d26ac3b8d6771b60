//! The SASL exchange of RFC 5034, as far as PLAIN (RFC 4616) and LOGIN need it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The login name.
    pub user: String,
    /// The password; `Debug` does not show it.
    pub password: String,
}

/// What is wrong with a client's response; the text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client sent `*`.
    #[error("the client gave up")]
    Cancelled,
    /// Not base64.
    #[error("the response is not base64")]
    Base64,
    /// Not the message of the mechanism.
    #[error("the response is not what the mechanism wants")]
    Malformed,
    /// An authorization identity that is not the user.
    #[error("acting as somebody else is not allowed")]
    Identity,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Decodes one response: base64, `=` for an empty one, `*` for giving up (RFC 5034 §4).
///
/// # Errors
/// [`SaslError::Cancelled`], [`SaslError::Base64`].
pub fn decode(response: &[u8]) -> Result<Vec<u8>, SaslError> {
    match response {
        b"*" => Err(SaslError::Cancelled),
        b"=" => Ok(Vec::new()),
        text => STANDARD.decode(text).map_err(|_| SaslError::Base64),
    }
}

/// Reads the message of PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 §2).
///
/// # Errors
/// [`SaslError::Malformed`], [`SaslError::Identity`].
pub fn plain(message: &[u8]) -> Result<Credentials, SaslError> {
    let text = std::str::from_utf8(message).map_err(|_| SaslError::Malformed)?;
    let mut parts = text.split('\0');
    let (Some(identity), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Malformed);
    };
    if user.is_empty() || password.is_empty() {
        return Err(SaslError::Malformed);
    }
    if !identity.is_empty() && identity != user {
        return Err(SaslError::Identity);
    }
    Ok(Credentials { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts_and_no_other_identity() {
        let alice = Credentials { user: "alice".into(), password: "secret".into() };
        assert_eq!(plain(b"\0alice\0secret"), Ok(alice.clone()));
        assert_eq!(plain(b"alice\0alice\0secret"), Ok(alice));
        assert_eq!(plain(b"bob\0alice\0secret"), Err(SaslError::Identity));
        for wrong in
            [b"".as_slice(), b"alice\0secret", b"\0\0secret", b"\0alice\0", b"\0a\0b\0c", b"\0\xff\0x"]
        {
            assert_eq!(plain(wrong), Err(SaslError::Malformed));
        }
        assert!(!format!("{:?}", plain(b"\0alice\0secret")).contains("secret"));
    }

    #[test]
    fn responses_are_base64() {
        assert_eq!(decode(b"AGFsaWNlAHNlY3JldA==").as_deref(), Ok(b"\0alice\0secret".as_slice()));
        assert_eq!(decode(b"=").as_deref(), Ok(b"".as_slice()));
        assert_eq!(decode(b"*"), Err(SaslError::Cancelled));
        assert_eq!(decode(b"not base64!"), Err(SaslError::Base64));
    }
}
