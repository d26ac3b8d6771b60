//! DNSProviders at their end: they stay while something has records by them, and go with it.

use ekitei_kubernetes_tests::{Knot, wait_until};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, ZONE, condition};

const HOST: &str = "mx.tokyo.example.test";

fn region() -> Value {
    json!({"host": HOST, "addresses": ["192.0.2.5"], "dns": {"provider": {"name": "knot"}, "ttl": 30}})
}

fn is_held(scene: &Scene, provider: &str) -> bool {
    let finalizers = scene.object(&format!("dp/{provider}"))["metadata"]["finalizers"].clone();
    finalizers.as_array().is_some_and(|all| all.contains(&json!("ekitei.dev/operator")))
}

#[tokio::test]
async fn a_provider_stays_while_something_has_records_by_it_and_no_longer() {
    let Some(scene) = Scene::start().await else { return };
    scene.provide().await;
    scene.wait_for("dp/knot", "Ready", "True", "Ready");
    assert!(!is_held(&scene, "knot"), "nobody uses it, so nobody has to wait for it");
    scene.kubectl(&["delete", "dp/knot", "--timeout=20s"]);

    scene.provide().await;
    scene.apply("MailRegion", "tokyo", &region());
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    assert!(is_held(&scene, "knot"));
    scene.kubectl(&["delete", "dp/knot", "--wait=false"]);
    let message = scene.wait_for("dp/knot", "Ready", "False", "ProviderInUse");
    assert!(message.contains(&format!("MailRegion {}/tokyo", scene.namespace)), "{message}");
    assert!(!scene.notes("ProviderInUse").is_empty());
    assert_eq!(scene.knot.ask(HOST, "A").unwrap(), ["192.0.2.5"], "it works on");
    scene.kubectl(&["delete", "mr/tokyo", "--wait=false"]);
    scene.wait_gone("mr/tokyo");
    assert!(
        scene.knot.ask(HOST, "A").unwrap().is_empty(),
        "its records were taken away by the deleted provider"
    );
    scene.wait_gone("dp/knot");

    // What a person gives up goes at once.
    scene.provide().await;
    scene.apply("MailRegion", "tokyo", &region());
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    scene.kubectl(&["delete", "dp/knot", "--wait=false"]);
    scene.wait_for("dp/knot", "Ready", "False", "ProviderInUse");
    scene.kubectl(&["annotate", "dp/knot", "ekitei.dev/abandon=true"]);
    scene.wait_gone("dp/knot");
    assert!(scene.notes("Abandoned").iter().any(|note| note.contains("tokyo")));
}

#[tokio::test]
async fn a_namespace_goes_with_its_domain_its_provider_and_their_records() {
    let Some(scene) = Scene::start().await else { return };
    if !scene.cluster.has_controllers() {
        return;
    }
    let customers = scene.cluster.namespace("customers").await;
    scene.cluster.secret(&customers, "tsig", &[("secret", &scene.knot.tsig.secret)]).await;
    scene.apply_in(&customers, "DNSProvider", "knot", &scene.provider_spec());
    scene.apply("MailRegion", "tokyo", &json!({"host": HOST, "addresses": ["192.0.2.5"]}));
    let domain = json!({"domain": ZONE, "homeRegion": "tokyo", "regions": [{"name": "tokyo"}],
        "dns": {"provider": {"name": "knot"}}, "certificate": {"issuer": "None"}});
    scene.apply_in(&customers, "MailDomain", "example", &domain);
    wait_until("the records of the domain", SOON, || {
        let domain = scene.object_in(&customers, "md/example");
        condition(&domain, "DNSVerified").is_some_and(|verified| verified["status"] == "True")
    });
    assert!(!scene.knot.ask(ZONE, "MX").unwrap().is_empty());

    scene.cluster.kubectl(&["delete", "namespace", &customers, "--wait=false"]).unwrap();
    wait_until("the namespace to be gone", SOON, || {
        scene.cluster.kubectl(&["get", "namespace", &customers]).is_err()
    });
    assert!(scene.knot.ask(ZONE, "MX").unwrap().is_empty(), "nothing is left behind");
    assert!(scene.knot.ask(ZONE, "TXT").unwrap().is_empty());
}

#[tokio::test]
async fn a_region_stays_while_records_of_it_are_in_a_zone_that_its_provider_has_no_more() {
    let Some(scene) = Scene::start().await else { return };
    let knot = Knot::start(&[("left.test", false), ("right.test", false)]);
    scene.cluster.secret(&scene.namespace, "tsig", &[("secret", &knot.tsig.secret)]).await;
    let provide = |zones: Value| {
        let server = knot.address().to_string();
        let tsig = json!({"name": knot.tsig.name, "secretRef": {"name": "tsig", "key": "secret"}});
        let spec = json!({"zones": zones, "verification": {"servers": [server]}, "rfc2136": {"server": server, "tsig": tsig}});
        scene.apply("DNSProvider", "knot", &spec);
    };
    provide(json!(["left.test", "right.test"]));
    let mut spec = region();
    spec["host"] = json!("mx.left.test");
    spec["clients"] = json!({"host": "mail.right.test", "addresses": ["192.0.2.6"]});
    scene.apply("MailRegion", "tokyo", &spec);
    scene.wait_for("mr/tokyo", "DNSVerified", "True", "Verified");
    assert_eq!(knot.ask("mail.right.test", "A").unwrap(), ["192.0.2.6"]);

    provide(json!(["left.test"]));
    scene.kubectl(&["delete", "mr/tokyo", "--wait=false"]);
    let message = scene.wait_for("mr/tokyo", "Ready", "False", "DeletionFailed");
    assert!(message.contains("zones that the provider does not have now"), "{message}");
    assert!(!scene.notes("RecordsLeft").is_empty());
    assert!(knot.ask("mx.left.test", "A").unwrap().is_empty(), "what can be removed is");
    assert_eq!(knot.ask("mail.right.test", "A").unwrap(), ["192.0.2.6"]);
    provide(json!(["left.test", "right.test"]));
    scene.wait_gone("mr/tokyo");
    assert!(knot.ask("mail.right.test", "A").unwrap().is_empty());
}
