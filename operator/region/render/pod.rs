//! The pods of a region: those of the template, with the configuration, the store and the place of the MailRegion. Pure.

use ekitei_operator_api::{ClusterFileReference, MailRegionSpec};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EnvFromSource, KeyToPath, PodSpec, PodTemplateSpec, SecretEnvSource,
    SecretVolumeSource, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::region::configuration::FOUNDATIONDB;
use crate::region::render::{Site, selector};
use crate::region::template::{CONTAINER, RegionTemplate, VOLUME};

/// The annotation of pods that changes with their configuration, so that they are replaced.
pub const CHECKSUM: &str = "ekitei.dev/configuration";
/// The annotation of pods that changes with the Secret of their environment.
pub const CREDENTIALS: &str = "ekitei.dev/credentials";
/// The label of pods that the Service of the admin API leads to.
const ADMIN: &str = "ekitei.dev/admin";
/// The volume with the cluster file of FoundationDB.
const CLUSTER_FILE: &str = "foundationdb";

/// The pod template of a region: that of the chart, with its configuration, its store and its place.
pub(super) fn pod(
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
    use ekitei_operator_api::REGION_LABEL;
    use serde_json::{Value, json};

    use super::*;
    use crate::region::render::render;
    use crate::region::testing::{
        PLAIN, POD_YAML, SERVICE_YAML, json_of, region, rendered, site, template, template_of, yaml,
    };

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
}
