//! A region template and regions for the tests of this folder.
#![allow(clippy::unwrap_used)]

use ekitei_operator_api::{MailRegion, MailRegionSpec};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::region::template::{CONFIGURATION, POD, RegionTemplate, SERVICE, TemplateError};

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
