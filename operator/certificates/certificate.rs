//! Certificate chains: what they say, and whether they are what was wanted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::{HostName, Key, KeyId};

/// A certificate with the chain that leads from it to an authority, as it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pem: String,
    names: Vec<HostName>,
    odd_names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    key: KeyId,
    fingerprint: [u8; 32],
    ari: Option<AriId>,
}

/// What identifies a certificate to its authority (RFC 9773 §4.1): the key of the authority, and the serial number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AriId {
    pub(crate) authority: Vec<u8>,
    pub(crate) serial: Vec<u8>,
}

/// Why a text is no chain of certificates. The fault of who gave it; trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or not one certificate in it.
    #[error("not a certificate chain in PEM: {0}")]
    Pem(String),
    /// The first certificate is not one of X.509.
    #[error("the first certificate of the chain cannot be read: {0}")]
    Unreadable(String),
}

impl Certificate {
    /// Reads a chain in PEM, of which the first certificate is the server's.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CertificateError::Pem(error.to_string()))?;
        let leaf =
            chain.first().ok_or_else(|| CertificateError::Pem("there is no certificate in it".into()))?;
        let unreadable = |error: String| CertificateError::Unreadable(error);
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
        let (names, odd_names) = names(&parsed).map_err(unreadable)?;
        Ok(Self {
            pem: pem.to_owned(),
            names,
            odd_names,
            not_before: timestamp(&parsed.validity().not_before).map_err(unreadable)?,
            not_after: timestamp(&parsed.validity().not_after).map_err(unreadable)?,
            key: KeyId::of_public_key(parsed.public_key().raw),
            fingerprint: Sha256::digest(leaf).into(),
            ari: ari(&parsed),
        })
    }

    /// The chain as it was given.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The host names of its subjectAltName; others are left out.
    pub fn names(&self) -> &[HostName] {
        &self.names
    }

    /// When it begins to be valid.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The key it is for.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The SHA-256 of the certificate in DER, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The same as octets: what is random but always the same about this certificate.
    pub(crate) fn fingerprint_octets(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Its identifier for renewal information (RFC 9773 §4.1); `None` if it does not name the key of its authority.
    pub fn ari_id(&self) -> Option<String> {
        let AriId { authority, serial } = self.ari.as_ref()?;
        Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(authority), URL_SAFE_NO_PAD.encode(serial)))
    }

    pub(crate) fn ari(&self) -> Option<&AriId> {
        self.ari.as_ref()
    }

    /// Those of `wanted` that the certificate is not good for.
    pub fn missing(&self, wanted: &[HostName]) -> Vec<HostName> {
        wanted.iter().filter(|wanted| !self.names.iter().any(|name| name.covers(wanted))).cloned().collect()
    }

    /// The names that `wanted` does not account for: all but those that are wanted, and wildcards that cover one of them and do not reach above `domain`. What is no
    /// host name to us (`*.org`) may be one to others, so it counts as well.
    pub fn foreign(&self, wanted: &[HostName], domain: &str) -> Vec<String> {
        let is_below = |base: &str| {
            base == domain || base.strip_suffix(domain).is_some_and(|labels| labels.ends_with('.'))
        };
        let is_known = |name: &HostName| {
            wanted.contains(name)
                || (name.is_wildcard()
                    && is_below(name.base())
                    && wanted.iter().any(|wanted| name.covers(wanted)))
        };
        let foreign = self.names.iter().filter(|name| !is_known(name)).map(|name| name.as_str().to_owned());
        foreign.chain(self.odd_names.iter().cloned()).collect()
    }

    /// Whether the certificate is good for all of `wanted`.
    pub fn covers(&self, wanted: &[HostName]) -> bool {
        self.missing(wanted).is_empty()
    }

    /// Whether it is for this key.
    pub fn fits(&self, key: &Key) -> bool {
        self.key == key.id()
    }

    /// Whether it is valid at `now`, as far as its dates go.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// The host names, and those that are none to us.
fn names(parsed: &X509Certificate<'_>) -> Result<(Vec<HostName>, Vec<String>), String> {
    let alternatives = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    let Some(alternatives) = alternatives else { return Ok((Vec::new(), Vec::new())) };
    let (mut names, mut odd) = (Vec::new(), Vec::new());
    for name in &alternatives.value.general_names {
        let GeneralName::DNSName(name) = name else { continue };
        match name.parse() {
            Ok(name) => names.push(name),
            Err(_) => odd.push((*name).to_owned()),
        }
    }
    Ok((names, odd))
}

fn timestamp(time: &ASN1Time) -> Result<Timestamp, String> {
    Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
}

fn ari(parsed: &X509Certificate<'_>) -> Option<AriId> {
    let authority = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(AriId { authority: authority.0.to_vec(), serial: parsed.raw_serial().to_vec() })
}

#[cfg(test)]
mod tests;
