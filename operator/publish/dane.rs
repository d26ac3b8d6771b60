//! Whether TLSA records are worth anything: senders believe them only where signatures vouch for the zone, from the root down (RFC 7672 §2.2).

use ekitei_operator_api::{ConditionStatus, Draft};
use ekitei_operator_dns::verify::Security;

use super::Place;

/// The condition `DANEReady`. `said` is what the DNSProvider says of its zones, where it says something.
pub fn condition(place: &Place, said: Option<bool>, is_wanted: bool) -> Draft {
    let security = place.authorities.as_ref().ok().and_then(|authorities| authorities.security);
    let (status, reason, what) = match (is_wanted, said, security) {
        (false, _, _) => (ConditionStatus::False, "Disabled", "TLSA records are not wanted".to_owned()),
        (_, _, security) => of_zone(place.zone.name.as_str(), said, security),
    };
    Draft { type_: "DANEReady", status, reason, message: what }
}

fn of_zone(
    zone: &str,
    said: Option<bool>,
    security: Option<Security>,
) -> (ConditionStatus, &'static str, String) {
    match (said, security) {
        (_, Some(Security::Secure)) => {
            (ConditionStatus::True, "Secure", format!("the zone {zone} is signed from the root down"))
        }
        (_, Some(Security::Island)) => (
            ConditionStatus::False,
            "ZoneNotAnchored",
            format!(
                "the zone {zone} is signed, and nobody above vouches for its keys: TLSA records are worth nothing until its parent has its DS record"
            ),
        ),
        (Some(true), _) | (None, Some(Security::Signed)) => (
            ConditionStatus::Unknown,
            "ZoneSigned",
            format!("the zone {zone} is signed; no resolver says whether its parent vouches for its keys"),
        ),
        (Some(false), _) | (None, Some(Security::Unsigned)) => (
            ConditionStatus::False,
            "ZoneNotSigned",
            format!(
                "the zone {zone} is not signed: TLSA records in it, and of the hosts that its MX records name, are worth nothing"
            ),
        ),
        (None, None) => (
            ConditionStatus::Unknown,
            "ServersUnknown",
            format!("no server of the zone {zone} says whether it is signed"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_zone_that_is_signed_from_the_root_down_makes_tlsa_worth_something() {
        use ConditionStatus::{False, True, Unknown};
        for (said, security, expected) in [
            (None, Some(Security::Secure), (True, "Secure")),
            (Some(true), Some(Security::Island), (False, "ZoneNotAnchored")),
            (None, Some(Security::Signed), (Unknown, "ZoneSigned")),
            (Some(true), None, (Unknown, "ZoneSigned")),
            (None, Some(Security::Unsigned), (False, "ZoneNotSigned")),
            (Some(false), Some(Security::Signed), (False, "ZoneNotSigned")),
            (None, None, (Unknown, "ServersUnknown")),
        ] {
            let (status, reason, message) = of_zone("a.test", said, security);
            assert_eq!((status, reason), expected, "{said:?} {security:?}");
            assert!(message.contains("a.test"));
        }
    }
}
