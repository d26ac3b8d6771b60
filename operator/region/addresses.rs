//! The addresses of a region: those that a person wrote, or those of its Service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ekitei_operator_api::{ConditionStatus, Draft};
use k8s_openapi::api::core::v1::Service;

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

/// The condition `AddressesReady`.
pub fn condition(found: &Result<BTreeSet<IpAddr>, String>, service: &str) -> Draft {
    let (status, reason, message) = match found {
        Ok(addresses) if addresses.is_empty() => {
            let message = format!(
                "the Service {service} has no external address yet: a load balancer has to give it one, or spec.addresses"
            );
            (ConditionStatus::False, "WaitingForAddress", message)
        }
        Ok(addresses) => (ConditionStatus::True, "AddressesReady", texts(addresses).join(", ")),
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
        assert_eq!(condition(&Ok(found), "mx").reason, "AddressesReady");
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_named() {
        let lookup = async |_: String| Err(std::io::Error::other("no such name"));
        let found = resolve(Ingress::of(&service(json!([{"hostname": "lb.example.net"}]))), lookup).await;
        assert_eq!(found, Err("lb.example.net has no addresses: no such name".to_owned()));
        assert_eq!(condition(&found, "mx").reason, "NameNotResolved");
    }

    #[test]
    fn a_service_without_a_balancer_has_none_yet() {
        assert!(Ingress::of(&Service::default()).is_empty());
        assert_eq!(condition(&Ok(BTreeSet::new()), "mx").reason, "WaitingForAddress");
    }
}
