//! Operators that die in the middle of something, and others that go on: with accounts, regions, their certificates, and what is deleted. (Domains: `domain.rs`.)

use ekitei_kubernetes_tests::{Operator, Pebble, installed, wait_until};
use serde_json::json;

use crate::account;
use crate::scene::{SOON, Scene, ZONE};

/// Starts an operator in place of the one that ran. It is the same to the lease, and need not wait until that runs out.
fn operate(scene: &mut Scene, environment: &[(&str, &str)]) {
    let resolver = format!("--resolvers={}", scene.knot.address());
    let arguments = [
        "--region-template=regions",
        "--name-prefix=mail-mx",
        "--resync=2s",
        "--identity=of-the-test",
        resolver.as_str(),
    ];
    scene.operator =
        Operator::start(&scene.cluster, &scene.namespace, &scene.service, &arguments, environment);
}

/// Does something over which the operator dies at this point; then another one goes on.
fn dies_at(scene: &mut Scene, point: &str, something: impl FnOnce(&Scene)) {
    scene.operator.stop();
    let at = format!("{point}:1");
    operate(scene, &[("EKITEI_OPERATOR_FAIL_AT", at.as_str()), ("EKITEI_OPERATOR_FAIL_BY", "exit")]);
    something(scene);
    wait_until(&format!("the operator to die at {point}"), SOON, || !scene.operator.runs());
    operate(scene, &[]);
}

/// A name of Kubernetes and DNS for what dies at a point.
fn named_after(point: &str) -> String {
    point.replace('.', "-")
}

#[tokio::test]
async fn an_account_is_whole_wherever_the_operator_died() {
    let Some(mut scene) = account::scene().await else { return };
    for point in ["account.created", "account.written", "account.password"] {
        let name = named_after(point);
        scene.cluster.secret(&scene.namespace, &name, &[("password", "correct horse battery")]).await;
        let spec = json!({
            "address": format!("{name}@{ZONE}"), "quota": "5Gi", "aliases": [format!("{name}-too@{ZONE}")],
            "password": {"secretRef": {"name": name, "key": "password"}},
        });
        dies_at(&mut scene, point, |scene| scene.apply("MailAccount", &name, &spec));
        let object = format!("ma/{name}");
        scene.wait_for(&object, "Ready", "True", "Ready");
        scene.wait_for(&object, "InSync", "True", "InSync");
        let api = scene.service.api();
        assert_eq!(api.account(&format!("{name}@{ZONE}")).await.unwrap().quota, Some(5 << 30), "{point}");
        assert!(api.alias(&format!("{name}-too@{ZONE}")).await.is_ok(), "{point}");
        assert!(account::logs_in_as(&scene, &name, "correct horse battery"), "{point}");
    }
}

#[tokio::test]
async fn a_region_is_whole_wherever_the_operator_died() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.provide().await;
    for point in ["region.configured", "region.applied"] {
        let name = named_after(point);
        let host = format!("mx.{name}.{ZONE}");
        let spec = json!({"host": host, "addresses": ["192.0.2.5"], "dns": {"provider": {"name": "knot"}, "ttl": 30}});
        dies_at(&mut scene, point, |scene| scene.apply("MailRegion", &name, &spec));
        scene.wait_for(&format!("mr/{name}"), "DNSVerified", "True", "Verified");
        for kind in ["deployment", "service", "configmap", "poddisruptionbudget"] {
            assert!(!scene.object(&format!("{kind}/mail-mx-{name}")).is_null(), "{kind} after {point}");
        }
        assert_eq!(scene.knot.ask(&host, "A").unwrap(), ["192.0.2.5"], "{point}");
    }
}

#[tokio::test]
async fn a_certificate_comes_wherever_the_operator_died() {
    if !installed(&["pebble"]) {
        return;
    }
    let Some(mut scene) = Scene::start().await else { return };
    scene.provide().await;
    let pebble = Pebble::start(scene.knot.address());
    let ca = std::fs::read_to_string(pebble.ca()).unwrap();
    scene.cluster.secret(&scene.namespace, "pebble", &[("ca.pem", &ca)]).await;
    for point in ["certificate.state", "certificate.action", "certificate.issued"] {
        let name = named_after(point);
        let host = format!("mx.{name}.{ZONE}");
        let acme = json!({"directory": pebble.directory(), "termsOfServiceAgreed": true, "caRef": {"name": "pebble", "key": "ca.pem"}});
        let spec = json!({
            "host": host, "addresses": ["192.0.2.5"], "dns": {"provider": {"name": "knot"}, "ttl": 30},
            "certificate": {"issuer": "Acme", "acme": acme},
        });
        dies_at(&mut scene, point, |scene| scene.apply("MailRegion", &name, &spec));
        scene.wait_for(&format!("mr/{name}"), "CertificateReady", "True", "CertificateReady");
        let stored = scene.service.api().certificate(&format!("region.{host}")).await.unwrap();
        assert_eq!(stored.names, [host.as_str()], "{point}");
        let record = format!("3 1 1 {}", stored.spki_sha256.to_uppercase());
        wait_until(&format!("the record of the key after {point}"), SOON, || {
            scene.knot.ask(&format!("_25._tcp.{host}"), "TLSA").is_some_and(|found| found == [record.clone()])
        });
        wait_until(&format!("no challenge to be left after {point}"), SOON, || {
            scene.knot.ask(&format!("_acme-challenge.{host}"), "TXT").is_some_and(|found| found.is_empty())
        });
    }
}

#[tokio::test]
async fn what_is_deleted_goes_wherever_the_operator_died() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.provide().await;
    let host = format!("mx.tokyo.{ZONE}");
    let region =
        json!({"host": host, "addresses": ["192.0.2.5"], "dns": {"provider": {"name": "knot"}, "ttl": 30}});
    scene.apply("MailRegion", "tokyo", &region);
    for point in ["deletion.records", "deletion.mail"] {
        let name = named_after(point);
        let domain = format!("{name}.{ZONE}");
        let spec = json!({
            "domain": domain, "homeRegion": "tokyo", "regions": [{"name": "tokyo"}],
            "dns": {"provider": {"name": "knot"}, "ttl": 30}, "certificate": {"issuer": "None"},
            "deletionPolicy": {"dns": "Delete", "mail": "Delete"},
        });
        scene.apply("MailDomain", &name, &spec);
        wait_until("the domain's MX record", SOON, || {
            scene.knot.ask(&domain, "MX").is_some_and(|found| !found.is_empty())
        });
        let object = format!("md/{name}");
        dies_at(&mut scene, point, |scene| drop(scene.kubectl(&["delete", &object, "--wait=false"])));
        scene.wait_gone(&object);
        for (owner, type_) in [(domain.clone(), "MX"), (format!("_ekitei-owner.{domain}"), "TXT")] {
            assert_eq!(scene.knot.ask(&owner, type_).unwrap(), [""; 0], "{owner} after {point}");
        }
        assert!(scene.service.api().domain(&domain).await.is_err(), "{point}");
    }
}
