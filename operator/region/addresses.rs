//! The addresses of a region: those that a person wrote, or those of its Service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ekitei_operator_api::{ConditionStatus, Draft};
use k8s_openapi::api::core::v1::Service;

use crate::region::reverse::is_public;

/// What a Service says of its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Names of load balancers, which have addresses.
    pub names: BTreeSet<String>,
}

impl Ingress {
    /// What a load balancer gave to a Service, and the external addresses that a person gave it.
    pub fn of(service: &Service) -> Self {
        let mut ingress = Self::default();
        let external = service.spec.as_ref().and_then(|spec| spec.external_ips.as_ref());
        ingress
            .addresses
            .extend(external.into_iter().flatten().filter_map(|text| text.parse::<IpAddr>().ok()));
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        for given in balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten() {
            ingress.addresses.extend(given.ip.as_ref().and_then(|text| text.parse::<IpAddr>().ok()));
            ingress.names.extend(given.hostname.clone());
        }
        ingress
    }

    /// Whether there is nothing yet.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.names.is_empty()
    }
}

/// Addresses that a person wrote. The API server checked that they are some.
pub fn written(texts: &[String]) -> BTreeSet<IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The addresses of a Service; names are looked up.
///
/// # Errors
/// The name that has no addresses, and why.
pub async fn resolve<F>(ingress: Ingress, lookup: impl Fn(String) -> F) -> Result<BTreeSet<IpAddr>, String>
where
    F: Future<Output = std::io::Result<Vec<IpAddr>>>,
{
    let mut addresses = ingress.addresses;
    for name in ingress.names {
        let found =
            lookup(name.clone()).await.map_err(|error| format!("{name} has no addresses: {error}"))?;
        addresses.extend(found);
    }
    Ok(addresses)
}

/// The addresses of a name, by the resolver of this machine.
///
/// # Errors
/// The resolver's.
pub async fn lookup(name: String) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name.as_str(), 25)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The addresses that records may name, and those that nobody outside would reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Those that records name.
    pub named: BTreeSet<IpAddr>,
    /// Private ones among them: a person wrote them.
    pub doubtful: BTreeSet<IpAddr>,
    /// Private ones that are left out: a Service has them, and nobody said that this is meant.
    pub left_out: BTreeSet<IpAddr>,
}

impl Sorted {
    /// Sorts the addresses that a person wrote, or that a Service has. With `allowed`, private ones are as good as others.
    pub fn new(addresses: BTreeSet<IpAddr>, written: bool, allowed: bool) -> Self {
        if allowed {
            return Self { named: addresses, ..Self::default() };
        }
        let (public, private): (BTreeSet<_>, BTreeSet<_>) = addresses.into_iter().partition(is_public);
        if written {
            return Self { named: &public | &private, doubtful: private, left_out: BTreeSet::new() };
        }
        Self { named: public, doubtful: BTreeSet::new(), left_out: private }
    }

    /// What to tell people of private addresses of a host; `None` if there are none, or they are meant.
    pub fn warning(&self, host: &str) -> Option<String> {
        let private = &self.left_out | &self.doubtful;
        if private.is_empty() {
            return None;
        }
        let (list, published) = (texts(&private).join(", "), !self.doubtful.is_empty());
        let what = if published { "is published though" } else { "is left out of records, since" };
        Some(format!(
            "{host} {what} private: {list}; nobody outside reaches that. A public load balancer or spec.addresses is needed, or spec.allowPrivateAddresses: true where it is meant"
        ))
    }
}

/// The condition `AddressesReady` of the MX host.
pub fn condition(found: &Result<Sorted, String>, service: &str) -> Draft {
    let (status, reason, message) = match found {
        Ok(Sorted { named, left_out, .. }) if named.is_empty() && !left_out.is_empty() => {
            let message = format!(
                "the Service {service} has private addresses only ({}), which other mail servers do not reach: its load balancer has to be a public one, or spec.addresses has to say what leads to it, or spec.allowPrivateAddresses that this is meant",
                texts(left_out).join(", ")
            );
            (ConditionStatus::False, "PrivateAddresses", message)
        }
        Ok(Sorted { named, .. }) if named.is_empty() => {
            let message = format!(
                "the Service {service} has no external address yet: a load balancer has to give it one, or spec.addresses"
            );
            (ConditionStatus::False, "WaitingForAddress", message)
        }
        Ok(Sorted { named, .. }) => (ConditionStatus::True, "AddressesReady", texts(named).join(", ")),
        Err(reason) => (ConditionStatus::False, "NameNotResolved", reason.clone()),
    };
    Draft { type_: "AddressesReady", status, reason, message }
}

/// Addresses for the status: those of IPv4 first.
pub fn texts(addresses: &BTreeSet<IpAddr>) -> Vec<String> {
    addresses.iter().map(IpAddr::to_string).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn service(ingress: serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "mx"}, "spec": {"externalIPs": ["198.51.100.9"]}, "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn addresses_are_those_of_the_load_balancer_by_number_and_by_name() {
        let ingress = Ingress::of(&service(
            json!([{"ip": "2001:db8::5"}, {"ip": "192.0.2.5"}, {"hostname": "lb.example.net"}]),
        ));
        let lookup = async |name: String| match name.as_str() {
            "lb.example.net" => Ok(vec!["192.0.2.6".parse().unwrap()]),
            _ => Err(std::io::Error::other("no such name")),
        };
        let found = resolve(ingress, lookup).await.unwrap();
        assert_eq!(texts(&found), ["192.0.2.5", "192.0.2.6", "198.51.100.9", "2001:db8::5"]);
        assert_eq!(condition(&Ok(Sorted::new(found, false, false)), "mx").reason, "AddressesReady");
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_named() {
        let lookup = async |_: String| Err(std::io::Error::other("no such name"));
        let found = resolve(Ingress::of(&service(json!([{"hostname": "lb.example.net"}]))), lookup).await;
        assert_eq!(found, Err("lb.example.net has no addresses: no such name".to_owned()));
        assert_eq!(condition(&found.map(|_| Sorted::default()), "mx").reason, "NameNotResolved");
    }

    #[test]
    fn a_service_without_a_balancer_has_none_yet() {
        assert!(Ingress::of(&Service::default()).is_empty());
        assert_eq!(condition(&Ok(Sorted::default()), "mx").reason, "WaitingForAddress");
    }

    #[test]
    fn private_addresses_of_a_balancer_are_left_out_unless_they_are_meant() {
        let both = || BTreeSet::from(["192.0.2.5", "10.0.0.5"].map(|text| text.parse().unwrap()));
        let found = Sorted::new(both(), false, false);
        assert_eq!(texts(&found.named), ["192.0.2.5"]);
        assert!(
            found.warning("mx.example.net").unwrap().contains("left out of records, since private: 10.0.0.5")
        );
        assert_eq!(condition(&Ok(found), "mx").status, ConditionStatus::True);

        let only = Sorted::new(["fd00::5".parse().unwrap()].into(), false, false);
        let draft = condition(&Ok(only), "mx");
        assert_eq!((draft.status, draft.reason), (ConditionStatus::False, "PrivateAddresses"));
        assert!(draft.message.contains("(fd00::5)"), "{}", draft.message);

        let meant = Sorted::new(both(), false, true);
        assert_eq!((meant.named.len(), meant.warning("mx.example.net")), (2, None));
        let written = Sorted::new(both(), true, false);
        assert_eq!(written.named.len(), 2, "a person said so");
        assert!(written.warning("mx.example.net").unwrap().contains("is published though private: 10.0.0.5"));
    }
}
