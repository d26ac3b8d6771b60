//! A store with encrypted bodies, and the processes that use it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use ekitei_blob::{
    Blobs, BodyId, DirectoryStore, Error, KeyScope, Owner, Prepared, Result, Settings, add_reference,
};
use ekitei_config::{Config, Encryption, Live, Secret};
use ekitei_keyring::{Clear, Keyring, MasterKeys, Parts, WrapError, WrapFuture, Wrapper};
use ekitei_kv::Database;
use ekitei_kv::clock::ManualClock;
use ekitei_telemetry::Registry;

/// What all processes share.
pub struct World {
    folder: tempfile::TempDir,
    pub database: Database,
    pub clock: Arc<ManualClock>,
}

/// One process.
pub struct Process {
    pub live: Live,
    pub keyring: Keyring,
    pub blobs: Blobs,
    pub gate: Arc<AtomicBool>,
    pub registry: Registry,
    database: Database,
}

pub fn domain(name: &str) -> KeyScope {
    KeyScope::Domain(name.into())
}

/// A secret of 32 equal octets.
pub fn secret(octet: u8) -> Secret {
    Secret::new(base64::engine::general_purpose::STANDARD.encode([octet; 32]))
}

/// Encryption with local master keys, the first in force.
pub fn local(keys: &[u8]) -> Encryption {
    Encryption {
        enabled: true,
        master_key: keys.first().map(|&key| secret(key)),
        previous_master_keys: keys.iter().skip(1).map(|&key| secret(key)).collect(),
        ..Encryption::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            database: Database::in_memory(),
            clock: ManualClock::new(Duration::from_secs(1_000_000)),
        }
    }

    /// A process with local master keys.
    pub fn process(&self, encryption: Encryption) -> Process {
        let (current, previous) = MasterKeys::local(&encryption).unwrap();
        self.process_with(encryption, current, previous)
    }

    pub fn process_with(
        &self,
        encryption: Encryption,
        current: Option<Arc<dyn Wrapper>>,
        previous: Vec<Arc<dyn Wrapper>>,
    ) -> Process {
        let registry = Registry::new();
        let live = Live::new(Config { encryption, ..Config::default() });
        let gate = Arc::new(AtomicBool::new(true));
        let open = Arc::clone(&gate);
        let keyring = Keyring::new(Parts {
            database: self.database.clone(),
            masters: MasterKeys::new(current, previous, &registry),
            live: live.clone(),
            gate: Arc::new(move || open.load(Ordering::SeqCst)),
            clock: self.clock.clone(),
            registry: registry.clone(),
        });
        let settings = Settings {
            hot_limit: 3000,
            block_size: 1000,
            data_keys: Some(Arc::new(keyring.clone())),
            ..Settings::default()
        };
        let objects = DirectoryStore::open(self.folder.path()).unwrap();
        let blobs = Blobs::new(self.database.clone(), objects, settings, self.clock.clone());
        Process { live, keyring, blobs, gate, registry, database: self.database.clone() }
    }

    /// All object files.
    pub fn files(&self) -> Vec<PathBuf> {
        fn files(path: &std::path::Path) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
        }
        files(self.folder.path())
    }

    /// Every octet that is stored: keys and values of rows, and objects.
    pub async fn everything(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = self.files().iter().map(|path| std::fs::read(path).unwrap()).collect();
        self.database
            .scan(vec![]..vec![0xFF], |page| {
                all.extend(page.into_iter().flat_map(|row| [row.key.to_vec(), row.value.to_vec()]));
                Ok::<_, ekitei_kv::Error>(())
            })
            .await
            .unwrap();
        all
    }

    /// Whether the octets are anywhere in the store.
    pub async fn has(&self, octets: &[u8]) -> bool {
        self.everything().await.iter().any(|stored| stored.windows(octets.len()).any(|part| part == octets))
    }
}

impl Process {
    pub async fn prepare(&self, scope: &KeyScope, body: impl Into<Bytes>) -> Result<Prepared> {
        self.blobs.prepare_for(scope, body.into(), usize::MAX).await
    }

    /// Stores a prepared body.
    pub async fn commit(&self, prepared: &Prepared) -> Result<BodyId> {
        self.database
            .transact(|transaction| async move {
                prepared.store(&transaction, Owner::Account(1)).await?;
                add_reference(&transaction, prepared.id(), 1);
                Ok::<_, Error>(prepared.id())
            })
            .await
    }

    pub async fn store(&self, scope: &KeyScope, body: impl Into<Bytes>) -> Result<BodyId> {
        let prepared = self.prepare(scope, body).await?;
        self.commit(&prepared).await
    }

    pub async fn read(&self, body: BodyId) -> Result<Bytes> {
        self.blobs.read(body, 0..u64::MAX).await
    }

    /// Changes the configuration in force.
    pub fn configure(&self, change: impl FnOnce(&mut Encryption)) {
        let mut config = Config::clone(&self.live.load());
        change(&mut config.encryption);
        self.live.replace(config);
    }
}

/// A key service that can go away.
#[derive(Debug)]
pub struct Remote {
    pub inner: Arc<dyn Wrapper>,
    pub away: Arc<AtomicBool>,
}

impl Remote {
    fn check(&self) -> std::result::Result<(), WrapError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(WrapError::Unavailable("the key service does not answer".to_owned()));
        }
        Ok(())
    }
}

impl Wrapper for Remote {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn wrap<'a>(&'a self, key: &'a Clear, scope: &'a str) -> WrapFuture<'a, Vec<u8>> {
        Box::pin(async move {
            self.check()?;
            self.inner.wrap(key, scope).await
        })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8], scope: &'a str) -> WrapFuture<'a, Clear> {
        Box::pin(async move {
            self.check()?;
            self.inner.unwrap(wrapped, scope).await
        })
    }
}

/// A key that whoever asks may wrap with, and not unwrap.
#[derive(Debug)]
pub struct OneWay(pub Arc<dyn Wrapper>);

impl Wrapper for OneWay {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn wrap<'a>(&'a self, key: &'a Clear, scope: &'a str) -> WrapFuture<'a, Vec<u8>> {
        self.0.wrap(key, scope)
    }

    fn unwrap<'a>(&'a self, _: &'a [u8], _: &'a str) -> WrapFuture<'a, Clear> {
        Box::pin(async { Err(WrapError::Refused("the policy does not allow to decrypt".to_owned())) })
    }
}
