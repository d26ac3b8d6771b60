//! Damage is reported before anything is changed: every kind of file of a store on disk, flipped, cut or missing.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ekitei_kv::{Database, EmbeddedOptions, Error, RangeOptions, Result, Transaction, Verify};

/// Enough to leave tables, blob files and commits that are in the journal only.
const COMMITS: u64 = 400;
const LARGE_VALUE: usize = 6_000;

fn options() -> EmbeddedOptions {
    EmbeddedOptions { memtable_bytes: 256 * 1024, ..EmbeddedOptions::default() }
}

fn open(folder: &Path, options: EmbeddedOptions) -> Result<Database> {
    Database::open_embedded(folder, options)
}

async fn commit(db: &Database, number: u64) {
    let write = |t: Transaction| async move {
        let value = vec![
            u8::try_from(number % 251).unwrap();
            if number.is_multiple_of(2) { LARGE_VALUE } else { 100 }
        ];
        t.set(&number.to_be_bytes(), &value);
        Ok::<_, Error>(())
    };
    db.transact(write).await.unwrap();
}

/// How many rows there are; they are always the first ones.
async fn count(db: &Database) -> Result<u64> {
    let mut next = 0u64;
    let check = |page: Vec<ekitei_kv::KeyValue>| {
        for row in page {
            assert_eq!(row.key, next.to_be_bytes()[..], "a row is missing in the middle");
            assert!(row.value.iter().all(|&byte| u64::from(byte) == next % 251));
            next += 1;
        }
        Ok(())
    };
    db.scan(vec![]..vec![0xFF], check).await.map(|()| next)
}

/// A store with every kind of file, closed cleanly.
async fn filled_store(folder: &Path) {
    let db = open(folder, options()).unwrap();
    for number in 0..COMMITS {
        commit(&db, number).await;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds_a_file(&folder.join("fjall/keyspaces/1/blobs")) {
        assert!(Instant::now() < deadline, "no blob file was written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    commit(&db, COMMITS).await;
    drop(db);
    // Opening it again cuts the journal to its content, which makes the copies cheap.
    drop(open(folder, options()).unwrap());
}

/// The files of a store that hold something: not locks, and not lists of tables that newer ones replaced.
fn files_in_use(folder: &Path) -> Vec<PathBuf> {
    let is_used = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let current = || fs::read(path.with_file_name("current")).unwrap()[..8].try_into().unwrap();
        match name.strip_prefix('v').and_then(|version| version.parse().ok()) {
            Some(version) => u64::from_le_bytes(current()) == version,
            None => name != "lock",
        }
    };
    files(folder).into_iter().filter(is_used).collect()
}

fn holds_a_file(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The length of a file without the zeros at its end.
fn content_length(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

fn journal(folder: &Path) -> PathBuf {
    let journals =
        files(&folder.join("fjall")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "jnl"));
    journals.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap()
}

fn refusal(result: Result<Database>) -> String {
    match result {
        Err(Error::Corrupt(message)) => message,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("a damaged store was opened"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_any_file_is_refused_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    filled_store(&original).await;
    let mut kinds = Vec::new();
    for file in files_in_use(&original) {
        let name = file.strip_prefix(&original).unwrap();
        kinds.push(name.to_owned());
        let bytes = fs::read(&file).unwrap();
        let length = content_length(&bytes);
        for at in [0, length / 3, length / 2, length - 1] {
            let store = folder.path().join("store");
            copy(&original, &store);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            fs::write(store.join(name), &damaged).unwrap();

            let stem = name.to_string_lossy().into_owned();
            let message = refusal(open(&store, options()));
            assert!(message.contains(&stem), "byte {at} of {stem}: {message}");
            assert!(message.contains("to go on, "), "the way out: {message}");

            fs::write(store.join(name), &bytes).unwrap();
            let db = open(&store, options()).unwrap();
            assert_eq!(
                count(&db).await.unwrap(),
                COMMITS + 1,
                "byte {at} of {stem}: the refusal changed the store"
            );
            drop(db);
            fs::remove_dir_all(&store).unwrap();
        }
    }
    for kind in ["mark", "fjall/version", ".jnl", "0/current", "1/current", "1/v", "/tables/", "/blobs/"] {
        assert!(kinds.iter().any(|name| name.to_string_lossy().contains(kind)), "no {kind} in {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_in_a_journal_is_refused_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let db = open(&original, options()).unwrap();
    for number in [1, 3] {
        let write = |t: Transaction| {
            t.set(&[number], &[number; 8]);
            std::future::ready(Ok::<_, Error>(()))
        };
        db.transact(write).await.unwrap();
    }
    drop(db);
    drop(open(&original, options()).unwrap());
    let journal = journal(&original);
    let bytes = fs::read(&journal).unwrap();
    let mut harmless = 0;
    for at in 0..bytes.len() {
        let store = folder.path().join("store");
        copy(&original, &store);
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(store.join(journal.strip_prefix(&original).unwrap()), &damaged).unwrap();
        match open(&store, options()) {
            Err(Error::Corrupt(message)) => assert!(message.contains("0.jnl"), "{message}"),
            Err(error) => panic!("byte {at}: {error}"),
            Ok(db) => {
                harmless += 1;
                let read = |t: Transaction| async move {
                    t.get_range(vec![]..vec![0xFF], RangeOptions::default()).await
                };
                let rows = db.read::<_, Error, _, _>(read).await.unwrap();
                assert_eq!(rows.len(), 2, "byte {at}");
                assert!(
                    rows.iter().zip([1, 3]).all(|(row, number)| row.value[..] == [number; 8]),
                    "byte {at}"
                );
            }
        }
        fs::remove_dir_all(&store).unwrap();
    }
    assert!(harmless <= 8, "{harmless} flips passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    filled_store(&original).await;
    for file in files_in_use(&original) {
        let name = file.strip_prefix(&original).unwrap();
        let store = folder.path().join("store");
        copy(&original, &store);
        fs::remove_file(store.join(name)).unwrap();
        let message = refusal(open(&store, options()));
        assert!(message.contains("to go on, "), "{}: {message}", name.display());
        fs::copy(&file, store.join(name)).unwrap();
        let db = open(&store, options()).unwrap();
        assert_eq!(
            count(&db).await.unwrap(),
            COMMITS + 1,
            "{}: the refusal changed the store",
            name.display()
        );
        drop(db);
        fs::remove_dir_all(&store).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_commits_are_named_and_can_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options()).unwrap();
    let mut lengths = Vec::new();
    for number in 0..10 {
        commit(&db, number).await;
        lengths.push(content_length(&fs::read(journal(folder.path())).unwrap()) as u64);
    }
    drop(db);
    // The disk lost everything after the seventh commit.
    let journal = journal(folder.path());
    fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(lengths[6]).unwrap();

    let message = refusal(open(folder.path(), options()));
    assert!(message.contains(&*journal.to_string_lossy()), "{message}");
    assert!(message.contains("commits 8..=10 are lost"), "{message}");
    assert!(message.contains("accept_loss"), "{message}");

    let accepted = EmbeddedOptions { accept_loss: true, ..options() };
    let db = open(folder.path(), accepted).unwrap();
    assert_eq!(count(&db).await.unwrap(), 7);
    assert!(holds_a_file(&folder.path().join("damaged")), "the evidence is kept");
    let write = |t: Transaction| async move {
        t.set(&7u64.to_be_bytes(), &[7; 100]);
        Ok::<_, Error>(())
    };
    let version = db.transact_versioned(write).await.unwrap().version;
    assert!(version > 10, "version {version} may have been seen before the loss");
    drop(db);
    let db = open(folder.path(), options()).unwrap();
    assert_eq!(count(&db).await.unwrap(), 8, "once accepted, it is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_commits_behind_damage_prove_a_loss_even_when_the_mark_is_low() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options()).unwrap();
    commit(&db, 0).await;
    let low_mark = fs::read(folder.path().join("mark")).unwrap();
    let first = content_length(&fs::read(journal(folder.path())).unwrap());
    for number in 1..4 {
        commit(&db, number).await;
    }
    drop(db);
    let journal = journal(folder.path());
    let mut bytes = fs::read(&journal).unwrap();
    bytes[first + 40] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    // As after a power failure that lost the newest writes of the mark, which is not fsynced.
    fs::write(folder.path().join("mark"), &low_mark).unwrap();
    let message = refusal(open(folder.path(), options()));
    assert!(message.contains("commits from 2 to 4 are lost"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_that_nobody_was_promised_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options()).unwrap();
    for number in 0..3 {
        commit(&db, number).await;
    }
    let mark = fs::read(folder.path().join("mark")).unwrap();
    let whole = content_length(&fs::read(journal(folder.path())).unwrap());
    commit(&db, 3).await;
    drop(db);
    let journal = journal(folder.path());
    let bytes = fs::read(&journal).unwrap();
    let end = content_length(&bytes);
    for (case, zeros, length) in [
        ("cut", end..end, end - 5),
        ("zeros in the middle", whole + 60..end - 30, end),
        ("zeros in front", whole..whole + 20, end),
    ] {
        let mut damaged = bytes.clone();
        damaged[zeros].fill(0);
        damaged.truncate(length);
        fs::write(&journal, &damaged).unwrap();
        fs::write(folder.path().join("mark"), &mark).unwrap();
        let db = open(folder.path(), options()).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(count(&db).await.unwrap(), 3, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_check_leaves_damaged_blocks_to_their_readers() {
    let folder = tempfile::tempdir().unwrap();
    filled_store(folder.path()).await;
    let table = files(&folder.path().join("fjall/keyspaces/1/tables")).remove(0);
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 1;
    fs::write(&table, &bytes).unwrap();
    let db = open(folder.path(), EmbeddedOptions { verify: Verify::Quick, ..options() }).unwrap();
    let read = |t: Transaction| async move { t.get_range(vec![]..vec![0xFF], RangeOptions::default()).await };
    let result = db.read::<_, Error, _, _>(read).await;
    assert!(matches!(result, Err(Error::Corrupt(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_has_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options()).unwrap();
    match open(folder.path(), options()) {
        Err(Error::Unavailable(message)) => {
            assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        }
        other => panic!("{:?}", other.map(|_| "opened")),
    }
    drop(db);
    open(folder.path(), options()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_creation_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), options()).unwrap());
    fs::remove_file(folder.path().join("mark")).unwrap();
    fs::remove_file(folder.path().join("fjall/version")).unwrap();
    let db = open(folder.path(), options()).unwrap();
    commit(&db, 0).await;
    assert_eq!(count(&db).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_was_not_finished_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    // As after a full disk or a crash in the middle of the first start.
    drop(open(folder.path(), options()).unwrap());
    fs::remove_file(folder.path().join("mark")).unwrap();
    fs::write(folder.path().join("mark.new"), b"ekimark1").unwrap();
    let db = open(folder.path(), options()).unwrap();
    commit(&db, 0).await;
    drop(db);
    assert_eq!(count(&open(folder.path(), options()).unwrap()).await.unwrap(), 1);
    assert!(!folder.path().join("mark.new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_behind_damage_are_never_given_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options()).unwrap();
    let mut lengths = Vec::new();
    for number in 0..10 {
        commit(&db, number).await;
        lengths.push(content_length(&fs::read(journal(folder.path())).unwrap()));
    }
    drop(db);
    // Two journals, damaged in the first; and the record of what was promised is lost, too.
    let bytes = fs::read(journal(folder.path())).unwrap();
    let mut first = bytes[..lengths[4]].to_vec();
    first[lengths[1] + 40] ^= 1;
    fs::write(folder.path().join("fjall/0.jnl"), first).unwrap();
    fs::write(folder.path().join("fjall/1.jnl"), &bytes[lengths[4]..lengths[9]]).unwrap();
    fs::write(folder.path().join("mark"), b"").unwrap();

    let db = open(folder.path(), EmbeddedOptions { accept_loss: true, ..options() }).unwrap();
    assert_eq!(count(&db).await.unwrap(), 2);
    let write = |t: Transaction| async move {
        t.set(&2u64.to_be_bytes(), &[2; 100]);
        Ok::<_, Error>(())
    };
    let version = db.transact_versioned(write).await.unwrap().version;
    assert!(version > 10, "version {version} was seen before the loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_above_the_mark_stay() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options()).unwrap();
    commit(&db, 0).await;
    let low_mark = fs::read(folder.path().join("mark")).unwrap();
    for number in 1..4 {
        commit(&db, number).await;
    }
    drop(db);
    // As after `kill -9` between the write of a group and its promise.
    fs::write(folder.path().join("mark"), &low_mark).unwrap();
    let before = fs::read(journal(folder.path())).unwrap();
    let db = open(folder.path(), options()).unwrap();
    assert_eq!(count(&db).await.unwrap(), 4);
    let after = fs::read(journal(folder.path())).unwrap();
    let length = content_length(&before);
    assert_eq!(after[..length], before[..length], "what is written again is the same");
}
