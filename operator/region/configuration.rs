//! The configuration of a region's pods: that of the template, with what the MailRegion says over it.

use ekitei_operator_api::{MailRegionSpec, Storage};
use serde_json::{Map, Value, json};

use crate::region::template::RegionTemplate;

/// Where the cluster file of FoundationDB is in a pod.
pub const FOUNDATIONDB: &str = "/etc/foundationdb";

/// What a person has to change in the MailRegion or the template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// The operator sets this key itself.
    #[error("spec.configuration.{key}: {instead}")]
    Reserved {
        /// The key.
        key: &'static str,
        /// What says the same.
        instead: &'static str,
    },
    /// The pods would have a store of their own each, and mail in it would be lost.
    #[error(
        "store.kind: pods of a region must share the store of all regions: it must be foundationdb, and is {0}"
    )]
    NotShared(String),
    /// It cannot be written.
    #[error("the configuration cannot be written: {0}")]
    Unwritable(String),
}

/// Puts `over` over `base` (RFC 7396): mappings are merged, `null` removes, all else replaces.
pub fn merge(base: &mut Value, over: &Value) {
    let Value::Object(over) = over else {
        *base = over.clone();
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    let Value::Object(fields) = base else { return };
    for (name, value) in over {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Puts `over` over a section of `base` whose keys depend on its `kind`: what is there of another kind is of no use, and goes.
fn merge_section(base: &mut Value, name: &str, over: &Value) {
    let kind = over.get("kind");
    let other_kind = |section: &Value| kind.is_some() && section.get("kind") != kind;
    if base.get(name).is_some_and(other_kind) {
        merge(base, &json!({ name: null }));
    }
    merge(base, &json!({ name: over }));
}

/// The configuration of the pods of a region.
///
/// # Errors
/// [`ConfigurationError`].
pub fn configuration(
    template: &RegionTemplate,
    region: &str,
    spec: &MailRegionSpec,
) -> Result<Value, ConfigurationError> {
    let mut merged = Value::Object(template.configuration.clone());
    if let Some(storage) = &spec.storage {
        store(&mut merged, storage);
    }
    if let Some(over) = &spec.configuration {
        let over = Value::Object(over.clone());
        reserved(&over)?;
        merge(&mut merged, &over);
    }
    merge(&mut merged, &json!({"hostname": spec.host, "cluster": {"region": region}}));
    match merged.pointer("/store/kind").and_then(Value::as_str).unwrap_or("embedded") {
        "foundationdb" => Ok(merged),
        kind => Err(ConfigurationError::NotShared(kind.to_owned())),
    }
}

fn reserved(over: &Value) -> Result<(), ConfigurationError> {
    let keys = [
        ("hostname", "/hostname", "this is spec.host"),
        ("cluster.region", "/cluster/region", "this is the name of the MailRegion"),
    ];
    let found = keys.into_iter().find(|(_, pointer, _)| over.pointer(pointer).is_some());
    found.map_or(Ok(()), |(key, _, instead)| Err(ConfigurationError::Reserved { key, instead }))
}

fn store(merged: &mut Value, storage: &Storage) {
    if let Some(foundationdb) = &storage.foundationdb {
        let file = format!("{FOUNDATIONDB}/{}", foundationdb.cluster_file.key);
        let mut section = json!({"kind": "foundationdb", "clusterFile": file});
        if let Some(prefix) = &foundationdb.prefix {
            section["prefix"] = json!(prefix);
        }
        merge_section(merged, "store", &section);
    }
    if let Some(blobs) = &storage.blobs {
        merge_section(merged, "blobs", &Value::Object(blobs.clone()));
    }
}

/// The configuration as the file that pods read.
///
/// # Errors
/// [`ConfigurationError::Unwritable`].
pub fn text(configuration: &Value) -> Result<String, ConfigurationError> {
    serde_yaml::to_string(configuration).map_err(|error| ConfigurationError::Unwritable(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::region::testing::{CONFIGURATION_YAML, region, template};

    fn merged(spec: &str) -> Result<Value, ConfigurationError> {
        configuration(&template(), "tokyo", &region(spec).spec)
    }

    #[test]
    fn the_region_is_written_over_the_template() {
        let merged = merged(
            "{host: mx.tokyo.example.net, configuration: {smtp: {maxConnections: 5}, log: {level: debug, format: null}}}",
        )
        .unwrap();
        assert_eq!(merged["hostname"], "mx.tokyo.example.net");
        assert_eq!(merged["cluster"], json!({"region": "tokyo", "interval": "5s"}));
        assert_eq!(merged["log"], json!({"level": "debug"}), "null removes a key, and its neighbours stay");
        assert_eq!(merged["smtp"], json!({"maxConnections": 5}));
        assert_eq!(
            merged["listeners"].as_array().map(Vec::len),
            Some(2),
            "what the region does not name stays"
        );
    }

    #[test]
    fn a_store_of_another_kind_takes_nothing_of_the_one_below() {
        let spec = "{host: mx.tokyo.example.net, storage: {foundationdb: {clusterFile: {configMap: fdb, key: cf}, prefix: eu},
            blobs: {kind: s3, bucket: tokyo}}}";
        let mut with_directory = template();
        with_directory.configuration = serde_yaml::from_str(
            "{store: {kind: embedded, path: /data}, blobs: {kind: directory, path: /bodies}}",
        )
        .unwrap();
        let merged = configuration(&with_directory, "tokyo", &region(spec).spec).unwrap();
        let store = json!({"kind": "foundationdb", "clusterFile": "/etc/foundationdb/cf", "prefix": "eu"});
        assert_eq!(merged["store"], store);
        assert_eq!(merged["blobs"], json!({"kind": "s3", "bucket": "tokyo"}));
    }

    #[test]
    fn a_bucket_of_the_same_kind_keeps_what_the_template_says_of_it() {
        let merged = merged("{host: mx.tokyo.example.net, storage: {blobs: {bucket: tokyo}}}").unwrap();
        assert_eq!(merged["blobs"], json!({"kind": "s3", "bucket": "tokyo", "pathStyle": true}));
    }

    #[test]
    fn what_the_operator_says_is_not_said_twice() {
        let error =
            merged("{host: mx.tokyo.example.net, configuration: {cluster: {region: osaka}}}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "spec.configuration.cluster.region: this is the name of the MailRegion"
        );
        assert!(
            merged("{host: mx.tokyo.example.net, configuration: {hostname: other.example.net}}").is_err()
        );
    }

    #[test]
    fn pods_that_would_each_have_a_store_of_their_own_are_refused() {
        let spec = "{host: mx.tokyo.example.net, configuration: {store: {kind: embedded}}}";
        assert_eq!(merged(spec), Err(ConfigurationError::NotShared("embedded".to_owned())));
    }

    #[test]
    fn what_is_written_is_what_was_merged() {
        let merged = merged("{host: mx.tokyo.example.net}").unwrap();
        let read: Value = serde_yaml::from_str(&text(&merged).unwrap()).unwrap();
        assert_eq!(read, merged);
        assert!(CONFIGURATION_YAML.contains("hostname: mail.example.net"), "so that hostname was replaced");
    }
}
