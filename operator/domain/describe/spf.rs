//! SPF of a domain: as exact as fits into one text, and never more lookups than receivers make.

use std::collections::BTreeSet;

use ekitei_operator_api::{Conditions as _, MailRegion, SpfPolicy};
use ekitei_operator_dns::InvalidInput;
use ekitei_operator_dns::desired::{AllOthers, Network, Spf};

use super::Facts;

/// Lookups that receivers make for one mail (RFC 7208 §4.6.4), and MX hosts that they look at.
const LOOKUPS: usize = 10;

impl Facts<'_> {
    /// Where mail of the domain may come from: all its regions, by their addresses. Where these are too many for one text, the MX hosts stand for their addresses, and
    /// beside them is what mail only leaves from; where that is too many still, each region's own SPF stands for it.
    ///
    /// # Errors
    /// Something in the spec cannot be said in SPF, or it is too much in any way.
    pub(super) fn spf(&self) -> Result<Option<Spf>, InvalidInput> {
        let spec = &self.domain.spec.spf;
        if !spec.enabled {
            return Ok(None);
        }
        let common = Spf {
            includes: spec.include.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
            all: match spec.policy {
                SpfPolicy::Fail => AllOthers::Fail,
                SpfPolicy::SoftFail => AllOthers::SoftFail,
                SpfPolicy::Neutral => AllOthers::Neutral,
            },
            ..Spf::default()
        };
        let given: BTreeSet<&str> = spec.addresses.iter().map(String::as_str).collect();
        let regions: Vec<&MailRegion> = self.regions.iter().filter(|region| self.has(region)).collect();
        let hosts: BTreeSet<&str> = regions.iter().flat_map(|region| addresses(region)).collect();
        let egress: BTreeSet<&str> = regions.iter().flat_map(|region| egress(region)).collect();
        let known = !hosts.is_empty();
        let exact = Spf { mx: !known, networks: networks([&hosts, &egress, &given])?, ..common.clone() };
        if exact.text().is_ok() {
            return Ok(Some(exact));
        }
        let by_mx = Spf { mx: true, networks: networks([&egress, &given])?, ..common.clone() };
        if by_mx.text().is_ok() && self.statuses.len() <= LOOKUPS {
            return Ok(Some(by_mx));
        }
        by_regions(common, &given, &regions).map(Some)
    }
}

/// SPF that asks for each region's own where that is more than the addresses of its host.
fn by_regions(common: Spf, given: &BTreeSet<&str>, regions: &[&MailRegion]) -> Result<Spf, InvalidInput> {
    let mut spf = common;
    let mut listed = given.clone();
    // Each included domain of ours asks for the addresses of its host.
    let mut nested = 0;
    for region in regions {
        let host = region.spec.host.parse()?;
        let mut egress = egress(region).peekable();
        if egress.peek().is_some() && publishes_spf(region) {
            spf.includes.push(host);
            nested += 1;
        } else {
            spf.hosts.push(host);
            listed.extend(egress);
        }
    }
    spf.networks = networks([&listed])?;
    spf.text()?;
    let lookups = spf.hosts.len() + spf.includes.len() + nested;
    if lookups > LOOKUPS {
        let reason = format!(
            "the regions have too many addresses for one text, and asking for each of them takes {lookups} lookups, while receivers make {LOOKUPS}"
        );
        return Err(InvalidInput::Field { field: "spf", reason });
    }
    Ok(spf)
}

/// Whether there is SPF of a region's host; to include one that is not there is an error for receivers (RFC 7208 §5.2).
fn publishes_spf(region: &MailRegion) -> bool {
    let is_published = region.status.as_ref().is_some_and(|status| status.conditions.holds("DNSPublished"));
    region.spec.dns.is_some() && is_published && addresses(region).next().is_some()
}

/// The addresses of a region's host.
fn addresses(region: &MailRegion) -> impl Iterator<Item = &str> {
    region.status.iter().flat_map(|status| &status.addresses).map(String::as_str)
}

/// Where mail leaves a region from, besides the addresses of its host.
fn egress(region: &MailRegion) -> impl Iterator<Item = &str> {
    let seen = region.status.iter().flat_map(|status| &status.egress_addresses);
    let all = seen.chain(&region.spec.egress_addresses).map(String::as_str);
    all.filter(|one| !addresses(region).any(|address| address == *one))
}

fn networks<const N: usize>(texts: [&BTreeSet<&str>; N]) -> Result<Vec<Network>, InvalidInput> {
    let all: BTreeSet<&str> = texts.into_iter().flatten().copied().collect();
    all.into_iter().map(str::parse).collect()
}
