//! What the scenarios of regions, accounts and providers have in common: all servers, and an operator in a namespace.

use std::time::Duration;

use ekitei_kubernetes_tests::{Cluster, Knot, Lease, Operator, Service, installed, wait_until};
use serde_json::{Value, json};

/// How long anything may take here.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The zone that Knot has.
pub(crate) const ZONE: &str = "example.test";

/// Everything that runs. What ends first is first.
pub(crate) struct Scene {
    pub(crate) operator: Operator,
    pub(crate) service: Service,
    pub(crate) knot: Knot,
    pub(crate) cluster: Lease,
    /// The operator's namespace.
    pub(crate) namespace: String,
}

impl Scene {
    /// Starts all of it; the operator looks at everything again each few seconds. `None`, and the test reported as skipped, where there are no programs for it.
    pub(crate) async fn start() -> Option<Self> {
        if !installed(&["knotd", "kdig", "knsupdate", "curl"]) {
            return None;
        }
        let cluster = Cluster::lease().await?;
        let namespace = cluster.namespace("mail").await;
        let knot = Knot::start(&[(ZONE, true)]);
        let service = Service::start(knot.address());
        let template = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "regions", "namespace": namespace},
            "data": {"pod.yaml": POD, "ekitei.yaml": CONFIGURATION, "service.yaml": SERVICE},
        });
        cluster.apply(&template.to_string()).unwrap();
        let resolver = format!("--resolvers={}", knot.address());
        let arguments =
            ["--region-template=regions", "--name-prefix=mail-mx", "--resync=2s", resolver.as_str()];
        let operator = Operator::start(&cluster, &namespace, &service, &arguments, &[]);
        Some(Self { operator, service, knot, cluster, namespace })
    }

    /// Applies an object in a namespace.
    #[track_caller]
    pub(crate) fn apply_in(&self, namespace: &str, kind: &str, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "ekitei.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        self.cluster.apply(&object.to_string()).unwrap();
    }

    /// Applies an object in the operator's namespace.
    #[track_caller]
    pub(crate) fn apply(&self, kind: &str, name: &str, spec: &Value) {
        self.apply_in(&self.namespace, kind, name, spec);
    }

    /// Runs kubectl in the operator's namespace; what it complained of is a failure.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments: Vec<&str> =
            ["-n", &self.namespace].into_iter().chain(arguments.iter().copied()).collect();
        self.cluster.kubectl(&arguments).unwrap()
    }

    /// An object of a namespace; nothing if there is none.
    pub(crate) fn object_in(&self, namespace: &str, what: &str) -> Value {
        let found = self.cluster.kubectl(&["-n", namespace, "get", what, "-o", "json"]);
        found.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    /// An object of the operator's namespace; nothing if there is none.
    pub(crate) fn object(&self, what: &str) -> Value {
        self.object_in(&self.namespace, what)
    }

    /// Waits until a condition of an object has this status and reason; returns its message.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, type_: &str, status: &str, reason: &str) -> String {
        let mut last = Value::Null;
        let wanted = format!("{type_}={status}/{reason} of {what}");
        let deadline = std::time::Instant::now() + SOON;
        loop {
            last = condition(&self.object(what), type_).unwrap_or(last);
            if last["status"] == status && last["reason"] == reason {
                return last["message"].as_str().unwrap_or_default().to_owned();
            }
            assert!(std::time::Instant::now() < deadline, "waited in vain for {wanted}; it is {last}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until an object is gone.
    #[track_caller]
    pub(crate) fn wait_gone(&self, what: &str) {
        wait_until(&format!("{what} to be gone"), SOON, || self.object(what).is_null());
    }

    /// What events of the operator's namespace with a reason say.
    pub(crate) fn notes(&self, reason: &str) -> Vec<String> {
        let field = format!("reason={reason}");
        let text = self.kubectl(&["get", "events.events.k8s.io", "--field-selector", &field, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        let notes = list["items"].as_array().unwrap().iter();
        notes.map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The provider `knot`, with its key in the Secret `tsig`.
    pub(crate) async fn provide(&self) {
        self.cluster.secret(&self.namespace, "tsig", &[("secret", &self.knot.tsig.secret)]).await;
        self.apply("DNSProvider", "knot", &self.provider_spec());
    }

    /// The spec of a provider for Knot.
    pub(crate) fn provider_spec(&self) -> Value {
        let server = self.knot.address().to_string();
        json!({
            "zones": [ZONE],
            "verification": {"servers": [server]},
            "rfc2136": {"server": server, "tsig": {"name": self.knot.tsig.name, "secretRef": {"name": "tsig", "key": "secret"}}},
        })
    }
}

/// A condition of an object.
pub(crate) fn condition(object: &Value, type_: &str) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_).cloned()
}

/// Pods as a chart makes them.
pub(crate) const POD: &str = "
metadata: {labels: {app.kubernetes.io/name: ekitei, app.kubernetes.io/instance: mail, app.kubernetes.io/component: region}}
spec:
  automountServiceAccountToken: false
  containers:
    - name: ekitei
      image: ekitei:0.1.0
      args: [serve, --config, /etc/ekitei/ekitei.yaml]
      volumeMounts: [{name: config, mountPath: /etc/ekitei, readOnly: true}]
  volumes:
    - {name: config, configMap: {name: mail-region, defaultMode: 0440}}
";

const CONFIGURATION: &str = "
hostname: mail.example.test
store: {kind: foundationdb, clusterFile: /etc/foundationdb/fdb.cluster}
blobs: {kind: s3, bucket: mail}
listeners: [{protocol: smtp, address: '[::]:2525'}]
";

const SERVICE: &str = "
metadata: {annotations: {example.test/balancer: network}}
spec:
  type: LoadBalancer
  ports: [{name: smtp, port: 25, targetPort: 2525}]
";
