//! cert-manager's `Certificate` objects, by its API and not by its code.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ekitei_operator_api::CertManagerIssuer;
use ekitei_operator_certificates::KeyType;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ObjectMeta};
use serde_json::{Value, json};

use super::Wanted;
use crate::apply::apply_dynamic;
use crate::context::Context;
use crate::error::{Error, Optional as _, Result};

/// The definition of `Certificate`.
const DEFINITION: &str = "certificates.cert-manager.io";
/// The version that we write; it is the only one that cert-manager serves since 1.6.
const VERSION: &str = "v1";
/// How long it is believed that cert-manager is installed or is not.
const RECENT: Duration = Duration::from_secs(60);

/// Whether cert-manager is installed, as far as was last seen.
#[derive(Debug, Default)]
pub struct Presence(Mutex<Option<(Instant, bool)>>);

impl Presence {
    /// Whether the definition of `Certificate` is there and established.
    ///
    /// # Errors
    /// The Kubernetes API's.
    pub async fn is_installed(&self, client: &Client) -> Result<bool> {
        let known = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, installed)) = known.filter(|(since, _)| since.elapsed() < RECENT) {
            return Ok(installed);
        }
        let installed = is_installed(client).await?;
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((Instant::now(), installed));
        Ok(installed)
    }
}

/// Whether the definition of `Certificate` is there, serves our version and is established.
///
/// # Errors
/// The Kubernetes API's.
pub async fn is_installed(client: &Client) -> Result<bool> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let Some(definition) = definitions.get(DEFINITION).await.optional()? else { return Ok(false) };
    let served = definition.spec.versions.iter().any(|version| version.name == VERSION && version.served);
    let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
    Ok(served
        && conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True"))
}

/// How `Certificate` objects are reached.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", VERSION, "Certificate"))
}

/// The name of the Secret that cert-manager fills for a certificate.
pub fn secret_name(wanted: &Wanted<'_>) -> String {
    format!("{}-issued", wanted.name)
}

/// The object that is wanted. Where TLSA records are published the key stays (`rotationPolicy: Never`) until somebody removes it
/// from the Secret; else each certificate has its own.
pub fn object(wanted: &Wanted<'_>, issuer: &CertManagerIssuer) -> DynamicObject {
    let (algorithm, size) = match wanted.key_type {
        KeyType::EcdsaP256 => ("ECDSA", 256),
        KeyType::EcdsaP384 => ("ECDSA", 384),
        KeyType::Rsa2048 => ("RSA", 2048),
    };
    let rotation = if wanted.tlsa.is_some() { "Never" } else { "Always" };
    let names: Vec<&str> = wanted.hosts.iter().map(|host| host.as_str()).collect();
    let metadata = ObjectMeta {
        name: Some(wanted.name.clone()),
        namespace: Some(wanted.namespace.clone()),
        labels: Some(super::kept::labels()),
        owner_references: Some(vec![wanted.owner.clone()]),
        ..ObjectMeta::default()
    };
    let spec = json!({
        "secretName": secret_name(wanted),
        "secretTemplate": {"labels": super::kept::labels()},
        "dnsNames": names,
        "usages": ["digital signature", "server auth"],
        "privateKey": {"algorithm": algorithm, "size": size, "encoding": "PKCS8", "rotationPolicy": rotation},
        "issuerRef": {"name": issuer.name, "kind": issuer.kind, "group": issuer.group},
    });
    DynamicObject { metadata, data: json!({"spec": spec}), types: Some(resource_types()) }
}

fn resource_types() -> kube::api::TypeMeta {
    let resource = resource();
    kube::api::TypeMeta { api_version: resource.api_version, kind: resource.kind }
}

/// Applies the object.
///
/// # Errors
/// The Kubernetes API's, and [`Error::NotLeader`].
pub async fn apply(
    context: &Context,
    wanted: &Wanted<'_>,
    issuer: &CertManagerIssuer,
) -> Result<DynamicObject> {
    let resource = resource();
    let objects: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &wanted.namespace, &resource);
    let live = objects.get(&wanted.name).await.optional()?;
    if let Some(live) = &live {
        refuse_foreign(live, wanted)?;
    }
    apply_dynamic(context, &resource, &object(wanted, issuer), live.as_ref()).await
}

/// A `Certificate` of this name that somebody else made is left alone.
fn refuse_foreign(live: &DynamicObject, wanted: &Wanted<'_>) -> Result<()> {
    let owners = live.metadata.owner_references.iter().flatten();
    if owners.into_iter().any(|owner| owner.uid == wanted.owner.uid) {
        return Ok(());
    }
    let message = format!("there is a Certificate {}/{} that is not ours", wanted.namespace, wanted.name);
    Err(Error::invalid("CertificateNotOurs", message))
}

/// What cert-manager says of its object: why it is not ready, or `None` if it is.
pub fn trouble(object: &DynamicObject) -> Option<String> {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let text = |condition: &Value, key: &str| {
        condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let by_type: BTreeMap<String, &Value> =
        conditions.into_iter().flatten().map(|condition| (text(condition, "type"), condition)).collect();
    let Some(ready) = by_type.get("Ready") else {
        return Some("cert-manager has not looked at it yet".to_owned());
    };
    if text(ready, "status") == "True" {
        return None;
    }
    // Why an issue failed is in the other condition.
    let said = [by_type.get("Issuing"), Some(ready)];
    let messages: Vec<String> = said
        .into_iter()
        .flatten()
        .map(|condition| text(condition, "message"))
        .filter(|text| !text.is_empty())
        .collect();
    Some(format!("cert-manager: {}", messages.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(conditions: Value) -> DynamicObject {
        let data = json!({"status": {"conditions": conditions}});
        DynamicObject { metadata: ObjectMeta::default(), types: None, data }
    }

    #[test]
    fn what_cert_manager_says_is_told() {
        assert_eq!(trouble(&with(json!([{"type": "Ready", "status": "True"}]))), None);
        assert_eq!(trouble(&with(json!([]))).as_deref(), Some("cert-manager has not looked at it yet"));
        let failed = json!([
            {"type": "Ready", "status": "False", "message": "Issuing certificate as Secret does not exist"},
            {"type": "Issuing", "status": "False", "reason": "Failed", "message": "the order is invalid"},
        ]);
        let said = "cert-manager: the order is invalid; Issuing certificate as Secret does not exist";
        assert_eq!(trouble(&with(failed)).as_deref(), Some(said));
    }
}
