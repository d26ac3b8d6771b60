//! MailRegions and the networks around them: private addresses, and who may connect to the pods of another cluster.

use std::fs;
use std::path::Path;

use ekitei_kubernetes_tests::wait_until;
use serde_json::{Value, json};

use crate::region::{give_addresses, self_contained};
use crate::scene::{SOON, Scene};

const HOST: &str = "mx.tokyo.example.test";

#[tokio::test]
async fn private_addresses_of_a_balancer_get_into_no_record_unless_the_region_says_so() {
    let Some(scene) = Scene::start().await else { return };
    scene.provide().await;
    let mut region = json!({"host": HOST, "dns": {"provider": {"name": "knot"}, "ttl": 30}});
    scene.apply("MailRegion", "tokyo", &region);
    wait_until("the Service", SOON, || !scene.object("service/mail-mx-tokyo").is_null());
    give_addresses(&scene, &scene.namespace, "mail-mx-tokyo", &["10.0.0.5"]);
    let message = scene.wait_for("mr/tokyo", "AddressesReady", "False", "PrivateAddresses");
    assert!(message.contains("10.0.0.5"), "{message}");
    scene.wait_for("mr/tokyo", "DNSPublished", "False", "WaitingForAddress");
    assert!(scene.knot.ask(HOST, "A").unwrap().is_empty());
    assert!(scene.notes("PrivateAddresses").iter().any(|note| note.contains("10.0.0.5")));
    assert!(scene.object("mr/tokyo")["status"]["egressAddresses"].is_null(), "SPF names these");

    give_addresses(&scene, &scene.namespace, "mail-mx-tokyo", &["10.0.0.5", "192.0.2.5"]);
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    assert_eq!(scene.knot.ask(HOST, "A").unwrap(), ["192.0.2.5"]);
    assert_eq!(scene.object("mr/tokyo")["status"]["egressAddresses"], json!(["192.0.2.5"]));

    region["allowPrivateAddresses"] = json!(true);
    scene.apply("MailRegion", "tokyo", &region);
    wait_until("the private address as well", SOON, || {
        scene.knot.ask(HOST, "A").is_some_and(|found| found == ["10.0.0.5", "192.0.2.5"])
    });
}

const POLICY: &str = "
spec:
  policyTypes: [Ingress]
  ingress:
    - ports: [{port: 2525, protocol: TCP}]
    - ports: [{port: http, protocol: TCP}]
      from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
";

#[tokio::test]
async fn pods_of_another_cluster_have_a_policy_and_the_role_of_the_documentation_is_enough() {
    let Some(scene) = Scene::start().await else { return };
    let there = scene.cluster.namespace("far").await;
    let kubeconfig = kubeconfig_of_the_documentation(&scene, &there);
    scene.cluster.secret(&scene.namespace, "far", &[("kubeconfig", &kubeconfig)]).await;
    template(&scene, json!(POLICY));
    let region = json!({"host": HOST, "addresses": ["192.0.2.5"],
        "placement": {"kubeconfig": {"secretRef": {"name": "far", "key": "kubeconfig"}, "namespace": there}}});
    scene.apply("MailRegion", "tokyo", &region);
    scene.wait_for("mr/tokyo", "PodsReady", "False", "NoPodReady");
    let policy = || scene.object_in(&there, "networkpolicy/mail-mx-tokyo");
    let spec = policy()["spec"].clone();
    let pods = json!({"app.kubernetes.io/component": "region", "ekitei.dev/region": "tokyo"});
    assert_eq!(spec["podSelector"]["matchLabels"], pods);
    assert_eq!(
        (&spec["ingress"][0]["ports"][0]["port"], &spec["ingress"][1]["ports"][0]["port"]),
        (&json!(2525), &json!("http"))
    );
    let labels =
        &scene.object_in(&there, "deployment/mail-mx-tokyo")["spec"]["template"]["metadata"]["labels"];
    for (label, value) in pods.as_object().unwrap() {
        assert_eq!(&labels[label], value, "the policy is for these pods");
    }

    template(&scene, Value::Null);
    wait_until("no policy where the chart has none", SOON, || policy().is_null());
    template(&scene, json!(POLICY));
    wait_until("the policy again", SOON, || !policy().is_null());
    scene.kubectl(&["delete", "mr/tokyo", "--wait=false"]);
    scene.wait_gone("mr/tokyo");
    for object in ["deployment", "service", "configmap", "poddisruptionbudget", "networkpolicy"] {
        wait_until("nothing to be left there", SOON, || {
            scene.object_in(&there, &format!("{object}/mail-mx-tokyo")).is_null()
        });
    }
    assert!(!scene.operator.log().to_lowercase().contains("forbidden"));
}

/// Sets the NetworkPolicy of the region template, or takes it away.
fn template(scene: &Scene, policy: Value) {
    let patch = json!({"data": {"networkpolicy.yaml": policy}}).to_string();
    scene.kubectl(&["patch", "configmap", "regions", "--type=merge", "-p", &patch]);
}

/// A kubeconfig of the account that `deploy/regions/us-cluster.yaml` makes, in a namespace of the test.
fn kubeconfig_of_the_documentation(scene: &Scene, namespace: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/regions/us-cluster.yaml");
    let text = fs::read_to_string(file).unwrap();
    scene.cluster.apply(&text.replace("namespace: mail", &format!("namespace: {namespace}"))).unwrap();
    let token = scene.cluster.kubectl(&["-n", namespace, "create", "token", "ekitei-operator"]).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&self_contained(scene, None)).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
    kubeconfig.to_string()
}
