//! DNS-01 by a DNSProvider.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_operator_certificates::acme::{ChallengeError, ChallengeFuture, Challenges, TxtRecord};
use ekitei_operator_dns::plan::Change;
use ekitei_operator_dns::{Key, Name, Provider, ProviderError, RecordSet, RecordType, Value, Verifier, Zone};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::error::Result;
use crate::leader::Leadership;
use crate::provider::open::Open;

/// The TTL of challenges, in seconds: they are there for a minute.
const TTL: u32 = 60;
/// How often a write is repeated when somebody else wrote in between.
const TRIES: usize = 5;
/// Between two looks at the name servers.
const PAUSE: Duration = Duration::from_secs(2);

/// Remembers what was presented somewhere that outlives the process.
pub type Remember = Arc<dyn Fn(Vec<TxtRecord>) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Challenges that are written to a zone of a DNSProvider.
pub struct DnsChallenges {
    provider: Arc<dyn Provider>,
    verifier: Verifier,
    leadership: Leadership,
    remember: Remember,
    presented: Mutex<Vec<TxtRecord>>,
}

impl DnsChallenges {
    /// Challenges of one order. `remember` is told of all records that are there, before one is written and after one is removed.
    pub fn new(open: &Open, leadership: Leadership, remember: Remember) -> Arc<Self> {
        let (provider, verifier) = (Arc::clone(&open.provider), open.verifier.clone());
        Arc::new(Self { provider, verifier, leadership, remember, presented: Mutex::default() })
    }

    /// Takes over what a process left that died.
    pub fn take_over(&self, records: Vec<TxtRecord>) {
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = records;
    }

    async fn note(
        &self,
        change: impl FnOnce(&mut Vec<TxtRecord>),
    ) -> std::result::Result<(), ChallengeError> {
        let records = {
            let mut presented = self.presented.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut presented);
            presented.clone()
        };
        (self.remember)(records).await.map_err(|error| unavailable(&error))
    }

    /// Changes the values of a TXT set.
    async fn change(
        &self,
        name: &str,
        edit: impl Fn(&mut RecordSet),
    ) -> std::result::Result<(), ChallengeError> {
        let name = parse(name)?;
        let zone = self.provider.zone(&name).await.map_err(refusal)?;
        let mut left = TRIES;
        loop {
            self.leadership.check().map_err(|error| unavailable(&error))?;
            left -= 1;
            match self.change_once(&zone, &name, &edit).await {
                Err(ProviderError::Conflict(_)) if left > 0 => tokio::time::sleep(PAUSE / 10).await,
                result => return result.map_err(refusal),
            }
        }
    }

    async fn change_once(
        &self,
        zone: &Zone,
        name: &Name,
        edit: impl Fn(&mut RecordSet),
    ) -> std::result::Result<(), ProviderError> {
        let before = self.provider.get(zone, &Key::new(name.clone(), RecordType::Txt)).await?;
        if before.as_ref().is_some_and(|set| set.record_type != RecordType::Txt) {
            return Err(ProviderError::Conflict(format!("{name} has become an alias")));
        }
        let ttl = TTL.max(self.provider.capabilities().min_ttl);
        let empty = RecordSet {
            name: name.clone(),
            record_type: RecordType::Txt,
            ttl: Some(ttl),
            values: Default::default(),
            variant: None,
        };
        let mut after = before.clone().unwrap_or(empty);
        edit(&mut after);
        if before.as_ref().map(|set| &set.values) == Some(&after.values) {
            return Ok(());
        }
        let after = Some(after).filter(|set| !set.values.is_empty());
        if before.is_none() && after.is_none() {
            return Ok(());
        }
        self.provider.apply(zone, &[Change { before, after }]).await
    }
}

impl Challenges for DnsChallenges {
    fn alias<'a>(&'a self, name: &'a str) -> ChallengeFuture<'a, Option<String>> {
        async move {
            let name = parse(name)?;
            let zone = self.provider.zone(&name).await.map_err(refusal)?;
            let found = self.provider.get(&zone, &Key::new(name, RecordType::Txt)).await.map_err(refusal)?;
            let target = found.into_iter().flat_map(|set| set.values).find_map(|value| match value {
                Value::Cname(target) => Some(target.as_str().to_owned()),
                _ => None,
            });
            Ok(target)
        }
        .boxed()
    }

    fn present<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()> {
        async move {
            if !self.provider.capabilities().writes {
                let provider = self.provider.name();
                return Err(ChallengeError::Refused(format!(
                    "{provider} cannot write the records of challenges"
                )));
            }
            self.note(|records| records.push(record.clone())).await?;
            let value = Value::txt(&record.value);
            self.change(&record.name, |set| {
                set.values.insert(value.clone());
            })
            .await
        }
        .boxed()
    }

    fn wait_until_visible<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()> {
        async move {
            let name = parse(&record.name)?;
            loop {
                match self.verifier.shows_text(&name, &record.value).await {
                    Ok(seen) if seen.is_verified() => return Ok(()),
                    Ok(seen) => tracing::debug!(name = record.name, "{}", seen.message()),
                    Err(error) => {
                        tracing::debug!(name = record.name, %error, "its name servers cannot be asked")
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        .boxed()
    }

    fn clean_up<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()> {
        async move {
            let value = Value::txt(&record.value);
            self.change(&record.name, |set| {
                set.values.remove(&value);
            })
            .await?;
            self.note(|records| records.retain(|one| one != record)).await
        }
        .boxed()
    }
}

fn parse(name: &str) -> std::result::Result<Name, ChallengeError> {
    name.parse().map_err(|_| ChallengeError::Refused(format!("{name:?} is no name")))
}

fn unavailable(error: &dyn std::fmt::Display) -> ChallengeError {
    ChallengeError::Unavailable { detail: error.to_string(), after: None }
}

fn refusal(error: ProviderError) -> ChallengeError {
    if error.is_temporary() { unavailable(&error) } else { ChallengeError::Refused(error.to_string()) }
}
