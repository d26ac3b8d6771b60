//! The objects of a region in its cluster: written, looked at, removed.

use std::fmt::Debug;

use ekitei_operator_api::{MailRegion, REGION_LABEL};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apply::apply_in;
use crate::context::Context;
use crate::error::{Error, Optional as _, Result};
use crate::fail;
use crate::region::cluster::Cluster;
use crate::region::pods::Pods;
use crate::region::render::{RenderError, Rendered, Site, object_name, render};
use crate::region::template::{RegionTemplate, TemplateError};

/// The label of the EndpointSlices of a Service.
const OF_SERVICE: &str = "kubernetes.io/service-name";

impl From<TemplateError> for Error {
    fn from(error: TemplateError) -> Self {
        Self::invalid("TemplateInvalid", error)
    }
}

impl From<RenderError> for Error {
    fn from(error: RenderError) -> Self {
        let reason = match &error {
            RenderError::Name(_) => "NameInvalid",
            RenderError::Configuration(_) => "ConfigurationInvalid",
        };
        Self::invalid(reason, error)
    }
}

/// The region template.
///
/// # Errors
/// `TemplateMissing`, `TemplateInvalid`.
pub async fn template(context: &Context) -> Result<RegionTemplate> {
    let name = &context.options.region_template;
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), context.namespace());
    let map = maps.get(name).await.optional()?.ok_or_else(|| {
        let message =
            format!("there is no ConfigMap {}/{name} with the region template", context.namespace());
        Error::outside("TemplateMissing", message)
    })?;
    Ok(RegionTemplate::read(&map)?)
}

/// Writes all objects of a region, the configuration first. Returns the Deployment and the Service as they are now.
///
/// # Errors
/// The template's, the region's, and those of the cluster's API.
pub async fn write(
    context: &Context,
    region: &MailRegion,
    cluster: &Cluster,
) -> Result<(Deployment, Service)> {
    let template = template(context).await?;
    let site = Site {
        namespace: cluster.namespace.clone(),
        prefix: context.options.name_prefix.clone(),
        owner: if cluster.is_other { None } else { region.controller_owner_ref(&()) },
        credentials: credentials(region, cluster).await?,
    };
    let Rendered { config_map, deployment, service, budget, policy } = render(region, &template, &site)?;
    put(context, cluster, region, config_map).await?;
    // Before the pods: nobody connects to them meanwhile who may not.
    match policy {
        Some(policy) => put(context, cluster, region, policy).await.map(drop)?,
        None => remove_policy(context, cluster, region).await?,
    }
    fail::point("region.configured")?;
    let service = put(context, cluster, region, service).await?;
    let deployment = put(context, cluster, region, deployment).await?;
    put(context, cluster, region, budget).await?;
    fail::point("region.applied")?;
    Ok((deployment, service))
}

/// The version of the Secret that is the environment of the pods, where they are.
async fn credentials(region: &MailRegion, cluster: &Cluster) -> Result<Option<String>> {
    let reference = region.spec.storage.as_ref().and_then(|storage| storage.credentials_ref.as_ref());
    let Some(reference) = reference else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = secrets.get_metadata_opt(&reference.name).await?;
    let secret = secret.ok_or_else(|| {
        let message = format!("there is no Secret {}/{} for the pods", cluster.namespace, reference.name);
        Error::outside("SecretMissing", message)
    })?;
    Ok(Some(format!(
        "{}/{}",
        secret.uid().unwrap_or_default(),
        secret.resource_version().unwrap_or_default()
    )))
}

/// Applies one object, unless another region or person has one of this name.
async fn put<K>(context: &Context, cluster: &Cluster, region: &MailRegion, object: K) -> Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let live = api.get_opt(&object.name_any()).await?;
    if let Some(live) = live.as_ref().filter(|live| !is_of(*live, region)) {
        let message =
            format!("there is a {} {} already that is not of this region", K::kind(&()), live.name_any());
        return Err(Error::invalid("NameTaken", message));
    }
    apply_in(context, &cluster.client, &object, live.as_ref()).await
}

/// Whether an object was made for a region.
fn is_of<K: Resource>(object: &K, region: &MailRegion) -> bool {
    object.labels().get(REGION_LABEL) == Some(&region.name_any())
}

/// A Service that someone else keeps.
///
/// # Errors
/// `ServiceMissing`, and those of the cluster's API.
pub async fn service(cluster: &Cluster, name: &str) -> Result<Service> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    services.get(name).await.optional()?.ok_or_else(|| {
        Error::outside("ServiceMissing", format!("there is no Service {}/{name}", cluster.namespace))
    })
}

/// How the pods behind a Service are that someone else keeps, by its EndpointSlices.
///
/// # Errors
/// Those of the cluster's API.
pub async fn pods_behind(cluster: &Cluster, service: &str) -> Result<Pods> {
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let slices = slices.list(&ListParams::default().labels(&format!("{OF_SERVICE}={service}"))).await?;
    Ok(count(&slices.items))
}

/// Pods that have an endpoint of each address family are counted once.
fn count(slices: &[EndpointSlice]) -> Pods {
    let of_type = |address_type: &str| {
        let endpoints = slices.iter().filter(|slice| slice.address_type == address_type);
        let endpoints: Vec<_> = endpoints.flat_map(|slice| slice.endpoints.iter().flatten()).collect();
        let ready = endpoints.iter().filter(|endpoint| {
            // No condition means that it is ready.
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        (endpoints.len(), ready.count())
    };
    let (there, ready) = of_type("IPv4").max(of_type("IPv6"));
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let (there, ready) = (number(there), number(ready));
    Pods { desired: there.max(1), there, ready, updated: there, current: true }
}

/// Removes all objects of a region, the pods first. What is not there is no error, and what cannot be removed does not keep the others back: a load balancer
/// costs money.
///
/// # Errors
/// The first of the cluster's API.
pub async fn remove(context: &Context, region: &MailRegion, cluster: &Cluster) -> Result<()> {
    context.leadership.check()?;
    let Ok(name) = object_name(&context.options.name_prefix, &region.name_any()) else { return Ok(()) };
    let all = remove_all(cluster, region, &name).await;
    let policy = remove_policy(context, cluster, region).await;
    all.and(policy)
}

async fn remove_all(cluster: &Cluster, region: &MailRegion, name: &str) -> Result<()> {
    let results = [
        remove_one::<Deployment>(cluster, region, name).await,
        remove_one::<PodDisruptionBudget>(cluster, region, name).await,
        remove_one::<Service>(cluster, region, name).await,
        remove_one::<ConfigMap>(cluster, region, name).await,
    ];
    results.into_iter().collect()
}

/// Removes the NetworkPolicy of a region. Who may not look at NetworkPolicies has not made one.
async fn remove_policy(context: &Context, cluster: &Cluster, region: &MailRegion) -> Result<()> {
    let Ok(name) = object_name(&context.options.name_prefix, &region.name_any()) else { return Ok(()) };
    match remove_one::<NetworkPolicy>(cluster, region, &name).await {
        Err(error) if error.reason() == "Forbidden" => Ok(()),
        result => result,
    }
}

async fn remove_one<K>(cluster: &Cluster, region: &MailRegion, name: &str) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let Some(live) = api.get_metadata_opt(name).await?.filter(|live| is_of(live, region)) else {
        return Ok(());
    };
    let parameters = DeleteParams::background()
        .preconditions(kube::api::Preconditions { uid: live.uid(), resource_version: None });
    api.delete(name, &parameters).await.optional().map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use axum::http::{Method, StatusCode, Uri};
    use axum::{Json, Router};
    use kube::{Client, Config};
    use serde_json::json;

    use super::*;
    use crate::region::testing::{PLAIN, region};

    fn slice(address_type: &str, ready: &[Option<bool>]) -> EndpointSlice {
        let endpoints: Vec<_> = ready
            .iter()
            .map(|ready| json!({"addresses": ["192.0.2.1"], "conditions": {"ready": ready}}))
            .collect();
        serde_json::from_value(json!({"addressType": address_type, "endpoints": endpoints, "ports": []}))
            .unwrap()
    }

    /// An API server that has everything that it is asked for, as that of a region, and lets nobody remove Deployments. What was removed is noted.
    async fn api_server(removed: Arc<Mutex<Vec<String>>>) -> Client {
        let answer = move |method: Method, uri: Uri| {
            let removed = Arc::clone(&removed);
            async move {
                let kind = uri.path().rsplit('/').nth(1).unwrap_or_default().to_owned();
                if method == Method::GET {
                    let metadata = json!({"name": "mx", "uid": kind, "labels": {REGION_LABEL: "tokyo"}});
                    let kind = "PartialObjectMetadata";
                    let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": metadata});
                    return (StatusCode::OK, Json(object));
                }
                let refused = kind == "deployments";
                if !refused {
                    removed.lock().unwrap().push(kind);
                }
                let code = if refused { StatusCode::FORBIDDEN } else { StatusCode::OK };
                let (status, reason) = if refused { ("Failure", "Forbidden") } else { ("Success", "") };
                let status = json!({
                    "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": status, "message": "no", "reason": reason,
                    "code": code.as_u16(),
                });
                (code, Json(status))
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Client::try_from(Config::new(address.parse().unwrap())).unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_removed_keeps_nothing_else_back() {
        let removed = Arc::new(Mutex::new(Vec::new()));
        let client = api_server(Arc::clone(&removed)).await;
        let cluster = Cluster { client, namespace: "mail".to_owned(), is_other: true };
        let refused = remove_all(&cluster, &region(PLAIN), "mx").await.unwrap_err();
        assert_eq!(refused.reason(), "Forbidden");
        assert_eq!(*removed.lock().unwrap(), ["poddisruptionbudgets", "services", "configmaps"]);
    }

    #[test]
    fn pods_of_both_address_families_are_counted_once() {
        let both = [slice("IPv4", &[Some(true), Some(false)]), slice("IPv6", &[Some(true), Some(false)])];
        let pods = count(&both);
        assert_eq!((pods.there, pods.ready), (2, 1));
        assert_eq!(count(&[slice("IPv4", &[None]), slice("IPv4", &[Some(true)])]).ready, 2);
        assert!(!count(&[]).take_mail());
    }
}
