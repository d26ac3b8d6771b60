//! Objects for the tests of rules.

use ekitei_operator_api::{
    ConditionStatus, Conditions as _, Draft, MailDomain, MailRegion, MailRegionStatus,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

/// A domain at home in `tokyo`, with all that is not said by default.
pub fn domain(name: &str) -> MailDomain {
    serde_json::from_value(json!({
        "apiVersion": "ekitei.dev/v1alpha1",
        "kind": "MailDomain",
        "metadata": {"name": name, "namespace": "mail", "uid": name, "generation": 1},
        "spec": {
            "domain": name,
            "homeRegion": "tokyo",
            "regions": [{"name": "tokyo", "preference": 10}],
            "dns": {"provider": {"name": "zones"}},
        },
    }))
    .unwrap()
}

/// A region that is ready, at 192.0.2.1.
pub fn region(name: &str) -> MailRegion {
    let mut region: MailRegion = serde_json::from_value(json!({
        "apiVersion": "ekitei.dev/v1alpha1",
        "kind": "MailRegion",
        "metadata": {"name": name, "namespace": "ekitei", "uid": name},
        "spec": {"host": format!("mx-{name}.example.net")},
    }))
    .unwrap();
    let mut status =
        MailRegionStatus { addresses: vec!["192.0.2.1".to_owned()], ..MailRegionStatus::default() };
    status.conditions.set(
        Draft { type_: "Ready", status: ConditionStatus::True, reason: "Ready", message: String::new() },
        Some(1),
        Timestamp::UNIX_EPOCH,
    );
    region.status = Some(status);
    region
}
