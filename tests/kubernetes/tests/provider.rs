//! DNSProviders: whether they work, why not, and who may use them.

use ekitei_kubernetes_tests::{Tsig, wait_until};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, ZONE};

#[tokio::test]
async fn a_provider_says_what_is_wrong_with_it_until_nothing_is() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.apply("DNSProvider", "knot", &scene.provider_spec());
    let message = scene.wait_for("dp/knot", "Ready", "False", "CredentialsMissing");
    assert!(message.contains("tsig"), "{message}");
    scene.cluster.secret(&scene.namespace, "tsig", &[("secret", "not base64!")]).await;
    scene.wait_for("dp/knot", "Ready", "False", "ProviderSettingsInvalid");
    scene.cluster.secret(&scene.namespace, "tsig", &[("secret", &Tsig::new("operator.").secret)]).await;
    scene.wait_for("dp/knot", "Ready", "False", "CredentialsRefused");
    scene.cluster.secret(&scene.namespace, "tsig", &[("secret", &scene.knot.tsig.secret)]).await;
    scene.wait_for("dp/knot", "Ready", "True", "Ready");
    let status = scene.object("dp/knot")["status"].clone();
    assert_eq!((&status["kind"], &status["zones"]), (&json!("rfc2136"), &json!([ZONE])));
    assert!(!scene.operator.log().contains(&scene.knot.tsig.secret), "no secret is logged");

    let mut other = scene.provider_spec();
    other["zones"] = json!(["other.test"]);
    scene.apply("DNSProvider", "knot", &other);
    scene.wait_for("dp/knot", "Ready", "False", "ZoneNotFound");
    scene.apply("DNSProvider", "knot", &scene.provider_spec());
    scene.wait_for("dp/knot", "Ready", "True", "Ready");
    scene.knot.stop();
    scene.wait_for("dp/knot", "Ready", "False", "ServerUnreachable");
    scene.knot.run();
    scene.wait_for("dp/knot", "Ready", "True", "Ready");
}

fn region(provider: &Value) -> Value {
    json!({"host": "mx.tokyo.example.test", "addresses": ["192.0.2.5"], "dns": {"provider": provider, "ttl": 30}})
}

#[tokio::test]
async fn a_provider_of_another_namespace_is_used_only_if_it_allows_it() {
    let Some(scene) = Scene::start().await else { return };
    let elsewhere = scene.cluster.namespace("dns").await;
    scene.cluster.secret(&elsewhere, "tsig", &[("secret", &scene.knot.tsig.secret)]).await;
    scene.apply_in(&elsewhere, "DNSProvider", "shared", &scene.provider_spec());
    scene.apply("MailRegion", "tokyo", &region(&json!({"name": "shared", "namespace": elsewhere})));
    scene.wait_for("mr/tokyo", "DNSPublished", "False", "ProviderNotAllowed");
    assert!(scene.knot.ask("mx.tokyo.example.test", "A").unwrap().is_empty());
    let mut open = scene.provider_spec();
    open["allowedNamespaces"] = json!([scene.namespace]);
    scene.apply_in(&elsewhere, "DNSProvider", "shared", &open);
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    assert_eq!(scene.knot.ask("mx.tokyo.example.test", "A").unwrap(), ["192.0.2.5"]);
}

#[tokio::test]
async fn external_dns_is_told_by_its_own_objects() {
    let Some(scene) = Scene::start().await else { return };
    let server = scene.knot.address().to_string();
    let spec = json!({"zones": [ZONE], "verification": {"servers": [server]}, "externalDNS": {"labels": {"team": "post"}}});
    scene.apply("DNSProvider", "external", &spec);
    // Another test of this cluster may have installed it.
    if scene.cluster.kubectl(&["get", "crd", "dnsendpoints.externaldns.k8s.io"]).is_err() {
        let message = scene.wait_for("dp/external", "Ready", "False", "ProviderSettingsInvalid");
        assert!(message.contains("DNSEndpoint"), "{message}");
    }
    scene.cluster.apply(ENDPOINTS).unwrap();
    scene.wait_for("dp/external", "Ready", "True", "Ready");
    scene.apply("MailRegion", "tokyo", &region(&json!({"name": "external"})));
    scene.wait_for("mr/tokyo", "DNSPublished", "True", "Published");
    let list = || -> Vec<Value> {
        let text = scene.kubectl(&["get", "dnsendpoints", "-l", "team=post", "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    let of_type = |type_: &str| {
        list()
            .into_iter()
            .map(|item| item["spec"]["endpoints"][0].clone())
            .find(|endpoint| endpoint["recordType"] == type_)
    };
    let expected = json!({"dnsName": "mx.tokyo.example.test", "recordType": "A", "recordTTL": 30, "targets": ["192.0.2.5"]});
    assert_eq!(of_type("A").unwrap(), expected);
    assert_eq!(of_type("TXT").unwrap()["targets"], json!(["v=spf1 a -all"]));
    scene.wait_for("mr/tokyo", "DNSVerified", "False", "NotYetVisible");
    // Does what ExternalDNS does.
    let host = "mx.tokyo.example.test.";
    scene.knot.update(
        ZONE,
        &format!("update add {host} 30 A 192.0.2.5\nupdate add {host} 30 TXT \"v=spf1 a -all\""),
    );
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    scene.kubectl(&["delete", "mr/tokyo", "--wait=false"]);
    wait_until("the objects to be gone", SOON, || list().is_empty());
}

/// The definition of ExternalDNS' objects, as far as it matters here.
const ENDPOINTS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: dnsendpoints.externaldns.k8s.io
  annotations: {api-approved.kubernetes.io: 'https://github.com/kubernetes-sigs/external-dns/pull/2007'}
spec:
  group: externaldns.k8s.io
  names: {kind: DNSEndpoint, listKind: DNSEndpointList, plural: dnsendpoints, singular: dnsendpoint}
  scope: Namespaced
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";
