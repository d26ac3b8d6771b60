//! `kill -9` at random moments: what was acknowledged is there, what was not is there whole or not at all.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ekitei_kv::{Database, EmbeddedOptions, Error, RangeOptions, Transaction, Version, decode_counter};

/// Names the store for the process that is to be killed.
const CHILD: &str = "EKITEI_KV_CRASH_STORE";
const ROUNDS: u32 = 12;
const WRITERS: u32 = 8;

fn open(folder: &Path) -> Database {
    // Small, so that kills also hit the writing of tables.
    let options = EmbeddedOptions { memtable_bytes: 256 * 1024, ..EmbeddedOptions::default() };
    Database::open_embedded(folder, options).unwrap()
}

/// The child: commits until it is killed, and says so on stdout after each promise.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let db = open(Path::new(&folder));
    let round = std::process::id();
    let writers = (0..WRITERS).map(|writer| {
        let db = db.clone();
        tokio::spawn(async move {
            for number in 0u32.. {
                let name = format!("{round}-{writer}-{number}");
                let version = write(&db, &name, usize::try_from(number % 7).unwrap() * 1_500).await;
                writeln!(std::io::stdout().lock(), "ack {name} {version}").unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// One commit of three rows that belong together.
async fn write(db: &Database, name: &str, size: usize) -> Version {
    let value = vec![b'v'; size];
    let operation = |t: Transaction| {
        t.set(format!("row/{name}").as_bytes(), &value);
        t.set_versionstamped_key(b"log/0123456789", 4, name.as_bytes());
        t.add(b"count", 1);
        std::future::ready(Ok::<_, Error>(()))
    };
    db.transact_versioned(operation).await.unwrap().version
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut promised: HashMap<String, Version> = HashMap::new();
    let mut random = u64::from(std::process::id()) | 1;
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Some kills hit the opening, most the commits.
        let lifetime = Duration::from_millis(if round % 4 == 0 { random % 40 } else { 60 + random % 400 });
        promised.extend(run_and_kill(folder.path(), lifetime));
        let db = open(folder.path());
        check(&db, &promised, round).await;
    }
    assert!(promised.len() > 100, "only {} commits were tested", promised.len());
}

/// Runs the child for a while; returns what it acknowledged.
fn run_and_kill(folder: &Path, lifetime: Duration) -> Vec<(String, Version)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = output.lines().map_while(std::io::Result::ok);
        let acknowledged = lines.filter_map(|line| {
            let (name, version) = line.strip_prefix("ack ")?.split_once(' ')?;
            Some((name.to_owned(), version.parse().ok()?))
        });
        acknowledged.collect()
    });
    std::thread::sleep(lifetime);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

async fn check(db: &Database, promised: &HashMap<String, Version>, round: u32) {
    let t = db.begin();
    let all = RangeOptions { snapshot: true, ..RangeOptions::default() };
    let rows = t.get_range(b"row/".to_vec()..b"row0".to_vec(), all).await.unwrap();
    let log = t.get_range(b"log/".to_vec()..b"log0".to_vec(), all).await.unwrap();
    let stamps: HashMap<String, Version> = log
        .iter()
        .map(|row| {
            let stamp = Version::from_be_bytes(row.key[4..12].try_into().unwrap());
            (String::from_utf8(row.value.to_vec()).unwrap(), stamp)
        })
        .collect();
    for (name, version) in promised {
        assert_eq!(stamps.get(name), Some(version), "round {round}: {name} was promised");
    }
    assert_eq!(stamps.len(), log.len(), "round {round}: nothing happened twice");
    assert_eq!(rows.len(), log.len(), "round {round}: each commit is whole");
    assert!(rows.iter().all(|row| stamps.contains_key(std::str::from_utf8(&row.key[4..]).unwrap())));
    let count = decode_counter(t.get(b"count").await.unwrap().as_deref());
    assert_eq!(usize::try_from(count).unwrap(), log.len(), "round {round}: the counter counts what is there");
    let newest = stamps.values().max().copied().unwrap_or(0);
    assert!(t.read_version().await.unwrap() >= newest, "round {round}: versions only rise");
}
