//! Zones on a server that takes dynamic updates (RFC 2136), signed with TSIG (RFC 8945).
//!
//! All changes of a round are one UPDATE message, which the server applies as a whole or not at all, and its prerequisites are every record set as it
//! was seen: who else writes meanwhile makes it fail, and is looked at again. What is there is asked of the server itself, over TCP, signed; what a wildcard
//! may have answered is asked once more by a prerequisite.

mod answer;
mod key;
mod message;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType as WireType};

use super::{Capabilities, Provider, ProviderError, Result, Zone};
use crate::exchange::{self, Silence, question, within};
use crate::name::Name;
use crate::plan::Change;
use crate::record::{Key, RecordSet};
use crate::wildcard;

pub use key::{BadKey, TsigKey};

/// A server that takes updates.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of the primary server.
    pub server: String,
    /// The key that it knows.
    pub key: TsigKey,
    /// How long a question or an update may take.
    pub timeout: Duration,
}

/// Zones on a server that takes updates.
#[derive(Clone, Debug)]
pub struct Rfc2136 {
    settings: Settings,
}

impl Rfc2136 {
    /// A provider; the server is not asked yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Where the server is now.
    async fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let server = &self.settings.server;
        let found = tokio::net::lookup_host(server.as_str()).await;
        let found: Vec<SocketAddr> = found
            .map_err(|error| ProviderError::Unavailable(format!("{server} cannot be looked up: {error}")))?
            .collect();
        if found.is_empty() {
            return Err(ProviderError::Unavailable(format!("{server} has no address")));
        }
        Ok(found)
    }

    /// Sends a signed message, and reads the answer, whose signature is checked.
    async fn send(&self, mut message: Message) -> Result<Message> {
        let Settings { server, key, timeout } = &self.settings;
        let rejected = |error: &dyn std::fmt::Display| ProviderError::Rejected(error.to_string());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let verifier = message.finalize(&key.signer, now).map_err(|error| rejected(&error))?;
        let mut verifier = verifier.ok_or_else(|| rejected(&"the message cannot be signed"))?;
        let octets = message.to_vec().map_err(|error| rejected(&error))?;
        let mut silence = Silence::Network("it has no address".to_owned());
        for address in self.addresses().await? {
            let answer = match within(*timeout, exchange::tcp(address, &octets)).await {
                Ok(answer) => answer,
                // Nothing arrived there, so another address may be tried; a server that took it may have done what it says.
                Err(error @ Silence::Network(_)) => {
                    silence = error;
                    continue;
                }
                Err(error) => {
                    silence = error;
                    break;
                }
            };
            return match verifier.verify(&answer) {
                Ok(verified) if verified.id == message.id => Ok(verified.into_message()),
                Ok(_) => Err(ProviderError::Unavailable(format!("{server} answers something else"))),
                Err(reason) => Err(answer::unsigned(server, key, &answer, &reason.to_string(), now)),
            };
        }
        Err(ProviderError::Unavailable(format!("{server}: {silence}")))
    }

    async fn query(&self, name: &Name, record_type: WireType) -> Result<Message> {
        let question =
            question(name, record_type).map_err(|error| ProviderError::Rejected(error.to_string()))?;
        self.send(question).await
    }

    async fn find(&self, name: &Name) -> Result<Zone> {
        let answer = self.query(name, WireType::SOA).await?;
        answer::check_query(&self.settings, name, &answer)?;
        let sections = answer.answers.iter().chain(&answer.authorities);
        let mut apexes = sections.filter(|record| matches!(record.data, RData::SOA(_)));
        let apex = apexes.next().map(|record| Name::from_wire(&record.name));
        match apex.filter(|apex| answer.authoritative && name.is_within(apex)) {
            Some(apex) => Ok(Zone { name: apex, id: None }),
            None => Err(ProviderError::NoZone {
                name: name.clone(),
                reason: format!("{} is not authoritative for it", self.settings.server),
            }),
        }
    }

    async fn look(&self, zone: &Zone, key: &Key) -> Result<Option<RecordSet>> {
        let answer = self.query(&key.name, key.record_type.to_wire()).await?;
        answer::check_query(&self.settings, &key.name, &answer)?;
        if !answer.authoritative {
            return Err(ProviderError::NoZone {
                name: key.name.clone(),
                reason: format!("{} leads elsewhere for it, out of {}", self.settings.server, zone.name),
            });
        }
        match RecordSet::from_wire(&key.name, key.record_type, &answer.answers) {
            Some(found)
                if self.may_be_wildcard(zone, key, &found).await? && !self.has(zone, &found).await? =>
            {
                Ok(None)
            }
            found => Ok(found),
        }
    }

    /// Whether a wildcard of the zone would give the same answer.
    async fn may_be_wildcard(&self, zone: &Zone, key: &Key, found: &RecordSet) -> Result<bool> {
        let Some(wildcard) = wildcard::of(&zone.name, &key.name) else { return Ok(false) };
        let answer = self.query(&wildcard, key.record_type.to_wire()).await?;
        answer::check_query(&self.settings, &wildcard, &answer)?;
        let set = RecordSet::from_wire(&wildcard, key.record_type, &answer.answers);
        Ok(set.is_some_and(|set| wildcard::gives(&set, found)))
    }

    /// Whether the zone itself has such a record set: prerequisites are no questions, and no wildcard meets them (RFC 2136 §2.4.1).
    async fn has(&self, zone: &Zone, set: &RecordSet) -> Result<bool> {
        let answer = self.send(message::exists(zone, set)?).await?;
        match answer.response_code {
            ResponseCode::NXRRSet | ResponseCode::NXDomain => Ok(false),
            _ => answer::check_update(&self.settings, zone, &answer).map(|()| true),
        }
    }

    async fn update(&self, zone: &Zone, changes: &[Change]) -> Result<()> {
        for message in message::updates(zone, changes)? {
            let answer = self.send(message).await?;
            answer::check_update(&self.settings, zone, &answer)?;
        }
        Ok(())
    }
}

impl Provider for Rfc2136 {
    fn name(&self) -> String {
        format!("rfc2136 at {}", self.settings.server)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes: true,
            atomic: true,
            prerequisites: true,
            routing: false,
            min_ttl: 0,
            markers: true,
        }
    }

    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone>> {
        self.find(name).boxed()
    }

    fn get<'a>(&'a self, zone: &'a Zone, key: &'a Key) -> BoxFuture<'a, Result<Option<RecordSet>>> {
        self.look(zone, key).boxed()
    }

    fn apply<'a>(&'a self, zone: &'a Zone, changes: &'a [Change]) -> BoxFuture<'a, Result<()>> {
        self.update(zone, changes).boxed()
    }
}
