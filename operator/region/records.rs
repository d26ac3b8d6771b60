//! The records of a region's host names. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ekitei_operator_api::{DaneMode, MailRegionSpec, RegionDns, Route53Routing};
use ekitei_operator_dns::desired::{AllOthers, Network, Purpose, Spf, Tlsa, TlsaValue};
use ekitei_operator_dns::record::{Routing, Variant};
use ekitei_operator_dns::{Desired, Family, InvalidInput, MailHost, Name, RecordSet, Value};

use crate::region::addresses;

/// The name of the addresses that mail leaves from where they are not those of the host: what their reverse names lead to has to lead back to them.
///
/// # Errors
/// The host's name is too long for one below it.
pub fn egress_host(host: &Name) -> Result<Name, InvalidInput> {
    Ok(host.child("out")?)
}

/// All that the records of a region say.
#[derive(Clone, Debug)]
pub struct Hosts<'a> {
    /// The region's name.
    pub region: &'a str,
    /// What a person said of it.
    pub spec: &'a MailRegionSpec,
    /// Where its MX host is reached.
    pub addresses: &'a BTreeSet<IpAddr>,
    /// Where users' programs reach it; empty if they are told the MX host.
    pub client_addresses: &'a BTreeSet<IpAddr>,
    /// The SHA-256 of the public keys of its certificates.
    pub keys: &'a [[u8; 32]],
    /// Whether its zone is signed.
    pub signed: bool,
    /// How the provider answers for a host name that regions share.
    pub routing: Route53Routing,
}

impl Hosts<'_> {
    /// The records.
    ///
    /// # Errors
    /// Something in the spec cannot be said in DNS.
    pub fn records(&self, dns: &RegionDns) -> Result<Vec<Desired>, InvalidInput> {
        let host: Name = self.spec.host.parse()?;
        let values: Vec<TlsaValue> = self.keys.iter().copied().map(TlsaValue::public_key).collect();
        let published = dns.dane.mode == DaneMode::Auto && !values.is_empty();
        let tlsa = published.then(|| Tlsa { host: host.clone(), port: 25, values });
        let mut records = MailHost {
            host: host.clone(),
            ttl: dns.ttl,
            addresses: self.addresses.iter().copied().collect(),
            spf: true,
            tlsa: tlsa.into_iter().collect(),
            signed: self.signed,
        }
        .records()?;
        records.extend(self.egress_records(&host, dns)?);
        self.egress(&mut records)?;
        records.extend(self.clients(&host, dns)?);
        Ok(records)
    }

    /// Notifications leave from the egress addresses, too, and pods that leave by several have one name to greet with: SPF of either host has all of them.
    fn egress(&self, records: &mut [Desired]) -> Result<(), InvalidInput> {
        if self.spec.egress_addresses.is_empty() {
            return Ok(());
        }
        let networks: Result<Vec<Network>, InvalidInput> =
            self.spec.egress_addresses.iter().map(|text| text.parse()).collect();
        let spf = Spf {
            networks: networks?,
            mechanisms: vec!["a".to_owned()],
            all: AllOthers::Fail,
            ..Spf::default()
        };
        for record in records.iter_mut().filter(|record| record.purpose == Purpose::Spf) {
            record.set.values = BTreeSet::from([Value::txt(spf.text()?)]);
        }
        Ok(())
    }

    /// The host of the addresses that mail leaves from, where some are not the MX host's.
    fn egress_records(&self, host: &Name, dns: &RegionDns) -> Result<Vec<Desired>, InvalidInput> {
        let addresses = addresses::written(&self.spec.egress_addresses);
        if addresses.is_subset(self.addresses) {
            return Ok(Vec::new());
        }
        let addresses = addresses.into_iter().collect();
        let host = egress_host(host)?;
        MailHost { host, ttl: dns.ttl, addresses, spf: true, tlsa: Vec::new(), signed: self.signed }.records()
    }

    /// The host of users' programs. Regions that share it have their own values of one record set, or where the provider chooses, sets of their own.
    fn clients(&self, host: &Name, dns: &RegionDns) -> Result<Vec<Desired>, InvalidInput> {
        let Some(clients) = &self.spec.clients else { return Ok(Vec::new()) };
        let name: Name = clients.host.parse()?;
        if name == *host {
            return Ok(Vec::new());
        }
        let variant = self.variant(dns);
        let family = if variant.is_some() { Family::Whole } else { Family::Values };
        let (four, six): (Vec<IpAddr>, Vec<IpAddr>) =
            self.client_addresses.iter().copied().partition(IpAddr::is_ipv4);
        let sets = [four, six].into_iter().filter_map(|addresses| {
            let values = addresses.into_iter().map(|address| match address {
                IpAddr::V4(address) => Value::A(address),
                IpAddr::V6(address) => Value::Aaaa(address),
            });
            RecordSet::new(name.clone(), dns.ttl, values)
        });
        let desired = |set| Desired {
            set: RecordSet { variant: variant.clone(), ..set },
            family: family.clone(),
            purpose: Purpose::Address,
        };
        Ok(sets.map(desired).collect())
    }

    fn variant(&self, dns: &RegionDns) -> Option<Variant> {
        let routing = match self.routing {
            Route53Routing::Simple => None,
            Route53Routing::Latency => dns.aws_region.clone().map(Routing::Latency),
            Route53Routing::Geolocation => dns.geolocation.as_deref().map(place),
        };
        routing.map(|routing| Variant { id: self.region.to_owned(), routing })
    }
}

/// `continent:AS`, `country:JP` or `*`, as the API server let it pass.
fn place(text: &str) -> Routing {
    let (continent, country) = match text.split_once(':') {
        Some(("continent", code)) => (Some(code.to_owned()), None),
        Some((_, code)) => (None, Some(code.to_owned())),
        None => (None, Some(text.to_owned())),
    };
    Routing::Place { continent, country, subdivision: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::region::testing::region;

    fn lines(spec: &str, routing: Route53Routing) -> Vec<String> {
        let spec = region(spec).spec;
        let addresses = ["192.0.2.5", "2001:db8::5"].map(|text| text.parse().unwrap()).into();
        let client_addresses = ["192.0.2.6"].map(|text| text.parse().unwrap()).into();
        let hosts = Hosts {
            region: "tokyo",
            spec: &spec,
            addresses: &addresses,
            client_addresses: &client_addresses,
            keys: &[[1; 32]],
            signed: true,
            routing,
        };
        let records = hosts.records(spec.dns.as_ref().unwrap()).unwrap();
        let line = |record: &Desired| {
            let variant =
                record.set.variant.as_ref().map(|variant| format!(" {}: {:?}", variant.id, variant.routing));
            format!("{}{}", record.set.lines().join(" & "), variant.unwrap_or_default())
        };
        records.iter().map(line).collect()
    }

    #[test]
    fn an_mx_host_has_addresses_spf_and_keys() {
        let found =
            lines("{host: mx.tokyo.example.net, dns: {provider: {name: knot}}}", Route53Routing::Simple);
        assert_eq!(
            found,
            [
                "mx.tokyo.example.net. 300 IN A 192.0.2.5",
                "mx.tokyo.example.net. 300 IN AAAA 2001:db8::5",
                "mx.tokyo.example.net. 300 IN TXT \"v=spf1 a -all\"",
                &format!("_25._tcp.mx.tokyo.example.net. 300 IN TLSA 3 1 1 {}", "01".repeat(32)),
            ]
        );
    }

    #[test]
    fn egress_addresses_may_send_and_are_not_sent_to() {
        let spec = "{host: mx.tokyo.example.net, egressAddresses: [198.51.100.7, '2001:db8:7::/64'],
            dns: {provider: {name: knot}, dane: {mode: Disabled}}}";
        let found = lines(spec, Route53Routing::Simple);
        assert_eq!(found.len(), 5, "no keys: {found:?}");
        assert_eq!(found[0], "mx.tokyo.example.net. 300 IN A 192.0.2.5");
        assert!(
            found[2].contains("ip4:198.51.100.7") && found[2].contains("ip6:2001:db8:7::/64"),
            "{}",
            found[2]
        );
        assert!(found[2].contains(" a ") && found[2].contains("-all"), "{}", found[2]);
        // Their reverse names lead to a name that leads back.
        assert_eq!(
            found[3..],
            [
                "out.mx.tokyo.example.net. 300 IN A 198.51.100.7",
                "out.mx.tokyo.example.net. 300 IN TXT \"v=spf1 ip4:198.51.100.7 ip6:2001:db8:7::/64 a -all\""
            ]
        );
    }

    #[test]
    fn the_name_that_pods_greet_with_has_all_addresses_that_mail_leaves_from() {
        let spec = "{host: mx.tokyo.example.net, egressAddresses: [192.0.2.5, 198.51.100.7],
            dns: {provider: {name: knot}, dane: {mode: Disabled}}}";
        let found = lines(spec, Route53Routing::Simple);
        assert_eq!(
            found[3..],
            [
                "out.mx.tokyo.example.net. 300 IN A 192.0.2.5 & out.mx.tokyo.example.net. 300 IN A 198.51.100.7",
                "out.mx.tokyo.example.net. 300 IN TXT \"v=spf1 ip4:192.0.2.5 ip4:198.51.100.7 a -all\""
            ]
        );
    }

    #[test]
    fn mail_that_leaves_from_the_hosts_own_address_needs_no_other_name() {
        let spec = "{host: mx.tokyo.example.net, egressAddresses: [192.0.2.5], dns: {provider: {name: knot}, dane: {mode: Disabled}}}";
        let found = lines(spec, Route53Routing::Simple);
        assert!(!found.iter().any(|line| line.starts_with("out.")), "{found:?}");
    }

    #[test]
    fn a_client_host_is_shared_by_values_or_routed() {
        let spec = |more: &str| {
            format!(
                "{{host: mx.tokyo.example.net, clients: {{host: mail.example.net}}, dns: {{provider: {{name: r}}{more}}}}}"
            )
        };
        let last = |more: &str, routing| lines(&spec(more), routing).pop().unwrap();
        assert_eq!(last("", Route53Routing::Simple), "mail.example.net. 300 IN A 192.0.2.6");
        let latency = last(", awsRegion: ap-northeast-1", Route53Routing::Latency);
        assert_eq!(latency, "mail.example.net. 300 IN A 192.0.2.6 tokyo: Latency(\"ap-northeast-1\")");
        let place = last(", geolocation: 'country:JP'", Route53Routing::Geolocation);
        assert!(place.contains("continent: None, country: Some(\"JP\")"), "{place}");
        assert!(last(", geolocation: '*'", Route53Routing::Geolocation).contains("country: Some(\"*\")"));
        assert!(
            !last("", Route53Routing::Latency).contains("tokyo:"),
            "where it does not say of which it is"
        );
    }

    #[test]
    fn a_client_host_that_is_the_mx_host_has_no_records_of_its_own() {
        let spec =
            "{host: mx.tokyo.example.net, clients: {host: mx.tokyo.example.net}, dns: {provider: {name: r}}}";
        assert_eq!(lines(spec, Route53Routing::Simple).len(), 4);
    }
}
