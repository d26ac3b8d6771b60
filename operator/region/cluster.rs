//! The cluster that a region is in: this one, or another by a kubeconfig in a Secret.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekitei_operator_api::{KubeconfigReference, MailRegion};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config, ResourceExt as _};

use crate::context::Context;
use crate::error::{Error, Optional as _, Result};

/// How long a connection to another cluster may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long its API server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Where the objects of a region are.
#[derive(Clone)]
pub struct Cluster {
    /// The API of the cluster.
    pub client: Client,
    /// The namespace in it.
    pub namespace: String,
    /// Whether it is another cluster than the MailRegion's: then nothing there can have it as owner, and nothing there is watched.
    pub is_other: bool,
}

/// A client, and of which version of the Secret it is.
type Known = (String, Client);

/// Clients of other clusters, by namespace, name and key of the Secret with the kubeconfig.
#[derive(Default)]
pub struct Clusters(Mutex<HashMap<(String, String, String), Known>>);

impl std::fmt::Debug for Clusters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clusters").finish_non_exhaustive()
    }
}

/// The cluster of a region.
///
/// # Errors
/// `SecretMissing`, or `KubeconfigInvalid` with what is wrong with it.
pub async fn of(context: &Context, region: &MailRegion) -> Result<Cluster> {
    let namespace = region.namespace().unwrap_or_default();
    let Some(reference) = &region.spec.placement.kubeconfig else {
        return Ok(Cluster { client: context.client.clone(), namespace, is_other: false });
    };
    let there = reference.namespace.clone().unwrap_or_else(|| namespace.clone());
    let client = other(context, &namespace, reference).await?;
    Ok(Cluster { client, namespace: there, is_other: true })
}

async fn other(context: &Context, namespace: &str, reference: &KubeconfigReference) -> Result<Client> {
    let ekitei_operator_api::SecretKeyReference { name, key } = &reference.secret_ref;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let missing = |what: &str| Error::outside("SecretMissing", format!("{what} {namespace}/{name}"));
    let secret = secrets.get(name).await.optional()?.ok_or_else(|| missing("there is no Secret"))?;
    let version =
        format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
    let place = (namespace.to_owned(), name.clone(), key.clone());
    let known = context.clusters.0.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
    if let Some((_, client)) = known.filter(|(of, _)| *of == version) {
        return Ok(client);
    }
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let data = data.ok_or_else(|| missing(&format!("there is no key {key} in Secret")))?;
    let client = connect(&data.0).await.map_err(|reason| {
        let message = format!("the kubeconfig in Secret {namespace}/{name} is of no use: {reason}");
        Error::invalid("KubeconfigInvalid", message)
    })?;
    let mut clients = context.clusters.0.lock().unwrap_or_else(PoisonError::into_inner);
    clients.insert(place, (version, client.clone()));
    Ok(client)
}

async fn connect(octets: &[u8]) -> Result<Client, String> {
    let text = std::str::from_utf8(octets).map_err(|error| error.to_string())?;
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|error: KubeconfigError| error.to_string())?;
    self_contained(&kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| error.to_string())?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(ANSWER);
    config.write_timeout = Some(ANSWER);
    Client::try_from(config).map_err(|error| error.to_string())
}

/// That a kubeconfig has all it needs in itself: whoever may write the Secret must not run programs in the operator's pod, nor have its files sent away.
fn self_contained(kubeconfig: &Kubeconfig) -> Result<(), String> {
    let clusters = kubeconfig.clusters.iter().filter_map(|one| one.cluster.as_ref());
    if clusters.clone().any(|cluster| cluster.certificate_authority.is_some()) {
        return Err("certificate-authority is a file; use certificate-authority-data".to_owned());
    }
    for user in kubeconfig.auth_infos.iter().filter_map(|one| one.auth_info.as_ref()) {
        let forbidden = [
            ("exec", user.exec.is_some(), "a token"),
            ("auth-provider", user.auth_provider.is_some(), "a token"),
            ("tokenFile", user.token_file.is_some(), "token"),
            ("client-certificate", user.client_certificate.is_some(), "client-certificate-data"),
            ("client-key", user.client_key.is_some(), "client-key-data"),
        ];
        if let Some((field, _, instead)) = forbidden.into_iter().find(|(_, is, _)| *is) {
            return Err(format!("{field} is of another machine; use {instead}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kubeconfig(cluster: &str, user: &str) -> Kubeconfig {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://127.0.0.1:6443'{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    #[test]
    fn what_is_all_in_the_secret_is_taken() {
        assert_eq!(self_contained(&kubeconfig("", "token: abc")), Ok(()));
        let certificates = "client-certificate-data: YQ==, client-key-data: YQ==";
        assert_eq!(self_contained(&kubeconfig(", certificate-authority-data: YQ==", certificates)), Ok(()));
    }

    #[test]
    fn programs_and_files_of_the_operator_are_refused() {
        let users = [
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}",
            "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token",
            "client-certificate: /tls.crt",
            "client-key: /tls.key",
            "auth-provider: {name: gcp, config: {}}",
        ];
        for user in users {
            let error = self_contained(&kubeconfig("", user)).unwrap_err();
            assert!(error.starts_with(user.split(':').next().unwrap()), "{error}");
        }
        assert!(self_contained(&kubeconfig(", certificate-authority: /ca.crt", "token: abc")).is_err());
    }
}
