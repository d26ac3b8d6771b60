//! MailRegions: pods, addresses, names, and their end.

use ekitei_kubernetes_tests::wait_until;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::scene::{POD, SOON, Scene, ZONE, condition};

const HOST: &str = "mx.tokyo.example.test";

/// What the service calls the certificate of the region.
fn stored_as() -> String {
    format!("region.{HOST}")
}

fn spec() -> Value {
    json!({"host": HOST, "dns": {"provider": {"name": "knot"}, "ttl": 30}})
}

/// Does what a cloud does: the Service of a region gets addresses.
pub(crate) fn give_addresses(scene: &Scene, namespace: &str, service: &str, addresses: &[&str]) {
    let ingress: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}}).to_string();
    let of_it =
        ["-n", namespace, "patch", "service", service, "--subresource=status", "--type=merge", "-p", &patch];
    scene.cluster.kubectl(&of_it).unwrap();
}

/// Does what nodes do: all pods of a namespace become ready.
fn make_pods_ready(scene: &Scene, namespace: &str, deployment: &str) {
    if !scene.cluster.has_controllers() {
        let object = scene.object_in(namespace, &format!("deployment/{deployment}"));
        let replicas = &object["spec"]["replicas"];
        let status = json!({"status": {"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas,
            "availableReplicas": replicas, "observedGeneration": object["metadata"]["generation"]}});
        let patch = status.to_string();
        let of_it = [
            "-n",
            namespace,
            "patch",
            "deployment",
            deployment,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        scene.cluster.kubectl(&of_it).unwrap();
        return;
    }
    let names = scene.cluster.kubectl(&["-n", namespace, "get", "pods", "-o", "name"]).unwrap();
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
        .to_string();
    for name in names.lines() {
        // One that is replaced meanwhile is gone.
        let _ = scene.cluster.kubectl(&[
            "-n",
            namespace,
            "patch",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &ready,
        ]);
    }
}

fn wait_ready(scene: &Scene, namespace: &str, replicas: i64) {
    wait_until(&format!("{replicas} ready pods"), SOON, || {
        make_pods_ready(scene, namespace, "mail-mx-tokyo");
        scene.object("mr/tokyo")["status"]["readyReplicas"] == replicas
    });
}

fn checksum(scene: &Scene) -> Value {
    scene.object("deployment/mail-mx-tokyo")["spec"]["template"]["metadata"]["annotations"]["ekitei.dev/configuration"].clone()
}

#[tokio::test]
async fn a_region_lives_from_its_pods_to_its_names_and_ends_without_losing_mail() {
    let Some(scene) = Scene::start().await else { return };
    scene.provide().await;
    scene.apply("MailRegion", "tokyo", &spec());
    scene.wait_for("mr/tokyo", "AddressesReady", "False", "WaitingForAddress");
    let deployment = scene.object("deployment/mail-mx-tokyo");
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["metadata"]["ownerReferences"][0]["kind"], "MailRegion");
    let configuration =
        scene.object("configmap/mail-mx-tokyo")["data"]["ekitei.yaml"].as_str().unwrap().to_owned();
    assert!(configuration.contains(&format!("hostname: {HOST}")), "{configuration}");
    assert_eq!(scene.object("poddisruptionbudget/mail-mx-tokyo")["spec"]["maxUnavailable"], 1);
    let service = scene.object("service/mail-mx-tokyo");
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(service["metadata"]["annotations"]["example.test/balancer"], "network");

    give_addresses(&scene, &scene.namespace, "mail-mx-tokyo", &["192.0.2.5", "2001:db8::5"]);
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    assert_eq!(scene.knot.ask(HOST, "A").unwrap(), ["192.0.2.5"]);
    assert_eq!(scene.knot.ask(HOST, "AAAA").unwrap(), ["2001:db8::5"]);
    assert_eq!(scene.knot.ask(HOST, "TXT").unwrap(), ["\"v=spf1 a -all\""]);
    assert!(scene.wait_for("mr/tokyo", "Ready", "False", "PodsNotReady").contains("0 of 2"));
    wait_ready(&scene, &scene.namespace, 2);
    scene.wait_for("mr/tokyo", "Ready", "True", "Ready");
    let shown = scene.kubectl(&["get", "mr"]);
    assert!(shown.contains("192.0.2.5") && shown.contains(HOST), "{shown}");

    scale(&scene);
    drift(&scene);
    change(&scene);
    end(&scene).await;
}

/// `kubectl scale` and autoscalers work on the region.
fn scale(scene: &Scene) {
    scene.kubectl(&["scale", "mr/tokyo", "--replicas=5"]);
    wait_ready(scene, &scene.namespace, 5);
    assert_eq!(scene.object("deployment/mail-mx-tokyo")["spec"]["replicas"], 5);
    let path = format!("/apis/ekitei.dev/v1alpha1/namespaces/{}/mailregions/tokyo/scale", scene.namespace);
    let scale: Value = serde_json::from_str(&scene.kubectl(&["get", "--raw", &path])).unwrap();
    assert_eq!(scale["status"]["replicas"], 5);
    let selector = scale["status"]["selector"].as_str().unwrap();
    let pods = scene.kubectl(&["get", "deployments", "-l", selector, "-o", "name"]);
    assert_eq!(pods.trim(), "deployment.apps/mail-mx-tokyo");
}

/// What others change of what is the operator's is set right.
fn drift(scene: &Scene) {
    scene.kubectl(&["scale", "deployment/mail-mx-tokyo", "--replicas=1"]);
    wait_until("the Deployment to be as the region says", SOON, || {
        scene.object("deployment/mail-mx-tokyo")["spec"]["replicas"] == 5
    });
    scene.knot.update(ZONE, &format!("update delete {HOST}. A\nupdate add {HOST}. 30 A 198.51.100.66"));
    wait_until("the record to be corrected", SOON, || {
        scene.knot.ask(HOST, "A").is_some_and(|found| found == ["192.0.2.5"])
    });
    scene.kubectl(&["delete", "service/mail-mx-tokyo"]);
    wait_until("the Service to be back", SOON, || !scene.object("service/mail-mx-tokyo").is_null());
    assert_eq!(scene.knot.ask(HOST, "A").unwrap(), ["192.0.2.5"], "names stay while a balancer is made anew");
    give_addresses(scene, &scene.namespace, "mail-mx-tokyo", &["192.0.2.7"]);
    wait_until("the new address", SOON, || {
        scene.knot.ask(HOST, "A").is_some_and(|found| found == ["192.0.2.7"])
            && scene.knot.ask(HOST, "AAAA").is_some_and(|found| found.is_empty())
    });
}

/// A change of the configuration replaces the pods, and a bad template changes nothing and is told with its path.
fn change(scene: &Scene) {
    let before = checksum(scene);
    let mut changed = spec();
    changed["replicas"] = json!(2);
    changed["configuration"] = json!({"log": {"level": "debug"}});
    scene.apply("MailRegion", "tokyo", &changed);
    wait_until("pods of another configuration", SOON, || checksum(scene) != before);
    let template = |pod: &str| {
        let patch = json!({"data": {"pod.yaml": pod}}).to_string();
        scene.kubectl(&["patch", "configmap", "regions", "--type=merge", "-p", &patch]);
    };
    template(&POD.replace("image:", "picture:"));
    let message = scene.wait_for("mr/tokyo", "PodsReady", "False", "TemplateInvalid");
    assert!(message.contains("pod.yaml: spec.containers[0].picture"), "{message}");
    assert!(!scene.object("deployment/mail-mx-tokyo").is_null());
    template(&POD.replace("ekitei:0.1.0", "ekitei:0.2.0"));
    wait_until("pods of the new image", SOON, || {
        scene.object("deployment/mail-mx-tokyo")["spec"]["template"]["spec"]["containers"][0]["image"]
            == "ekitei:0.2.0"
    });
    wait_until("the region to be well again", SOON, || {
        make_pods_ready(scene, &scene.namespace, "mail-mx-tokyo");
        condition(&scene.object("mr/tokyo"), "PodsReady").is_some_and(|ready| ready["status"] == "True")
    });
}

/// A region goes when no domain leads to it: first its names, then, when caches have forgotten them, its pods.
async fn end(scene: &Scene) {
    let domain = json!({"domain": ZONE, "homeRegion": "tokyo", "regions": [{"name": "tokyo"}], "dns": {"provider": {"name": "knot"}}});
    scene.apply("MailDomain", "example", &domain);
    scene.kubectl(&["delete", "mr/tokyo", "--wait=false"]);
    let message = scene.wait_for("mr/tokyo", "Ready", "False", "RegionInUse");
    assert!(message.contains("/example"), "{message}");
    assert_eq!(scene.knot.ask(HOST, "A").unwrap(), ["192.0.2.7"], "it works on");

    scene.kubectl(&["delete", "md/example", "--wait=false"]);
    scene.wait_for("mr/tokyo", "Ready", "False", "Draining");
    assert!(scene.knot.ask(HOST, "A").unwrap().is_empty());
    assert!(!scene.object("deployment/mail-mx-tokyo").is_null(), "caches may still lead to the pods");
    scene.wait_gone("mr/tokyo");
    for object in ["deployment", "service", "configmap", "poddisruptionbudget"] {
        scene.wait_gone(&format!("{object}/mail-mx-tokyo"));
    }
}

#[tokio::test]
async fn a_region_in_another_cluster_is_made_by_a_kubeconfig_and_removed_again() {
    let Some(scene) = Scene::start().await else { return };
    let there = scene.cluster.namespace("far").await;
    scene
        .cluster
        .secret(&scene.namespace, "far", &[("kubeconfig", "users: [{name: u, user: {exec: {command: sh}}}]")])
        .await;
    let spec = json!({"host": HOST, "addresses": ["192.0.2.5"],
        "placement": {"kubeconfig": {"secretRef": {"name": "far", "key": "kubeconfig"}, "namespace": there}}});
    scene.apply("MailRegion", "tokyo", &spec);
    let message = scene.wait_for("mr/tokyo", "PodsReady", "False", "KubeconfigInvalid");
    assert!(message.contains("exec"), "{message}");

    scene.cluster.secret(&scene.namespace, "far", &[("kubeconfig", &self_contained(&scene, None))]).await;
    scene.wait_for("mr/tokyo", "PodsReady", "False", "NoPodReady");
    let deployment = scene.object_in(&there, "deployment/mail-mx-tokyo");
    assert!(
        deployment["metadata"]["ownerReferences"].is_null(),
        "an owner in another cluster would be taken for one that is gone"
    );
    assert!(scene.object("deployment/mail-mx-tokyo").is_null(), "it is not made here");
    wait_until("the region to take mail", SOON, || {
        make_pods_ready(&scene, &there, "mail-mx-tokyo");
        condition(&scene.object("mr/tokyo"), "Ready").is_some_and(|ready| ready["status"] == "True")
    });

    // A cluster that is away is told, and what is known of the region stays.
    let nobody = self_contained(&scene, Some("https://127.0.0.1:1"));
    scene.cluster.secret(&scene.namespace, "far", &[("kubeconfig", &nobody)]).await;
    scene.wait_for("mr/tokyo", "Ready", "True", "ClusterUnreachable");
    assert!(metrics(&scene).contains("ekitei_operator_region_reachable{region=\"tokyo\"} 0"));

    scene.kubectl(&["delete", "mr/tokyo", "--wait=false"]);
    scene.wait_for("mr/tokyo", "Ready", "False", "DeletionFailed");
    scene.cluster.secret(&scene.namespace, "far", &[("kubeconfig", &self_contained(&scene, None))]).await;
    scene.wait_gone("mr/tokyo");
    for object in ["deployment", "service", "configmap", "poddisruptionbudget"] {
        wait_until("nothing to be left there", SOON, || {
            scene.object_in(&there, &format!("{object}/mail-mx-tokyo")).is_null()
        });
    }
}

/// The administrator's kubeconfig with all it needs in it, of this or another server.
pub(crate) fn self_contained(scene: &Scene, server: Option<&str>) -> String {
    let file = scene.cluster.kubeconfig().display().to_string();
    let flat = scene
        .cluster
        .kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"])
        .unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut config: Value = serde_json::from_str(&flat).unwrap();
    if let Some(server) = server {
        config["clusters"][0]["cluster"]["server"] = json!(server);
    }
    config.to_string()
}

fn metrics(scene: &Scene) -> String {
    let url = format!("{}/metrics", scene.operator.url());
    let output = std::process::Command::new("curl").args(["-s", &url]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_region_of_pods_that_someone_else_keeps_has_names_only() {
    let Some(scene) = Scene::start().await else { return };
    scene.provide().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mail", "namespace": scene.namespace},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 25}]}});
    let slice = |ready: bool| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": [],
            "metadata": {"name": "mail-1", "namespace": scene.namespace, "labels": {"kubernetes.io/service-name": "mail"}},
            "endpoints": [{"addresses": ["10.0.0.5"], "conditions": {"ready": ready}}]})
    };
    scene.cluster.apply(&service.to_string()).unwrap();
    scene.cluster.apply(&slice(false).to_string()).unwrap();
    give_addresses(&scene, &scene.namespace, "mail", &["192.0.2.9"]);
    let mut region = spec();
    region["placement"] = json!({"existingService": {"name": "mail"}});
    region["egressAddresses"] = json!(["192.0.2.9", "198.51.100.7"]);
    scene.apply("MailRegion", "tokyo", &region);
    scene.wait_for("mr/tokyo", "PodsReady", "False", "NoPodReady");
    scene.cluster.apply(&slice(true).to_string()).unwrap();
    scene.wait_for("mr/tokyo", "Ready", "True", "Ready");
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    assert_eq!(scene.knot.ask(HOST, "A").unwrap(), ["192.0.2.9"]);
    let out = format!("out.{HOST}");
    let mut leads_to = scene.knot.ask(&out, "A").unwrap();
    leads_to.sort();
    assert_eq!(leads_to, ["192.0.2.9", "198.51.100.7"], "pods greet with it wherever they leave from");
    let spf = "\"v=spf1 ip4:192.0.2.9 ip4:198.51.100.7 a -all\"";
    assert_eq!(scene.knot.ask(&out, "TXT").unwrap(), [spf]);
    assert_eq!(scene.knot.ask(HOST, "TXT").unwrap(), [spf]);
    assert!(scene.object("deployment/mail-mx-tokyo").is_null());
}

#[tokio::test]
async fn a_region_has_its_certificate_in_the_service_and_its_key_in_the_dns() {
    let Some(scene) = Scene::start().await else { return };
    scene.provide().await;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    let pair = [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())];
    let pair: Vec<(&str, &str)> = pair.iter().map(|(name, text)| (*name, text.as_str())).collect();
    scene.cluster.secret(&scene.namespace, "given", &pair).await;
    let mut region = spec();
    region["addresses"] = json!(["192.0.2.5"]);
    region["certificate"] = json!({"issuer": "Secret", "secretRef": {"name": "given"}});
    scene.apply("MailRegion", "tokyo", &region);
    scene.wait_for("mr/tokyo", "CertificateReady", "True", "CertificateReady");
    let stored = scene.service.api().certificate(&stored_as()).await.unwrap();
    assert_eq!(stored.names, [HOST]);
    let record = format!("3 1 1 {}", stored.spki_sha256.to_uppercase());
    wait_until("the record of the key", SOON, || {
        scene.knot.ask(&format!("_25._tcp.{HOST}"), "TLSA").is_some_and(|found| found == [record.clone()])
    });
    scene.kubectl(&["delete", "mr/tokyo", "--wait=false"]);
    scene.wait_gone("mr/tokyo");
    assert!(scene.knot.ask(&format!("_25._tcp.{HOST}"), "TLSA").unwrap().is_empty());
    assert!(
        scene.service.api().certificate(&stored_as()).await.is_err(),
        "the service does not keep it either"
    );
}
