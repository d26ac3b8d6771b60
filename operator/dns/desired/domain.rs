//! The records of a mail domain.

use std::net::IpAddr;

use super::policy::{self, Caa, Challenge, Dmarc};
use super::services::{self, Service};
use super::spf::Spf;
use super::{Desired, InvalidInput, Purpose, Records, Tlsa};
use crate::family::Family;
use crate::name::Name;
use crate::record::{Value, Variant};

/// A mail domain, as far as DNS is concerned. What is empty or none has no records.
#[derive(Clone, Debug)]
pub struct MailDomain {
    /// The domain.
    pub domain: Name,
    /// Seconds, for everything but challenges.
    pub ttl: u32,
    /// The hosts that take its mail; with none of them the domain gets no MX.
    pub exchangers: Vec<Exchanger>,
    /// The host that clients connect to.
    pub client: Option<Client>,
    /// The host that has the web pages.
    pub web: Option<Web>,
    /// Who may send in its name.
    pub spf: Option<Spf>,
    /// DKIM keys that are to be published: also those that do not sign yet, and those that do not sign any more.
    pub dkim: Vec<DkimKey>,
    /// What to do with mail that is not from here.
    pub dmarc: Option<Dmarc>,
    /// The id of the MTA-STS policy: up to 32 letters and digits (RFC 8461 §3.1). Needs [`web`](Self::web).
    pub mta_sts_id: Option<String>,
    /// Where TLS reports go: `mailto:` and `https:` URIs (RFC 8460 §3).
    pub tls_reports: Vec<String>,
    /// Who may issue certificates.
    pub caa: Option<Caa>,
    /// Keys of the client host, by port. Left out unless [`signed`](Self::signed).
    pub tlsa: Vec<Tlsa>,
    /// Whether the zone is signed: TLSA is worth nothing otherwise (RFC 7672 §2.2).
    pub signed: bool,
    /// Challenges of ACME that wait to be seen.
    pub challenges: Vec<Challenge>,
}

/// A host that takes mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanger {
    /// Its name.
    pub host: Name,
    /// Lower is preferred.
    pub preference: u16,
    /// Whether it works; those that do not are published after all that do.
    pub healthy: bool,
}

/// The host that clients connect to.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name.
    pub host: Name,
    /// Its addresses; empty if its records are made elsewhere.
    pub addresses: Vec<IpAddr>,
    /// Makes the address records one of several sets ([`Capabilities::routing`](crate::Capabilities)): each region's operator writes its own.
    pub variant: Option<Variant>,
    /// The services that it has. The others are published as absent (RFC 6186 §3.4).
    pub services: Vec<Service>,
}

/// The host that has the web pages.
#[derive(Clone, Debug)]
pub struct Web {
    /// Its name: `mta-sts.`, `autoconfig.` and `autodiscover.` of the domain are aliases of it.
    pub host: Name,
    /// Whether clients find their settings there.
    pub autoconfig: bool,
}

/// A DKIM key (RFC 6376 §3.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimKey {
    /// `<selector>._domainkey.<domain>`.
    pub name: Name,
    /// `v=DKIM1; ...`.
    pub text: String,
}

impl MailDomain {
    /// A domain without anything.
    pub fn new(domain: Name, ttl: u32) -> Self {
        Self {
            domain,
            ttl,
            exchangers: Vec::new(),
            client: None,
            web: None,
            spf: None,
            dkim: Vec::new(),
            dmarc: None,
            mta_sts_id: None,
            tls_reports: Vec::new(),
            caa: None,
            tlsa: Vec::new(),
            signed: false,
            challenges: Vec::new(),
        }
    }

    /// All its records. They may be in several zones: a host's or a report's receiver may be elsewhere.
    ///
    /// # Errors
    /// Something in the description is not what its standard allows.
    pub fn records(&self) -> Result<Vec<Desired>, InvalidInput> {
        let mut records = Records::new(self.ttl);
        let domain = &self.domain;
        records.add(Purpose::Exchange, Family::Whole, domain.clone(), exchange(&self.exchangers));
        if let Some(spf) = &self.spf {
            records.text(Purpose::Spf, "v=spf1", domain.clone(), spf.text()?);
        }
        for key in &self.dkim {
            records.add(Purpose::Dkim, Family::Whole, key.name.clone(), [Value::txt(&key.text)]);
        }
        if let Some(dmarc) = &self.dmarc {
            policy::dmarc(&mut records, domain, dmarc)?;
        }
        policy::tls_reports(&mut records, domain, &self.tls_reports)?;
        self.mta_sts(&mut records)?;
        self.web(&mut records)?;
        if let Some(client) = &self.client {
            let before = records.found.len();
            let addresses = client.addresses.iter();
            super::host::addresses(&mut records, &client.host, addresses);
            for address in &mut records.found[before..] {
                address.set.variant.clone_from(&client.variant);
            }
            services::srv(&mut records, domain, client)?;
        }
        if let Some(caa) = &self.caa {
            records.add(Purpose::Caa, Family::Values, domain.clone(), caa.values()?);
        }
        if self.signed {
            self.tlsa.iter().try_for_each(|tlsa| super::host::tlsa(&mut records, tlsa))?;
        }
        let mut found = records.found;
        found.extend(policy::challenges(&self.challenges)?);
        Ok(found)
    }

    fn mta_sts(&self, records: &mut Records) -> Result<(), InvalidInput> {
        let Some(id) = &self.mta_sts_id else { return Ok(()) };
        let Some(web) = &self.web else {
            return Err(InvalidInput::new("mta_sts_id", "there is no web host to fetch the policy from"));
        };
        if !(1..=32).contains(&id.len()) || !id.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return Err(InvalidInput::new("mta_sts_id", "it is not 1 to 32 letters and digits"));
        }
        let name = self.domain.child("_mta-sts")?;
        records.text(Purpose::MtaSts, "v=STSv1", name, format!("v=STSv1; id={id};"));
        alias(records, Purpose::MtaSts, self.domain.child("mta-sts")?, &web.host);
        Ok(())
    }

    fn web(&self, records: &mut Records) -> Result<(), InvalidInput> {
        let Some(web) = self.web.as_ref().filter(|web| web.autoconfig) else { return Ok(()) };
        alias(records, Purpose::Autoconfig, self.domain.child("autoconfig")?, &web.host);
        alias(records, Purpose::Autoconfig, self.domain.child("autodiscover")?, &web.host);
        let discover = Value::Srv { priority: 0, weight: 1, port: 443, target: web.host.clone() };
        let name = self.domain.child("_autodiscover._tcp")?;
        records.add(Purpose::Autoconfig, Family::Whole, name, [discover]);
        Ok(())
    }
}

/// An alias, unless it would be one of itself.
fn alias(records: &mut Records, purpose: Purpose, name: Name, host: &Name) {
    if name != *host {
        records.add(purpose, Family::Whole, name, [Value::Cname(host.clone())]);
    }
}

/// MX values: those that work first, each half in the order of its preferences.
fn exchange(exchangers: &[Exchanger]) -> Vec<Value> {
    let healthy = exchangers.iter().filter(|one| one.healthy);
    // With all of them down, the order is what it was.
    let behind = healthy.map(|one| one.preference).max().map_or(0, |last| last.saturating_add(1));
    let preference = |one: &Exchanger| {
        if one.healthy { one.preference } else { one.preference.saturating_add(behind) }
    };
    exchangers
        .iter()
        .map(|one| Value::Mx { preference: preference(one), exchange: one.host.clone() })
        .collect()
}
