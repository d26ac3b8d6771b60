//! A region template and regions for the tests of this folder.
#![allow(clippy::unwrap_used)]

use ekitei_operator_api::{MailRegion, MailRegionSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use crate::region::render::{Rendered, Site, render};
use crate::region::template::{CONFIGURATION, POD, POLICY, RegionTemplate, SERVICE, TemplateError};

/// A region that says nothing but its host.
pub(crate) const PLAIN: &str = "{host: mx.tokyo.example.net}";

/// Pods as the chart makes them, shortened.
pub(crate) const POD_YAML: &str = "
metadata:
  labels:
    app.kubernetes.io/name: ekitei
    app.kubernetes.io/instance: mail
    app.kubernetes.io/component: region
    team: post
spec:
  terminationGracePeriodSeconds: 60
  nodeSelector: {kubernetes.io/os: linux}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: {app.kubernetes.io/component: region}}
  containers:
    - name: ekitei
      image: ekitei:0.1.0
      imagePullPolicy: IfNotPresent
      args: [serve, --config, /etc/ekitei/ekitei.yaml]
      resources: {limits: {cpu: 2, memory: 1Gi}}
      volumeMounts:
        - {name: config, mountPath: /etc/ekitei, readOnly: true}
        - {name: foundationdb, mountPath: /etc/foundationdb, readOnly: true}
  volumes:
    - name: config
      configMap: {name: mail-ekitei-region}
    - name: admin
      secret: {secretName: mail-ekitei-admin, defaultMode: 0440}
    - name: foundationdb
      configMap: {name: mail-fdb-config}
";

/// The configuration of the pods.
pub(crate) const CONFIGURATION_YAML: &str = "
hostname: mail.example.net
cluster: {interval: 5s}
store: {kind: foundationdb, clusterFile: /etc/foundationdb/cluster-file}
blobs: {kind: s3, bucket: mail, pathStyle: true}
log: {level: info, format: json}
listeners:
  - {protocol: smtp, address: '[::]:2525'}
  - {protocol: http, address: '[::]:8080'}
";

/// The Service of the pods.
pub(crate) const SERVICE_YAML: &str = "
metadata: {annotations: {example.net/balancer: network}}
spec:
  ports: [{name: smtp, port: 25, targetPort: smtp}]
";

/// A template of three texts.
pub(crate) fn template_of(
    pod: &str,
    configuration: &str,
    service: &str,
) -> Result<RegionTemplate, TemplateError> {
    let keys = [(POD, pod), (CONFIGURATION, configuration), (SERVICE, service)];
    let data = keys.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
    RegionTemplate::read(&ConfigMap { data: Some(data), ..ConfigMap::default() })
}

/// The template of the texts above, with a NetworkPolicy.
pub(crate) fn template_with(policy: Option<&str>) -> Result<RegionTemplate, TemplateError> {
    let keys = [(POD, POD_YAML), (CONFIGURATION, CONFIGURATION_YAML), (SERVICE, SERVICE_YAML)];
    let keys = keys.into_iter().chain(policy.map(|policy| (POLICY, policy)));
    let data = keys.map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
    RegionTemplate::read(&ConfigMap { data: Some(data), ..ConfigMap::default() })
}

/// The template of the texts above.
pub(crate) fn template() -> RegionTemplate {
    template_of(POD_YAML, CONFIGURATION_YAML, SERVICE_YAML).unwrap()
}

/// The region `tokyo` in `mail` with a spec as YAML.
pub(crate) fn region(spec: &str) -> MailRegion {
    let spec: MailRegionSpec = serde_yaml::from_str(spec).unwrap();
    let mut region = MailRegion::new("tokyo", spec);
    region.metadata.namespace = Some("mail".to_owned());
    region.metadata.uid = Some("6f1c9b9e".to_owned());
    region
}

/// Where the objects of that region are made: in its own cluster.
pub(crate) fn site() -> Site {
    let owner = OwnerReference {
        api_version: "ekitei.dev/v1alpha1".to_owned(),
        kind: "MailRegion".to_owned(),
        name: "tokyo".to_owned(),
        uid: "6f1c9b9e".to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    Site { namespace: "mail".to_owned(), prefix: "mail-mx".to_owned(), owner: Some(owner), credentials: None }
}

/// What is made for a region with a spec as YAML.
pub(crate) fn rendered(spec: &str) -> Rendered {
    render(&region(spec), &template(), &site()).unwrap()
}

/// An object as the API server gets it.
pub(crate) fn json_of<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

/// What is asserted of an object, as YAML.
pub(crate) fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}
