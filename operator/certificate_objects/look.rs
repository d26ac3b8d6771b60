//! What the service has and what name servers show.

use std::collections::BTreeSet;

use ekitei_api::Client;
use ekitei_operator_certificates::rollover::Served;
use ekitei_operator_certificates::{HostName, KeyId, Tlsa, tlsa};
use ekitei_operator_dns::verify::Authorities;
use ekitei_operator_dns::{Key, Name, RecordType, Value, Verifier};

use super::kept::Kept;
use crate::error::Optional as _;

/// The keys in the TLSA records of these ports of `host`, as each authoritative server shows them, one set for each server and port: what a change of keys
/// waits for. `None` if one of them gives no answer.
pub async fn shown(
    verifier: &Verifier,
    authorities: &Authorities,
    host: &HostName,
    ports: &[u16],
) -> Option<Vec<BTreeSet<KeyId>>> {
    let keys = |set: Option<ekitei_operator_dns::RecordSet>| {
        set.into_iter().flat_map(|set| set.values).filter_map(key).collect::<BTreeSet<_>>()
    };
    let mut all = Vec::new();
    for port in ports {
        let owner: Name = tlsa::owner(host.as_str(), *port).parse().ok()?;
        for (_, view) in verifier.read_everywhere(authorities, &Key::new(owner, RecordType::Tlsa)).await {
            all.push(keys(view.ok()?));
        }
    }
    Some(all)
}

/// The key of a record; for records of another kind, which name something that we do not know, one that nobody has.
fn key(value: Value) -> Option<KeyId> {
    let Value::Tlsa { usage, selector, matching, data } = value else { return None };
    let record = Tlsa { usage, selector, matching_type: matching, data };
    Some(record.key().unwrap_or(KeyId::from_bytes([0; 32])))
}

/// What the service has under a name.
pub(super) async fn served(service: &Client, stored_as: &str, kept: &Kept) -> (Served, Option<String>) {
    match service.certificate(stored_as).await.optional() {
        Ok(None) => (Served::Nothing, None),
        Ok(Some(certificate)) => {
            let Ok(key) = certificate.spki_sha256.parse::<KeyId>() else {
                return (Served::Unknown, Some(format!("{:?} is no SHA-256", certificate.spki_sha256)));
            };
            // Without one at hand there is none that is newer.
            let newest =
                kept.certificates.get(&key).is_none_or(|own| own.fingerprint() == certificate.sha256);
            (Served::Certificate { key, newest }, None)
        }
        Err(error) => (Served::Unknown, Some(error.to_string())),
    }
}
