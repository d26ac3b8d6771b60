//! `Ready` and `Degraded`: what all conditions come to.

use ekitei_operator_api::{ConditionStatus, Conditions as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::work::Work;
use crate::error::of_service;

/// What a domain must have to receive and send mail as it should, in the order in which they are told.
const NEEDED: [&str; 6] =
    ["Accepted", "DNSPublished", "DNSVerified", "CertificateReady", "DKIMReady", "MXReady"];

/// What keeps a domain from being ready: the first condition that is not true.
fn obstacle(conditions: &[Condition]) -> Option<(&'static str, String)> {
    let missing = NEEDED.iter().find_map(|type_| {
        let found = conditions.iter().find(|condition| condition.type_ == *type_);
        match found {
            Some(found) if found.status == "True" => None,
            Some(found) => Some((*type_, found.message.clone())),
            None => Some((*type_, "it has not been looked at yet".to_owned())),
        }
    })?;
    // Reasons of conditions are known names; they are told by the condition that they are of. Those of the service are told as they are: they are in the way of all.
    let found = conditions.iter().find(|condition| condition.type_ == missing.0);
    if let Some(reason) = found.and_then(|found| of_service(&found.reason)) {
        return Some((reason, missing.1));
    }
    let reason = match missing.0 {
        "Accepted" => "NotAccepted",
        "DNSPublished" => "RecordsNotPublished",
        "DNSVerified" => "RecordsNotVerified",
        "CertificateReady" => "CertificateNotReady",
        "DKIMReady" => "KeysNotReady",
        _ => "NoRegionReady",
    };
    Some((reason, missing.1))
}

/// Sets `Ready` and `Degraded`; whether the domain is ready.
pub fn step(work: &mut Work) -> bool {
    let failure = work.failure().map(|error| (error.reason(), error.to_string()));
    let mut obstacle = obstacle(&work.status.conditions);
    if let Some(error) = work.failure().filter(|error| error.is_of_service()) {
        // Without the service nothing else could be looked at.
        obstacle = Some((error.reason(), error.to_string()));
    }
    let ready = match (&obstacle, &failure) {
        (None, None) => {
            work.condition("Ready", true, "Ready", "the domain receives and sends mail");
            true
        }
        (Some((reason, message)), _) => {
            work.condition("Ready", false, reason, message.clone());
            false
        }
        (None, Some((reason, message))) => {
            work.condition("Ready", false, reason, message.clone());
            false
        }
    };
    let mx = work.status.conditions.find("MXReady").cloned();
    let regions_down = mx.filter(|found| found.reason != "RegionsReady");
    let reverse =
        work.status.conditions.find("ReverseDNSReady").filter(|found| found.status == "False").cloned();
    if let Some((reason, message)) = failure {
        work.condition("Degraded", true, reason, message);
    } else if let Some(regions_down) = regions_down {
        work.condition("Degraded", true, "RegionNotReady", regions_down.message);
    } else if let Some(reverse) = reverse {
        work.condition("Degraded", true, "ReverseNameWrong", reverse.message);
    } else {
        work.condition("Degraded", ConditionStatus::False, "AsExpected", "");
    }
    ready
}

#[cfg(test)]
mod tests {
    use ekitei_operator_api::Draft;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn the_first_thing_that_is_missing_is_told() {
        let mut conditions = Vec::new();
        let mut set = |type_, status| {
            let message = format!("{type_} is as it is");
            conditions.set(Draft { type_, status, reason: "Test", message }, None, Timestamp::UNIX_EPOCH);
            obstacle(&conditions).map(|obstacle| obstacle.0)
        };
        assert_eq!(set("Accepted", ConditionStatus::True), Some("RecordsNotPublished"));
        for type_ in ["DNSPublished", "DNSVerified", "CertificateReady", "MXReady"] {
            set(type_, ConditionStatus::True);
        }
        assert_eq!(set("DKIMReady", ConditionStatus::Unknown), Some("KeysNotReady"));
        assert_eq!(set("DKIMReady", ConditionStatus::True), None);
        assert_eq!(set("Accepted", ConditionStatus::False), Some("NotAccepted"));
    }

    #[test]
    fn a_service_that_is_in_the_way_is_told_by_name() {
        let mut conditions = Vec::new();
        for reason in ["ServiceUnavailable", "ServiceUnauthorized", "ServiceFailed"] {
            let (type_, status) = ("Accepted", ConditionStatus::Unknown);
            let draft = Draft { type_, status, reason, message: "no answer".to_owned() };
            conditions.set(draft, None, Timestamp::UNIX_EPOCH);
            assert_eq!(obstacle(&conditions), Some((reason, "no answer".to_owned())));
        }
    }
}
