//! From a destination to the hosts that take its mail: configured routes, smart hosts, MX (RFC 5321 §5.1), null MX (RFC 7505), address literals.

mod candidates;
mod rules;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ekitei_config::{Cidr, Config, Live, SmartHost, TlsRule};
use ekitei_dns::{Answer, Error, Mx, Resolver, Security};
use futures_util::future::{BoxFuture, join_all};

use crate::outcome::{Failure, FailureKind};
use crate::proto::status::Status;
use candidates::Ourselves;

/// Why mail waits where it may not go to MX hosts.
const WAITS: &str =
    "no smart host is configured (relay.smartHost), and relay.direct is false: the message waits";

/// Who knows of more hosts that are this service than the configuration names.
pub trait OwnHosts: Send + Sync {
    /// Whether the host is this service. One that cannot be looked up now is not known to be.
    fn is_ours<'a>(&'a self, host: &'a str) -> BoxFuture<'a, bool>;
}

/// Finds routes: cheap to clone.
#[derive(Clone)]
pub struct Router {
    live: Live,
    dns: Resolver,
    own_hosts: Option<Arc<dyn OwnHosts>>,
}

/// Where mail for a destination is sent to.
#[derive(Clone, Debug)]
pub struct Route {
    /// The destination: a domain as A-labels in lower case, or an address literal.
    pub destination: String,
    /// The smart host that is used instead of the destination's own hosts: its port, login and implicit TLS.
    pub smart_host: Option<SmartHost>,
    /// What the configuration says of TLS, which goes before what the destination publishes.
    pub tls: Option<TlsRule>,
    /// The hosts in the order they are to be tried; at least one, at most `relay.maxHosts`.
    pub hosts: Vec<Host>,
}

/// A host that takes mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name as in the MX record, or the destination itself, or the smart host's name; for a literal the address as text.
    pub name: String,
    /// What the name leads to after CNAME.
    pub canonical: String,
    /// Its addresses, families by turns (RFC 8305 §4); at least one, at most `relay.maxAddresses`.
    pub addresses: Vec<SocketAddr>,
    /// Whether this is surely a host of the destination: DNSSEC vouches for the MX records, or that there is none; or it is configured.
    pub mx_security: Security,
    /// Whether DNSSEC vouches for the addresses and all CNAME records on the way to them.
    pub address_security: Security,
    /// Whether it vouches for what the name itself has, which may be a CNAME record that leads out of what is signed.
    pub name_security: Security,
}

/// What the MX hosts of a destination turned out to be.
#[derive(Default)]
struct Lookups {
    hosts: Vec<(u16, Host)>,
    /// A host that cannot be looked up now.
    temporary: Option<String>,
    /// A host that has only addresses of `relay.ignoreAddresses`.
    ignored: Option<String>,
}

impl Router {
    /// A router of the configuration in force.
    pub fn new(live: Live, dns: Resolver) -> Self {
        Self { live, dns, own_hosts: None }
    }

    /// The same, which knows more hosts as this service than the configuration names.
    #[must_use]
    pub fn with_own_hosts(self, own_hosts: Option<Arc<dyn OwnHosts>>) -> Self {
        Self { own_hosts, ..self }
    }

    /// The hosts for mail to `destination` from `sender_domain`.
    ///
    /// # Errors
    /// Of kind [`FailureKind::Dns`]. Its status is of class 5 if the destination will never take mail: `5.1.2` no such domain, `5.1.10` null MX,
    /// `5.4.4` no host has an address, `5.4.6` we are its best host ourselves. Otherwise of class 4.
    pub async fn route(&self, destination: &str, sender_domain: Option<&str>) -> Result<Route, Failure> {
        let config = self.live.load();
        let destination = match destination.starts_with('[') {
            true => destination.to_owned(),
            false => ekitei_dns::normalize(destination)
                .map_err(|error| dns_failure(&error.to_string(), Status(5, 1, 2)))?,
        };
        let (rule, smart_host) = rules::followed(&config, &destination, sender_domain);
        if let Some(smart_host) = smart_host.map(rules::with_port) {
            let tls = Some(smart_host.tls.unwrap_or_else(|| rules::tls_with(&smart_host)));
            let hosts = vec![self.smart_host(&config, &smart_host).await?];
            return Ok(Route { destination, smart_host: Some(smart_host), tls, hosts });
        }
        if !config.relay.direct && rule.is_none() {
            return Err(dns_failure(WAITS, Status(4, 3, 2)));
        }
        let hosts = match destination.starts_with('[') {
            true => vec![literal(&config, &destination)?],
            false => self.exchangers(&config, &destination).await?,
        };
        Ok(Route { destination, smart_host: None, tls: rule.and_then(|rule| rule.tls), hosts })
    }

    /// The smart host of a route, in words; `None` for the destination's own hosts.
    pub(crate) fn through(&self, destination: &str, sender_domain: Option<&str>) -> Option<String> {
        let config = self.live.load();
        let destination = match destination.starts_with('[') {
            true => destination.to_owned(),
            false => ekitei_dns::normalize(destination).ok()?,
        };
        let (_, smart_host) = rules::followed(&config, &destination, sender_domain);
        let SmartHost { host, port, username, .. } = rules::with_port(smart_host?);
        Some(format!("{username}@{host}:{port}"))
    }

    /// A smart host. That it cannot be found is a matter for its administrator, never a reason to return mail.
    async fn smart_host(&self, config: &Config, smart_host: &SmartHost) -> Result<Host, Failure> {
        let name = smart_host.host.trim_matches(['[', ']']);
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(address_host(address, smart_host.port));
        }
        let found = self.dns.host(name).await.map_err(|error| {
            dns_failure(&format!("the smart host {name} cannot be found: {error}"), Status(4, 4, 3))
        })?;
        Ok(Host {
            name: ekitei_dns::normalize(name).unwrap_or_else(|_| name.to_owned()),
            canonical: found.value.canonical,
            addresses: self.arrange(config, found.value.addresses, smart_host.port),
            mx_security: Security::Secure,
            address_security: found.security,
            name_security: found.value.name_security,
        })
    }

    /// The MX hosts of a domain; without MX records, the domain itself (RFC 5321 §5.1).
    async fn exchangers(&self, config: &Config, domain: &str) -> Result<Vec<Host>, Failure> {
        let (answer, implicit) = match self.dns.mx(domain).await {
            Ok(answer) => (answer, false),
            Err(Error::NoRecords) => {
                let itself = Mx { preference: 0, exchange: domain.to_owned() };
                (Answer { value: vec![itself], security: Security::Insecure }, true)
            }
            Err(error) => return Err(lookup_failure(domain, &error)),
        };
        if answer.value.iter().all(|mx| mx.exchange.is_empty()) {
            return Err(dns_failure(&format!("{domain} takes no mail (null MX)"), Status(5, 1, 10)));
        }
        let mut ourselves = Ourselves::new(config);
        let all = candidates::order(answer.value, &mut rand::rng());
        let mut others = ourselves.better_among(all);
        others.truncate(count(config.relay.max_hosts));
        self.meet(&mut ourselves, &others).await;
        let others = ourselves.better_among(others);
        if others.is_empty() {
            return Err(loops(domain));
        }
        let mut lookups = self.look_up(config, others).await;
        if implicit {
            // A signed zone could not have hidden its MX records: that there is none is as sure as the addresses.
            lookups.hosts.iter_mut().for_each(|(_, host)| host.mx_security = host.address_security);
        } else {
            lookups.hosts.iter_mut().for_each(|(_, host)| host.mx_security = answer.security);
        }
        let found = !lookups.hosts.is_empty();
        let hosts = ourselves.better_than_us(
            lookups.hosts,
            |(preference, _)| *preference,
            |(_, host)| ourselves.is_host(host),
        );
        match (hosts.is_empty(), found) {
            (false, _) => Ok(hosts.into_iter().map(|(_, host)| host).collect()),
            (true, true) => Err(loops(domain)),
            (true, false) => Err(nowhere(domain, implicit, lookups.temporary, lookups.ignored)),
        }
    }

    /// Finds those hosts that are this service without the configuration's knowing.
    async fn meet(&self, ourselves: &mut Ourselves, hosts: &[Mx]) {
        let Some(known) = &self.own_hosts else { return };
        let answers = join_all(hosts.iter().map(|mx| known.is_ours(&mx.exchange))).await;
        let own = hosts.iter().zip(answers).filter(|(_, is_ours)| *is_ours);
        own.for_each(|(mx, _)| ourselves.add(&mx.exchange));
    }

    /// The addresses of MX hosts, all at once.
    async fn look_up(&self, config: &Config, exchangers: Vec<Mx>) -> Lookups {
        let answers = join_all(exchangers.iter().map(|mx| self.dns.host(&mx.exchange))).await;
        let mut lookups = Lookups::default();
        for (mx, answer) in exchangers.into_iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    let ignored = &config.relay.ignore_addresses;
                    let mut usable = answer.value.addresses;
                    usable.retain(|address| !is_ignored(ignored, *address));
                    if usable.is_empty() {
                        lookups.ignored = Some(mx.exchange);
                        continue;
                    }
                    let host = Host {
                        name: mx.exchange,
                        canonical: answer.value.canonical,
                        addresses: self.arrange(config, usable, config.relay.port),
                        mx_security: Security::Insecure,
                        address_security: answer.security,
                        name_security: answer.value.name_security,
                    };
                    lookups.hosts.push((mx.preference, host));
                }
                Err(error) if error.is_temporary() => {
                    lookups.temporary = Some(format!("{}: {error}", mx.exchange))
                }
                Err(error) => tracing::debug!(host = mx.exchange, %error, "an MX host has no address"),
            }
        }
        lookups
    }

    fn arrange(&self, config: &Config, addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
        candidates::arrange(addresses, port, count(config.relay.max_addresses), &mut rand::rng())
    }
}

/// Whether an address is of one of the networks.
pub(crate) fn is_ignored(networks: &[Cidr], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The smart host that mail from a domain to the world at large goes to, if there is one.
pub fn gateway(config: &Config, sender_domain: &str) -> Option<SmartHost> {
    rules::followed(config, "", Some(sender_domain)).1
}

/// The host of an address literal (RFC 5321 §4.1.3).
fn literal(config: &Config, destination: &str) -> Result<Host, Failure> {
    let inner = destination.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    let address = match inner.split_at_checked(5) {
        Some((tag, six)) if tag.eq_ignore_ascii_case("ipv6:") => six.parse().map(IpAddr::V6).ok(),
        _ => inner.parse().map(IpAddr::V4).ok(),
    };
    let Some(address) = address else {
        return Err(dns_failure(&format!("{destination} is not an address literal"), Status(5, 1, 2)));
    };
    let host = address_host(address, config.relay.port);
    if Ourselves::new(config).is_host(&host) {
        return Err(loops(destination));
    }
    if is_ignored(&config.relay.ignore_addresses, address) {
        return Err(dns_failure(&format!("no mail is sent to {address}"), Status(5, 1, 2)));
    }
    Ok(host)
}

fn address_host(address: IpAddr, port: u16) -> Host {
    Host {
        name: address.to_string(),
        canonical: address.to_string(),
        addresses: vec![SocketAddr::new(address, port)],
        mx_security: Security::Secure,
        address_security: Security::Insecure,
        name_security: Security::Insecure,
    }
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).max(1)
}

fn dns_failure(text: &str, status: Status) -> Failure {
    Failure::new(FailureKind::Dns, status, text)
}

/// The MX records cannot be had.
fn lookup_failure(domain: &str, error: &Error) -> Failure {
    let status = if error.is_temporary() { Status(4, 4, 3) } else { Status(5, 1, 2) };
    dns_failure(&format!("looking {domain} up: {error}"), status)
}

/// We are the best host of the domain, and yet it is not ours.
fn loops(domain: &str) -> Failure {
    dns_failure(
        &format!("mail for {domain} loops back to this service, which does not serve it"),
        Status(5, 4, 6),
    )
}

/// No host has an address that can be used.
fn nowhere(domain: &str, implicit: bool, temporary: Option<String>, ignored: Option<String>) -> Failure {
    if let Some(reason) = temporary {
        return dns_failure(&format!("no host of {domain} can be looked up now: {reason}"), Status(4, 4, 3));
    }
    let text = match ignored {
        Some(host) => {
            format!("{domain} has its mail sent to {host}, which has only addresses that no mail is sent to")
        }
        None if implicit => format!("{domain} has neither MX nor address records"),
        None => format!("no MX host of {domain} has an address"),
    };
    dns_failure(&text, Status(5, 4, 4))
}
