//! From a DNSProvider to what publishes records: its kind, and its credentials out of Secrets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_operator_api::{
    DnsProvider, DnsProviderSpec, DnsUpdate, ProviderReference, Rfc2136, Route53 as Route53Spec,
    Route53Routing, SecretKeyReference, TsigAlgorithm,
};
use ekitei_operator_dns::provider::manual::Manual;
use ekitei_operator_dns::provider::route53::{self, Route53};
use ekitei_operator_dns::provider::{Provider, ProviderError, cloud, rfc2136};
use ekitei_operator_dns::verify::Settings;
use ekitei_operator_dns::{Name, Verifier};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;

use crate::context::Context;
use crate::error::{Error, Optional as _, Result};
use crate::finalizer;
use crate::provider::access;
use crate::provider::external_dns::ExternalDns;
use crate::provider::limited::Limited;

/// How long a server of ours may take for a question or an update.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call of Route 53 may take, attempts included.
const AMAZON: Duration = Duration::from_secs(30);
/// How long to wait for all servers of Route 53; what takes longer is seen by verification.
const PROPAGATION: Duration = Duration::from_secs(20);
/// The port of DNS.
const PORT: u16 = 53;

/// A DNSProvider that is ready for use.
#[derive(Clone, Debug)]
pub struct Open {
    /// Its `namespace/name`.
    pub name: String,
    /// What publishes records. It is kept to the zones that the DNSProvider names.
    pub provider: Arc<dyn Provider>,
    /// What looks whether they are published.
    pub verifier: Verifier,
    /// Whether its zones are signed, where the DNSProvider says so.
    pub signed: Option<bool>,
    /// How host names that regions share are answered for.
    pub routing: Route53Routing,
}

/// The DNSProvider that an object in `namespace` refers to.
///
/// # Errors
/// `ProviderMissing`; `ProviderNotAllowed` if it does not allow the namespace; those of [`open_object`].
pub async fn open(context: &Context, reference: &ProviderReference, namespace: &str) -> Result<Open> {
    let (of, name) = access::place(reference, namespace);
    let providers: Api<DnsProvider> = Api::namespaced(context.client.clone(), of);
    let missing = || Error::outside("ProviderMissing", format!("there is no DNSProvider {of}/{name}"));
    let object = providers.get(name).await.optional()?.ok_or_else(missing)?;
    if !access::allows(&object, namespace) {
        let message = format!("the DNSProvider {of}/{name} does not allow the namespace {namespace}");
        return Err(Error::invalid("ProviderNotAllowed", message));
    }
    keep(context, &providers, &object).await?;
    open_object(context, &object).await
}

/// Sees to it that a provider stays until it is not used any more; before anything is published by it. One that is deleted stays if it was used before, and
/// goes if it was not.
async fn keep(context: &Context, providers: &Api<DnsProvider>, object: &DnsProvider) -> Result<()> {
    let hold = async |object: &DnsProvider| {
        if finalizer::is_deleted(object) { Ok(()) } else { finalizer::hold(context, object).await }
    };
    match hold(object).await {
        // Somebody else wrote it meanwhile, perhaps for another domain.
        Err(error) if error.reason() == "Conflict" => match providers.get_opt(&object.name_any()).await? {
            Some(now) => hold(&now).await,
            None => Ok(()),
        },
        result => result,
    }
}

/// A DNSProvider, ready for use. Nothing is asked of its servers.
///
/// # Errors
/// `CredentialsMissing`, or `ProviderSettingsInvalid` with what is wrong.
pub async fn open_object(context: &Context, object: &DnsProvider) -> Result<Open> {
    let spec = &object.spec;
    let zones = zones(spec)?;
    let verifier = Verifier::new(Settings {
        resolvers: context.options.resolvers.clone(),
        servers: spec.verification.servers.clone(),
        validator: Some(Arc::clone(&context.validator)),
        ..Settings::default()
    });
    let provider = build(context, object, &zones, &verifier).await?;
    Ok(Open {
        name: format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()),
        provider: Limited::to(zones, provider),
        verifier,
        signed: spec.verification.signed,
        routing: spec.route53.as_ref().map(|route53| route53.routing).unwrap_or_default(),
    })
}

/// What a DNSProvider is, in one word.
pub fn kind(spec: &DnsProviderSpec) -> &str {
    match spec {
        DnsProviderSpec { rfc2136: Some(_), .. } => "rfc2136",
        DnsProviderSpec { route53: Some(_), .. } => "route53",
        DnsProviderSpec { dns_update: Some(other), .. } => &other.name,
        DnsProviderSpec { external_dns: Some(_), .. } => "externalDNS",
        _ => "manual",
    }
}

/// The zones that a DNSProvider names.
///
/// # Errors
/// One is no name.
pub fn zones(spec: &DnsProviderSpec) -> Result<Vec<Name>> {
    let zone = |text: &String| text.parse().map_err(|_| invalid(format!("{text:?} is no name of a zone")));
    spec.zones.iter().map(zone).collect()
}

async fn build(
    context: &Context,
    object: &DnsProvider,
    zones: &[Name],
    verifier: &Verifier,
) -> Result<Arc<dyn Provider>> {
    let spec = &object.spec;
    Ok(if let Some(settings) = &spec.rfc2136 {
        Arc::new(update_server(context, object, settings).await?)
    } else if let Some(settings) = &spec.route53 {
        amazon(context, object, settings).await?
    } else if let Some(settings) = &spec.dns_update {
        Arc::new(library(context, object, settings, zones, verifier).await?)
    } else if let Some(settings) = &spec.external_dns {
        Arc::new(ExternalDns::new(
            context.client.clone(),
            &object.namespace().unwrap_or_default(),
            settings.labels.clone(),
            zones.to_vec(),
            verifier.clone(),
            context.leadership.clone(),
        ))
    } else {
        Arc::new(Manual::new(verifier.clone()))
    })
}

async fn update_server(
    context: &Context,
    object: &DnsProvider,
    settings: &Rfc2136,
) -> Result<rfc2136::Rfc2136> {
    let secret = credential(context, object, &settings.tsig.secret_ref).await?;
    let algorithm = match settings.tsig.algorithm {
        TsigAlgorithm::HmacSha256 => "hmac-sha256",
        TsigAlgorithm::HmacSha384 => "hmac-sha384",
        TsigAlgorithm::HmacSha512 => "hmac-sha512",
    };
    let key = rfc2136::TsigKey::new(&settings.tsig.name, algorithm, &secret).map_err(invalid)?;
    Ok(rfc2136::Rfc2136::new(rfc2136::Settings {
        server: with_port(&settings.server),
        key,
        timeout: TIMEOUT,
    }))
}

/// Clients of Route 53, by the UID of the DNSProvider; with each, what it was made of. To make one may take questions for credentials.
#[derive(Debug, Default)]
pub struct Clients(Mutex<HashMap<String, (String, Arc<Route53>)>>);

async fn amazon(context: &Context, object: &DnsProvider, settings: &Route53Spec) -> Result<Arc<Route53>> {
    let namespace = object.namespace().unwrap_or_default();
    let secret = match &settings.credentials_ref {
        Some(reference) => Some(secret(context, object, &reference.name).await?),
        None => {
            may_use_own_role(&namespace, context.namespace())?;
            None
        }
    };
    let version = secret.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
    let made_of = format!("{:?}/{}", object.metadata.generation, version.unwrap_or_default());
    let uid = object.uid().unwrap_or_default();
    let known = context.route53.0.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned();
    if let Some((_, client)) = known.filter(|(of, _)| *of == made_of) {
        return Ok(client);
    }
    let access = route53::Access {
        region: None,
        endpoint: settings.endpoint.clone(),
        keys: secret.as_ref().map(access_keys).transpose()?,
        authorities: None,
        connect_timeout: TIMEOUT,
    };
    let hosted_zone_id = settings.hosted_zone_id.clone();
    let settings = route53::Settings { access, hosted_zone_id, timeout: AMAZON, propagation: PROPAGATION };
    let client = Arc::new(Route53::open(settings).await.map_err(failure)?);
    let mut clients = context.route53.0.lock().unwrap_or_else(PoisonError::into_inner);
    clients.insert(uid, (made_of, Arc::clone(&client)));
    Ok(client)
}

/// Without credentials of its own a DNSProvider acts as the operator, with whatever zones that may write.
fn may_use_own_role(namespace: &str, operators: &str) -> Result<()> {
    if namespace == operators {
        return Ok(());
    }
    let message = format!(
        "route53.credentialsRef is needed: only DNSProviders of the namespace {operators} may act as the operator does"
    );
    Err(Error::invalid("CredentialsMissing", message))
}

fn access_keys(secret: &Secret) -> Result<route53::Keys> {
    let data = secret.data.clone().unwrap_or_default();
    let key = |name: &str| {
        let text = data.get(name).and_then(|value| std::str::from_utf8(&value.0).ok());
        text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let needed = |name: &str| {
        let message = format!("there is no key {name} in the Secret {}", secret.name_any());
        key(name).ok_or_else(|| Error::outside("CredentialsMissing", message))
    };
    Ok(route53::Keys {
        access_key_id: needed("accessKeyId")?,
        secret_access_key: needed("secretAccessKey")?,
        session_token: key("sessionToken"),
    })
}

/// A provider of the library `dns-update`: its credentials are the keys of a Secret.
async fn library(
    context: &Context,
    object: &DnsProvider,
    settings: &DnsUpdate,
    zones: &[Name],
    verifier: &Verifier,
) -> Result<cloud::Cloud> {
    let secret = secret(context, object, &settings.credentials_ref.name).await?;
    let mut credentials = settings.options.clone();
    for (key, value) in secret.data.unwrap_or_default() {
        let text = String::from_utf8(value.0);
        let text =
            text.map_err(|_| invalid(format!("key {key} of the Secret with the credentials is no text")))?;
        credentials.insert(key, text.trim().to_owned());
    }
    let settings = cloud::Settings {
        provider: settings.name.clone(),
        credentials,
        zones: zones.to_vec(),
        timeout: TIMEOUT,
    };
    cloud::Cloud::new(&settings, verifier.clone()).map_err(failure)
}

/// Secrets with credentials as they were last, by the UID of the DNSProvider and their name. They are used for nothing but to take away the records of a provider
/// that is deleted: where a namespace goes as a whole, its Secrets go at once, and could not be made again.
#[derive(Default)]
pub struct Credentials(Mutex<HashMap<(String, String), Secret>>);

impl Credentials {
    /// What there is for a provider, where a Secret was found or not.
    fn of(&self, object: &DnsProvider, name: &str, found: Option<Secret>) -> Option<Secret> {
        let place = (object.uid().unwrap_or_default(), name.to_owned());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Some(secret) => {
                known.insert(place, secret.clone());
                Some(secret)
            }
            None if finalizer::is_deleted(object) => known.get(&place).cloned(),
            None => None,
        }
    }

    /// Forgets those of a provider that is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != uid);
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// A Secret with credentials.
async fn secret(context: &Context, object: &DnsProvider, name: &str) -> Result<Secret> {
    let namespace = object.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let found = secrets.get(name).await.optional()?;
    context
        .credentials
        .of(object, name, found)
        .ok_or_else(|| Error::outside("CredentialsMissing", format!("there is no Secret {namespace}/{name}")))
}

/// One key of a Secret with credentials.
async fn credential(
    context: &Context,
    object: &DnsProvider,
    reference: &SecretKeyReference,
) -> Result<String> {
    let SecretKeyReference { name, key } = reference;
    let data = secret(context, object, name).await?.data.unwrap_or_default();
    let octets = data.get(key).ok_or_else(|| {
        Error::outside("CredentialsMissing", format!("there is no key {key} in the Secret {name}"))
    })?;
    let text = std::str::from_utf8(&octets.0);
    let text = text.map_err(|_| invalid(format!("key {key} of the Secret {name} is no text")))?;
    Ok(text.trim().to_owned())
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::invalid("ProviderSettingsInvalid", error)
}

/// A server with the port of DNS, where it has none.
fn with_port(server: &str) -> String {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("[{bare}]:{PORT}");
    }
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { server.to_owned() } else { format!("{server}:{PORT}") }
}

/// What a provider's error means for a reconciliation.
pub fn failure(error: ProviderError) -> Error {
    let (reason, temporary) = (error.reason(), error.is_temporary());
    if temporary { Error::outside(reason, error) } else { Error::invalid(reason, error) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_server_without_a_port_has_that_of_dns() {
        for (text, expected) in [
            ("ns1.example.org", "ns1.example.org:53"),
            ("ns1.example.org:5353", "ns1.example.org:5353"),
            ("192.0.2.1", "192.0.2.1:53"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ] {
            assert_eq!(with_port(text), expected);
        }
    }

    #[test]
    fn the_role_of_the_operator_is_for_its_own_namespace() {
        assert!(may_use_own_role("mail", "mail").is_ok());
        let refused = may_use_own_role("customers", "mail").unwrap_err();
        assert_eq!((refused.reason(), refused.needs_a_person()), ("CredentialsMissing", true));
    }

    #[test]
    fn a_provider_that_goes_with_its_namespace_has_its_credentials_to_the_end() {
        let mut provider = DnsProvider::new("zone", serde_yaml::from_str("manual: {}").unwrap());
        provider.metadata.uid = Some("4e7d".to_owned());
        let credentials = Credentials::default();
        let found = |provider: &DnsProvider, found| credentials.of(provider, "tsig", found).is_some();
        assert!(found(&provider, Some(Secret::default())));
        assert!(!found(&provider, None), "who takes the Secret away takes the right to write away");
        provider.metadata.deletion_timestamp = Some(crate::clock::Clock::system().time());
        assert!(found(&provider, None));
        credentials.forget("4e7d");
        assert!(!found(&provider, None));
    }

    #[test]
    fn keys_of_amazon_are_told_by_name() {
        let secret = |data: serde_json::Value| {
            serde_json::from_value::<Secret>(serde_json::json!({"metadata": {"name": "aws"}, "data": data}))
                .unwrap()
        };
        let keys =
            access_keys(&secret(serde_json::json!({"accessKeyId": "QQo=", "secretAccessKey": "Qg=="})))
                .unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.session_token), ("A", None));
        let missing = access_keys(&secret(serde_json::json!({"accessKeyId": "QQo="}))).unwrap_err();
        assert_eq!(missing.to_string(), "there is no key secretAccessKey in the Secret aws");
    }

    #[test]
    fn a_kind_is_told_in_one_word() {
        let spec = |text: &str| serde_yaml::from_str::<DnsProviderSpec>(text).unwrap();
        assert_eq!(kind(&spec("manual: {}")), "manual");
        assert_eq!(kind(&spec("externalDNS: {}")), "externalDNS");
        assert_eq!(kind(&spec("dnsUpdate: {name: cloudflare, credentialsRef: {name: c}}")), "cloudflare");
    }

    #[test]
    fn whose_fault_it_is_decides_when_it_is_tried_again() {
        let refused = failure(ProviderError::Unauthorized("BADKEY".to_owned()));
        assert_eq!((refused.reason(), refused.needs_a_person()), ("CredentialsRefused", true));
        let away = failure(ProviderError::Unavailable("timeout".to_owned()));
        assert_eq!((away.reason(), away.needs_a_person()), ("ServerUnreachable", false));
    }
}
