//! The engines under test, each with a place of its own for every case.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ekitei_kv::{
    Database, EmbeddedOptions, Error, FaultScript, KeyValue, ManualMonotonicClock, MemoryOptions,
    MonotonicClock, RangeOptions, Transaction, prefix_range,
};

/// Which engine a case runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Memory,
    Disk,
    #[cfg_attr(not(feature = "foundationdb"), expect(dead_code))]
    FoundationDb,
}

/// An empty store.
pub struct Store {
    pub db: Database,
    prefix: Vec<u8>,
    /// What only an engine of ours has: a clock and faults that the case controls.
    pub control: Option<Control>,
    _folder: Option<tempfile::TempDir>,
}

pub struct Control {
    pub clock: ManualMonotonicClock,
    pub faults: Arc<FaultScript>,
}

/// The store for a case; `None`, with the reason on stderr, if the engine is not here.
pub async fn open(engine: Engine, case: &str) -> Option<Store> {
    let prefix = format!("conformance/{case}/").into_bytes();
    let (clock, hand) = MonotonicClock::manual();
    let faults = Arc::new(FaultScript::default());
    let control = Some(Control { clock: hand, faults: faults.clone() });
    Some(match engine {
        Engine::Memory => {
            let options = MemoryOptions { clock, faults, ..MemoryOptions::default() };
            Store { db: Database::in_memory_with(options).unwrap(), prefix, control, _folder: None }
        }
        Engine::Disk => {
            let folder = tempfile::tempdir().unwrap();
            let options = EmbeddedOptions { clock, faults, ..EmbeddedOptions::default() };
            let db = Database::open_embedded(folder.path(), options).unwrap();
            Store { db, prefix, control, _folder: Some(folder) }
        }
        Engine::FoundationDb => open_foundationdb(prefix).await?,
    })
}

#[cfg(feature = "foundationdb")]
async fn open_foundationdb(prefix: Vec<u8>) -> Option<Store> {
    let Ok(cluster_file) = std::env::var("FDB_CLUSTER_FILE") else {
        eprintln!("skipped: FDB_CLUSTER_FILE does not name a cluster");
        return None;
    };
    let db = Database::open_foundationdb(cluster_file, "").unwrap();
    let store = Store { db, prefix, control: None, _folder: None };
    store.change(|t| t.clear_range(store.all())).await;
    Some(store)
}

/// Runs a case on the cluster, in a runtime of its own; whether it passes, or there is no cluster.
#[cfg(feature = "foundationdb")]
pub fn passes_alone<F: Future<Output = ()>>(
    case: &'static str,
    run: impl FnOnce(Store) -> F + Send + 'static,
) -> bool {
    let passes = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(async {
            if let Some(store) = open(Engine::FoundationDb, case).await {
                run(store).await;
            }
        });
    });
    let passes = passes.join().is_ok();
    println!("{case}: {}", if passes { "ok" } else { "FAILED" });
    passes
}

#[cfg(not(feature = "foundationdb"))]
async fn open_foundationdb(_prefix: Vec<u8>) -> Option<Store> {
    None
}

impl Store {
    /// A key of the case.
    pub fn key(&self, name: &str) -> Vec<u8> {
        [&self.prefix, name.as_bytes()].concat()
    }

    /// The keys from `start` to `end`, without it.
    pub fn range(&self, start: &str, end: &str) -> Range<Vec<u8>> {
        self.key(start)..self.key(end)
    }

    /// All keys of the case.
    pub fn all(&self) -> Range<Vec<u8>> {
        prefix_range(&self.prefix)
    }

    /// Commits what `operation` writes.
    pub async fn change(&self, operation: impl Fn(&Transaction)) {
        let write = |t: Transaction| {
            operation(&t);
            std::future::ready(Ok::<_, Error>(()))
        };
        self.db.transact(write).await.unwrap();
    }

    /// Sets keys, each to a value, in one commit.
    pub async fn set(&self, rows: &[(&str, &str)]) {
        self.change(|t| rows.iter().for_each(|(k, v)| t.set(&self.key(k), v.as_bytes()))).await;
    }

    /// The committed value of a key.
    pub async fn get(&self, name: &str) -> Option<String> {
        let key = self.key(name);
        let read = async |t: Transaction| t.get(&key).await;
        self.db
            .read::<_, Error, _, _>(read)
            .await
            .unwrap()
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// All committed rows, keys without the case's prefix.
    pub async fn rows(&self) -> Vec<(String, String)> {
        let read = async |t: Transaction| t.get_range(self.all(), RangeOptions::default()).await;
        self.readable(self.db.read::<_, Error, _, _>(read).await.unwrap())
    }

    /// Rows as text, keys without the case's prefix.
    pub fn readable(&self, rows: Vec<KeyValue>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        rows.into_iter().map(|row| (text(&row.key[self.prefix.len()..]), text(&row.value))).collect()
    }
}

/// Shorthand for expected rows.
pub fn rows(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Fails the case instead of hanging it.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("should have happened by now")
}
