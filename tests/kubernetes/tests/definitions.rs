//! The definitions of our objects: what the API server fills in, what it refuses, and with which words.

use ekitei_kubernetes_tests::{Cluster, Lease};
use serde_json::{Value, json};

/// A domain that is right.
fn domain() -> Value {
    json!({
        "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "example"},
        "spec": {
            "domain": "example.test", "homeRegion": "tokyo", "regions": [{"name": "tokyo"}, {"name": "us", "preference": 20}],
            "dns": {"provider": {"name": "knot"}},
        },
    })
}

fn region() -> Value {
    json!({
        "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailRegion", "metadata": {"name": "tokyo"},
        "spec": {"host": "mx.tokyo.example.test"},
    })
}

fn provider() -> Value {
    json!({
        "apiVersion": "ekitei.dev/v1alpha1", "kind": "DNSProvider", "metadata": {"name": "knot"},
        "spec": {"rfc2136": {"server": "192.0.2.1", "tsig": {"name": "key.", "secretRef": {"name": "tsig", "key": "secret"}}}},
    })
}

fn account() -> Value {
    json!({
        "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailAccount", "metadata": {"name": "alice"},
        "spec": {"address": "alice@example.test"},
    })
}

/// An object with one value set, or removed where it is `null`.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
    let parent = parent.as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(key)
    } else {
        parent.insert(key.to_owned(), value)
    };
    object
}

/// Applies an object in a namespace, on trial.
fn try_to_apply(cluster: &Lease, namespace: &str, object: &Value) -> Result<String, String> {
    let object = with(object.clone(), "/metadata/namespace", json!(namespace));
    cluster.apply(&object.to_string())
}

#[tokio::test]
async fn the_definitions_are_installed_with_short_names_and_the_category() {
    let Some(cluster) = Cluster::lease().await else { return };
    let resources = cluster.kubectl(&["api-resources", "--categories=mail", "--no-headers"]).unwrap();
    for kind in ["maildomains md", "mailregions mr", "dnsproviders dp", "mailaccounts ma"] {
        let (plural, short) = kind.split_once(' ').unwrap();
        let line = resources.lines().find(|line| line.starts_with(plural)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(short), "{resources}");
    }
}

#[tokio::test]
async fn what_is_left_out_gets_its_default() {
    let Some(cluster) = Cluster::lease().await else { return };
    let namespace = cluster.namespace("defaults").await;
    for object in [domain(), region(), provider(), account()] {
        try_to_apply(&cluster, &namespace, &object).unwrap();
    }
    let shown = |what: &str, path: &str| {
        cluster.kubectl(&["-n", &namespace, "get", what, "-o", &format!("jsonpath={{{path}}}")]).unwrap()
    };
    let defaults = [
        ("md/example", ".spec.regions[*].preference", "10 20"),
        ("md/example", ".spec.dns.ttl", "3600"),
        ("md/example", ".spec.dns.adoption", "IfUnowned"),
        ("md/example", ".spec.dkim.algorithms[*]", "rsa ed25519"),
        ("md/example", ".spec.dkim.rotation", "4320h"),
        ("md/example", ".spec.certificate.key.rotation", "4320h"),
        ("md/example", ".spec.certificate.key.margin", "10m"),
        ("md/example", ".spec.dmarc.policy", "none"),
        ("md/example", ".spec.mtaSts.mode", "testing"),
        ("md/example", ".spec.spf.policy", "SoftFail"),
        ("md/example", ".spec.caa.mode", "Merge"),
        ("md/example", ".spec.certificate.issuer", "Auto"),
        ("md/example", ".spec.deletionPolicy", r#"{"dns":"Delete","mail":"Retain"}"#),
        ("mr/tokyo", ".spec.replicas", "2"),
        ("dp/knot", ".spec.rfc2136.tsig.algorithm", "hmac-sha256"),
        ("ma/alice", ".spec.enabled", "true"),
        ("ma/alice", ".spec.deletionPolicy", "Retain"),
    ];
    for (what, path, value) in defaults {
        assert_eq!(shown(what, path), value, "{what} {path}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_the_reason() {
    let Some(cluster) = Cluster::lease().await else { return };
    let namespace = cluster.namespace("refused").await;
    for object in [domain(), region(), provider(), account()] {
        try_to_apply(&cluster, &namespace, &object).unwrap();
    }
    let far = json!({"kubeconfig": {"secretRef": {"name": "far", "key": "kubeconfig"}}});
    let far = with(with(region(), "/metadata/name", json!("far")), "/spec/placement", far);
    try_to_apply(&cluster, &namespace, &far).unwrap();
    // What is not about the cluster may change.
    let nodes = with(far.clone(), "/spec/placement/nodeSelector", json!({"zone": "a"}));
    try_to_apply(&cluster, &namespace, &nodes).unwrap();
    let bad = [
        (far.clone(), "/spec/placement", json!({}), "the cluster cannot be changed"),
        (
            far.clone(),
            "/spec/placement/kubeconfig/namespace",
            json!("elsewhere"),
            "the cluster cannot be changed",
        ),
        (domain(), "/spec/domain", json!("Example.test"), "spec.domain"),
        (domain(), "/spec/domain", json!("no_underscore.test"), "spec.domain"),
        (domain(), "/spec/domain", json!("-a.test"), "spec.domain"),
        (domain(), "/spec/domain", json!("test"), "spec.domain"),
        (domain(), "/spec/domain", json!("other.test"), "the domain cannot be changed"),
        (domain(), "/spec/homeRegion", json!("mars"), "homeRegion must be one of the regions"),
        (domain(), "/spec/homeRegion", Value::Null, "spec.homeRegion"),
        (domain(), "/spec/regions", json!([]), "spec.regions"),
        (domain(), "/spec/regions", json!([{"name": "tokyo"}, {"name": "tokyo"}]), "duplicate"),
        (domain(), "/spec/regions", json!([{"name": "tokyo", "preference": 65536}]), "preference"),
        (domain(), "/spec/dns", json!({}), "provider"),
        (domain(), "/spec/dns/ttl", json!(0), "spec.dns.ttl"),
        (domain(), "/spec/dns/adoption", json!("Steal"), "spec.dns.adoption"),
        (domain(), "/spec/dns/zone", json!("..test"), "spec.dns.zone"),
        (domain(), "/spec/dkim", json!({"algorithms": ["rsa", "rsa"]}), "uplicate"),
        (domain(), "/spec/dkim", json!({"algorithms": ["dsa"]}), "spec.dkim.algorithms"),
        (domain(), "/spec/dkim", json!({"rotation": "1h"}), "at least 24h"),
        (domain(), "/spec/dkim", json!({"rotation": "90000h"}), "at most 87600h"),
        (domain(), "/spec/dkim", json!({"rotation": "180d"}), "spec.dkim.rotation"),
        (domain(), "/spec/dkim", json!({"keepRetired": "1h"}), "at least 24h"),
        (domain(), "/spec/certificate", json!({"key": {"rotation": "1h"}}), "at least 24h"),
        (domain(), "/spec/certificate", json!({"key": {"margin": "10s"}}), "at least 1m"),
        (domain(), "/spec/certificate", json!({"key": {"keepRetired": "5m"}}), "at least 10m"),
        (region(), "/spec/certificate", json!({"key": {"margin": "48h"}}), "at most 24h"),
        (domain(), "/spec/clients", json!({"dane": {"mode": "Always"}}), "spec.clients.dane.mode"),
        (domain(), "/spec/spf", json!({"addresses": ["192.0.2.300"]}), "must be an IP address"),
        (domain(), "/spec/spf", json!({"policy": "-all"}), "spec.spf.policy"),
        (domain(), "/spec/dmarc", json!({"policy": "harsh"}), "spec.dmarc.policy"),
        (domain(), "/spec/dmarc", json!({"aggregateReports": ["nobody"]}), "spec.dmarc.aggregateReports"),
        (domain(), "/spec/mtaSts", json!({"maxAge": "1h"}), "maxAge must be at least 24h"),
        (domain(), "/spec/tlsReporting", json!({"to": ["ftp://example.test"]}), "spec.tlsReporting.to"),
        (domain(), "/spec/caa", json!({"iodef": "nobody"}), "spec.caa.iodef"),
        (domain(), "/spec/certificate", json!({"issuer": "Secret"}), "needs a secretRef"),
        (domain(), "/spec/certificate", json!({"issuer": "CertManager"}), "needs certManager"),
        (domain(), "/spec/certificate", json!({"acme": {"directory": "http://acme.test"}}), "directory"),
        (domain(), "/spec/accounts", json!({"quota": "-1"}), "spec.accounts.quota"),
        (
            domain(),
            "/spec/aliases",
            json!([{"localPart": "a", "targets": ["a@example.test"]}]),
            "must not lead to itself",
        ),
        (domain(), "/spec/aliases", json!([{"localPart": "a", "targets": []}]), "targets"),
        (domain(), "/spec/clients", json!({"host": "mail.example.net"}), "must be a name below the domain"),
        (
            domain(),
            "/spec/clients",
            json!({"host": "mail.other-example.test"}),
            "must be a name below the domain",
        ),
        (domain(), "/spec/clients", json!({"host": "mailexample.test"}), "must be a name below the domain"),
        (domain(), "/spec/catchAll", json!("everyone"), "spec.catchAll"),
        (domain(), "/spec/deletionPolicy", json!({"mail": "Burn"}), "spec.deletionPolicy.mail"),
        (domain(), "/spec/colour", json!("red"), "field not declared in schema"),
        (region(), "/spec/host", json!("mx"), "spec.host"),
        (region(), "/spec/host", json!("mx2.tokyo.example.test"), "make another MailRegion"),
        (
            region(),
            "/spec/placement",
            json!({"kubeconfig": {"secretRef": {"name": "far", "key": "kubeconfig"}}}),
            "the cluster cannot be changed",
        ),
        (region(), "/spec/replicas", json!(-1), "spec.replicas"),
        (region(), "/spec/addresses", json!(["mx.example.test"]), "must be an IP address"),
        (region(), "/spec/egressAddresses", json!(["192.0.2.0/33"]), "IP address or a network"),
        (
            region(),
            "/spec/dns",
            json!({"provider": {"name": "a"}, "geolocation": "Japan"}),
            "spec.dns.geolocation",
        ),
        (
            region(),
            "/spec/service",
            json!({"url": "mail:8080", "tokenRef": {"name": "a", "key": "b"}}),
            "spec.service.url",
        ),
        (
            region(),
            "/spec/storage",
            json!({"foundationdb": {"clusterFile": {}}}),
            "one of configMap and secret",
        ),
        (provider(), "/spec/manual", json!({}), "exactly one of"),
        (provider(), "/spec/rfc2136", Value::Null, "exactly one of"),
        (
            provider(),
            "/spec/rfc2136",
            json!({"server": "a", "tsig": {"name": "k", "algorithm": "hmac-md5", "secretRef": {"name": "a", "key": "b"}}}),
            "algorithm",
        ),
        (provider(), "/spec/zones", json!(["a..test"]), "spec.zones"),
        (account(), "/spec/address", json!("alice"), "spec.address"),
        (
            account(),
            "/spec/address",
            json!("bob@example.test"),
            "the address of an account cannot be changed",
        ),
        (account(), "/spec/quota", json!("5 GB"), "spec.quota"),
        (account(), "/spec/forwarding", json!({"addresses": []}), "spec.forwarding.addresses"),
        (account(), "/spec/password", json!({"secretRef": {"name": "a"}}), "key"),
    ];
    for (object, pointer, value, reason) in bad {
        let told = try_to_apply(&cluster, &namespace, &with(object, pointer, value.clone()));
        let told = told.expect_err(&format!("{pointer}: {value} was taken"));
        assert!(told.contains(reason), "{pointer}: {value}: {told}");
    }
}

#[tokio::test]
async fn domains_are_selected_by_name_and_regions_are_scaled() {
    let Some(cluster) = Cluster::lease().await else { return };
    let namespace = cluster.namespace("selected").await;
    try_to_apply(&cluster, &namespace, &domain()).unwrap();
    try_to_apply(&cluster, &namespace, &region()).unwrap();
    let by_name = |name: &str| {
        let field = format!("spec.domain={name}");
        cluster.kubectl(&["-n", &namespace, "get", "md", "--field-selector", &field, "-o", "name"]).unwrap()
    };
    assert_eq!(by_name("example.test").trim(), "maildomain.ekitei.dev/example");
    assert_eq!(by_name("other.test").trim(), "");
    cluster.kubectl(&["-n", &namespace, "scale", "mr/tokyo", "--replicas=5"]).unwrap();
    let replicas = cluster.kubectl(&["-n", &namespace, "get", "mr/tokyo", "-o", "jsonpath={.spec.replicas}"]);
    assert_eq!(replicas.unwrap(), "5");
}
