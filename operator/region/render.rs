//! What is made for a region: ConfigMap, Deployment ([`pod`]), Service, PodDisruptionBudget and NetworkPolicy, from the MailRegion and the region template. Pure.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use ekitei_operator_api::{MailRegion, MailRegionSpec, REGION_LABEL};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service, ServiceSpec};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::region::configuration::{self, ConfigurationError};
use crate::region::template::{CONFIGURATION, RegionTemplate};

pub mod pod;

/// The longest name of a Service (RFC 1035 label).
const LONGEST_NAME: usize = 63;
/// How long a Deployment may make no progress before it says so, in seconds.
const PROGRESS_DEADLINE: i32 = 600;

/// Where the objects of a region are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The namespace.
    pub namespace: String,
    /// What their names begin with.
    pub prefix: String,
    /// Whose they are, in the cluster of the MailRegion. In another cluster they have no owner.
    pub owner: Option<OwnerReference>,
    /// The version of the Secret of the pods' environment, if there is one.
    pub credentials: Option<String>,
}

/// All objects of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The configuration.
    pub config_map: ConfigMap,
    /// The pods.
    pub deployment: Deployment,
    /// Their addresses.
    pub service: Service,
    /// How many of them may be away at a time by someone's will.
    pub budget: PodDisruptionBudget,
    /// Who may connect to the pods, if the template says so.
    pub policy: Option<NetworkPolicy>,
}

/// A region that nothing can be made for: a person has to change it or the template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Its name does not do for a Service.
    #[error(
        "{0:?} cannot be the name of a Service: it must have at most {LONGEST_NAME} letters, digits and hyphens, and begin with a letter"
    )]
    Name(String),
    /// Its configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// The name of the objects of a region.
///
/// # Errors
/// [`RenderError::Name`].
pub fn object_name(prefix: &str, region: &str) -> Result<String, RenderError> {
    let name = format!("{prefix}-{region}");
    let allowed = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    let fits = name.len() <= LONGEST_NAME
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-');
    if fits { Ok(name) } else { Err(RenderError::Name(name)) }
}

/// The labels that the pods of a region, and no others, have. They never change, for a Deployment's selector cannot.
pub fn selector(region: &str) -> BTreeMap<String, String> {
    let labels = [("app.kubernetes.io/component", "region"), (REGION_LABEL, region)];
    labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The selector as text, as the scale subresource wants it.
pub fn selector_text(region: &str) -> String {
    let labels: Vec<String> =
        selector(region).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.join(",")
}

/// The objects of a region.
///
/// # Errors
/// [`RenderError`].
pub fn render(region: &MailRegion, template: &RegionTemplate, site: &Site) -> Result<Rendered, RenderError> {
    let name = region.name_any();
    let metadata = metadata(&name, template, site)?;
    let configuration = configuration::configuration(template, &name, &region.spec)?;
    let text = configuration::text(&configuration)?;
    let checksum = hexadecimal(digest(&SHA256, text.as_bytes()).as_ref());
    let data = BTreeMap::from([(CONFIGURATION.to_owned(), text)]);
    let config_map = ConfigMap { metadata: metadata.clone(), data: Some(data), ..ConfigMap::default() };
    let pod = pod::pod(&name, &region.spec, template, &metadata, &checksum, site);
    Ok(Rendered {
        config_map,
        deployment: deployment(&name, region.spec.replicas, metadata.clone(), pod),
        service: service(&name, &region.spec, template, metadata.clone()),
        budget: budget(&name, region.spec.replicas, metadata.clone()),
        policy: template.policy.as_ref().map(|policy| network_policy(&name, &policy.spec, metadata)),
    })
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn metadata(region: &str, template: &RegionTemplate, site: &Site) -> Result<ObjectMeta, RenderError> {
    let from_template = template.pod.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let of_template = |label: &str| from_template.and_then(|labels| labels.get(label)).cloned();
    let mut labels = selector(region);
    for (label, otherwise) in
        [("app.kubernetes.io/name", "ekitei"), ("app.kubernetes.io/instance", &site.prefix)]
    {
        labels.insert(label.to_owned(), of_template(label).unwrap_or_else(|| otherwise.to_owned()));
    }
    labels.insert("app.kubernetes.io/managed-by".to_owned(), ekitei_operator_api::FIELD_MANAGER.to_owned());
    Ok(ObjectMeta {
        name: Some(object_name(&site.prefix, region)?),
        namespace: Some(site.namespace.clone()),
        labels: Some(labels),
        owner_references: site.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    })
}

fn deployment(region: &str, replicas: i32, metadata: ObjectMeta, pod: PodTemplateSpec) -> Deployment {
    // New pods are there before old ones go: MX hosts of a region that is changed take mail all the time.
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::String("25%".to_owned())),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    let strategy =
        DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) };
    let spec = DeploymentSpec {
        replicas: Some(replicas),
        selector: LabelSelector { match_labels: Some(selector(region)), match_expressions: None },
        strategy: Some(strategy),
        template: pod,
        revision_history_limit: Some(3),
        progress_deadline_seconds: Some(PROGRESS_DEADLINE),
        ..DeploymentSpec::default()
    };
    Deployment { metadata, spec: Some(spec), status: None }
}

fn service(
    region: &str,
    spec: &MailRegionSpec,
    template: &RegionTemplate,
    mut metadata: ObjectMeta,
) -> Service {
    let of_template = &template.service;
    let mut annotations = of_template.metadata.annotations.clone();
    annotations.extend(of_template.annotations.clone());
    annotations.extend(spec.service_annotations.clone());
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    let mut labels = of_template.metadata.labels.clone();
    labels.extend(metadata.labels.take().unwrap_or_default());
    metadata.labels = Some(labels);

    let mut spec: ServiceSpec = of_template.spec.clone();
    spec.selector = Some(selector(region));
    let type_ = spec.type_.get_or_insert_with(|| "LoadBalancer".to_owned());
    if matches!(type_.as_str(), "LoadBalancer" | "NodePort") {
        // Filters judge by the address of the client; a second hop would hide it.
        spec.external_traffic_policy.get_or_insert_with(|| "Local".to_owned());
    }
    if type_ != "ExternalName" {
        spec.ip_family_policy.get_or_insert_with(|| "PreferDualStack".to_owned());
    }
    Service { metadata, spec: Some(spec), status: None }
}

/// One pod of a small region may be away, a tenth of a large one.
fn budget(region: &str, replicas: i32, metadata: ObjectMeta) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int((replicas / 10).max(1))),
        selector: Some(LabelSelector { match_labels: Some(selector(region)), match_expressions: None }),
        // A pod that does not work protects nothing, and must not hold up the drain of its node.
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget { metadata, spec: Some(spec), status: None }
}

/// Who may connect to the pods. Those of another cluster have no other policy; here it is the same as the chart's, and they add up.
fn network_policy(region: &str, of_template: &NetworkPolicySpec, metadata: ObjectMeta) -> NetworkPolicy {
    let pods = LabelSelector { match_labels: Some(selector(region)), match_expressions: None };
    let spec = NetworkPolicySpec { pod_selector: Some(pods), ..of_template.clone() };
    NetworkPolicy { metadata, spec: Some(spec) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::region::testing::{
        PLAIN, POD_YAML, SERVICE_YAML, json_of, region, rendered, site, template, template_of, template_with,
        yaml,
    };

    #[test]
    fn all_objects_have_the_name_the_labels_and_the_owner() {
        let all = rendered(PLAIN);
        let expected = yaml(
            "
            name: mail-mx-tokyo
            namespace: mail
            labels:
              app.kubernetes.io/component: region
              app.kubernetes.io/instance: mail
              app.kubernetes.io/managed-by: ekitei-operator
              app.kubernetes.io/name: ekitei
              ekitei.dev/region: tokyo
            ownerReferences:
              - {apiVersion: ekitei.dev/v1alpha1, blockOwnerDeletion: true, controller: true, kind: MailRegion, name: tokyo, uid: 6f1c9b9e}
            ",
        );
        for metadata in [&all.config_map.metadata, &all.deployment.metadata, &all.budget.metadata] {
            assert_eq!(json_of(metadata), expected);
        }
    }

    #[test]
    fn in_another_cluster_nothing_has_an_owner() {
        let all = render(&region(PLAIN), &template(), &Site { owner: None, ..site() }).unwrap();
        assert_eq!(all.deployment.metadata.owner_references, None);
    }

    #[test]
    fn a_service_shows_the_addresses_of_clients_and_has_both_families() {
        let all = rendered("{host: mx.tokyo.example.net, serviceAnnotations: {example.net/address: pool-a}}");
        let service = json_of(&all.service);
        assert_eq!(
            service["spec"],
            yaml(
                "
                type: LoadBalancer
                externalTrafficPolicy: Local
                ipFamilyPolicy: PreferDualStack
                selector: {app.kubernetes.io/component: region, ekitei.dev/region: tokyo}
                ports: [{name: smtp, port: 25, targetPort: smtp}]
                "
            )
        );
        assert_eq!(
            service["metadata"]["annotations"],
            json!({"example.net/address": "pool-a", "example.net/balancer": "network"})
        );
    }

    #[test]
    fn what_the_template_says_of_a_service_is_kept() {
        let text = SERVICE_YAML.replace("spec:", "spec:\n  type: ClusterIP\n  ipFamilyPolicy: SingleStack");
        let template = template_of(POD_YAML, "store: {kind: foundationdb}", &text).unwrap();
        let spec = render(&region(PLAIN), &template, &site()).unwrap().service.spec.unwrap();
        assert_eq!(spec.type_.as_deref(), Some("ClusterIP"));
        assert_eq!(spec.ip_family_policy.as_deref(), Some("SingleStack"));
        assert_eq!(spec.external_traffic_policy, None, "the API server refuses it there");
    }

    #[test]
    fn who_may_connect_is_said_of_the_pods_of_the_region_alone() {
        assert_eq!(rendered(PLAIN).policy, None, "the template says nothing");
        let ingress = "[{ports: [{port: 2525, protocol: TCP}]}, {ports: [{port: http}], from: [{namespaceSelector: {}}]}]";
        let template =
            template_with(Some(&format!("spec: {{policyTypes: [Ingress], ingress: {ingress}}}"))).unwrap();
        let site = Site { owner: None, ..site() };
        let policy = json_of(&render(&region(PLAIN), &template, &site).unwrap().policy.unwrap());
        let selector = "{matchLabels: {app.kubernetes.io/component: region, ekitei.dev/region: tokyo}}";
        let expected =
            yaml(&format!("{{podSelector: {selector}, policyTypes: [Ingress], ingress: {ingress}}}"));
        assert_eq!((&policy["metadata"]["name"], &policy["spec"]), (&json!("mail-mx-tokyo"), &expected));
    }

    #[test]
    fn one_pod_of_ten_may_be_away() {
        let away = |replicas: i32| {
            let all = rendered(&format!("{{host: mx.tokyo.example.net, replicas: {replicas}}}"));
            all.budget.spec.unwrap().max_unavailable.unwrap()
        };
        assert_eq!([0, 1, 2, 19, 20, 100].map(away), [1, 1, 1, 1, 2, 10].map(IntOrString::Int));
    }

    #[test]
    fn names_that_no_service_can_have_are_refused() {
        let long = "t".repeat(60);
        for bad in ["asia.tokyo", "asia_tokyo", long.as_str()] {
            assert!(object_name("mail-mx", bad).is_err(), "{bad}");
        }
        assert_eq!(object_name("mail-mx", "asia-1").unwrap(), "mail-mx-asia-1");
        assert!(object_name("1mail", "tokyo").is_err());
        assert_eq!(selector_text("tokyo"), "app.kubernetes.io/component=region,ekitei.dev/region=tokyo");
    }
}
