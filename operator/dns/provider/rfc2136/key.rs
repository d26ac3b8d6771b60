//! Keys that updates are signed with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;

use crate::name::Name;

/// Seconds that the clocks of both may differ (RFC 8945 §10 recommends 300).
const FUDGE: u16 = 300;

/// A key that a server knows too.
#[derive(Clone)]
pub struct TsigKey {
    name: Name,
    pub(super) signer: TSigner,
}

/// A key that cannot be used: the operator's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadKey {
    #[error(
        "the TSIG algorithm {0} is broken and refused; make a key with hmac-sha256, hmac-sha384 or hmac-sha512"
    )]
    Broken(String),
    #[error("the TSIG algorithm {0:?} is not known; there are hmac-sha256, hmac-sha384 and hmac-sha512")]
    Unknown(String),
    #[error("{0:?} is no name of a TSIG key")]
    Name(String),
    #[error("the secret of the TSIG key is not base64")]
    Secret,
}

impl TsigKey {
    /// A key by name, algorithm as servers spell it, and secret in base64.
    ///
    /// # Errors
    /// One of them is none; SHA-1 and MD5 are not accepted.
    pub fn new(name: &str, algorithm: &str, secret: &str) -> Result<Self, BadKey> {
        let bare = algorithm.trim().trim_end_matches('.').to_ascii_lowercase();
        let known = match bare.as_str() {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            "hmac-md5" | "hmac-md5.sig-alg.reg.int" | "hmac-sha1" => return Err(BadKey::Broken(bare)),
            _ => return Err(BadKey::Unknown(algorithm.to_owned())),
        };
        let name: Name = name.parse().map_err(|_| BadKey::Name(name.to_owned()))?;
        let wire = name.to_wire().map_err(|error| BadKey::Name(error.0))?;
        let secret: String = secret.split_ascii_whitespace().collect();
        let secret = STANDARD.decode(secret).ok().filter(|secret| !secret.is_empty());
        let secret = secret.ok_or(BadKey::Secret)?;
        let signer =
            TSigner::new(secret, known, wire, FUDGE).map_err(|_| BadKey::Unknown(algorithm.to_owned()))?;
        Ok(Self { name, signer })
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_algorithms_are_refused_by_name() {
        for broken in ["hmac-md5", "HMAC-SHA1", "hmac-md5.sig-alg.reg.int."] {
            let error = TsigKey::new("k", broken, "AAAA").unwrap_err();
            assert!(error.to_string().contains("hmac-sha256"), "{error}");
            assert!(matches!(error, BadKey::Broken(_)));
        }
        assert!(matches!(TsigKey::new("k", "hmac-sha3", "AAAA"), Err(BadKey::Unknown(_))));
        assert!(matches!(TsigKey::new("k", "hmac-sha256", "no base64!"), Err(BadKey::Secret)));
        assert!(matches!(TsigKey::new("", "hmac-sha256", "AAAA"), Err(BadKey::Name(_))));
        let key = TsigKey::new("K.example.", "hmac-sha512", "c2Vj\ncmV0").unwrap();
        assert!(!format!("{key:?}").contains("secret"));
    }
}
