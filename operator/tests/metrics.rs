//! The operator's metrics as others see them: `docs/metrics.md` lists them, and where dashboards and alerts are tried without an operator
//! (`tests/observability`), Prometheus is shown `operator.prom`. Both are written by `EKITEI_WRITE_DOCS=1 cargo test -p ekitei-operator --test metrics`.
#![allow(clippy::unwrap_used)]

use ekitei_operator::metrics::{Metrics, Object};
use ekitei_telemetry::{Registry, metrics_markdown, replace_section};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
const SHOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/observability/operator.prom");

/// Compares, or writes where that is asked for.
fn is_up_to_date(path: &str, right: &str) {
    if std::env::var_os("EKITEI_WRITE_DOCS").is_some() {
        std::fs::write(path, right).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == right,
        "{path} is not up to date: EKITEI_WRITE_DOCS=1 cargo test -p ekitei-operator --test metrics writes it"
    );
}

#[test]
fn the_page_of_metrics_lists_those_of_the_operator() {
    let listed = metrics_markdown(&Metrics::new(Registry::new()).registry.declared());
    let page = std::fs::read_to_string(PAGE).unwrap();
    is_up_to_date(PAGE, &replace_section(&page, "operator", &listed).unwrap());
}

#[test]
fn what_prometheus_is_shown_has_every_metric_of_the_operator() {
    let metrics = Metrics::new(Registry::new());
    for kind in ["MailDomain", "MailRegion", "DNSProvider", "MailAccount"] {
        metrics.object(&Object::named(kind, Some("mail"), "a"), true);
        metrics.queue_depth.with(&[kind]).set(1);
        metrics.reconcile_seconds.with(&[kind]).observe(0.02);
    }
    let domain = |name: &str| Object::named("MailDomain", Some("mail"), name);
    metrics.object(&domain("b"), false);
    metrics.reconcile_failures.with(&["MailDomain", "ProviderFailed"]).inc();
    metrics.drift_corrected.with(&["MailDomain"]).inc();
    metrics.is_leader.set(1);
    metrics.certificate_expiry.show(&domain("a"), [(["example-test"], 2_000_000_000)]);
    metrics.certificate_renewal.show(&domain("a"), [(["example-test"], 1_900_000_000)]);
    metrics.dkim_key_age.show(&domain("a"), [(["example.test", "ek202601r"], 86_400)]);
    metrics.dkim_rotation.show(&domain("a"), [(["example.test", "ek202601r"], 2_000_000_000)]);
    metrics.records(&domain("a"), ["Verified", "Verified", "Pending"]);
    for (region, ready) in [("tokyo", 3), ("singapore", 2)] {
        let object = Object::named("MailRegion", Some("mail"), region);
        metrics.region_reachable.show(&object, [([region], 1)]);
        metrics.mx_replicas.show(&object, [([region, "desired"], 3), ([region, "ready"], ready)]);
    }
    let text = metrics.registry.render();
    for declared in metrics.registry.declared() {
        assert!(text.contains(&format!("# TYPE {} ", declared.name)), "{} is to be shown", declared.name);
    }
    let own: Vec<&str> = text.lines().filter(|line| line.contains("ekitei_operator_")).collect();
    is_up_to_date(SHOWN, &(own.join("\n") + "\n"));
}
