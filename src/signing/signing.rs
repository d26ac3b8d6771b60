//! The handle of this crate: what signs, and what all its parts share.

use std::future::{Future, ready};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ekitei_config::Live;
use ekitei_directory::{Directory, Domain};
use ekitei_dns::Resolver;
use ekitei_keyring::Gate;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, Transaction, Version};
use ekitei_telemetry::{Registry, Timer};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::dkim::{self, Validity};
use crate::error::{Error, Result};
use crate::fields::{self, Message};
use crate::key::SigningKey;
use crate::metrics::Metrics;
use crate::model::Stage;
use crate::rows;
use crate::vault::Vault;

/// Domains whose keys are kept in memory.
const CACHED_DOMAINS: usize = 10_000;

/// What signing is made of.
pub struct Parts {
    /// Where keys are stored.
    pub database: Database,
    /// Which domains are ours.
    pub directory: Directory,
    /// The configuration in force. The encryption keys are read once.
    pub live: Live,
    /// The time.
    pub clock: SharedClock,
    /// Where new keys are looked for before they sign; `None` and `signing.requirePublished` leave that to the administrator.
    pub resolver: Option<Resolver>,
    /// A file for the encryption key, made if it is not there and the configuration has none: beside the embedded store. `None` for a cluster.
    pub key_file: Option<PathBuf>,
    /// Whether keys with [`Activation::Manual`](crate::Activation::Manual) may be made: no process would take them for others.
    pub manual_gate: Gate,
    /// Metrics.
    pub registry: Registry,
}

/// Signs what leaves, and keeps the keys for it: cheap to clone.
#[derive(Clone)]
pub struct Signing {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Database,
    pub(crate) directory: Directory,
    pub(crate) live: Live,
    pub(crate) clock: SharedClock,
    pub(crate) resolver: Option<Resolver>,
    pub(crate) vault: Vault,
    pub(crate) manual_gate: Gate,
    cache: Cache<Domain, Entry>,
    /// The version of the last change that this process knows of.
    last_change: AtomicU64,
    pub(crate) metrics: Metrics,
}

/// The keys that sign for a domain, as they were at a version.
#[derive(Clone)]
struct Entry {
    keys: Arc<[SigningKey]>,
    read_at: Version,
    expires: Instant,
}

impl Signing {
    /// Opens the keys. Spawn [`Signing::follow_changes`] and [`Signing::maintain_forever`].
    ///
    /// # Errors
    /// [`Error::EncryptionKey`].
    pub fn open(parts: Parts) -> Result<Self> {
        let Parts { database, directory, live, clock, resolver, key_file, manual_gate, registry } = parts;
        let vault = Vault::open(&live.load().signing, key_file.as_deref())?;
        Ok(Self {
            inner: Arc::new(Inner {
                db: database,
                directory,
                live,
                clock,
                resolver,
                vault,
                manual_gate,
                cache: Cache::new(CACHED_DOMAINS),
                last_change: AtomicU64::new(0),
                metrics: Metrics::new(&registry),
            }),
        })
    }

    /// DKIM-Signature fields for a message of `domain`, one for each key that signs now, each with its CRLF; to be put in front of the message, whose lines
    /// end in CRLF. Empty if the domain has no keys.
    ///
    /// # Errors
    /// [`Error`]; then the message must wait, not go unsigned.
    pub async fn sign(&self, domain: &Domain, message: &[u8]) -> Result<Vec<u8>> {
        let keys = self.keys(domain).await?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let timer = Timer::start();
        let message = Message::parse(message);
        let config = self.inner.live.load();
        let given = &config.signing;
        let selection = fields::select(&message, &given.oversigned_headers, &given.signed_headers);
        let body_hash = dkim::body_hash(message.body).await;
        let validity = self.validity(given.expiration.get());
        let mut signatures = Vec::with_capacity(1024 * keys.len());
        // On this thread: RSA takes a quarter of a millisecond (examples/sign_rate.rs), and another thread would need the message copied.
        for key in keys.iter() {
            let field = dkim::signature(key, domain, validity, &selection, &body_hash)?;
            signatures.extend_from_slice(field.as_bytes());
            self.count("dkim", key);
        }
        timer.observe(&self.inner.metrics.seconds);
        Ok(signatures)
    }

    pub(crate) fn count(&self, kind: &str, key: &SigningKey) {
        self.inner.metrics.signatures.with(&[kind, key.algorithm().name()]).inc();
    }

    /// From now, for so long; zero is for ever.
    pub(crate) fn validity(&self, lasting: Duration) -> Validity {
        let at = self.now();
        Validity { at, until: (!lasting.is_zero()).then(|| at + lasting.as_secs()) }
    }

    /// Seconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        self.inner.clock.now().as_secs()
    }

    /// The keys that sign for a domain, from memory if they are known.
    pub(crate) async fn keys(&self, domain: &Domain) -> Result<Arc<[SigningKey]>> {
        let inner = &*self.inner;
        if let Some(entry) = inner.cache.get(domain)
            && entry.read_at >= inner.last_change.load(Ordering::Acquire)
            && Instant::now() < entry.expires
        {
            return Ok(entry.keys);
        }
        let load = |tx: Transaction| async move {
            let found = rows::of_domain(&tx, domain).await?;
            Ok::<_, Error>((found, tx.read_version().await?))
        };
        let (found, read_at) = inner.db.read(load).await?;
        let signing = found.into_iter().filter(|named| named.row.stage == Stage::Signing);
        let keys: Arc<[SigningKey]> = signing
            .map(|named| {
                let binding = rows::binding(domain, &named.selector);
                let private = inner.vault.open_sealed(&named.row.private, &binding)?;
                SigningKey::parse(&named.selector, named.row.algorithm, &private)
            })
            .collect::<Result<_>>()?;
        let expires = Instant::now() + inner.live.load().signing.key_cache_ttl.get();
        inner.cache.insert(domain.clone(), Entry { keys: Arc::clone(&keys), read_at, expires });
        Ok(keys)
    }

    /// Changes keys in one transaction, and forgets what was known of them. The closure may run again after a commit that did happen.
    pub(crate) async fn change<T, F, Fut>(&self, operation: F) -> Result<T>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let touching = |tx: Transaction| {
            let work = operation(tx.clone());
            async move {
                let value = work.await?;
                rows::changes().touch(&tx);
                Ok::<_, Error>(value)
            }
        };
        match self.inner.db.transact_versioned(touching).await {
            Ok(committed) => {
                self.inner.last_change.fetch_max(committed.version, Ordering::AcqRel);
                Ok(committed.value)
            }
            Err(error) => {
                // It may have happened all the same.
                self.inner.cache.clear();
                Err(error)
            }
        }
    }

    /// Watches for changes that other processes make; runs until it is dropped. Without it they are seen after `signing.keyCacheTtl`.
    pub async fn follow_changes(&self) {
        let inner = &*self.inner;
        let notice = |version| {
            inner.last_change.fetch_max(version, Ordering::AcqRel);
            ready(Ok::<_, Error>(()))
        };
        rows::changes().follow(&inner.db, "signing keys", notice, || inner.cache.clear()).await;
    }
}
