//! `check_host()` (RFC 7208 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;

use super::macros::{MacroString, Values};
use super::record::{Mechanism, Record, Target, is_spf};
use super::{Checked, Query, SpfResult};
use crate::names::{Absence, Names};

/// Terms that look something up (§4.6.4).
const MAX_LOOKUPS: u32 = 10;
/// Hosts of an MX or a PTR (§4.6.4).
const MAX_HOSTS: usize = 10;
/// What `p` is if no name is validated (§7.3).
const UNKNOWN: &str = "unknown";
/// The longest explanation that is passed on.
const MAX_EXPLANATION: usize = 300;

/// The end of an evaluation before a mechanism matched.
type Stopped = SpfResult;

/// Whether the host may use the domain.
pub(crate) async fn check_host<N: Names>(names: &N, query: Query<'_>) -> Checked {
    let mut evaluation = Evaluation {
        names,
        client: query.client.to_canonical(),
        query,
        lookups: 0,
        voids: 0,
        validated: None,
    };
    match evaluation.check(query.domain.to_owned()).await {
        Ok(found) => {
            let explanation = match found.explanation {
                Some((text, domain)) if found.result == SpfResult::Fail => {
                    evaluation.explain(&text, &domain).await
                }
                _ => None,
            };
            Checked { result: found.result, explanation }
        }
        Err(result) => Checked { result, explanation: None },
    }
}

struct Evaluation<'a, N> {
    names: &'a N,
    client: IpAddr,
    query: Query<'a>,
    lookups: u32,
    voids: u32,
    /// The client's validated name, once it was asked for.
    validated: Option<String>,
}

/// The result of a record, and the explanation that belongs to it with the domain it is of.
struct Found {
    result: SpfResult,
    explanation: Option<(MacroString, String)>,
}

impl<N: Names> Evaluation<'_, N> {
    /// The result for a domain: that of its own record, or of the one it redirects to. Boxed, since records include records.
    fn check(&mut self, domain: String) -> Pin<Box<dyn Future<Output = Result<Found, Stopped>> + Send + '_>> {
        Box::pin(async move {
            let mut domain = domain;
            loop {
                let record = self.record(&domain).await?;
                for directive in &record.directives {
                    if directive.mechanism.looks_up() {
                        self.count_lookup()?;
                    }
                    if self.matches(&directive.mechanism, &domain).await? {
                        let explanation = record.explanation.map(|text| (text, domain));
                        return Ok(Found { result: directive.qualifier, explanation });
                    }
                }
                let Some(redirect) = record.redirect else {
                    return Ok(Found { result: SpfResult::Neutral, explanation: None });
                };
                self.count_lookup()?;
                let target = self.name(&redirect, &domain).await?;
                // A redirection to nothing is a mistake of the record that redirects (§6.1).
                if !is_valid_domain(&target) {
                    return Err(SpfResult::PermError);
                }
                match self.record(&target).await {
                    Err(SpfResult::None) => return Err(SpfResult::PermError),
                    Err(stopped) => return Err(stopped),
                    Ok(_) => domain = target,
                }
            }
        })
    }

    /// The record of a domain (§4.4, §4.5); `Err(None)` if it has none.
    async fn record(&self, domain: &str) -> Result<Record, Stopped> {
        if !is_valid_domain(domain) {
            return Err(SpfResult::None);
        }
        let texts = match self.names.txt(domain).await {
            Ok(texts) => texts,
            Err(Absence::Certain) => return Err(SpfResult::None),
            Err(Absence::Unknown) => return Err(SpfResult::TempError),
        };
        let mut records = texts.iter().filter(|text| is_spf(text));
        match (records.next(), records.next()) {
            (None, _) => Err(SpfResult::None),
            (Some(text), None) => Record::parse(text).map_err(|_| SpfResult::PermError),
            (Some(_), Some(_)) => Err(SpfResult::PermError),
        }
    }

    fn count_lookup(&mut self) -> Result<(), Stopped> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS { Err(SpfResult::PermError) } else { Ok(()) }
    }

    /// Takes the answer to a lookup; nothing is an answer too, but not too often.
    fn found<T>(&mut self, answer: Result<Vec<T>, Absence>) -> Result<Vec<T>, Stopped> {
        let values = match answer {
            Ok(values) => values,
            Err(Absence::Certain) => Vec::new(),
            Err(Absence::Unknown) => return Err(SpfResult::TempError),
        };
        if values.is_empty() {
            self.voids += 1;
            if self.voids > self.query.max_void_lookups {
                return Err(SpfResult::PermError);
            }
        }
        Ok(values)
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stopped> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, bits) => Ok(in_network(self.client, (*network).into(), *bits)),
            Mechanism::Ip6(network, bits) => Ok(in_network(self.client, (*network).into(), *bits)),
            Mechanism::Include(name) => {
                let target = self.name(name, domain).await?;
                match self.check(target).await {
                    Ok(found) => Ok(found.result == SpfResult::Pass),
                    Err(SpfResult::None) => Err(SpfResult::PermError),
                    Err(stopped) => Err(stopped),
                }
            }
            Mechanism::Exists(name) => {
                let target = self.name(name, domain).await?;
                let answer = self.names.ipv4(&target).await;
                Ok(!self.found(answer)?.is_empty())
            }
            Mechanism::A(target) => {
                let host = self.target(target, domain).await?;
                let addresses = self.addresses(&host).await;
                let addresses = self.found(addresses)?;
                Ok(addresses.into_iter().any(|address| self.covers(target, address)))
            }
            Mechanism::Mx(target) => self.matches_mx(target, domain).await,
            Mechanism::Ptr(name) => {
                let wanted = match name {
                    Some(name) => self.name(name, domain).await?,
                    None => domain.to_owned(),
                };
                let hosts = self.validated_names().await;
                Ok(hosts.iter().any(|host| is_within(host, &wanted)))
            }
        }
    }

    async fn matches_mx(&mut self, target: &Target, domain: &str) -> Result<bool, Stopped> {
        let owner = self.target(target, domain).await?;
        let hosts = self.names.mx(&owner).await;
        let hosts = self.found(hosts)?;
        // Looking at some of them would make the result depend on the order of the answer.
        if hosts.len() > MAX_HOSTS {
            return Err(SpfResult::PermError);
        }
        for host in hosts.iter().filter(|host| !host.is_empty()) {
            let addresses = self.addresses(host).await;
            let addresses = match addresses {
                Err(Absence::Certain) => Vec::new(),
                answer => answer.map_err(|_| SpfResult::TempError)?,
            };
            if addresses.into_iter().any(|address| self.covers(target, address)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an address of a target is the client's, as far as its bits go.
    fn covers(&self, target: &Target, address: IpAddr) -> bool {
        let bits = if address.is_ipv4() { target.bits4 } else { target.bits6 };
        in_network(self.client, address, bits)
    }

    /// Addresses of the client's family.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Absence> {
        match self.client {
            IpAddr::V4(_) => Ok(self.names.ipv4(host).await?.into_iter().map(IpAddr::from).collect()),
            IpAddr::V6(_) => Ok(self.names.ipv6(host).await?.into_iter().map(IpAddr::from).collect()),
        }
    }

    async fn target(&mut self, target: &Target, domain: &str) -> Result<String, Stopped> {
        match &target.name {
            Some(name) => self.name(name, domain).await,
            None => Ok(domain.to_owned()),
        }
    }

    /// A name with its macros expanded.
    async fn name(&mut self, name: &MacroString, domain: &str) -> Result<String, Stopped> {
        if name.needs_validated() {
            self.validate(domain).await;
        }
        Ok(name.expand_name(&self.values(domain)))
    }

    fn values<'v>(&'v self, domain: &'v str) -> Values<'v> {
        let (local, sender_domain) = self.query.sender.rsplit_once('@').unwrap_or(("", self.query.sender));
        Values {
            sender: self.query.sender,
            local: if local.is_empty() { "postmaster" } else { local },
            sender_domain,
            domain,
            client: self.client,
            helo: self.query.helo,
            validated: self.validated.as_deref().unwrap_or(UNKNOWN),
            receiver: self.query.receiver,
            now: self.query.now,
        }
    }

    /// Chooses the client's name for `p`: the domain itself, something below it, or any (§7.3).
    async fn validate(&mut self, domain: &str) {
        if self.validated.is_some() {
            return;
        }
        let hosts = self.validated_names().await;
        let best = hosts
            .iter()
            .find(|host| host.eq_ignore_ascii_case(domain))
            .or_else(|| hosts.iter().find(|host| is_within(host, domain)))
            .or(hosts.first());
        self.validated = Some(best.cloned().unwrap_or_else(|| UNKNOWN.to_owned()));
    }

    /// The client's names that lead back to its address (§5.5). Failures are no names, never errors.
    async fn validated_names(&self) -> Vec<String> {
        let hosts = self.names.ptr(self.client).await.unwrap_or_default();
        let mut validated = Vec::new();
        for host in hosts.into_iter().take(MAX_HOSTS) {
            let addresses = self.addresses(&host).await.unwrap_or_default();
            if addresses.contains(&self.client) {
                validated.push(host);
            }
        }
        validated
    }

    /// The explanation of a failure (§6.2); anything wrong with it is no explanation.
    async fn explain(&mut self, name: &MacroString, domain: &str) -> Option<String> {
        let target = self.name(name, domain).await.ok()?;
        let texts = self.names.txt(&target).await.ok()?;
        let [text] = texts.as_slice() else { return None };
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
        let text = MacroString::parse(text, true).ok()?;
        if text.needs_validated() {
            self.validate(domain).await;
        }
        let text = text.expand(&self.values(domain));
        let printable = text.chars().all(|c| matches!(c, ' '..='~'));
        printable.then(|| text.chars().take(MAX_EXPLANATION).collect())
    }
}

/// Whether `host` is `domain` or below it.
fn is_within(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.trim_end_matches('.'), domain.trim_end_matches('.'));
    let Some(split) = host.len().checked_sub(domain.len()) else { return false };
    host.is_char_boundary(split)
        && host[split..].eq_ignore_ascii_case(domain)
        && (split == 0 || host[..split].ends_with('.'))
}

/// A name with several labels that DNS can hold (§4.3).
fn is_valid_domain(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    domain.len() <= 253
        && domain.contains('.')
        && !domain.starts_with('[')
        && domain.split('.').all(|label| (1..=63).contains(&label.len()))
}

fn in_network(client: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (client, network) {
        (IpAddr::V4(client), IpAddr::V4(network)) => same_v4(client, network, bits),
        (IpAddr::V6(client), IpAddr::V6(network)) => same_v6(client, network, bits),
        _ => false,
    }
}

fn same_v4(one: Ipv4Addr, other: Ipv4Addr, bits: u8) -> bool {
    let differing = u32::from(one) ^ u32::from(other);
    differing.leading_zeros() >= u32::from(bits)
}

fn same_v6(one: Ipv6Addr, other: Ipv6Addr, bits: u8) -> bool {
    let differing = u128::from(one) ^ u128::from(other);
    differing.leading_zeros() >= u32::from(bits)
}
