//! Reverse names of the addresses that mail comes from: only who has the address can set them, so that is told how.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ekitei_operator_api::{ConditionStatus, Draft};
use ekitei_operator_dns::desired::{ReverseName, reverse_names};
use ekitei_operator_dns::verify::VerifyError;
use ekitei_operator_dns::{Key, Name, RecordType, Value, Verifier};
use futures_util::future::join_all;

use crate::region::records::egress_host;

/// How many aliases are followed: parts of reverse zones are delegated by them (RFC 2317).
const ALIASES: usize = 4;

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// To the host.
    Right,
    /// To these, or nowhere.
    Wrong(Vec<Name>),
    /// Nobody says.
    Unknown(String),
}

/// Whether receivers elsewhere see mail from an address at all: those of private networks are translated on the way, and have no reverse names.
pub fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && (address.octets()[1] & 0xc0) == 0x40;
            !(address.is_private() || address.is_loopback() || address.is_link_local() || shared)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local())
        }
    }
}

/// The names that addresses should lead to: the host for those that it has, and the name of the others that mail leaves from, if it is published.
pub fn expected(
    host: &Name,
    own: &BTreeSet<IpAddr>,
    egress: &BTreeSet<IpAddr>,
    is_published: bool,
) -> Vec<(Name, BTreeSet<IpAddr>)> {
    let (of_host, others): (BTreeSet<_>, BTreeSet<_>) =
        egress.iter().partition(|address| !is_published || own.contains(*address));
    let all = [(Some(host.clone()), of_host), (egress_host(host).ok(), others)];
    all.into_iter().filter_map(|(name, addresses)| Some((name?, addresses))).collect()
}

/// Asks where the public ones of these addresses lead.
pub async fn look(
    verifier: &Verifier,
    host: &Name,
    addresses: &BTreeSet<IpAddr>,
) -> Vec<(ReverseName, Reverse)> {
    let public: Vec<IpAddr> = addresses.iter().copied().filter(is_public).collect();
    let ask = |name: ReverseName| async {
        let found = ask(verifier, &name).await;
        (name, found)
    };
    join_all(reverse_names(host, &public).into_iter().map(ask)).await
}

async fn ask(verifier: &Verifier, wanted: &ReverseName) -> Reverse {
    let mut name = wanted.name.clone();
    for _ in 0..ALIASES {
        let values = match values(verifier, &name).await {
            Ok(values) => values,
            Err(VerifyError::NoZone(_)) => return Reverse::Wrong(Vec::new()),
            Err(error) => return Reverse::Unknown(error.to_string()),
        };
        let alias = values.iter().find_map(|value| match value {
            Value::Cname(target) => Some(target.clone()),
            _ => None,
        });
        let Some(target) = alias else {
            let names: Vec<Name> = values.into_iter().filter_map(pointer).collect();
            return if names.contains(&wanted.host) { Reverse::Right } else { Reverse::Wrong(names) };
        };
        name = target;
    }
    Reverse::Unknown(format!("{} is an alias of too many others", wanted.name))
}

fn pointer(value: Value) -> Option<Name> {
    match value {
        Value::Ptr(name) => Some(name),
        _ => None,
    }
}

async fn values(verifier: &Verifier, name: &Name) -> Result<BTreeSet<Value>, VerifyError> {
    let authorities = verifier.authorities(name).await?;
    let found = verifier.get(&authorities, &Key::new(name.clone(), RecordType::Ptr)).await?;
    Ok(found.map(|set| set.values).unwrap_or_default())
}

/// What to tell people: how the wrong ones are set right.
pub fn instructions(found: &[(ReverseName, Reverse)]) -> Vec<String> {
    let instruction = |(name, reverse): &(ReverseName, Reverse)| match reverse {
        Reverse::Wrong(others) if others.is_empty() => Some(name.instruction()),
        Reverse::Wrong(others) => {
            let others: Vec<&str> = others.iter().map(Name::as_str).collect();
            Some(format!("{} (now it leads to {})", name.instruction(), others.join(", ")))
        }
        Reverse::Right | Reverse::Unknown(_) => None,
    };
    found.iter().filter_map(instruction).collect()
}

/// The condition `ReverseDNSReady`.
pub fn condition(found: &[(ReverseName, Reverse)]) -> Draft {
    let instructions = instructions(found);
    let unknown = found.iter().find_map(|(name, reverse)| match reverse {
        Reverse::Unknown(reason) => Some(format!("{}: {reason}", name.address)),
        _ => None,
    });
    let (status, reason, message) = match (instructions.first(), unknown) {
        (Some(first), _) => {
            let more = instructions.len() - 1;
            let more =
                if more > 0 { format!(" (and {more} more in status.reverseDns)") } else { String::new() };
            (ConditionStatus::False, "ReverseNameWrong", format!("{first}{more}"))
        }
        (None, Some(unknown)) => (ConditionStatus::Unknown, "ReverseNameUnknown", unknown),
        (None, None) if found.is_empty() => {
            (ConditionStatus::Unknown, "NoPublicAddress", "there is no public address to look at".to_owned())
        }
        (None, None) => (ConditionStatus::True, "ReverseNamesRight", String::new()),
    };
    Draft { type_: "ReverseDNSReady", status, reason, message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(reverse: Reverse) -> Vec<(ReverseName, Reverse)> {
        let host = "mx.tokyo.example.net".parse().unwrap();
        let name = reverse_names(&host, &["192.0.2.5".parse().unwrap()]).remove(0);
        vec![(name, reverse)]
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let draft = condition(&found(Reverse::Wrong(Vec::new())));
        assert_eq!((draft.status, draft.reason), (ConditionStatus::False, "ReverseNameWrong"));
        assert!(
            draft.message.contains("5.2.0.192.in-addr.arpa. IN PTR mx.tokyo.example.net."),
            "{}",
            draft.message
        );
        let other = condition(&found(Reverse::Wrong(vec!["host-5.provider.example".parse().unwrap()])));
        assert!(other.message.ends_with("(now it leads to host-5.provider.example)"), "{}", other.message);
    }

    #[test]
    fn what_is_not_known_is_not_called_wrong() {
        let draft = condition(&found(Reverse::Unknown("timeout".to_owned())));
        assert_eq!((draft.status, draft.reason), (ConditionStatus::Unknown, "ReverseNameUnknown"));
        assert_eq!(condition(&found(Reverse::Right)).status, ConditionStatus::True);
        assert_eq!(condition(&[]).reason, "NoPublicAddress");
    }

    #[test]
    fn an_address_leads_to_a_name_that_leads_back() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let host: Name = "mx.example.net".parse().unwrap();
        let (own, egress) = (addresses(&["192.0.2.5"]), addresses(&["192.0.2.5", "198.51.100.7"]));
        let out: Name = "out.mx.example.net".parse().unwrap();
        let found = expected(&host, &own, &egress, true);
        assert_eq!(found, [(host.clone(), own.clone()), (out.clone(), addresses(&["198.51.100.7"]))]);
        let found = expected(&host, &own, &egress, false);
        assert_eq!(
            found,
            [(host, egress), (out, addresses(&[]))],
            "whoever has the zone knows of the host only"
        );
    }

    #[test]
    fn private_addresses_have_no_reverse_names() {
        for private in
            ["10.0.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1"]
        {
            assert!(!is_public(&private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "192.0.2.5", "100.128.0.1", "2001:db8::1"] {
            assert!(is_public(&public.parse().unwrap()), "{public}");
        }
    }
}
