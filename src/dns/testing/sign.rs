//! The key that signs the zone of the test server: one zone, the root, with one Ed25519 key that is the trust anchor.

use std::time::{SystemTime, UNIX_EPOCH};

use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG, SigInput};
use hickory_resolver::proto::dnssec::{SigningKey, TBS};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, SerialNumber};

/// Signatures hold an hour before and a day after now.
const BEFORE: u32 = 3_600;
const AFTER: u32 = 86_400;

/// The key.
pub(super) struct Signer {
    key: Ed25519SigningKey,
    dnskey: DNSKEY,
}

impl Signer {
    /// A new key.
    pub(super) fn generate() -> Self {
        let der = Ed25519SigningKey::generate_pkcs8().expect("there is randomness");
        let key = Ed25519SigningKey::from_pkcs8(&der).expect("the key was just made");
        let public = key.to_public_key().expect("an Ed25519 key has a public half");
        Self { key, dnskey: DNSKEY::from_key(&public) }
    }

    /// The key as the root's DNSKEY record.
    pub(super) fn dnskey(&self) -> Record {
        Record::from_rdata(Name::root(), 0, RData::DNSSEC(DNSSECRData::DNSKEY(self.dnskey.clone())))
    }

    /// The trust anchor as a line of a file.
    pub(super) fn anchor(&self) -> String {
        format!(". 0 IN DNSKEY {}\n", self.dnskey)
    }

    /// The signature over records under the name `owner`.
    pub(super) fn sign(&self, owner: &Name, set: &RecordSet, spoil: bool) -> Record {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let input = SigInput {
            type_covered: set.record_type(),
            algorithm: self.key.algorithm(),
            num_labels: owner.num_labels(),
            original_ttl: set.ttl(),
            sig_expiration: SerialNumber::new(now.saturating_add(AFTER)),
            sig_inception: SerialNumber::new(now.saturating_sub(BEFORE)),
            key_tag: self.dnskey.calculate_key_tag().expect("the key is a key"),
            signer_name: Name::root(),
        };
        let octets = TBS::from_input(owner, DNSClass::IN, &input, set.records_without_rrsigs())
            .expect("the records of a test are small");
        let mut signature = self.key.sign(&octets).expect("Ed25519 signs anything");
        if spoil {
            signature[0] ^= 1;
        }
        let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        Record::from_rdata(owner.clone(), set.ttl(), data)
    }
}
