//! The operator's metrics as others see them: `docs/metrics.md` lists them, and where dashboards and alerts are tried without an operator
//! (`tests/observability`), Prometheus is shown `operator.prom`. Both are written by `EKITEI_WRITE_DOCS=1 cargo test -p ekitei-operator --test metrics`.
#![allow(clippy::unwrap_used)]

use ekitei_operator::metrics::Metrics;
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
        metrics.object(kind, "a", Some(true));
        metrics.queue_depth.with(&[kind]).set(1);
        metrics.reconcile_seconds.with(&[kind]).observe(0.02);
    }
    metrics.object("MailDomain", "b", Some(false));
    metrics.reconcile_failures.with(&["MailDomain", "ProviderFailed"]).inc();
    metrics.drift_corrected.with(&["MailDomain"]).inc();
    metrics.is_leader.set(1);
    metrics.certificate_expiry.with(&["example-test"]).set(2_000_000_000);
    metrics.dkim_key_age.with(&["example.test", "ek202601r"]).set(86_400);
    metrics.records("a", ["Verified", "Verified", "Pending"]);
    for (region, ready) in [("tokyo", 3), ("singapore", 2)] {
        metrics.region_reachable.with(&[region]).set(1);
        metrics.mx_replicas.with(&[region, "desired"]).set(3);
        metrics.mx_replicas.with(&[region, "ready"]).set(ready);
    }
    let text = metrics.registry.render();
    for declared in metrics.registry.declared() {
        assert!(text.contains(&format!("# TYPE {} ", declared.name)), "{} is to be shown", declared.name);
    }
    let own: Vec<&str> = text.lines().filter(|line| line.contains("ekitei_operator_")).collect();
    is_up_to_date(SHOWN, &(own.join("\n") + "\n"));
}
