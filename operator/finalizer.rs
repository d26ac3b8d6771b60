//! The finalizer: an object stays until what belongs to it outside of the cluster is gone.

use std::fmt::Debug;

use ekitei_operator_api::FINALIZER;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::context::Context;
use crate::error::{Optional as _, Result};

/// With the value `true` on an object that is being deleted, what cannot be reached is given up.
pub const ABANDON: &str = "ekitei.dev/abandon";

/// Whether an object is being deleted.
pub fn is_deleted<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Whether the object has our finalizer.
pub fn holds<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Whether a person gives up what belongs to a deleted object and cannot be reached.
pub fn is_abandoned<K: Resource>(object: &K) -> bool {
    object.annotations().get(ABANDON).is_some_and(|value| value == "true")
}

/// Puts our finalizer on an object that has none; before anything is made that it stands for.
///
/// # Errors
/// A conflict if the object was changed meanwhile; the change brings it back.
pub async fn hold<K>(context: &Context, object: &K) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    if holds(object) {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    write(context, object, &finalizers).await
}

/// Takes our finalizer away: nothing of the object is left, or what is left shall stay.
///
/// # Errors
/// A conflict if the object was changed meanwhile.
pub async fn release<K>(context: &Context, object: &K) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    if !holds(object) {
        return Ok(());
    }
    let finalizers: Vec<String> =
        object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    write(context, object, &finalizers).await
}

async fn write<K>(context: &Context, object: &K, finalizers: &[String]) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    context.leadership.check()?;
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    // With the version that was read: the list is written as a whole, and others have finalizers too.
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    let params = PatchParams {
        field_manager: Some(ekitei_operator_api::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch(&object.name_any(), &params, &Patch::Merge(&patch)).await.optional().map(drop)
}
