//! What is made for a region: ConfigMap, Deployment, Service and PodDisruptionBudget, from the MailRegion and the region template. Pure.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use ekitei_operator_api::{ClusterFileReference, MailRegion, MailRegionSpec, REGION_LABEL};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, EnvFromSource, KeyToPath, PodSpec, PodTemplateSpec,
    SecretEnvSource, SecretVolumeSource, Service, ServiceSpec, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::region::configuration::{self, ConfigurationError, FOUNDATIONDB};
use crate::region::template::{CONFIGURATION, CONTAINER, RegionTemplate, VOLUME};

/// The annotation of pods that changes with their configuration, so that they are replaced.
pub const CHECKSUM: &str = "ekitei.dev/configuration";
/// The annotation of pods that changes with the Secret of their environment.
pub const CREDENTIALS: &str = "ekitei.dev/credentials";
/// The label of pods that the Service of the admin API leads to.
const ADMIN: &str = "ekitei.dev/admin";
/// The volume with the cluster file of FoundationDB.
const CLUSTER_FILE: &str = "foundationdb";
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
    let pod = pod(&name, &region.spec, template, &metadata, &checksum, site);
    Ok(Rendered {
        config_map,
        deployment: deployment(&name, region.spec.replicas, metadata.clone(), pod),
        service: service(&name, &region.spec, template, metadata.clone()),
        budget: budget(&name, region.spec.replicas, metadata),
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

fn pod(
    region: &str,
    spec: &MailRegionSpec,
    template: &RegionTemplate,
    metadata: &ObjectMeta,
    checksum: &str,
    site: &Site,
) -> PodTemplateSpec {
    let mut pod = template.pod.clone();
    let about = pod.metadata.get_or_insert_default();
    let labels = about.labels.get_or_insert_default();
    labels.extend(selector(region));
    if spec.storage.is_some() || spec.service.is_some() {
        // What is asked of the installation's admin API must not be answered from another store.
        labels.remove(ADMIN);
    }
    let annotations = about.annotations.get_or_insert_default();
    annotations.insert(CHECKSUM.to_owned(), checksum.to_owned());
    if let Some(version) = &site.credentials {
        annotations.insert(CREDENTIALS.to_owned(), version.clone());
    }
    let inner = pod.spec.get_or_insert_default();
    place(inner, region, spec);
    let volumes = inner.volumes.get_or_insert_default();
    if let Some(volume) = volumes.iter_mut().find(|volume| volume.name == VOLUME) {
        let source = volume.config_map.get_or_insert_default();
        source.name = metadata.name.clone().unwrap_or_default();
    }
    let container = inner.containers.iter_mut().find(|container| container.name == CONTAINER);
    if let (Some(storage), Some(container)) = (&spec.storage, container) {
        if let Some(foundationdb) = &storage.foundationdb {
            cluster_file(volumes, container, &foundationdb.cluster_file);
        }
        if let Some(secret) = &storage.credentials_ref {
            environment(container, &secret.name);
        }
    }
    pod
}

/// Puts the pods where the region is, and apart from one another.
fn place(pod: &mut PodSpec, region: &str, spec: &MailRegionSpec) {
    if !spec.placement.node_selector.is_empty() {
        pod.node_selector.get_or_insert_default().extend(spec.placement.node_selector.clone());
    }
    if !spec.placement.tolerations.is_empty() {
        let tolerations = pod.tolerations.get_or_insert_default();
        let new = spec.placement.tolerations.iter().filter(|one| !tolerations.contains(one)).cloned();
        let new: Vec<_> = new.collect();
        tolerations.extend(new);
    }
    let constraints = pod.topology_spread_constraints.get_or_insert_default();
    if constraints.is_empty() {
        *constraints = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"].map(spread).to_vec();
    }
    for constraint in constraints {
        let labels = constraint.label_selector.get_or_insert_default();
        labels.match_labels.get_or_insert_default().extend(selector(region));
        // Old pods that are about to go say nothing about where new ones belong.
        constraint.match_label_keys.get_or_insert_with(|| vec!["pod-template-hash".to_owned()]);
    }
}

fn spread(topology_key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

/// Mounts a cluster file in place of the template's.
fn cluster_file(volumes: &mut Vec<Volume>, container: &mut Container, reference: &ClusterFileReference) {
    let items = Some(vec![KeyToPath { key: reference.key.clone(), path: reference.key.clone(), mode: None }]);
    let config_map = reference.config_map.clone().map(|name| ConfigMapVolumeSource {
        name,
        items: items.clone(),
        ..ConfigMapVolumeSource::default()
    });
    let secret = reference.secret.clone().map(|name| SecretVolumeSource {
        secret_name: Some(name),
        items,
        ..SecretVolumeSource::default()
    });
    let mounts = container.volume_mounts.get_or_insert_default();
    let mounted = mounts.iter().find(|mount| mount.mount_path.trim_end_matches('/') == FOUNDATIONDB);
    let name = mounted.map_or_else(|| CLUSTER_FILE.to_owned(), |mount| mount.name.clone());
    if mounted.is_none() {
        mounts.push(VolumeMount {
            name: name.clone(),
            mount_path: FOUNDATIONDB.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    volumes.retain(|volume| volume.name != name);
    volumes.push(Volume { name, config_map, secret, ..Volume::default() });
}

/// Gives a container the keys of a Secret as environment.
fn environment(container: &mut Container, secret: &str) {
    let source = SecretEnvSource { name: secret.to_owned(), optional: Some(false) };
    let from = EnvFromSource { secret_ref: Some(source), ..EnvFromSource::default() };
    container.env_from.get_or_insert_default().push(from);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::region::testing::{POD_YAML, SERVICE_YAML, region, template, template_of};

    const PLAIN: &str = "{host: mx.tokyo.example.net}";

    fn site() -> Site {
        let owner = OwnerReference {
            api_version: "ekitei.dev/v1alpha1".to_owned(),
            kind: "MailRegion".to_owned(),
            name: "tokyo".to_owned(),
            uid: "6f1c9b9e".to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        Site {
            namespace: "mail".to_owned(),
            prefix: "mail-mx".to_owned(),
            owner: Some(owner),
            credentials: None,
        }
    }

    fn rendered(spec: &str) -> Rendered {
        render(&region(spec), &template(), &site()).unwrap()
    }

    fn json_of<T: serde::Serialize>(object: &T) -> Value {
        serde_json::to_value(object).unwrap()
    }

    /// What is asserted of an object, as YAML.
    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

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
    fn a_deployment_has_the_pods_of_the_template_where_the_region_is() {
        let all = rendered(
            "{host: mx.tokyo.example.net, replicas: 3, placement: {nodeSelector: {topology.kubernetes.io/region: tokyo},
              tolerations: [{key: mail, operator: Exists}]}}",
        );
        let deployment = json_of(&all.deployment);
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 3);
        assert_eq!(
            spec["selector"],
            yaml("{matchLabels: {app.kubernetes.io/component: region, ekitei.dev/region: tokyo}}")
        );
        assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxSurge": "25%", "maxUnavailable": 0}));
        let pod = &spec["template"];
        assert_eq!(pod["metadata"]["labels"]["team"], "post", "labels of the template stay");
        assert_eq!(pod["metadata"]["labels"][REGION_LABEL], "tokyo");
        let inner = &pod["spec"];
        assert_eq!(
            inner["nodeSelector"],
            json!({"kubernetes.io/os": "linux", "topology.kubernetes.io/region": "tokyo"})
        );
        assert_eq!(inner["tolerations"], json!([{"key": "mail", "operator": "Exists"}]));
        assert_eq!(inner["volumes"][0], yaml("{name: config, configMap: {name: mail-mx-tokyo}}"));
        assert_eq!(
            inner["topologySpreadConstraints"],
            yaml(
                "[{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [pod-template-hash],
                  labelSelector: {matchLabels: {app.kubernetes.io/component: region, ekitei.dev/region: tokyo}}}]"
            )
        );
    }

    #[test]
    fn pods_are_replaced_when_their_configuration_changes_and_only_then() {
        let checksum = |spec: &str| {
            let pod = rendered(spec).deployment.spec.unwrap().template;
            pod.metadata.unwrap().annotations.unwrap()[CHECKSUM].clone()
        };
        assert_eq!(checksum(PLAIN), checksum("{host: mx.tokyo.example.net, replicas: 9}"));
        assert_ne!(
            checksum(PLAIN),
            checksum("{host: mx.tokyo.example.net, configuration: {log: {level: debug}}}")
        );
        assert_eq!(checksum(PLAIN).len(), 64);
    }

    #[test]
    fn storage_of_its_own_takes_the_place_of_the_templates() {
        let spec = "{host: mx.tokyo.example.net, storage: {foundationdb: {clusterFile: {secret: fdb-tokyo, key: cf}},
            credentialsRef: {name: bucket-tokyo}}}";
        let site = Site { credentials: Some("u/7".to_owned()), ..site() };
        let all = render(&region(spec), &template(), &site).unwrap();
        let pod = json_of(&all.deployment)["spec"]["template"].clone();
        let volumes = pod["spec"]["volumes"].as_array().unwrap().clone();
        let of_store: Vec<&Value> =
            volumes.iter().filter(|volume| volume["name"] == "foundationdb").collect();
        assert_eq!(
            of_store,
            [&yaml("{name: foundationdb, secret: {secretName: fdb-tokyo, items: [{key: cf, path: cf}]}}")]
        );
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["envFrom"], yaml("[{secretRef: {name: bucket-tokyo, optional: false}}]"));
        assert_eq!(
            container["volumeMounts"].as_array().unwrap().len(),
            2,
            "it is mounted where the other was"
        );
        assert_eq!(pod["metadata"]["annotations"][CREDENTIALS], "u/7");
    }

    #[test]
    fn pods_with_another_store_answer_no_requests_for_the_installations_admin_api() {
        let text = POD_YAML.replacen("labels:", "labels:\n    ekitei.dev/admin: mail", 1);
        let template = template_of(&text, "store: {kind: foundationdb}", SERVICE_YAML).unwrap();
        let label = |spec: &str| {
            let pod = render(&region(spec), &template, &site()).unwrap().deployment.spec.unwrap().template;
            pod.metadata.unwrap().labels.unwrap().get(ADMIN).cloned()
        };
        assert_eq!(label(PLAIN).as_deref(), Some("mail"));
        assert_eq!(
            label("{host: mx.tokyo.example.net, storage: {credentialsRef: {name: bucket-tokyo}}}"),
            None
        );
        let own = "service: {url: 'http://mail.tokyo:8080', tokenRef: {name: token, key: token}}";
        assert_eq!(label(&format!("{{host: mx.tokyo.example.net, {own}}}")), None);
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
