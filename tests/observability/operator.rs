//! The dashboard and the alerts about the operator, with a real one that has something to show: a domain and a region, records that somebody
//! changed, a provider that refuses. The other proof makes do with what the operator's registry shows (`operator.prom`).

use std::path::Path;
use std::process::Command;

use ekitei_kubernetes_tests::{Knot, built, installed, wait_until};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, ZONE};

const HOST: &str = "mx.example.test";

/// A region whose pods someone else keeps, with a certificate.
async fn region(scene: &Scene) {
    let certificate = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let metadata = |name: &str| json!({"name": name, "namespace": scene.namespace});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata("given"),
        "stringData": {"tls.crt": chain, "tls.key": key},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata("mail"),
        "spec": {"type": "LoadBalancer", "ports": [{"port": 25}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": [],
        "metadata": {"name": "mail-1", "namespace": scene.namespace, "labels": {"kubernetes.io/service-name": "mail"}},
        "endpoints": [{"addresses": ["10.0.0.5"], "conditions": {"ready": true}}],
    });
    for object in [secret, service, slice] {
        scene.cluster.apply(&object.to_string()).unwrap();
    }
    let spec = json!({
        "host": HOST, "addresses": ["192.0.2.9"], "placement": {"existingService": {"name": "mail"}},
        "dns": {"provider": {"name": "knot"}, "ttl": 30},
        "certificate": {"issuer": "Secret", "secretRef": {"name": "given"}},
    });
    scene.apply("MailRegion", "tokyo", &spec);
}

fn domain(name: &str, provider: &str) -> Value {
    json!({
        "domain": name, "homeRegion": "tokyo", "regions": [{"name": "tokyo"}],
        "dns": {"provider": {"name": provider}, "ttl": 30}, "certificate": {"issuer": "None"},
    })
}

/// A provider whose key the server does not know, and a domain that waits for it.
async fn trouble(scene: &Scene) {
    let strange = Knot::start(&[]).tsig.secret.clone();
    scene.cluster.secret(&scene.namespace, "strange", &[("secret", &strange)]).await;
    let mut spec = scene.provider_spec();
    spec["rfc2136"]["tsig"]["secretRef"]["name"] = json!("strange");
    scene.apply("DNSProvider", "strange", &spec);
    let name = format!("refused.{ZONE}");
    scene.apply("MailDomain", "refused", &domain(&name, "strange"));
}

/// What the operator shows now.
fn shown(scene: &Scene) -> String {
    let url = format!("{}/metrics", scene.operator.url());
    let output = Command::new("curl").args(["-s", &url]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn every_query_about_the_operator_has_an_answer() {
    if !installed(&["prometheus", "promtool", "openssl", "python3"]) {
        return;
    }
    let Some(scene) = Scene::start().await else { return };
    scene.provide().await;
    region(&scene).await;
    scene.apply("MailDomain", "ready", &domain(ZONE, "knot"));
    trouble(&scene).await;
    wait_until("the domain's MX record", SOON, || {
        scene.knot.ask(ZONE, "MX").is_some_and(|found| !found.is_empty())
    });
    scene.knot.update(ZONE, &format!("update delete {ZONE}. MX\nupdate add {ZONE}. 60 MX 5 evil.test."));
    for metric in ["drift_corrected_total", "reconcile_failures_total", "dkim_rotation_timestamp_seconds"] {
        wait_until(metric, SOON, || shown(&scene).contains(&format!("ekitei_operator_{metric}{{")));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observability/prove.py");
    let address = scene.operator.url().replace("http://", "");
    let proof = Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .arg(built("ekitei"))
        .args(["--operator", &address])
        .output()
        .unwrap();
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stderr));
}
