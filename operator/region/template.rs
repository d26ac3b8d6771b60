//! The region template: what all regions' pods, configuration and Services are made from, as the chart wrote it into a ConfigMap.
//!
//! Whoever wrote it is told where it is wrong: every error has the key of the ConfigMap and the path in it. Fields that this
//! release does not know are errors, too, for they would be lost without a word.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, ServiceSpec};
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The key of the pods.
pub const POD: &str = "pod.yaml";
/// The key of the service's configuration.
pub const CONFIGURATION: &str = "ekitei.yaml";
/// The key of the Kubernetes Service.
pub const SERVICE: &str = "service.yaml";
/// The key of the NetworkPolicy. It may be missing: then there is none.
pub const POLICY: &str = "networkpolicy.yaml";
/// The container of the service in a pod.
pub const CONTAINER: &str = "ekitei";
/// The volume with its configuration.
pub const VOLUME: &str = "config";

/// What all regions have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionTemplate {
    /// Their pods.
    pub pod: PodTemplateSpec,
    /// The configuration of the service in them.
    pub configuration: Map<String, Value>,
    /// Their Services.
    pub service: ServiceTemplate,
    /// Who may connect to them; without it, everyone whom no other policy keeps out.
    pub policy: Option<PolicyTemplate>,
}

/// A NetworkPolicy without a name, and without the pods that it is for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyTemplate {
    /// Who may connect, and to what.
    pub spec: NetworkPolicySpec,
}

/// A Service without a name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ServiceTemplate {
    /// Its labels and annotations.
    #[serde(default)]
    pub metadata: ServiceMetadata,
    /// The same annotations, for who writes them beside the spec.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What it is.
    pub spec: ServiceSpec,
}

/// Labels and annotations of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceMetadata {
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A template that nothing can be made from: whoever wrote it has to change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {path}: {message}")]
pub struct TemplateError {
    /// The key of the ConfigMap.
    pub key: &'static str,
    /// Where in it, such as `spec.containers[0].image`; `.` for the whole.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl TemplateError {
    fn new(key: &'static str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key, path: path.into(), message: message.into() }
    }
}

impl RegionTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`]: a key is missing, is no YAML, has a field of another type or an unknown one, or lacks what the operator needs.
    pub fn read(config_map: &ConfigMap) -> Result<Self, TemplateError> {
        let pod = pod(text(config_map, POD)?)?;
        let configuration = match yaml(CONFIGURATION, text(config_map, CONFIGURATION)?)? {
            Value::Object(configuration) => configuration,
            Value::Null => Map::new(),
            _ => return Err(TemplateError::new(CONFIGURATION, ".", "it is not a mapping")),
        };
        let service = service(text(config_map, SERVICE)?)?;
        let policy = text(config_map, POLICY).ok().map(policy).transpose()?;
        Ok(Self { pod, configuration, service, policy })
    }
}

fn text<'a>(config_map: &'a ConfigMap, key: &'static str) -> Result<&'a str, TemplateError> {
    let found = config_map.data.as_ref().and_then(|data| data.get(key));
    found.map(String::as_str).ok_or_else(|| TemplateError::new(key, ".", "the ConfigMap has no such key"))
}

fn pod(text: &str) -> Result<PodTemplateSpec, TemplateError> {
    let value = as_yaml_1_1(yaml(POD, text)?);
    let pod: PodTemplateSpec = typed(POD, &value)?;
    known(POD, &value, &pod)?;
    let spec = pod.spec.as_ref().ok_or_else(|| TemplateError::new(POD, "spec", "it is missing"))?;
    if !spec.containers.iter().any(|container| container.name == CONTAINER) {
        return Err(TemplateError::new(POD, "spec.containers", format!("none is named {CONTAINER:?}")));
    }
    let mut volumes = spec.volumes.iter().flatten();
    if !volumes.any(|volume| volume.name == VOLUME && volume.config_map.is_some()) {
        let message = format!("none is named {VOLUME:?} and is of a ConfigMap");
        return Err(TemplateError::new(POD, "spec.volumes", message));
    }
    Ok(pod)
}

fn service(text: &str) -> Result<ServiceTemplate, TemplateError> {
    let value = yaml(SERVICE, text)?;
    let service: ServiceTemplate = typed(SERVICE, &value)?;
    let spec = value.get("spec").unwrap_or(&Value::Null);
    known(SERVICE, spec, &service.spec)
        .map_err(|error| TemplateError { path: format!("spec.{}", error.path), ..error })?;
    let known = ["metadata", "annotations", "spec"];
    if let Some(unknown) =
        value.as_object().and_then(|all| all.keys().find(|key| !known.contains(&key.as_str())))
    {
        return Err(TemplateError::new(SERVICE, unknown, "there is no such field"));
    }
    if service.spec.ports.iter().flatten().next().is_none() {
        return Err(TemplateError::new(SERVICE, "spec.ports", "there is none"));
    }
    Ok(service)
}

fn policy(text: &str) -> Result<PolicyTemplate, TemplateError> {
    let value = yaml(POLICY, text)?;
    let policy: PolicyTemplate = typed(POLICY, &value)?;
    known(POLICY, value.get("spec").unwrap_or(&Value::Null), &policy.spec)
        .map_err(|error| TemplateError { path: format!("spec.{}", error.path), ..error })?;
    if policy.spec.pod_selector.is_some() {
        return Err(TemplateError::new(
            POLICY,
            "spec.podSelector",
            "it is for the pods of each region, which the operator says",
        ));
    }
    Ok(policy)
}

fn yaml(key: &'static str, text: &str) -> Result<Value, TemplateError> {
    serde_yaml::from_str(text).map_err(|error| TemplateError::new(key, ".", error.to_string()))
}

fn typed<T: DeserializeOwned>(key: &'static str, value: &Value) -> Result<T, TemplateError> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| TemplateError::new(key, error.path().to_string(), error.inner().to_string()))
}

/// That nothing of a value was lost when it was read.
fn known<T: serde::Serialize>(key: &'static str, written: &Value, read: &T) -> Result<(), TemplateError> {
    let read = serde_json::to_value(read).map_err(|error| TemplateError::new(key, ".", error.to_string()))?;
    match lost(written, Some(&read), String::new()) {
        Some(path) => Err(TemplateError::new(key, path, "there is no such field")),
        None => Ok(()),
    }
}

/// The path of the first thing that is in one value and not in another. Nothing, empty lists and empty mappings need not be there.
fn lost(written: &Value, read: Option<&Value>, path: String) -> Option<String> {
    match written {
        Value::Null => None,
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            lost(value, read.and_then(|read| read.get(name)), path)
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, value)| {
            lost(value, read.and_then(|read| read.get(index)), format!("{path}[{index}]"))
        }),
        _ => read.is_none().then_some(path),
    }
}

/// Templates are written for readers of YAML 1.1 and of Kubernetes: modes in octal (`0440`), and quantities that are plain numbers.
fn as_yaml_1_1(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (name.clone(), field(&name, value))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(as_yaml_1_1).collect()),
        other => other,
    }
}

fn field(name: &str, value: Value) -> Value {
    match (name, value) {
        ("defaultMode" | "mode", Value::String(text)) => {
            i32::from_str_radix(&text, 8).map_or(Value::String(text), Value::from)
        }
        ("limits" | "requests", Value::Object(quantities)) => {
            let quantities = quantities.into_iter().map(|(name, quantity)| match quantity {
                Value::Number(number) => (name, Value::String(number.to_string())),
                other => (name, other),
            });
            Value::Object(quantities.collect())
        }
        ("sizeLimit", Value::Number(number)) => Value::String(number.to_string()),
        (_, value) => as_yaml_1_1(value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::region::testing::{POD_YAML, SERVICE_YAML, template_of, template_with};

    fn error(pod: &str, configuration: &str, service: &str) -> String {
        template_of(pod, configuration, service).unwrap_err().to_string()
    }

    #[test]
    fn a_template_is_read_as_kubernetes_reads_it() {
        let template = template_of(POD_YAML, "hostname: mail.example.net\n", SERVICE_YAML).unwrap();
        let spec = template.pod.spec.unwrap();
        let secret = spec.volumes.unwrap().into_iter().find_map(|volume| volume.secret).unwrap();
        assert_eq!(secret.default_mode, Some(0o440), "YAML 1.1 writes octal numbers so");
        let limits = spec.containers[0].resources.clone().unwrap().limits.unwrap();
        assert_eq!(limits["cpu"].0, "2", "a number is a quantity");
        assert_eq!(template.configuration["hostname"], "mail.example.net");
        assert_eq!(template.service.spec.ports.unwrap()[0].port, 25);
    }

    #[test]
    fn errors_have_the_path_of_what_is_wrong() {
        let wrong_type =
            POD_YAML.replace("terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: soon");
        assert!(
            error(&wrong_type, "", SERVICE_YAML)
                .starts_with("pod.yaml: spec.terminationGracePeriodSeconds: invalid type"),
        );
        let unknown = POD_YAML.replace("imagePullPolicy", "imagePolicy");
        assert_eq!(
            error(&unknown, "", SERVICE_YAML),
            "pod.yaml: spec.containers[0].imagePolicy: there is no such field"
        );
        let other = POD_YAML.replace("- name: ekitei", "- name: mail");
        assert_eq!(error(&other, "", SERVICE_YAML), "pod.yaml: spec.containers: none is named \"ekitei\"");
        let volume = POD_YAML.replace("- name: config", "- name: settings");
        assert!(error(&volume, "", SERVICE_YAML).starts_with("pod.yaml: spec.volumes: none is named"));
        assert_eq!(error(POD_YAML, "- a\n", SERVICE_YAML), "ekitei.yaml: .: it is not a mapping");
        assert_eq!(error(POD_YAML, "", "spec: {}\n"), "service.yaml: spec.ports: there is none");
        assert_eq!(
            error(POD_YAML, "", "spec: {ports: [{port: 25, prot: TCP}]}\n"),
            "service.yaml: spec.ports[0].prot: there is no such field"
        );
        assert!(error("a: [", "", SERVICE_YAML).starts_with("pod.yaml: .: "));
    }

    #[test]
    fn a_policy_that_would_let_in_others_than_it_says_is_refused() {
        let error = |text: &str| template_with(Some(text)).unwrap_err().to_string();
        assert_eq!(
            error("spec: {ingress: [{prots: [{port: 25}]}]}"),
            "networkpolicy.yaml: spec.ingress[0].prots[0].port: there is no such field"
        );
        assert!(error("ingress: []").contains("unknown field"), "{}", error("ingress: []"));
        assert!(error("spec: {podSelector: {}}").starts_with("networkpolicy.yaml: spec.podSelector: "));
    }

    #[test]
    fn a_missing_key_is_named() {
        let error = RegionTemplate::read(&ConfigMap::default()).unwrap_err();
        assert_eq!(error.to_string(), "pod.yaml: .: the ConfigMap has no such key");
    }
}
