//! Reverse names of the addresses that the domain's mail comes from. They belong to regions, which look at them; here is what that means for the domain.

use ekitei_operator_api::{ConditionStatus, Conditions as _, MailDomain, MailRegion};
use kube::ResourceExt as _;

use super::work::Work;

/// What is true of the regions' reverse names, together.
fn condition(domain: &MailDomain, regions: &[MailRegion]) -> (ConditionStatus, &'static str, String) {
    let mut unknown = Vec::new();
    let mut wrong = Vec::new();
    for region in
        regions.iter().filter(|region| domain.spec.regions.iter().any(|one| one.name == region.name_any()))
    {
        let found = region.status.as_ref().and_then(|status| status.conditions.find("ReverseDNSReady"));
        match found.map(|found| (found.status.as_str(), found)) {
            Some(("True", _)) => {}
            Some(("False", found)) => wrong.push(format!("{}: {}", region.name_any(), found.message)),
            _ => unknown.push(region.name_any()),
        }
    }
    if !wrong.is_empty() {
        return (ConditionStatus::False, "ReverseNameWrong", wrong.join("; "));
    }
    if unknown.is_empty() {
        (
            ConditionStatus::True,
            "ReverseNamesRight",
            "the addresses of all regions lead to their hosts".to_owned(),
        )
    } else {
        (ConditionStatus::Unknown, "NotLookedAt", format!("not known of {}", unknown.join(", ")))
    }
}

/// Sets `ReverseDNSReady`.
pub fn step(work: &mut Work, regions: &[MailRegion]) {
    let (status, reason, message) = condition(&work.domain, regions);
    work.condition("ReverseDNSReady", status, reason, message);
}
