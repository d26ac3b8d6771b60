//! The regions of a domain: which take mail, and in what order senders should try them.

use ekitei_operator_api::{Conditions as _, MailDomain, MailRegion, RegionStatus};
use kube::ResourceExt as _;

use super::work::Work;

/// Added to the preference of a region that is not ready.
const BEHIND: u16 = 1000;

/// How the domain's regions are. Those that are not ready come after all that are; if none is, the order is what the domain says.
pub fn statuses(domain: &MailDomain, regions: &[MailRegion]) -> Vec<RegionStatus> {
    let look = |wanted: &ekitei_operator_api::RegionReference| {
        let region = regions.iter().find(|region| region.name_any() == wanted.name)?;
        let ready = readiness(region);
        Some(RegionStatus {
            name: wanted.name.clone(),
            host: Some(region.spec.host.clone()),
            preference: Some(wanted.preference),
            ready: ready.is_ok(),
            message: ready.err(),
        })
    };
    let mut found: Vec<RegionStatus> = domain.spec.regions.iter().filter_map(look).collect();
    if found.iter().any(|region| region.ready) {
        for region in found.iter_mut().filter(|region| !region.ready) {
            region.preference = region.preference.map(|preference| preference + BEHIND);
        }
    }
    found
}

/// Whether a region takes mail: its pods are ready and it has addresses. Or why not.
fn readiness(region: &MailRegion) -> Result<(), String> {
    let status = region.status.as_ref().ok_or("nobody has looked at it yet")?;
    let takes = ["PodsReady", "AddressesReady"];
    for type_ in takes {
        if let Some(condition) = status.conditions.find(type_)
            && condition.status != "True"
        {
            return Err(condition.message.clone());
        }
    }
    if takes.iter().all(|type_| status.conditions.holds(type_)) || status.conditions.holds("Ready") {
        return Ok(());
    }
    let ready = status.conditions.find("Ready");
    Err(ready.map_or_else(|| "nobody has looked at it yet".to_owned(), |ready| ready.message.clone()))
}

/// Regions that the domain lists and that are not there.
fn unknown<'a>(domain: &'a MailDomain, regions: &'a [MailRegion]) -> impl Iterator<Item = &'a str> {
    let names = domain.spec.regions.iter().map(|region| region.name.as_str());
    names.filter(|name| !regions.iter().any(|region| region.name_any() == *name))
}

/// Sets the status of the regions, and `MXReady`.
pub fn step(work: &mut Work, regions: &[MailRegion]) {
    work.status.regions = statuses(&work.domain, regions);
    let mut not_ready: Vec<String> = work
        .status
        .regions
        .iter()
        .filter(|region| !region.ready)
        .map(|region| format!("{}: {}", region.name, region.message.as_deref().unwrap_or("not ready")))
        .collect();
    not_ready
        .extend(unknown(&work.domain, regions).map(|name| format!("{name}: there is no such MailRegion")));
    let all = work.domain.spec.regions.len();
    if not_ready.len() == all {
        work.condition("MXReady", false, "NoRegionReady", not_ready.join("; "));
    } else if not_ready.is_empty() {
        work.condition("MXReady", true, "RegionsReady", format!("{all} of {all} regions take mail"));
    } else {
        let message =
            format!("{} of {all} regions take mail; {}", all - not_ready.len(), not_ready.join("; "));
        work.condition("MXReady", true, "SomeRegionsReady", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{domain, region};

    fn two() -> MailDomain {
        let mut domain = domain("example.org");
        domain
            .spec
            .regions
            .push(ekitei_operator_api::RegionReference { name: "us".to_owned(), preference: 20 });
        domain
    }

    fn preferences(regions: &[MailRegion]) -> Vec<Option<u16>> {
        statuses(&two(), regions).iter().map(|region| region.preference).collect()
    }

    #[test]
    fn a_region_that_is_not_there_is_told_and_gets_no_mail() {
        let there = [region("tokyo")];
        let two = two();
        assert_eq!(unknown(&two, &there).collect::<Vec<_>>(), ["us"]);
        assert_eq!(statuses(&two, &there).len(), 1);
    }

    #[test]
    fn a_region_that_is_not_ready_is_tried_after_all_that_are() {
        let mut down = region("tokyo");
        down.status = None;
        assert_eq!(preferences(&[region("tokyo"), region("us")]), [Some(10), Some(20)]);
        assert_eq!(preferences(&[down.clone(), region("us")]), [Some(1010), Some(20)]);
        let mut both = region("us");
        both.status = None;
        assert_eq!(
            preferences(&[down, both]),
            [Some(10), Some(20)],
            "with all of them down the order is what it was"
        );
    }
}
