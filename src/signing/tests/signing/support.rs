//! A signing service over an in-memory store, and a verifier that knows its records.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ekitei_config::{Config, Live, Secret};
use ekitei_directory::{Directory, Domain, NewDomain, Settings};
use ekitei_dns::Resolver;
use ekitei_kv::Database;
use ekitei_kv::clock::ManualClock;
use ekitei_signing::{KeyInfo, NewKey, Parts, Signing};
use ekitei_telemetry::Registry;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};

pub const MESSAGE: &str = "From: Alice <alice@example.test>\r\nTo: bob@elsewhere.test\r\nSubject:  Tea \r\n\tat five\r\n\
                           Message-ID: <1@example.test>\r\n\r\nHello  Bob,\t\r\n\r\nfive o'clock?\r\n\r\n\r\n";

/// A service and what it stands on.
pub struct Service {
    pub signing: Signing,
    pub database: Database,
    pub clock: Arc<ManualClock>,
    pub live: Live,
}

pub fn domain() -> Domain {
    Domain::parse("example.test").unwrap()
}

pub fn configured() -> Config {
    let mut config = Config::default();
    config.signing.encryption_key = Some(Secret::new(BASE64.encode([7; 32])));
    config.signing.require_published = false;
    config
}

/// A service for example.test without keys.
pub async fn service(config: Config) -> Service {
    service_in(Database::in_memory(), config).await
}

pub async fn service_in(database: Database, config: Config) -> Service {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let clock = ManualClock::new(now);
    let directory = Directory::new(database.clone(), Settings::default(), clock.clone());
    directory.create_domain(&domain(), NewDomain::default()).await.unwrap();
    let live = Live::new(config);
    let signing = reopened(&database, &clock, &live).unwrap();
    Service { signing, database, clock, live }
}

/// The service as after a restart with this configuration.
pub fn reopened(
    database: &Database,
    clock: &Arc<ManualClock>,
    live: &Live,
) -> ekitei_signing::Result<Signing> {
    reopened_with(database, clock, live, None)
}

/// The same, with somebody to ask for records.
pub fn reopened_with(
    database: &Database,
    clock: &Arc<ManualClock>,
    live: &Live,
    resolver: Option<Resolver>,
) -> ekitei_signing::Result<Signing> {
    Signing::open(parts(database, clock, live, resolver))
}

/// What it is made of.
pub fn parts(
    database: &Database,
    clock: &Arc<ManualClock>,
    live: &Live,
    resolver: Option<Resolver>,
) -> Parts {
    let directory = Directory::new(database.clone(), Settings::default(), clock.clone());
    Parts {
        database: database.clone(),
        directory,
        live: live.clone(),
        clock: clock.clone(),
        resolver,
        key_file: None,
        manual_gate: Arc::new(|| true),
        registry: Registry::default(),
    }
}

impl Service {
    /// Makes keys that sign at once.
    pub async fn create(&self) -> Vec<KeyInfo> {
        self.signing.create(&domain(), NewKey { now: true, ..NewKey::default() }).await.unwrap()
    }

    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

/// A domain name system of TXT records.
#[derive(Default)]
pub struct Records(Mutex<HashMap<Box<str>, Txt>>);

impl Records {
    pub fn publish(self, keys: &[KeyInfo]) -> Self {
        keys.iter().fold(self, |this, key| this.with(&format!("{}.", key.record.name), &key.record.text))
    }

    pub fn with(self, name: &str, text: &str) -> Self {
        let record = DomainKey::parse(text.as_bytes()).unwrap();
        self.0.lock().unwrap().insert(name.into(), Txt::DomainKey(Arc::new(record)));
        self
    }
}

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn remove<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap().remove(name)
    }

    fn insert(&self, name: Box<str>, record: Txt, _: Instant) {
        self.0.lock().unwrap().insert(name, record);
    }
}

/// A verifier that asks no server: what its records lack does not exist.
fn verifier() -> MessageAuthenticator {
    MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).unwrap()
}

/// What a verifier says of each DKIM signature.
pub async fn verify_dkim(message: &[u8], records: &Records) -> Vec<DkimResult> {
    let message = AuthenticatedMessage::parse(message).unwrap();
    let parameters = Parameters::new(&message).with_txt_cache(records);
    let output = verifier().verify_dkim(parameters).await;
    output.iter().map(|output| output.result().clone()).collect()
}

/// What a verifier says of the ARC chain.
pub async fn verify_arc(message: &[u8], records: &Records) -> DkimResult {
    let message = AuthenticatedMessage::parse(message).unwrap();
    let parameters = Parameters::new(&message).with_txt_cache(records);
    verifier().verify_arc(parameters).await.result().clone()
}

/// Where `mail-auth` keeps its vectors, if its sources are there.
pub fn vectors(folder: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    let found =
        registries.flatten().map(|registry| registry.path().join("mail-auth-0.13.3/resources").join(folder));
    found.into_iter().find(|path| path.is_dir())
}
