//! Zones in Amazon Route 53, by its own library.
//!
//! All changes of a round are one batch, which happens as a whole or not at all. What is to be replaced is deleted exactly as it was seen and created
//! anew in the same batch: Route 53 refuses to delete what is different and to create what is there, so nobody's change is overwritten, and no resolver
//! sees anything in between. Sets with an identifier let each region have its own addresses under one name.

mod convert;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_route53::Client;
use aws_sdk_route53::config::Builder;
use aws_sdk_route53::config::retry::RetryConfig;
use aws_sdk_route53::config::timeout::TimeoutConfig;
use aws_sdk_route53::error::{BuildError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_route53::types::{Change as Line, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecordSet};
use ekitei_s3::aws::Connection;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::{Capabilities, Provider, ProviderError, Result, Zone};
use crate::name::Name;
use crate::plan::Change;
use crate::record::{Key, RecordSet, RecordType};

pub use ekitei_s3::aws::{Access, Keys};

/// Attempts of one call, within its time.
const ATTEMPTS: u32 = 3;
/// Record sets in one answer: as many as there can be.
const PAGE: i32 = 300;
/// Answers that a zone may take to be read as a whole.
const PAGES: usize = 6;
/// How long what was read is believed. Nothing is overwritten if it is not true any more: the service compares.
const RECENT: Duration = Duration::from_secs(5);
/// Changes of one batch (the limit is 1,000 records of all of them).
const BATCH: usize = 200;
/// Between two looks whether a change is on all servers.
const PAUSE: Duration = Duration::from_secs(2);
/// The region that signatures name, since the service has none of its own.
const REGION: &str = "us-east-1";

/// Zones in Route 53.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who asks; without keys the environment is: variables, files, a web identity (IRSA), the container, the machine.
    pub access: Access,
    /// The id of the zone; if there is none, zones are found by name, public ones only.
    pub hosted_zone_id: Option<String>,
    /// How long one call may take, attempts included.
    pub timeout: Duration,
    /// How long to wait until all servers have a change. What takes longer is left to verification.
    pub propagation: Duration,
}

/// Zones in Route 53.
#[derive(Debug)]
pub struct Route53 {
    settings: Settings,
    client: Client,
    connection: Connection,
    kept: Mutex<Option<Kept>>,
}

/// What a zone was a moment ago.
#[derive(Debug)]
struct Kept {
    id: String,
    since: Instant,
    /// None if it is too large.
    sets: Option<Arc<Vec<ResourceRecordSet>>>,
}

impl Route53 {
    /// A provider. Route 53 is not asked yet.
    ///
    /// # Errors
    /// [`ProviderError::Settings`]: the certificates are none, or there is no source of credentials.
    pub async fn open(mut settings: Settings) -> Result<Self> {
        settings.access.region.get_or_insert_with(|| REGION.to_owned());
        let connection = settings.access.connect().await;
        let connection = connection.map_err(|error| ProviderError::Settings(format!("route53: {error}")))?;
        let attempt = settings.timeout.div_f64(f64::from(ATTEMPTS) - 1.0);
        let config = Builder::from(&connection.config)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(settings.access.connect_timeout)
                    .operation_attempt_timeout(attempt)
                    .operation_timeout(settings.timeout)
                    .build(),
            )
            .build();
        Ok(Self { settings, client: Client::from_conf(config), connection, kept: Mutex::new(None) })
    }

    async fn find(&self, name: &Name) -> Result<Zone> {
        if let Some(id) = &self.settings.hosted_zone_id {
            let found = self.client.get_hosted_zone().id(id).send().await;
            let found = self.known(name, found).await?.hosted_zone;
            let apex = found.and_then(|zone| convert::name(zone.name()));
            return match apex.filter(|apex| name.is_within(apex)) {
                Some(apex) => Ok(Zone { name: apex, id: Some(id.clone()) }),
                None => Err(no_zone(name, format!("the zone {id} is another one"))),
            };
        }
        let mut candidate = Some(name.clone());
        while let Some(apex) = candidate.filter(|apex| !apex.is_root()) {
            let found =
                self.client.list_hosted_zones_by_name().dns_name(apex.absolute()).max_items(10).send().await;
            let zones = self.known(name, found).await?.hosted_zones;
            let public = zones.iter().find(|zone| {
                convert::name(zone.name()).as_ref() == Some(&apex)
                    && !zone.config().is_some_and(|config| config.private_zone())
            });
            if let Some(zone) = public {
                let id = zone.id().trim_start_matches("/hostedzone/").to_owned();
                return Ok(Zone { name: apex, id: Some(id) });
            }
            candidate = apex.parent();
        }
        Err(no_zone(name, "the account has no public zone that it is in".to_owned()))
    }

    /// All sets of the name. The service takes few calls in a second, so a zone is read as a whole if it is not large, and believed for a moment.
    async fn sets(&self, zone: &Zone, name: &Name) -> Result<Vec<ResourceRecordSet>> {
        let id = id(zone)?;
        let mut kept = self.kept.lock().await;
        let known = kept.as_ref().filter(|kept| kept.id == id && kept.since.elapsed() < RECENT);
        let all = match known {
            Some(known) => known.sets.clone(),
            None => {
                let sets = self.all(zone, id).await?.map(Arc::new);
                *kept = Some(Kept { id: id.to_owned(), since: Instant::now(), sets: sets.clone() });
                sets
            }
        };
        drop(kept);
        let of_name = |set: &ResourceRecordSet| convert::name(set.name()).as_ref() == Some(name);
        if let Some(all) = all {
            return Ok(all.iter().filter(|set| of_name(set)).cloned().collect());
        }
        let request = self.client.list_resource_record_sets().hosted_zone_id(id).max_items(PAGE);
        let found = request.start_record_name(name.absolute()).send().await;
        let mut sets = self.known(&zone.name, found).await?.resource_record_sets;
        sets.retain(of_name);
        Ok(sets)
    }

    /// All sets of a zone; none if there are too many.
    async fn all(&self, zone: &Zone, id: &str) -> Result<Option<Vec<ResourceRecordSet>>> {
        let mut sets = Vec::new();
        let (mut name, mut record_type, mut identifier) = (None, None, None);
        for _ in 0..PAGES {
            let request = self.client.list_resource_record_sets().hosted_zone_id(id).max_items(PAGE);
            let request = request.set_start_record_name(name).set_start_record_type(record_type);
            let page = request.set_start_record_identifier(identifier).send().await;
            let page = self.known(&zone.name, page).await?;
            sets.extend(page.resource_record_sets);
            if !page.is_truncated {
                return Ok(Some(sets));
            }
            (name, record_type) = (page.next_record_name, page.next_record_type);
            identifier = page.next_record_identifier;
        }
        Ok(None)
    }

    /// Has the next look ask again.
    async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    /// The set that a key is about, as it is there.
    async fn exact(&self, zone: &Zone, key: &Key) -> Result<Option<ResourceRecordSet>> {
        let mut sets = self.sets(zone, &key.name).await?;
        let alias = sets.iter().position(|set| set.r#type().as_str() == RecordType::Cname.as_str());
        if let Some(alias) = alias.filter(|_| key.record_type != RecordType::Cname) {
            return Ok(Some(sets.swap_remove(alias)));
        }
        sets.retain(|set| set.r#type().as_str() == key.record_type.as_str());
        let mixed = sets.iter().find(|set| set.set_identifier().is_some() != key.variant.is_some());
        if let Some(other) = mixed {
            let kind = if other.set_identifier().is_some() {
                "sets with identifiers"
            } else {
                "a set without an identifier"
            };
            return Err(ProviderError::Rejected(format!("{key}: Route 53 has {kind} there already")));
        }
        Ok(sets.into_iter().find(|set| set.set_identifier() == key.variant.as_deref()))
    }

    async fn look(&self, zone: &Zone, key: &Key) -> Result<Option<RecordSet>> {
        let found = self.exact(zone, key).await?;
        found.map(|set| convert::read(&set)).transpose().map_err(ProviderError::Rejected)
    }

    async fn write(&self, zone: &Zone, changes: &[Change]) -> Result<()> {
        for changes in changes.chunks(BATCH) {
            self.forget().await;
            let mut lines = Vec::new();
            for change in changes {
                lines.extend(self.lines(zone, change).await?);
            }
            let batch = ChangeBatch::builder().set_changes(Some(lines)).comment("ekitei").build();
            let batch = batch.map_err(|error| built(&error))?;
            let request = self.client.change_resource_record_sets().hosted_zone_id(id(zone)?);
            let answer = self.known(&zone.name, request.change_batch(batch).send().await).await;
            self.forget().await;
            let answer = answer?;
            if let Some(info) = answer.change_info() {
                self.wait(zone, info.id(), info.status()).await?;
            }
        }
        Ok(())
    }

    /// Deletes what was seen, as Route 53 spells it, and creates what is wanted.
    async fn lines(&self, zone: &Zone, change: &Change) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut add = |action: ChangeAction, set: ResourceRecordSet| {
            let line = Line::builder().action(action).resource_record_set(set).build();
            lines.push(line.map_err(|error| built(&error))?);
            Ok::<(), ProviderError>(())
        };
        let Some(key) = change.key() else { return Ok(lines) };
        let changed = || ProviderError::Conflict(format!("{key} is not what it was"));
        let there = self.exact(zone, &key).await?;
        let same = match (&there, &change.before) {
            (None, None) => true,
            (Some(there), Some(before)) => convert::read(there).is_ok_and(|set| set.same(before)),
            // A set of another type, where the name is an alias, goes by a change of its own.
            (Some(there), None) => there.r#type().as_str() != key.record_type.as_str(),
            (None, Some(_)) => false,
        };
        if !same {
            return Err(changed());
        }
        if let Some(there) = there.filter(|_| change.before.is_some()) {
            add(ChangeAction::Delete, there)?;
        }
        if let Some(after) = &change.after {
            add(ChangeAction::Create, convert::write(after).map_err(|error| built(&error))?)?;
        }
        Ok(lines)
    }

    /// Waits until all servers of Route 53 have a change.
    async fn wait(&self, zone: &Zone, id: &str, status: &ChangeStatus) -> Result<()> {
        let mut in_sync = *status == ChangeStatus::Insync;
        let begin = tokio::time::Instant::now();
        while !in_sync && begin.elapsed() < self.settings.propagation {
            tokio::time::sleep(PAUSE.min(self.settings.propagation)).await;
            let answer = self.known(&zone.name, self.client.get_change().id(id).send().await).await?;
            in_sync = answer.change_info().is_some_and(|info| *info.status() == ChangeStatus::Insync);
        }
        if !in_sync {
            tracing::info!(change = id, "Route 53 has taken a change, and is not in sync yet");
        }
        Ok(())
    }

    /// The answer, or what its error means. Credentials that have expired are forgotten, so that the next attempt has new ones.
    async fn known<T, E, R>(&self, name: &Name, answer: Result<T, SdkError<E, R>>) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if matches!(error.code(), Some("ExpiredToken" | "ExpiredTokenException" | "RequestExpired")) {
                    self.connection.credentials.forget().await;
                }
                Err(classify(name, &error))
            }
        }
    }
}

fn id(zone: &Zone) -> Result<&str> {
    let none = || no_zone(&zone.name, "its id is not known".to_owned());
    zone.id.as_deref().ok_or_else(none)
}

fn no_zone(name: &Name, reason: String) -> ProviderError {
    ProviderError::NoZone { name: name.clone(), reason: format!("Route 53: {reason}") }
}

fn built(error: &BuildError) -> ProviderError {
    ProviderError::Rejected(error.to_string())
}

/// Whether to look again, to wait, or to change something.
fn classify<E, R>(name: &Name, error: &SdkError<E, R>) -> ProviderError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let Some(code) = error.code() else {
        return ProviderError::Unavailable(format!(
            "Route 53 cannot be asked: {}",
            DisplayErrorContext(error)
        ));
    };
    let message = error.message().unwrap_or_default();
    let said = format!("Route 53 says {code}: {message}");
    match code {
        "InvalidChangeBatch" if is_conflict(message) => ProviderError::Conflict(said),
        "InvalidChangeBatch" | "InvalidInput" | "InvalidArgument" => ProviderError::Rejected(said),
        "NoSuchHostedZone" => ProviderError::NoZone { name: name.clone(), reason: said },
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidClientTokenId"
        | "InvalidSignature"
        | "NotAuthorizedException"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => ProviderError::Unauthorized(said),
        _ => ProviderError::Unavailable(said),
    }
}

/// A batch that does not fit what is there: "Tried to delete resource record set [...] but it was not found", "... but the values provided do not match
/// the current values", "Tried to create resource record set [...] but it already exists".
fn is_conflict(message: &str) -> bool {
    ["not found", "do not match", "already exists"].iter().any(|said| message.contains(said))
}

impl Provider for Route53 {
    fn name(&self) -> String {
        "route53".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes: true,
            atomic: true,
            prerequisites: true,
            routing: true,
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
        self.write(zone, changes).boxed()
    }
}
