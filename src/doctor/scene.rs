//! What several looks need, looked up once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ekitei_config::Config;
use ekitei_dns::{Answer, Error, Host, Mx, Resolver, Tlsa};
use ekitei_relay::inspect::{Chain, Inspector};
use ekitei_relay::mx::gateway;
use futures_util::future::join_all;

use crate::addresses::is_public;
use crate::{HOSTS, Subject};

/// The domain and its surroundings.
pub(crate) struct Scene {
    pub(crate) config: Arc<Config>,
    pub(crate) dns: Resolver,
    pub(crate) inspector: Inspector,
    pub(crate) subject: Subject,
    pub(crate) mx: Result<Answer<Vec<Mx>>, Error>,
    pub(crate) hosts: Vec<MxHost>,
    pub(crate) egress: Egress,
}

/// An MX host of the domain.
pub(crate) struct MxHost {
    pub(crate) name: String,
    pub(crate) addresses: Result<Answer<Host>, Error>,
    pub(crate) tlsa: Result<Answer<Vec<Tlsa>>, Error>,
    /// What it shows after STARTTLS; `None` if it does not offer that; an error if it cannot be asked from here.
    pub(crate) chain: Result<Option<Chain>, String>,
}

/// Where mail of the domain comes from, as receivers see it.
pub(crate) enum Egress {
    /// These are configured.
    Configured(Vec<IpAddr>),
    /// None is configured; these are the addresses of the name in EHLO, which should be those.
    Assumed(Vec<IpAddr>),
    /// It leaves through a smart host.
    SmartHost(String),
    /// It cannot be known: why.
    Unknown(String),
}

impl Scene {
    /// Looks at MX hosts and egress.
    pub(crate) async fn look(
        config: Arc<Config>,
        dns: Resolver,
        inspector: Inspector,
        subject: Subject,
    ) -> Self {
        let mx = dns.mx(&subject.domain).await;
        let mut names: Vec<String> = mx
            .as_ref()
            .map(|answer| answer.value.clone())
            .unwrap_or_default()
            .into_iter()
            .map(|mx| mx.exchange)
            .filter(|name| !name.is_empty())
            .collect();
        names.dedup();
        names.truncate(HOSTS);
        let (hosts, egress) = tokio::join!(
            join_all(names.into_iter().map(|name| MxHost::look(name, &config, &dns, &inspector))),
            Egress::look(&config, &dns, &subject.domain),
        );
        Self { config, dns, inspector, subject, mx, hosts, egress }
    }

    /// The name that we say in EHLO.
    pub(crate) fn ehlo_name(&self) -> String {
        let name = if self.config.relay.ehlo_name.is_empty() {
            &self.config.hostname
        } else {
            &self.config.relay.ehlo_name
        };
        ekitei_dns::normalize(name).unwrap_or_else(|_| name.clone())
    }

    /// Whether receivers can reach an address. In a test network, which an empty `relay.ignoreAddresses` tells of, they reach any.
    pub(crate) fn is_reachable(&self, address: IpAddr) -> bool {
        is_reachable(&self.config, address)
    }

    /// Whether a host is one of ours, by its name.
    pub(crate) fn is_ours(&self, host: &str) -> bool {
        let own = [&self.config.hostname, &self.config.relay.ehlo_name];
        own.into_iter()
            .chain(&self.config.relay.own_hosts)
            .chain(&self.subject.mx_hosts)
            .any(|name| ekitei_dns::normalize(name).is_ok_and(|name| name == host))
    }
}

fn is_reachable(config: &Config, address: IpAddr) -> bool {
    is_public(address) || config.relay.ignore_addresses.is_empty()
}

impl MxHost {
    async fn look(name: String, config: &Config, dns: &Resolver, inspector: &Inspector) -> Self {
        let tlsa_name = format!("_25._tcp.{name}");
        let (addresses, tlsa) = tokio::join!(dns.host(&name), dns.tlsa(&tlsa_name));
        let reachable = addresses
            .as_ref()
            .ok()
            .and_then(|answer| answer.value.addresses.iter().max_by_key(|address| address.is_ipv4()));
        let chain = match reachable {
            Some(address) => {
                inspector.certificates(&name, SocketAddr::new(*address, config.relay.port)).await
            }
            None => Err("it has no address".to_owned()),
        };
        Self { name, addresses, tlsa, chain }
    }

    /// Its addresses, if they are known.
    pub(crate) fn known_addresses(&self) -> &[IpAddr] {
        self.addresses.as_ref().map(|answer| answer.value.addresses.as_slice()).unwrap_or_default()
    }
}

impl Egress {
    async fn look(config: &Config, dns: &Resolver, domain: &str) -> Self {
        if let Some(smart_host) = gateway(config, domain) {
            return Self::SmartHost(smart_host.host);
        }
        let sources = &config.relay.source_addresses;
        if !sources.is_empty() {
            let public: Vec<IpAddr> =
                sources.iter().copied().filter(|address| is_reachable(config, *address)).collect();
            return match public.is_empty() {
                false => Self::Configured(public),
                true => Self::Unknown(
                    "relay.sourceAddresses are private, and what they are translated to is not known here"
                        .to_owned(),
                ),
            };
        }
        let name = if config.relay.ehlo_name.is_empty() { &config.hostname } else { &config.relay.ehlo_name };
        match dns.addresses(name).await {
            Ok(answer) => Self::Assumed(answer.value),
            Err(error) => Self::Unknown(format!(
                "relay.sourceAddresses is empty, and the addresses of {name} are not to be had: {error}"
            )),
        }
    }

    /// The addresses, as far as they are known or assumed.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Configured(addresses) | Self::Assumed(addresses) => addresses,
            Self::SmartHost(_) | Self::Unknown(_) => &[],
        }
    }

    /// Why they are not known.
    pub(crate) fn reason(&self) -> Option<String> {
        match self {
            Self::Configured(_) | Self::Assumed(_) => None,
            Self::SmartHost(host) => {
                Some(format!("mail leaves through {host}, whose addresses of egress are not known here"))
            }
            Self::Unknown(why) => Some(why.clone()),
        }
    }
}
