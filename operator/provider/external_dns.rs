//! Zones that ExternalDNS keeps: records are written as `DNSEndpoint` objects, and it publishes them.
//!
//! It has an ownership of its own (its registry), so no markers are written. What it cannot say is what is in a zone besides: that is asked of the
//! authoritative servers, so that values of others at the same name are kept. Records that it cannot publish are not wanted of it.

use std::collections::BTreeMap;

use ekitei_operator_dns::provider::{Capabilities, Provider, ProviderError, Result, Zone};
use ekitei_operator_dns::verify::VerifyError;
use ekitei_operator_dns::{Change, Key, Name, RecordSet, Verifier};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions};

use crate::leader::Leadership;
use crate::provider::endpoint::{self, EndpointError};

/// The status code for what is not there (RFC 9110 §15.5.5).
const NOT_FOUND: u16 = 404;

/// Zones that ExternalDNS keeps.
pub struct ExternalDns {
    api: Api<DynamicObject>,
    namespace: String,
    labels: BTreeMap<String, String>,
    zones: Vec<Name>,
    verifier: Verifier,
    leadership: Leadership,
}

impl std::fmt::Debug for ExternalDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalDns")
            .field("namespace", &self.namespace)
            .field("labels", &self.labels)
            .finish()
    }
}

impl ExternalDns {
    /// Objects go into `namespace` with `labels`. Zones that are named are not looked for.
    pub fn new(
        client: Client,
        namespace: &str,
        labels: BTreeMap<String, String>,
        zones: Vec<Name>,
        verifier: Verifier,
        leadership: Leadership,
    ) -> Self {
        let api = Api::namespaced_with(client, namespace, &endpoint::resource());
        Self { api, namespace: namespace.to_owned(), labels, zones, verifier, leadership }
    }

    async fn find(&self, name: &Name) -> Result<Zone> {
        // Whether the cluster knows the type at all is not seen when one object is read.
        self.api.list(&ListParams::default().limit(1)).await.map_err(failure)?;
        let named = self.zones.iter().filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.depth());
        if let Some(zone) = named {
            return Ok(Zone { name: zone.clone(), id: None });
        }
        match self.verifier.authorities(name).await {
            Ok(authorities) => Ok(Zone { name: authorities.zone, id: None }),
            Err(VerifyError::NoZone(reason)) => Err(ProviderError::NoZone { name: name.clone(), reason }),
            Err(error) => Err(ProviderError::Unavailable(error.to_string())),
        }
    }

    async fn live(&self, key: &Key) -> Result<Option<(DynamicObject, Option<RecordSet>)>> {
        let object = self.api.get_opt(&endpoint::name(key)).await.map_err(failure)?;
        let Some(object) = object else { return Ok(None) };
        let set = endpoint::record_set(&object).map_err(rejected)?;
        Ok(Some((object, set)))
    }

    async fn look(&self, zone: &Zone, key: &Key) -> Result<Option<RecordSet>> {
        if let Some((_, set)) = self.live(key).await? {
            return Ok(set);
        }
        let unavailable = |error: VerifyError| ProviderError::Unavailable(error.to_string());
        let authorities = self.verifier.authorities(&zone.name).await.map_err(unavailable)?;
        self.verifier.get(&authorities, key).await.map_err(unavailable)
    }

    async fn change(&self, change: &Change) -> Result<()> {
        let Some(key) = change.key() else { return Ok(()) };
        self.leadership.check().map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let live = self.live(&key).await?;
        let expected = live.as_ref().is_none_or(|(_, now)| match (now, &change.before) {
            (Some(now), Some(before)) => now.same(before),
            (now, before) => now.is_none() == before.is_none(),
        });
        if !expected {
            return Err(ProviderError::Conflict(format!(
                "the DNSEndpoint {} was changed",
                endpoint::name(&key)
            )));
        }
        match (live, &change.after) {
            (None, None) => Ok(()),
            (None, Some(after)) => {
                let object = endpoint::object(after, &self.namespace, &self.labels).map_err(rejected)?;
                self.api.create(&PostParams::default(), &object).await.map(drop).map_err(failure)
            }
            (Some((object, _)), None) => self.delete(&object).await,
            (Some((before, _)), Some(after)) => {
                let mut object = endpoint::object(after, &self.namespace, &self.labels).map_err(rejected)?;
                object.metadata.resource_version.clone_from(&before.metadata.resource_version);
                let name = endpoint::name(&key);
                self.api.replace(&name, &PostParams::default(), &object).await.map(drop).map_err(failure)
            }
        }
    }

    async fn delete(&self, object: &DynamicObject) -> Result<()> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let preconditions = Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: object.metadata.resource_version.clone(),
        };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api.delete(&name, &parameters).await {
            Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(()),
            result => result.map(drop).map_err(failure),
        }
    }
}

/// What an error of the Kubernetes API means for a provider.
fn failure(error: kube::Error) -> ProviderError {
    match &error {
        // Reading one that is not there is no error, so it is the type that is not there. Of those there is no status, only the code.
        kube::Error::Api(status) if status.code == NOT_FOUND => ProviderError::Settings(
            "the cluster does not know DNSEndpoint objects: the CRD of ExternalDNS is to be installed, and its source crd to be used".to_owned(),
        ),
        kube::Error::Api(status) if status.is_forbidden() => ProviderError::Unauthorized(status.message.clone()),
        kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
            ProviderError::Conflict(status.message.clone())
        }
        kube::Error::Api(status) if status.is_invalid() => ProviderError::Rejected(status.message.clone()),
        _ => ProviderError::Unavailable(error.to_string()),
    }
}

fn rejected(error: EndpointError) -> ProviderError {
    ProviderError::Rejected(error.to_string())
}

impl Provider for ExternalDns {
    fn name(&self) -> String {
        format!("DNSEndpoint objects in {}", self.namespace)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes: true,
            atomic: false,
            prerequisites: true,
            routing: false,
            min_ttl: 1,
            markers: false,
        }
    }

    fn takes(&self, set: &RecordSet) -> bool {
        endpoint::takes(set)
    }

    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone>> {
        self.find(name).boxed()
    }

    fn get<'a>(&'a self, zone: &'a Zone, key: &'a Key) -> BoxFuture<'a, Result<Option<RecordSet>>> {
        self.look(zone, key).boxed()
    }

    fn apply<'a>(&'a self, _: &'a Zone, changes: &'a [Change]) -> BoxFuture<'a, Result<()>> {
        async move {
            for change in changes {
                self.change(change).await?;
            }
            Ok(())
        }
        .boxed()
    }
}
