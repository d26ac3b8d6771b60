//! What each server shows of each record.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt};
use hickory_proto::op::ResponseCode;

use super::{Authorities, Server, Verifier, VerifyError};
use crate::desired::Desired;
use crate::name::Name;
use crate::plan::{RecordState, State};
use crate::record::{Key, RecordSet, Value};
use crate::wildcard;

/// Questions at a time.
const CONCURRENCY: usize = 16;

/// What a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// What there should be.
    Shown {
        /// Seconds.
        ttl: u32,
    },
    /// Nothing.
    Absent,
    /// Something else.
    Other(RecordSet),
    /// It does not answer, or not for this zone.
    Silent(String),
}

/// What all servers show of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which record set.
    pub key: Key,
    /// Server by server.
    pub servers: Vec<(String, View)>,
}

impl Seen {
    /// Whether all of them show what there should be.
    pub fn is_verified(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|(_, view)| matches!(view, View::Shown { .. }))
    }

    /// Whether at least one of them shows what there should be.
    pub fn is_shown(&self) -> bool {
        self.servers.iter().any(|(_, view)| matches!(view, View::Shown { .. }))
    }

    /// Who does not show it, and what instead; empty if all do.
    pub fn message(&self) -> String {
        let trouble = |(server, view): &(String, View)| match view {
            View::Shown { .. } => None,
            View::Absent => Some(format!("{server} does not show it yet")),
            View::Other(set) => {
                let values: Vec<String> = set.values.iter().map(Value::to_string).collect();
                Some(format!("{server} still shows {}", values.join(", ")))
            }
            View::Silent(reason) => Some(format!("{server}: {reason}")),
        };
        self.servers.iter().filter_map(trouble).collect::<Vec<_>>().join("; ")
    }
}

impl Verifier {
    /// Asks every server for every record that there should be.
    pub async fn check(&self, authorities: &Authorities, desired: &[Desired]) -> Vec<Seen> {
        let ask = |one: &Desired| {
            let one = one.clone();
            async move {
                let servers = authorities.servers.iter().map(|server| self.view(server, &one));
                let views = futures_util::future::join_all(servers).await;
                let names = authorities.servers.iter().map(|server| server.name.clone());
                Seen { key: one.set.key(), servers: names.zip(views).collect() }
            }
        };
        let asked: Vec<_> = desired.iter().map(ask).collect();
        stream::iter(asked).buffered(CONCURRENCY).collect().await
    }

    async fn view(&self, server: &Server, desired: &Desired) -> View {
        let found = match self.read(server, &desired.set.key()).await {
            Ok(found) => found,
            Err(reason) => return View::Silent(reason),
        };
        let Some(found) = found else { return View::Absent };
        let same = found.record_type == desired.set.record_type;
        // Of several sets a server shows the one that is meant for who asks.
        let routed = desired.set.variant.is_some();
        if same && (routed || desired.family.shows(&desired.set.values, &found.values)) {
            View::Shown { ttl: found.ttl.unwrap_or_default() }
        } else {
            View::Other(found)
        }
    }

    /// A record set as a server has it; the alias, where the name is one.
    async fn read(&self, server: &Server, key: &Key) -> Result<Option<RecordSet>, String> {
        let answer = self.ask(server, &key.name, key.record_type.to_wire()).await?;
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain if answer.authoritative => {
                Ok(RecordSet::from_wire(&key.name, key.record_type, &answer.answers))
            }
            ResponseCode::NoError | ResponseCode::NXDomain => {
                Err("it is not authoritative for the zone".to_owned())
            }
            other => Err(format!("it says {other:?}")),
        }
    }

    /// [`read`](Self::read), without what is there only by a wildcard, as far as questions can tell.
    async fn read_literally(
        &self,
        server: &Server,
        zone: &Name,
        key: &Key,
    ) -> Result<Option<RecordSet>, String> {
        let Some(found) = self.read(server, key).await? else { return Ok(None) };
        let Some(wildcard) = wildcard::of(zone, &key.name) else { return Ok(Some(found)) };
        let says_the_same = async |name: Name| {
            let set = self.read(server, &Key::new(name, key.record_type)).await?;
            Ok::<bool, String>(set.is_some_and(|set| wildcard::gives(&set, &found)))
        };
        if !says_the_same(wildcard).await? {
            return Ok(Some(found));
        }
        let synthesised = match wildcard::below(&key.name) {
            Some(below) => says_the_same(below).await?,
            None => true,
        };
        Ok((!synthesised).then_some(found))
    }

    /// A record set as each server has it, server by server, or why it gives no answer.
    pub async fn read_everywhere(
        &self,
        authorities: &Authorities,
        key: &Key,
    ) -> Vec<(String, Result<Option<RecordSet>, String>)> {
        let servers = authorities.servers.iter();
        let views = servers.map(|server| async move { (server.name.clone(), self.read(server, key).await) });
        futures_util::future::join_all(views).await
    }

    /// A record set as the authoritative servers have it: of the first that answers. For providers that cannot be asked. What a wildcard of the zone
    /// answers as well is not there.
    ///
    /// # Errors
    /// None of them answers.
    pub async fn get(&self, authorities: &Authorities, key: &Key) -> Result<Option<RecordSet>, VerifyError> {
        let mut reasons = Vec::new();
        for server in &authorities.servers {
            match self.read_literally(server, &authorities.zone, key).await {
                Ok(found) => return Ok(found),
                Err(reason) => reasons.push(format!("{}: {reason}", server.name)),
            }
        }
        Err(VerifyError::Unavailable(reasons.join("; ")))
    }

    /// Whether every server shows exactly this TXT value among those of a name: what a challenge or a new key waits for.
    ///
    /// # Errors
    /// The servers cannot be found.
    pub async fn shows_text(&self, name: &Name, text: &str) -> Result<Seen, VerifyError> {
        let authorities = self.authorities(name).await?;
        let key = Key::new(name.clone(), crate::RecordType::Txt);
        let wanted = BTreeSet::from([Value::txt(text)]);
        let mut servers = Vec::new();
        for server in &authorities.servers {
            let view = match self.read(server, &key).await {
                Err(reason) => View::Silent(reason),
                Ok(None) => View::Absent,
                Ok(Some(set)) if wanted.is_subset(&set.values) => {
                    View::Shown { ttl: set.ttl.unwrap_or_default() }
                }
                Ok(Some(set)) => View::Other(set),
            };
            servers.push((server.name.clone(), view));
        }
        Ok(Seen { key, servers })
    }
}

/// Takes into the states what the servers show: [`State::Verified`] where all show it, and otherwise who does not. Records in conflict and those that
/// failed stay as they are.
pub fn confirm(records: &mut [RecordState], seen: &[Seen]) {
    for record in records {
        let key = record.desired.set.key();
        let Some(seen) = seen.iter().find(|seen| seen.key == key) else { continue };
        match record.state {
            State::Published | State::Manual if seen.is_verified() => {
                record.state = State::Verified;
                record.message.clear();
            }
            State::Published => record.message = seen.message(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::RecordType;
    use crate::verify::testing::server;
    use crate::verify::{Security, Settings};

    /// What a server answers for a name that has these record sets in its zone `a.test` (RFC 4592): its own, or those of the wildcard of the closest name that
    /// is there.
    fn answer(zone: &BTreeMap<Name, RecordSet>, name: &Name) -> Option<RecordSet> {
        let mut encloser = name.clone();
        while !zone.keys().any(|there| there.is_within(&encloser)) {
            encloser = encloser.parent()?;
        }
        if encloser == *name {
            return zone.get(name).cloned();
        }
        let wildcard = zone.get(&encloser.child("*").unwrap())?;
        Some(RecordSet { name: name.clone(), ..wildcard.clone() })
    }

    #[tokio::test]
    async fn a_record_that_says_the_same_as_a_wildcard_is_there_and_what_the_wildcard_says_is_not() {
        let set = |name: &str, record_type, value: &str| {
            RecordSet::new(name.parse().unwrap(), 300, [Value::parse(record_type, value).unwrap()]).unwrap()
        };
        let zone = [
            set("a.test", RecordType::Txt, "apex"),
            set("*.a.test", RecordType::A, "192.0.2.9"),
            set("ours.a.test", RecordType::A, "192.0.2.9"),
            set("_ekitei-owner.ours.a.test", RecordType::Txt, "\"heritage=ekitei\""),
            set("other.a.test", RecordType::A, "192.0.2.1"),
        ];
        let zone: BTreeMap<Name, RecordSet> = zone.map(|set| (set.name.clone(), set)).into();
        let server = server(move |message| {
            let (name, asked) = (Name::from_wire(message.queries[0].name()), message.queries[0].query_type());
            match answer(&zone, &name) {
                Some(set) if set.record_type.to_wire() == asked => message.answers = set.to_wire().unwrap(),
                Some(_) => {}
                None => message.metadata.response_code = ResponseCode::NXDomain,
            }
        })
        .await;
        let zone: Name = "a.test".parse().unwrap();
        let authorities =
            Authorities { zone, servers: vec![server], negative_ttl: 60, security: Some(Security::Unsigned) };
        let verifier = Verifier::new(Settings::default());
        for (name, is_there) in [("ours.a.test", true), ("other.a.test", true), ("nobody.a.test", false)] {
            let key = Key::new(name.parse().unwrap(), RecordType::A);
            let found = verifier.get(&authorities, &key).await.unwrap();
            assert_eq!(found.is_some(), is_there, "{name}: {found:?}");
        }
    }
}
