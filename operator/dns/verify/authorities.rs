//! Who answers for a name: the zone that it is in, and all servers of that zone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::future::join_all;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{RData, Record, RecordType as WireType};

use super::{Verifier, VerifyError};
use crate::exchange::{ask, question};
use crate::name::Name;

/// The port of DNS.
const PORT: u16 = 53;

/// An authoritative server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, or what was configured.
    pub name: String,
    /// Its addresses; asked in this order until one answers.
    pub addresses: Vec<SocketAddr>,
}

/// How far signatures vouch for a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// It has no keys: TLSA records in it are worth nothing (RFC 7672 §2.2).
    Unsigned,
    /// It has keys, and whether its parent vouches for them is not known.
    Signed,
    /// It has keys, and nobody above vouches for them: there is no DS record. TLSA records are worth nothing until there is.
    Island,
    /// It is signed from the root down.
    Secure,
}

/// A zone, and who answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The apex.
    pub zone: Name,
    /// All servers, of which at least one has an address.
    pub servers: Vec<Server>,
    /// Seconds that the absence of a record is kept in caches (RFC 2308 §5).
    pub negative_ttl: u32,
    /// Whether it is signed; none while nobody says.
    pub security: Option<Security>,
}

/// An SOA record out of an answer or an authority section.
struct Apex {
    zone: Name,
    /// Its TTL, in seconds.
    ttl: u32,
    /// The last of its fields, in seconds (RFC 2308 §4).
    minimum: u32,
}

fn apex(answer: &Message, name: &Name) -> Option<Apex> {
    let mut records = answer.answers.iter().chain(&answer.authorities);
    records.find_map(|record| {
        let RData::SOA(SOA { minimum, .. }) = &record.data else { return None };
        let zone = Name::from_wire(&record.name);
        name.is_within(&zone).then_some(Apex { zone, ttl: record.ttl, minimum: *minimum })
    })
}

impl Verifier {
    /// Finds the zone of a name, and its servers.
    ///
    /// # Errors
    /// The resolvers or all servers are away, or there is no such zone.
    pub async fn authorities(&self, name: &Name) -> Result<Authorities, VerifyError> {
        let (apex, servers) = if self.settings.servers.is_empty() {
            self.discover(name).await?
        } else {
            self.configured(name).await?
        };
        let security = self.security(&apex.zone, &servers).await;
        let negative_ttl = self.negative_ttl(&apex, &servers).await;
        let zone = apex.zone;
        Ok(Authorities { zone, servers, negative_ttl, security })
    }

    /// How long a resolver keeps that something is not there. Of an SOA out of a resolver's cache the TTL is only what is left of it, so the servers
    /// themselves are asked; if none of them answers, it is the most that it may be.
    async fn negative_ttl(&self, apex: &Apex, servers: &[Server]) -> u32 {
        for server in servers {
            let answer = self.ask_own(server, &apex.zone, WireType::SOA).await;
            let own = answer.and_then(|answer| self::apex(&answer, &apex.zone));
            if let Some(own) = own.filter(|own| own.zone == apex.zone) {
                return own.ttl.min(own.minimum);
            }
        }
        apex.minimum
    }

    async fn configured(&self, name: &Name) -> Result<(Apex, Vec<Server>), VerifyError> {
        let mut servers = Vec::new();
        for text in &self.settings.servers {
            let addresses = tokio::net::lookup_host(text.as_str()).await;
            let addresses = addresses.map(Iterator::collect).unwrap_or_default();
            servers.push(Server { name: text.clone(), addresses });
        }
        let mut reasons = Vec::new();
        for server in &servers {
            match self.ask(server, name, WireType::SOA).await {
                Ok(answer) => match apex(&answer, name).filter(|_| answer.authoritative) {
                    Some(apex) => return Ok((apex, servers)),
                    None => reasons.push(format!("{} is not authoritative for {name}", server.name)),
                },
                Err(reason) => reasons.push(format!("{}: {reason}", server.name)),
            }
        }
        Err(VerifyError::Unavailable(reasons.join("; ")))
    }

    async fn discover(&self, name: &Name) -> Result<(Apex, Vec<Server>), VerifyError> {
        let answer = self.resolve(name, WireType::SOA).await?;
        let no_zone = || VerifyError::NoZone(format!("there is no zone for {name}: nobody delegated it"));
        let apex = apex(&answer, name).filter(|apex| apex.zone.depth() > 0).ok_or_else(no_zone)?;
        let answer = self.resolve(&apex.zone, WireType::NS).await?;
        let names: Vec<Name> = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::NS(name) => Some(Name::from_wire(&name.0)),
                _ => None,
            })
            .collect();
        let servers = join_all(names.into_iter().map(|name| self.server(name))).await;
        if servers.iter().all(|server| server.addresses.is_empty()) {
            let reason = format!("no server of {} can be found", apex.zone);
            return Err(VerifyError::Unavailable(reason));
        }
        Ok((apex, servers))
    }

    async fn server(&self, name: Name) -> Server {
        let (four, six) = tokio::join!(self.resolve(&name, WireType::A), self.resolve(&name, WireType::AAAA));
        let records = [four, six].into_iter().flatten().flat_map(|answer| answer.answers);
        let addresses = records.filter_map(|record| match record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        let addresses = addresses.map(|address| SocketAddr::new(address, PORT)).collect();
        Server { name: name.to_string(), addresses }
    }

    /// Asks a resolver; the next one if it does not answer.
    async fn resolve(&self, name: &Name, record_type: WireType) -> Result<Message, VerifyError> {
        let unavailable = |reason: String| VerifyError::Unavailable(format!("no resolver answers: {reason}"));
        let mut question = question(name, record_type).map_err(|error| unavailable(error.to_string()))?;
        question.metadata.recursion_desired = true;
        let mut last = "none is known".to_owned();
        for resolver in self.resolvers() {
            match ask(resolver, &question, self.settings.timeout).await {
                Ok(answer)
                    if matches!(answer.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
                {
                    return Ok(answer);
                }
                Ok(answer) => last = format!("{resolver} says {:?}", answer.response_code),
                Err(silence) => last = format!("{resolver}: {silence}"),
            }
        }
        Err(unavailable(last))
    }

    /// Those that are configured, or those of the system.
    fn resolvers(&self) -> Vec<SocketAddr> {
        if !self.settings.resolvers.is_empty() {
            return self.settings.resolvers.clone();
        }
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())??.parse::<IpAddr>().ok()
        });
        let found: Vec<SocketAddr> = servers.map(|address| SocketAddr::new(address, PORT)).collect();
        if found.is_empty() { vec![(Ipv4Addr::LOCALHOST, PORT).into()] } else { found }
    }

    /// Only who answers for the zone can say that it has no keys: those who are away, or do not have it, say nothing.
    async fn security(&self, zone: &Name, servers: &[Server]) -> Option<Security> {
        let mut has_keys = None;
        for server in servers {
            if let Some(answer) = self.ask_own(server, zone, WireType::DNSKEY).await {
                let is_key = |record: &Record| record.record_type() == WireType::DNSKEY;
                has_keys = Some(answer.answers.iter().any(is_key));
                break;
            }
        }
        let vouched = match &self.settings.validator {
            Some(validator) if has_keys != Some(false) => validator.vouches(zone).await,
            _ => None,
        };
        match (has_keys, vouched) {
            (_, Some(true)) => Some(Security::Secure),
            (Some(false), _) => Some(Security::Unsigned),
            (Some(true), Some(false)) => Some(Security::Island),
            (Some(true), None) => Some(Security::Signed),
            (None, _) => None,
        }
    }

    /// What a server says of its own zone; none if it does not answer, or not for that zone.
    async fn ask_own(&self, server: &Server, zone: &Name, record_type: WireType) -> Option<Message> {
        let answer = self.ask(server, zone, record_type).await.ok()?;
        (answer.authoritative && answer.response_code == ResponseCode::NoError).then_some(answer)
    }

    /// Asks a server, by all its addresses until one answers.
    pub(super) async fn ask(
        &self,
        server: &Server,
        name: &Name,
        record_type: WireType,
    ) -> Result<Message, String> {
        let mut question = question(name, record_type).map_err(|error| error.to_string())?;
        question.metadata.recursion_desired = false;
        let mut last = "it has no address".to_owned();
        for address in &server.addresses {
            match ask(*address, &question, self.settings.timeout).await {
                Ok(answer) => return Ok(answer),
                Err(silence) => last = silence.to_string(),
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Settings;
    use crate::verify::testing::server;

    fn with_apex(message: &mut Message) {
        let name = message.queries[0].name().clone();
        let soa = SOA::new(name.clone(), name.clone(), 1, 3600, 600, 86400, 600);
        if message.queries[0].query_type() == WireType::SOA {
            message.answers.push(Record::from_rdata(name, 900, RData::SOA(soa)));
        }
    }

    fn refusing(message: &mut Message) {
        message.metadata.response_code = ResponseCode::Refused;
        message.metadata.authoritative = false;
    }

    #[tokio::test]
    async fn only_who_answers_for_a_zone_says_something_of_it() {
        let verifier = Verifier::new(Settings::default());
        let zone: Name = "a.test".parse().unwrap();
        let (refusing, owning) = (server(refusing).await, server(with_apex).await);
        let only_refusing = [refusing.clone()];
        let both = [refusing, owning];
        assert_eq!(verifier.security(&zone, &only_refusing).await, None);
        assert_eq!(verifier.security(&zone, &both).await, Some(Security::Unsigned));
        // As a resolver has it that had it in its cache for nearly as long as it may.
        let cached = Apex { zone, ttl: 3, minimum: 1200 };
        assert_eq!(verifier.negative_ttl(&cached, &both).await, 600);
        assert_eq!(verifier.negative_ttl(&cached, &only_refusing).await, 1200);
    }
}
