//! Certificates of regions: by ACME with DANE, by cert-manager, out of a Secret; and keys that follow each other in the DNS.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ekitei_kubernetes_tests::{Operator, Pebble, installed, wait_until};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, ZONE};

const HOST: &str = "mx.tokyo.example.test";
const OWNER: &str = "_25._tcp.mx.tokyo.example.test";
/// How long a change of keys may take here.
const ROLLOVER: Duration = Duration::from_secs(180);
/// The operator's clock runs so much faster: the TTL, and the ten minutes and the hour that it waits, are seconds.
const CLOCK: [(&str, &str); 1] = [("EKITEI_OPERATOR_CLOCK_RATE", "300")];

/// A scene with a fast clock, and a provider.
async fn scene() -> Option<Scene> {
    let mut scene = Scene::start().await?;
    scene.operator.stop();
    let resolver = format!("--resolvers={}", scene.knot.address());
    let arguments = [
        "--region-template=regions",
        "--name-prefix=mail-mx",
        "--resync=10m",
        "--leader-election-seconds=3",
        &resolver,
    ];
    scene.operator = Operator::start(&scene.cluster, &scene.namespace, &scene.service, &arguments, &CLOCK);
    scene.provide().await;
    Some(scene)
}

fn region(certificate: &Value) -> Value {
    json!({
        "host": HOST, "addresses": ["192.0.2.5"], "dns": {"provider": {"name": "knot"}, "ttl": 30},
        "certificate": certificate,
    })
}

/// The keys in the TLSA records, as Knot has them.
fn published(scene: &Scene) -> BTreeSet<String> {
    let records = scene.knot.ask(OWNER, "TLSA").unwrap_or_default();
    let key = |record: &String| {
        let data = record.strip_prefix("3 1 1 ").unwrap_or_else(|| panic!("not 3 1 1: {record}"));
        data.split_whitespace().collect::<String>().to_ascii_lowercase()
    };
    records.iter().map(key).collect()
}

/// The certificate that the service has.
async fn stored(scene: &Scene) -> Option<ekitei_api::Certificate> {
    scene.service.api().certificate(&format!("region.{HOST}")).await.ok()
}

/// The key of that certificate.
async fn in_force(scene: &Scene) -> Option<String> {
    stored(scene).await.map(|certificate| certificate.spki_sha256)
}

fn stage(scene: &Scene) -> String {
    let region = scene.object("mr/tokyo");
    let stage = region.pointer("/status/certificates/0/rollover/stage").and_then(Value::as_str);
    stage.unwrap_or_default().to_owned()
}

/// Waits until a key other than `before` is in force and alone in the DNS. At every look the key in force is published.
async fn follow(scene: &mut Scene, before: &str, mut look: impl FnMut(&mut Scene, &str)) -> String {
    let deadline = Instant::now() + ROLLOVER;
    let mut both = false;
    loop {
        // What is shown both before and after the service was asked was shown when it answered.
        let first = published(scene);
        let key = in_force(scene).await.unwrap();
        let second = published(scene);
        if !first.is_empty() && !second.is_empty() {
            assert!(
                first.contains(&key) || second.contains(&key),
                "{key} is in force, and {first:?}, {second:?} are published"
            );
        }
        both |= second.len() == 2;
        if key != before && second == BTreeSet::from([key.clone()]) {
            assert!(both, "both were published");
            return key;
        }
        let stage = stage(scene);
        look(scene, &stage);
        let region = || scene.object("mr/tokyo")["status"].to_string();
        assert!(
            Instant::now() < deadline,
            "it is not over: {first:?} {key}: {}\n{}",
            region(),
            scene.operator.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_key_in_the_dns_is_followed_by_another_whatever_ends_the_operator() {
    if !installed(&["pebble"]) {
        return;
    }
    let Some(mut scene) = scene().await else { return };
    let pebble = Pebble::start(scene.knot.address());
    let ca = std::fs::read_to_string(pebble.ca()).unwrap();
    scene.cluster.secret(&scene.namespace, "pebble", &[("ca.pem", &ca)]).await;
    let acme = json!({
        "directory": pebble.directory(), "termsOfServiceAgreed": true, "contacts": ["postmaster@example.test"],
        "caRef": {"name": "pebble", "key": "ca.pem"},
    });
    scene.apply("MailRegion", "tokyo", &region(&json!({"issuer": "Acme", "acme": acme})));
    scene.wait_for("mr/tokyo", "CertificateReady", "True", "CertificateReady");
    let certificate = scene.service.api().certificate(&format!("region.{HOST}")).await.unwrap();
    assert_eq!(certificate.names, [HOST]);
    let first = certificate.spki_sha256;
    wait_until("the record of the key", SOON, || published(&scene) == BTreeSet::from([first.clone()]));
    assert_eq!(
        scene.knot.ask(&format!("_acme-challenge.{HOST}"), "TXT").unwrap(),
        [""; 0],
        "no challenge is left"
    );
    let secret = scene.object("secret/mail-mx-tokyo-tls");
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert!(!scene.operator.log().contains("PRIVATE KEY"), "no secret is logged");

    // On request, and the operator is killed at every stage.
    scene.kubectl(&["annotate", "mailregion", "tokyo", "ekitei.dev/rotate-key=1"]);
    let mut killed = BTreeSet::new();
    let second = follow(&mut scene, &first, |scene, stage| {
        if ["NextPublished", "SwitchDue", "Switched"].contains(&stage) && killed.insert(stage.to_owned()) {
            scene.operator.kill();
            scene.operator.run();
        }
    })
    .await;
    assert!(killed.contains("NextPublished") && killed.contains("Switched"), "{killed:?}");
    wait_until("the old key to be deleted", SOON, || {
        let secret = scene.object("secret/mail-mx-tokyo-tls");
        let data = secret["data"].as_object().unwrap();
        data.contains_key(&format!("{second}.key")) && !data.contains_key(&format!("{first}.key"))
    });
    assert_eq!(stage(&scene), "Steady");
    removes_what_was_left(&mut scene);
}

/// A process that died during an order left the record of a challenge, and a note of it. Another's record of the same name stays.
fn removes_what_was_left(scene: &mut Scene) {
    scene.operator.stop();
    let name = format!("_acme-challenge.{HOST}");
    let lines = format!("update add {name}. 60 TXT left\nupdate add {name}. 60 TXT another");
    scene.knot.update(ZONE, &lines);
    let note = format!("ekitei.dev/challenges={}", json!([[name, "left"]]));
    scene.kubectl(&["annotate", "secret", "mail-mx-tokyo-tls", &note]);
    scene.operator.run();
    wait_until("the record to be removed", SOON, || {
        scene.knot.ask(&name, "TXT").is_some_and(|texts| texts == ["\"another\""])
    });
    wait_until("the note to be removed", SOON, || {
        scene.object("secret/mail-mx-tokyo-tls")["metadata"]["annotations"]
            .get("ekitei.dev/challenges")
            .is_none()
    });
}

/// A certificate of its own for the host, and its key.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Fills a Secret as somebody else would.
fn fill(scene: &Scene, name: &str, (certificate, key): &(String, String)) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": scene.namespace},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": certificate, "tls.key": key},
    });
    scene.cluster.apply(&secret.to_string()).unwrap();
}

#[tokio::test]
async fn a_key_that_somebody_puts_into_a_secret_is_published_before_it_is_used() {
    let Some(mut scene) = scene().await else { return };
    let given = json!({"issuer": "Secret", "secretRef": {"name": "given"}});
    scene.apply("MailRegion", "tokyo", &region(&given));
    scene.wait_for("mr/tokyo", "CertificateReady", "False", "SecretMissing");
    let key = KeyPair::generate().unwrap().serialize_pem();
    fill(&scene, "given", &(pair().0, key));
    scene.wait_for("mr/tokyo", "CertificateReady", "False", "SecretInvalid");
    fill(&scene, "given", &pair());
    scene.wait_for("mr/tokyo", "CertificateReady", "True", "CertificateReady");
    let first = in_force(&scene).await.unwrap();
    wait_until("the record of the key", SOON, || published(&scene) == BTreeSet::from([first.clone()]));

    let second = pair();
    fill(&scene, "given", &second);
    let key = follow(&mut scene, &first, |_, _| ()).await;
    goes_on_without_names(&mut scene, &second.1, &key).await;
}

/// While no name server answers, a certificate of the key in force goes to the service, and one of another key waits.
async fn goes_on_without_names(scene: &mut Scene, pem: &str, key: &str) {
    let before = stored(scene).await.unwrap().sha256;
    scene.knot.stop();
    let own = KeyPair::from_pem(pem).unwrap();
    let renewed = CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&own).unwrap();
    fill(scene, "given", &(renewed.pem(), pem.to_owned()));
    let deadline = Instant::now() + SOON;
    while stored(scene).await.unwrap().sha256 == before {
        assert!(
            Instant::now() < deadline,
            "{}\n{}",
            scene.object("mr/tokyo")["status"],
            scene.operator.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fill(scene, "given", &pair());
    let waits = scene.wait_for("mr/tokyo", "CertificateReady", "True", "DNSUnavailable");
    assert!(waits.contains("follows"), "{waits}");
    assert_eq!(in_force(scene).await.as_deref(), Some(key));
}

/// As much of cert-manager as the API server needs to know.
const CERTIFICATES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  names: {kind: Certificate, listKind: CertificateList, plural: certificates, singular: certificate}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[tokio::test]
async fn cert_manager_is_asked_for_a_certificate_whose_key_stays() {
    let Some(scene) = scene().await else { return };
    scene.cluster.apply(CERTIFICATES).unwrap();
    wait_until("the definition", SOON, || {
        scene.cluster.kubectl(&["get", "certificates.cert-manager.io"]).is_ok()
    });
    let issuer = json!({"issuer": "CertManager", "certManager": {"name": "internal"}});
    scene.apply("MailRegion", "tokyo", &region(&issuer));
    scene.wait_for("mr/tokyo", "CertificateReady", "False", "CertificateNotIssued");
    let made = scene.object("certificates.cert-manager.io/mail-mx-tokyo-tls");
    let spec = &made["spec"];
    assert_eq!(spec["dnsNames"], json!([HOST]));
    assert_eq!(
        spec["issuerRef"],
        json!({"name": "internal", "kind": "ClusterIssuer", "group": "cert-manager.io"})
    );
    assert_eq!(
        spec["privateKey"]["rotationPolicy"], "Never",
        "the zone is signed, so TLSA records are published"
    );
    assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "MailRegion");

    // What cert-manager does then.
    fill(&scene, spec["secretName"].as_str().unwrap(), &pair());
    scene.wait_for("mr/tokyo", "CertificateReady", "True", "CertificateReady");
    let key = in_force(&scene).await.unwrap();
    wait_until("the record of the key", SOON, || published(&scene) == BTreeSet::from([key.clone()]));
}
