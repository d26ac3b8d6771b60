//! Zones at the providers that the `dns-update` library knows: some seventy APIs, each of which changes one record set at a time.
//!
//! Nothing there is atomic or conditional, so each record set is compared once more right before it is changed, and record sets that are shared with
//! others are changed value by value. What an API does not tell is asked of the authoritative servers, and by what they say, which may be old, values
//! of others are never written.

mod absence;
mod convert;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dns_update::{DnsUpdater, Error};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Capabilities, Provider, ProviderError, Result, Zone};
use crate::name::Name;
use crate::plan::Change;
use crate::record::{Key, RecordSet, RecordType, Value};
use crate::verify::Verifier;

use absence::Shown;
pub use table::{KINDS, Kind};

/// A zone at a provider.
#[derive(Clone)]
pub struct Settings {
    /// Which one: a name of [`KINDS`].
    pub provider: String,
    /// Its credentials, by the field names of [`Kind::fields`].
    pub credentials: BTreeMap<String, String>,
    /// The zones that it keeps; empty to have each found in DNS.
    pub zones: Vec<Name>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// Zones at a provider.
#[derive(Clone)]
pub struct Cloud {
    kind: &'static Kind,
    updater: DnsUpdater,
    zones: Vec<Name>,
    verifier: Verifier,
    shown: Arc<Shown>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("kind", &self.kind.name)
            .field("zones", &self.zones)
            .finish_non_exhaustive()
    }
}

/// A record set as it was found.
struct Found {
    set: Option<RecordSet>,
    /// Whether the provider itself said so; servers may lag.
    current: bool,
}

/// How a record set is changed where nothing is atomic.
#[derive(Clone, Copy)]
enum Order {
    /// What is new and then what goes: whenever that ends, there is something.
    AddFirst,
    /// What goes and then what is new: there are never two of what there may be one of.
    RemoveFirst,
    /// As a whole, in whatever way the provider does that.
    Whole,
}

impl Cloud {
    /// A provider by its name. It is not asked yet.
    ///
    /// # Errors
    /// [`ProviderError::Settings`]: there is none of this name, or credentials are missing, unknown or malformed; it says which.
    pub fn new(settings: &Settings, verifier: Verifier) -> Result<Self> {
        let wrong = |reason: String| ProviderError::Settings(reason);
        let name = settings.provider.to_ascii_lowercase();
        let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            wrong(format!("there is no provider {:?}; known are {}", settings.provider, known.join(", ")))
        })?;
        check(kind, &settings.credentials)?;
        let updater = (kind.make)(&table::Fields::new(&settings.credentials, settings.timeout))
            .map_err(|error| wrong(format!("{name}: {error}")))?;
        Ok(Self { kind, updater, zones: settings.zones.clone(), verifier, shown: Arc::default() })
    }

    async fn find(&self, name: &Name) -> Result<Zone> {
        if self.zones.is_empty() {
            let zone = self.verifier.authorities(name).await?.zone;
            return Ok(Zone { name: zone, id: None });
        }
        let within = self.zones.iter().filter(|zone| name.is_within(zone));
        match within.max_by_key(|zone| zone.depth()) {
            Some(zone) => Ok(Zone { name: zone.clone(), id: None }),
            None => Err(ProviderError::NoZone {
                name: name.clone(),
                reason: "it is in none of the zones that the provider is configured to have".to_owned(),
            }),
        }
    }

    async fn look(&self, zone: &Zone, key: &Key) -> Result<Found> {
        let Some(record_type) = convert::record_type(key.record_type) else {
            return Err(ProviderError::Rejected(format!(
                "{} takes no {} records",
                self.kind.name, key.record_type
            )));
        };
        match self.updater.list_rrset(key.name.as_str(), record_type, zone.name.as_str()).await {
            Ok(records) if !records.is_empty() => {
                self.shown.note(zone);
                let values: Vec<Value> = records
                    .into_iter()
                    .map(convert::value)
                    .collect::<Result<_, _>>()
                    .map_err(ProviderError::Rejected)?;
                let set =
                    RecordSet::new(key.name.clone(), 0, values).map(|set| RecordSet { ttl: None, ..set });
                Ok(Found { set, current: true })
            }
            Ok(_) | Err(Error::NotFound) => {
                self.believe_absence(zone, key).await?;
                Ok(Found { set: None, current: true })
            }
            Err(Error::Unsupported(_)) => {
                let authorities = self.verifier.recent_authorities(&zone.name).await?;
                Ok(Found { set: self.verifier.get(&authorities, key).await?, current: false })
            }
            Err(error) => Err(self.explain(zone, error)),
        }
    }

    async fn change(&self, zone: &Zone, change: &Change) -> Result<()> {
        let Some(key) = change.key() else { return Ok(()) };
        let now = self.look(zone, &key).await?;
        let values = |set: &Option<RecordSet>| set.as_ref().map(|set| set.values.clone()).unwrap_or_default();
        let (before, after) = (values(&change.before), values(&change.after));
        let found = values(&now.set);
        if now.current && found == after && before != after {
            // An attempt that was rejected later had come so far.
            return Ok(());
        }
        if now.current && found != before {
            return Err(ProviderError::Conflict(format!("{key} is not what it was")));
        }
        let stays = before.intersection(&after).next().is_some();
        if !now.current && stays && matches!(key.record_type, RecordType::Txt | RecordType::Caa) {
            let reason = format!(
                "{} cannot say what {key} has now, and it has values of others, which could be lost: change it by hand",
                self.kind.name
            );
            return Err(ProviderError::Rejected(reason));
        }
        let same_ttl = change.before.as_ref().is_none_or(|set| set.ttl.is_none());
        // Of an alias there is one, and two texts of a kind are worse than none.
        let beside = !matches!(key.record_type, RecordType::Cname | RecordType::Txt);
        let by_value = now.current && same_ttl && before != after && !before.is_empty() && !after.is_empty();
        let ttl = change.after.as_ref().and_then(|set| set.ttl).unwrap_or_default();
        let order = match (by_value, beside, stays) {
            (true, true, _) => Order::AddFirst,
            (true, false, true) => Order::RemoveFirst,
            _ => Order::Whole,
        };
        self.write(zone, &key, ttl, (&before, &after), order).await
    }

    /// Writes the difference, or all of it. Of a difference, what others have there is not written anew: the API may know it better than we.
    async fn write(
        &self,
        zone: &Zone,
        key: &Key,
        ttl: u32,
        (before, after): (&BTreeSet<Value>, &BTreeSet<Value>),
        order: Order,
    ) -> Result<()> {
        let record_type = convert::record_type(key.record_type);
        let record_type =
            record_type.ok_or_else(|| ProviderError::Rejected(format!("{key} cannot be written")))?;
        let (name, origin) = (key.name.as_str(), zone.name.as_str());
        let records = |values: Vec<&Value>| {
            let records = values.into_iter().map(convert::record).collect::<Result<Vec<_>, _>>();
            records.map_err(ProviderError::Rejected)
        };
        let (gone, new) =
            (records(before.difference(after).collect())?, records(after.difference(before).collect())?);
        let remove = async || match gone.is_empty() {
            true => Ok(()),
            false => self.updater.remove_from_rrset(name, record_type, gone.clone(), origin).await,
        };
        let add = async || match new.is_empty() {
            true => Ok(()),
            false => self.updater.add_to_rrset(name, record_type, ttl, new.clone(), origin).await,
        };
        let whole = records(after.iter().collect())?;
        let done = match order {
            Order::AddFirst => match add().await {
                Ok(()) => remove().await,
                error => error,
            },
            Order::RemoveFirst => match remove().await {
                Ok(()) => add().await,
                error => error,
            },
            Order::Whole => self.updater.set_rrset(name, record_type, ttl, whole, origin).await,
        };
        done.map_err(|error| self.explain(zone, error))
    }

    /// What the library's error means. It keeps the status of HTTP in its text only.
    fn explain(&self, zone: &Zone, error: Error) -> ProviderError {
        let name = self.kind.name;
        match error {
            Error::Unauthorized => {
                ProviderError::Unauthorized(format!("{name} does not accept the credentials"))
            }
            Error::NotFound => ProviderError::NoZone {
                name: zone.name.clone(),
                reason: format!("{name} does not have it, or not for these credentials"),
            },
            Error::Api(said) if said.starts_with("HTTP 403") => {
                ProviderError::Unauthorized(format!("{name}: {said}"))
            }
            Error::Api(said)
                if said.starts_with("BadRequest")
                    || said.starts_with("HTTP 4") && !said.starts_with("HTTP 429") =>
            {
                ProviderError::Rejected(format!("{name}: {said}"))
            }
            Error::BadRequest => ProviderError::Rejected(format!("{name} says that the request is bad")),
            Error::Unsupported(said) => ProviderError::Rejected(format!("{name}: {said}")),
            Error::InvalidRegion => ProviderError::Settings(format!("{name}: there is no such region")),
            Error::Parse(said) | Error::Serialize(said) => ProviderError::Rejected(format!("{name}: {said}")),
            other => ProviderError::Unavailable(format!("{name}: {other}")),
        }
    }
}

/// Says which credentials are missing, and which are not known.
fn check(kind: &Kind, credentials: &BTreeMap<String, String>) -> Result<()> {
    let wrong = |text: String| Err(ProviderError::Settings(format!("{}: {text}", kind.name)));
    let given = |field: &str| credentials.get(field).is_some_and(|value| !value.is_empty());
    let needed = kind.fields.iter().filter(|field| !field.starts_with('?'));
    let missing: Vec<&str> = needed.copied().filter(|field| !given(field)).collect();
    if !missing.is_empty() {
        return wrong(format!("credentials are missing: {}", missing.join(", ")));
    }
    // One of them takes names as fields.
    let known = |field: &&String| kind.fields.iter().any(|one| one.trim_start_matches('?') == field.as_str());
    let unknown: Vec<&str> = credentials.keys().filter(|field| !known(field)).map(String::as_str).collect();
    if !unknown.is_empty() && !kind.fields.is_empty() {
        let fields = kind.fields.iter().map(|field| field.trim_start_matches('?'));
        let fields = fields.collect::<Vec<_>>().join(", ");
        return wrong(format!("it does not know the credentials {}; there are {fields}", unknown.join(", ")));
    }
    Ok(())
}

impl Provider for Cloud {
    fn name(&self) -> String {
        self.kind.name.to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes: true,
            atomic: false,
            prerequisites: false,
            routing: false,
            min_ttl: 60,
            markers: true,
        }
    }

    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone>> {
        self.find(name).boxed()
    }

    fn get<'a>(&'a self, zone: &'a Zone, key: &'a Key) -> BoxFuture<'a, Result<Option<RecordSet>>> {
        async move { Ok(self.look(zone, key).await?.set) }.boxed()
    }

    fn apply<'a>(&'a self, zone: &'a Zone, changes: &'a [Change]) -> BoxFuture<'a, Result<()>> {
        async move {
            for change in changes {
                self.change(zone, change).await?;
            }
            Ok(())
        }
        .boxed()
    }
}
