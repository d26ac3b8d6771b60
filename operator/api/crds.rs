//! The definitions for the API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::{DnsProvider, MailAccount, MailDomain, MailRegion};

/// The definitions of all objects.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![MailDomain::crd(), MailRegion::crd(), DnsProvider::crd(), MailAccount::crd()]
}

/// A definition as YAML, as it is in the chart.
///
/// # Errors
/// Those of the serializer; there are none for [`crds`].
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(crd)
}
