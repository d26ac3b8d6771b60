//! Records as `DNSEndpoint` objects of ExternalDNS (`externaldns.k8s.io/v1alpha1`): one object for each record set, in words of theirs. Pure.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use ekitei_operator_dns::{Key, Name, RecordSet, RecordType, Value};
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use kube::core::GroupVersionKind;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The type.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("externaldns.k8s.io", "v1alpha1", "DNSEndpoint"))
}

/// What ExternalDNS cannot publish.
const UNKNOWN: [RecordType; 2] = [RecordType::Caa, RecordType::Tlsa];

/// Whether ExternalDNS can publish a record set: not of every type, and not that there is no such service (RFC 2782, RFC 7505), since it writes names
/// without the last dot.
pub fn takes(set: &RecordSet) -> bool {
    let is_null = |value: &Value| match value {
        Value::Mx { exchange, .. } => exchange.is_root(),
        Value::Srv { target, .. } => target.is_root(),
        _ => false,
    };
    !UNKNOWN.contains(&set.record_type) && !set.values.iter().any(is_null)
}

/// One record set of a DNSEndpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    dns_name: String,
    record_type: String,
    #[serde(rename = "recordTTL", default, skip_serializing_if = "Option::is_none")]
    record_ttl: Option<u32>,
    #[serde(default)]
    targets: Vec<String>,
}

/// Why a record set is no DNSEndpoint, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// ExternalDNS does not know the type, or cannot say this with it.
    #[error("ExternalDNS does not publish such {0} records")]
    Type(RecordType),
    /// It is not one that we wrote.
    #[error("the DNSEndpoint {0} was changed to something else than one record set")]
    Changed(String),
}

/// The name of the object of a record set: the same for the same record set, always.
pub fn name(key: &Key) -> String {
    let variant = key.variant.as_deref().unwrap_or_default();
    let text = format!("{}/{}/{variant}", key.name, key.record_type);
    let hash = digest(&SHA256, text.as_bytes());
    let hash: String = hash.as_ref().iter().take(10).map(|octet| format!("{octet:02x}")).collect();
    format!("ekitei-{}-{hash}", key.record_type.as_str().to_ascii_lowercase())
}

/// The object of a record set.
///
/// # Errors
/// [`EndpointError::Type`].
pub fn object(
    set: &RecordSet,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<DynamicObject, EndpointError> {
    if !takes(set) {
        return Err(EndpointError::Type(set.record_type));
    }
    let endpoint = Endpoint {
        dns_name: set.name.to_string(),
        record_type: set.record_type.to_string(),
        record_ttl: set.ttl,
        targets: set.values.iter().map(target).collect(),
    };
    let mut labels = labels.clone();
    labels.insert("app.kubernetes.io/managed-by".to_owned(), ekitei_operator_api::FIELD_MANAGER.to_owned());
    let mut object = DynamicObject::new(&name(&set.key()), &resource());
    object.metadata =
        ObjectMeta { namespace: Some(namespace.to_owned()), labels: Some(labels), ..object.metadata };
    object.data = json!({"spec": {"endpoints": [endpoint]}});
    Ok(object)
}

/// A value as ExternalDNS writes it: names without the last dot, texts as a whole and without quotes.
fn target(value: &Value) -> String {
    match value {
        Value::Txt(text) => text.text(),
        other => other.to_string().trim_end_matches('.').to_owned(),
    }
}

/// The record set of an object; none if it has no values.
///
/// # Errors
/// [`EndpointError::Changed`].
pub fn record_set(object: &DynamicObject) -> Result<Option<RecordSet>, EndpointError> {
    let changed = || EndpointError::Changed(object.metadata.name.clone().unwrap_or_default());
    let endpoints = object.data.pointer("/spec/endpoints").cloned().unwrap_or_default();
    let endpoints: Vec<Endpoint> = serde_json::from_value(endpoints).map_err(|_| changed())?;
    let [endpoint] = <[Endpoint; 1]>::try_from(endpoints).map_err(|_| changed())?;
    let record_type: RecordType = endpoint.record_type.parse().map_err(|_| changed())?;
    let name: Name = endpoint.dns_name.parse().map_err(|_| changed())?;
    let read = |target: &String| match record_type {
        RecordType::Txt => Ok(Value::txt(target)),
        // The root has no other dot than the last one.
        _ if target.ends_with(' ') => Value::parse(record_type, &format!("{target}.")),
        _ => Value::parse(record_type, target),
    };
    let values: Vec<Value> =
        endpoint.targets.iter().map(read).collect::<Result<_, _>>().map_err(|_| changed())?;
    let set = RecordSet::new(name, endpoint.record_ttl.unwrap_or_default(), values);
    Ok(set.map(|set| RecordSet { ttl: endpoint.record_ttl, ..set }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(record_type: RecordType, values: &[&str]) -> RecordSet {
        let values: Vec<Value> =
            values.iter().map(|value| Value::parse(record_type, value).unwrap()).collect();
        RecordSet::new("example.org".parse().unwrap(), 300, values).unwrap()
    }

    #[test]
    fn record_sets_survive_being_written_as_endpoints() {
        let long = format!("\"{}\" \"{}\"", "a".repeat(255), "b".repeat(100));
        let sets = [
            set(RecordType::A, &["192.0.2.1", "192.0.2.2"]),
            set(RecordType::Aaaa, &["2001:db8::1"]),
            set(RecordType::Mx, &["10 mx.tokyo.example.net.", "20 mx.us.example.net."]),
            set(RecordType::Srv, &["0 1 993 mail.example.net."]),
            set(RecordType::Cname, &["mail.example.net."]),
            set(RecordType::Txt, &["\"v=spf1 mx -all\"", &long]),
        ];
        for set in sets {
            let object = object(&set, "dns", &BTreeMap::new()).unwrap();
            assert_eq!(record_set(&object), Ok(Some(set)));
        }
    }

    #[test]
    fn an_object_is_in_words_of_external_dns() {
        let labels = BTreeMap::from([("team".to_owned(), "post".to_owned())]);
        let object = object(&set(RecordType::Mx, &["10 mx.example.net."]), "dns", &labels).unwrap();
        assert_eq!(
            serde_json::to_value(&object).unwrap(),
            json!({
                "apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
                "metadata": {
                    "name": object.metadata.name, "namespace": "dns",
                    "labels": {"app.kubernetes.io/managed-by": "ekitei-operator", "team": "post"},
                },
                "spec": {"endpoints": [
                    {"dnsName": "example.org", "recordType": "MX", "recordTTL": 300, "targets": ["10 mx.example.net"]},
                ]},
            })
        );
        assert_eq!(resource().plural, "dnsendpoints");
    }

    #[test]
    fn each_record_set_has_an_object_of_its_own() {
        let names = [
            name(&set(RecordType::A, &["192.0.2.1"]).key()),
            name(&set(RecordType::Txt, &["\"x\""]).key()),
            name(&Key::new("mx.example.org".parse().unwrap(), RecordType::A)),
        ];
        assert!(names.iter().all(|name| name.len() <= 63));
        assert_ne!(names[0], names[1]);
        assert_ne!(names[0], names[2]);
    }

    #[test]
    fn what_external_dns_does_not_know_is_refused() {
        let caa = set(RecordType::Caa, &["0 issue \"letsencrypt.org\""]);
        assert_eq!(object(&caa, "dns", &BTreeMap::new()), Err(EndpointError::Type(RecordType::Caa)));
        let none = set(RecordType::Srv, &["0 0 0 ."]);
        assert_eq!(object(&none, "dns", &BTreeMap::new()), Err(EndpointError::Type(RecordType::Srv)));
        // Earlier releases wrote it, and have to be able to remove it.
        let mut written = object(&set(RecordType::Srv, &["0 0 1 a.test."]), "dns", &BTreeMap::new()).unwrap();
        written.data["spec"]["endpoints"][0]["targets"] = json!(["0 0 0 "]);
        assert_eq!(record_set(&written), Ok(Some(none)));
    }

    #[test]
    fn an_object_that_somebody_changed_is_not_guessed_at() {
        let mut object = object(&set(RecordType::A, &["192.0.2.1"]), "dns", &BTreeMap::new()).unwrap();
        object.data = json!({"spec": {"endpoints": []}});
        assert!(matches!(record_set(&object), Err(EndpointError::Changed(_))));
        object.data = json!({"spec": {"endpoints": [{"dnsName": "example.org", "recordType": "A", "targets": ["no address"]}]}});
        assert!(record_set(&object).is_err());
    }
}
