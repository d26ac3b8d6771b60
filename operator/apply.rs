//! Writing objects by server-side apply: each field that we write is ours, those of others stay.
//!
//! What was applied is remembered with the version that came of it; while the live object has that version and we want the same, nothing is sent.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use ekitei_operator_api::FIELD_MANAGER;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Error, Result};

/// The manager of the fields of statuses: another one than that of objects, so that neither removes fields of the other.
pub const STATUS_MANAGER: &str = "ekitei-operator-status";
/// More objects than this are not remembered.
const REMEMBERED: usize = 50_000;

/// What was applied, by the UID of the object.
#[derive(Debug, Default)]
pub struct Applied(Mutex<HashMap<String, (u64, String)>>);

impl Applied {
    /// Whether the live object came of applying just this.
    fn is_done(&self, live: &impl Resource, hash: u64) -> bool {
        let (Some(uid), Some(version)) = (&live.meta().uid, &live.meta().resource_version) else {
            return false;
        };
        let applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(uid).is_some_and(|(was, of)| *was == hash && of == version)
    }

    fn remember(&self, result: &impl Resource, hash: u64) {
        let (Some(uid), Some(version)) = (&result.meta().uid, &result.meta().resource_version) else {
            return;
        };
        let mut applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if applied.len() >= REMEMBERED {
            applied.clear();
        }
        applied.insert(uid.clone(), (hash, version.clone()));
    }
}

/// Applies an object of a known type in this cluster. With `live`, as it is there now, nothing is sent if nothing would change.
///
/// # Errors
/// The Kubernetes API's, and [`Error::NotLeader`].
pub async fn apply<K>(context: &Context, object: &K, live: Option<&K>) -> Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug,
{
    apply_in(context, &context.client, object, live).await
}

/// [`apply`] in another cluster.
///
/// # Errors
/// As [`apply`].
pub async fn apply_in<K>(context: &Context, client: &Client, object: &K, live: Option<&K>) -> Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug,
{
    let mut wanted = json(object)?;
    name_kind(&mut wanted, &K::api_version(&()), &K::kind(&()));
    let api = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    send(context, &api, &object.name_any(), &wanted, live).await
}

/// Applies an object of a type that is known only while the program runs, such as a `Certificate` of cert-manager.
///
/// # Errors
/// As [`apply`].
pub async fn apply_dynamic(
    context: &Context,
    resource: &ApiResource,
    object: &DynamicObject,
    live: Option<&DynamicObject>,
) -> Result<DynamicObject> {
    let mut wanted = json(object)?;
    name_kind(&mut wanted, &resource.api_version, &resource.kind);
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::namespaced_with(context.client.clone(), &namespace, resource);
    send(context, &api, &object.name_any(), &wanted, live).await
}

async fn send<K>(context: &Context, api: &Api<K>, name: &str, wanted: &Value, live: Option<&K>) -> Result<K>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut hasher = DefaultHasher::new();
    wanted.to_string().hash(&mut hasher);
    let hash = hasher.finish();
    if let Some(live) = live.filter(|live| context.applied.is_done(*live, hash)) {
        return Ok(live.clone());
    }
    context.leadership.check()?;
    let result = api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(wanted)).await?;
    context.applied.remember(&result, hash);
    Ok(result)
}

/// Writes the whole status of an object by server-side apply; if it is as it was, nothing is sent. Returns whether something was.
///
/// # Errors
/// As [`apply`]; a not-found error if the object is gone or was made anew under the same name.
pub async fn apply_status<K, S>(context: &Context, object: &K, before: Option<&S>, status: &S) -> Result<bool>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    S: Serialize + PartialEq,
{
    if before == Some(status) {
        return Ok(false);
    }
    context.leadership.check()?;
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // The UID makes this fail for another object of the same name.
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": json(status)?,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    api.patch_status(&object.name_any(), &params, &Patch::Apply(&patch)).await?;
    Ok(true)
}

fn json(object: &impl Serialize) -> Result<Value> {
    serde_json::to_value(object).map_err(|error| Error::invalid("NotJson", error))
}

/// Apply patches must say what they are of; typed objects do not carry it. What the server keeps itself must not be in them.
fn name_kind(object: &mut Value, api_version: &str, kind: &str) {
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn map(version: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            uid: Some("uid".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    #[test]
    fn what_was_applied_counts_only_for_the_version_that_came_of_it() {
        let applied = Applied::default();
        assert!(!applied.is_done(&map("1"), 7));
        applied.remember(&map("1"), 7);
        assert!(applied.is_done(&map("1"), 7));
        assert!(!applied.is_done(&map("2"), 7), "somebody changed it since");
        assert!(!applied.is_done(&map("1"), 8), "we want something else now");
    }

    #[test]
    fn an_apply_patch_says_what_it_is_and_leaves_out_what_the_server_keeps() {
        let mut object =
            json!({"metadata": {"name": "a", "resourceVersion": "3", "managedFields": []}, "status": {}});
        name_kind(&mut object, "v1", "Service");
        assert_eq!(object, json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}));
    }
}
