//! TLSA records against certificates (RFC 6698 §2, RFC 7671, RFC 7672 §3).

use std::fmt;

use aws_lc_rs::digest;
use ekitei_dns::Tlsa;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// Records of one name that are compared with certificates; a longer list is not looked at further.
const MOST: usize = 32;

/// What an association is about (RFC 6698 §2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    /// DANE-TA(2): a certificate that issues the server's.
    TrustAnchor,
    /// DANE-EE(3): the server's own.
    EndEntity,
}

/// How data and certificate are compared (RFC 6698 §2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matching {
    Sha256,
    Sha512,
    Full,
}

/// A TLSA record that can be used for mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Association {
    usage: Usage,
    /// Only the public key is compared, not the whole certificate (RFC 6698 §2.1.2).
    key_only: bool,
    matching: Matching,
    data: Vec<u8>,
}

/// Associations and the names that a certificate must be for.
#[derive(Clone, Debug)]
pub(crate) struct Dane {
    associations: Vec<Association>,
    names: Vec<ServerName<'static>>,
}

impl Association {
    /// A record in our terms; `None` if it is not usable: of a PKIX usage (RFC 7672 §3.1.3), an unknown kind, or malformed.
    fn read(record: &Tlsa) -> Option<Self> {
        let usage = match record.usage {
            2 => Usage::TrustAnchor,
            3 => Usage::EndEntity,
            _ => return None,
        };
        let key_only = match record.selector {
            0 => false,
            1 => true,
            _ => return None,
        };
        let matching = match (record.matching, record.data.len()) {
            (0, 1..) => Matching::Full,
            (1, 32) => Matching::Sha256,
            (2, 64) => Matching::Sha512,
            _ => return None,
        };
        Some(Self { usage, key_only, matching, data: record.data.clone() })
    }

    fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        let selected = match self.key_only {
            false => certificate.to_vec(),
            true => match ParsedCertificate::try_from(certificate) {
                Ok(parsed) => parsed.subject_public_key_info().to_vec(),
                Err(_) => return false,
            },
        };
        match self.matching {
            Matching::Full => selected == self.data,
            Matching::Sha256 => digest::digest(&digest::SHA256, &selected).as_ref() == self.data,
            Matching::Sha512 => digest::digest(&digest::SHA512, &selected).as_ref() == self.data,
        }
    }
}

impl Dane {
    /// The usable ones of some records; `None` if there is none. Of digests over the same thing only the strongest counts (RFC 7671 §9).
    ///
    /// `names` are what the certificate of a server below a trust anchor may be for: the TLSA base domain first (RFC 7672 §3.2.2).
    pub(crate) fn new(records: &[Tlsa], names: Vec<ServerName<'static>>) -> Option<Self> {
        let all: Vec<Association> = records.iter().take(MOST).filter_map(Association::read).collect();
        let weaker_than = |one: &Association, other: &Association| {
            one.usage == other.usage
                && one.key_only == other.key_only
                && other.matching == Matching::Sha512
                && one.matching == Matching::Sha256
        };
        let associations: Vec<Association> =
            all.iter().filter(|one| !all.iter().any(|other| weaker_than(one, other))).cloned().collect();
        (!associations.is_empty()).then_some(Self { associations, names })
    }

    /// The names that a certificate may be for, as text; empty where only the server's own certificate counts, which may be for any.
    pub(crate) fn anchored_names(&self) -> String {
        let is_anchored = self.associations.iter().any(|one| one.usage == Usage::TrustAnchor);
        let names = self.names.iter().filter(|_| is_anchored).map(ServerName::to_str);
        names.collect::<Vec<_>>().join(" ")
    }

    /// Whether the chain that a server showed is the one that is published.
    ///
    /// DANE-EE binds the key, whatever the names and dates in the certificate are (RFC 7671 §5.1). With DANE-TA the certificate must be issued
    /// below the anchor, now, for one of the names (RFC 7671 §5.2).
    ///
    /// # Errors
    /// The certificate's error that tells most.
    pub(crate) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let of = |usage: Usage| self.associations.iter().filter(move |one| one.usage == usage);
        if of(Usage::EndEntity).any(|association| association.matches(end_entity)) {
            return Ok(());
        }
        let mut anchors = RootCertStore::empty();
        for association in of(Usage::TrustAnchor) {
            for certificate in intermediates.iter().filter(|certificate| association.matches(certificate)) {
                // One that is no certificate matches nothing.
                let _ = anchors.add(certificate.clone().into_owned());
            }
            if association.matching == Matching::Full && !association.key_only {
                // The record is the anchor, which the server need not send (RFC 7671 §5.2.2).
                let _ = anchors.add(CertificateDer::from(association.data.clone()));
            }
        }
        if anchors.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &anchors,
            intermediates,
            now,
            algorithms.all,
        )?;
        let mut outcome = Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        for name in &self.names {
            outcome = outcome.or_else(|_: Error| verify_server_name(&certificate, name));
        }
        outcome
    }
}

impl fmt::Display for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = if self.usage == Usage::TrustAnchor { 2 } else { 3 };
        let matching = match self.matching {
            Matching::Full => 0,
            Matching::Sha256 => 1,
            Matching::Sha512 => 2,
        };
        write!(f, "{usage} {} {matching} ", u8::from(self.key_only))?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The records as RFC 8460 §4.4 wants them: one text each.
pub(crate) fn texts(dane: &Dane) -> Vec<String> {
    dane.associations.iter().map(ToString::to_string).collect()
}

/// The record `3 1 1` of a certificate (RFC 7672 §3.1.1), if it can be read.
pub(crate) fn own_key(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let data = digest::digest(&digest::SHA256, &parsed.subject_public_key_info()).as_ref().to_vec();
    let association =
        Association { usage: Usage::EndEntity, key_only: true, matching: Matching::Sha256, data };
    Some(association.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _};

    use super::*;

    /// A certificate for `mx.example` issued by an authority of its own.
    struct Chain {
        leaf: CertificateDer<'static>,
        leaf_key: Vec<u8>,
        authority: CertificateDer<'static>,
        authority_key: Vec<u8>,
    }

    fn chain() -> Chain {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["mx.example".to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        Chain {
            leaf: leaf.der().clone(),
            leaf_key: key.subject_public_key_info(),
            authority: authority.der().clone(),
            authority_key: authority.key().subject_public_key_info(),
        }
    }

    fn record(usage: u8, selector: u8, matching: u8, content: &[u8]) -> Tlsa {
        let data = match matching {
            0 => content.to_vec(),
            1 => digest::digest(&digest::SHA256, content).as_ref().to_vec(),
            _ => digest::digest(&digest::SHA512, content).as_ref().to_vec(),
        };
        Tlsa { usage, selector, matching, data }
    }

    fn verify(
        records: &[Tlsa],
        name: &str,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let names = vec![ServerName::try_from(name.to_owned()).unwrap()];
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        Dane::new(records, names).unwrap().verify(leaf, sent, UnixTime::now(), &algorithms)
    }

    #[test]
    fn the_servers_own_key_matches_by_every_selector_and_digest() {
        let (ours, other) = (chain(), chain());
        for (selector, content) in [(0, ours.leaf.as_ref()), (1, ours.leaf_key.as_slice())] {
            for matching in 0..3 {
                let records = [record(3, selector, matching, content)];
                assert_eq!(
                    verify(&records, "other.example", &ours.leaf, &[]),
                    Ok(()),
                    "3 {selector} {matching}"
                );
                assert!(verify(&records, "mx.example", &other.leaf, &[]).is_err(), "3 {selector} {matching}");
            }
        }
    }

    #[test]
    fn a_trust_anchor_matches_by_every_selector_and_digest_and_the_name_counts() {
        let (ours, other) = (chain(), chain());
        for (selector, content) in [(0, ours.authority.as_ref()), (1, ours.authority_key.as_slice())] {
            for matching in 0..3 {
                let records = [record(2, selector, matching, content)];
                let sent = [ours.authority.clone()];
                assert_eq!(
                    verify(&records, "mx.example", &ours.leaf, &sent),
                    Ok(()),
                    "2 {selector} {matching}"
                );
                let wrong_name = verify(&records, "other.example", &ours.leaf, &sent);
                assert!(
                    matches!(wrong_name, Err(Error::InvalidCertificate(_))),
                    "2 {selector} {matching}: {wrong_name:?}"
                );
                let forged = verify(&records, "mx.example", &other.leaf, &sent);
                assert!(
                    forged.is_err(),
                    "an anchor that was sent but did not issue: 2 {selector} {matching}"
                );
            }
        }
    }

    #[test]
    fn an_anchor_that_is_published_whole_need_not_be_sent() {
        let ours = chain();
        assert_eq!(verify(&[record(2, 0, 0, &ours.authority)], "mx.example", &ours.leaf, &[]), Ok(()));
        assert!(verify(&[record(2, 0, 1, &ours.authority)], "mx.example", &ours.leaf, &[]).is_err());
        assert!(verify(&[record(2, 1, 0, &ours.authority_key)], "mx.example", &ours.leaf, &[]).is_err());
    }

    #[test]
    fn what_cannot_be_used_for_mail_is_left_out() {
        let names = Vec::new;
        let useless = [
            record(0, 1, 1, b"x"),
            record(1, 1, 1, b"x"),
            record(4, 1, 1, b"x"),
            record(3, 2, 1, b"x"),
            Tlsa { usage: 3, selector: 1, matching: 3, data: vec![0; 32] },
            Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0; 31] },
            Tlsa { usage: 3, selector: 1, matching: 2, data: vec![0; 32] },
            Tlsa { usage: 3, selector: 0, matching: 0, data: Vec::new() },
        ];
        assert!(Dane::new(&useless, names()).is_none());
        let one = [useless.as_slice(), &[record(3, 1, 1, b"key")]].concat();
        assert_eq!(texts(&Dane::new(&one, names()).unwrap()).len(), 1);
    }

    #[test]
    fn the_strongest_digest_counts_alone() {
        let (ours, old) = (chain(), chain());
        let records = [record(3, 1, 1, &old.leaf_key), record(3, 1, 2, &ours.leaf_key)];
        assert_eq!(verify(&records, "mx.example", &ours.leaf, &[]), Ok(()));
        assert!(verify(&records, "mx.example", &old.leaf, &[]).is_err());
    }

    #[test]
    fn hostile_records_and_certificates_are_only_refused() {
        let ours = chain();
        let junk = CertificateDer::from(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]);
        for (usage, selector) in [(2, 0), (2, 1), (3, 0), (3, 1)] {
            for matching in 0..3 {
                let records = [record(usage, selector, matching, b"junk")];
                assert!(verify(&records, "mx.example", &junk, std::slice::from_ref(&junk)).is_err());
                assert!(verify(&records, "mx.example", &ours.leaf, &vec![junk.clone(); 100]).is_err());
            }
        }
    }
}
