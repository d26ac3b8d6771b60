//! How many commits a second the embedded store makes durable: `commit_rate [writers] [seconds] [value bytes] [folder]`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ekitei_kv::{Database, EmbeddedOptions, Error, Transaction};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| {
        arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (writers, seconds) = (number(0, 20), Duration::from_secs(number(1, 5)));
    let value = vec![b'v'; usize::try_from(number(2, 1_000)).unwrap_or(1_000)];
    let folder = arguments.get(3).map_or_else(|| std::env::temp_dir().join("commit_rate"), PathBuf::from);

    let opening = Instant::now();
    let db = Database::open_embedded(&folder, EmbeddedOptions::default())?;
    println!(
        "opened in {:.0} ms, resident {} kB",
        opening.elapsed().as_secs_f64() * 1e3,
        resident_kilobytes()
    );
    let started = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let (db, value) = (db.clone(), value.clone());
        tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            for number in 0u64.. {
                let began = Instant::now();
                if started.elapsed() >= seconds {
                    break;
                }
                deliver(&db, writer, number, &value).await?;
                slowest = slowest.max(began.elapsed());
            }
            Ok::<_, Error>(slowest)
        })
    });
    let mut slowest = Duration::ZERO;
    for task in tasks.collect::<Vec<_>>() {
        slowest = slowest.max(task.await.map_err(|error| Error::Unavailable(error.to_string()))??);
    }
    let (elapsed, done) = (started.elapsed().as_secs_f64(), db.statistics());
    #[expect(clippy::cast_precision_loss)]
    let (commits, fsyncs, bytes) = (done.commits as f64, done.fsyncs as f64, done.bytes_written as f64);
    println!(
        "{writers} writers: {:.0} commits/s, {:.3} fsyncs/commit, {:.1} MB/s, slowest {:.1} ms, conflicts {}, resident {} kB",
        commits / elapsed,
        fsyncs / commits,
        bytes / elapsed / 1e6,
        slowest.as_secs_f64() * 1e3,
        done.conflicts,
        resident_kilobytes(),
    );
    Ok(())
}

/// Rows of about the shape of a delivery: one read, a body, an index row, a log row, two counters.
async fn deliver(db: &Database, writer: u64, number: u64, body: &[u8]) -> Result<(), Error> {
    let operation = |t: Transaction| async move {
        let mailbox = writer.to_be_bytes();
        let next = [b"uidnext", &mailbox[..]].concat();
        t.get(&next).await?;
        t.set(&next, &number.to_be_bytes());
        t.set(&[b"body", &mailbox[..], &number.to_be_bytes()].concat(), body);
        t.set(&[b"index", &mailbox[..], &number.to_be_bytes()].concat(), &[0; 60]);
        let log = [b"log", &mailbox[..], &[0xFF; 10]].concat();
        t.set_versionstamped_key(&log, log.len() - 10, b"delivered");
        t.add(&[b"messages", &mailbox[..]].concat(), 1);
        t.add(&[b"bytes", &mailbox[..]].concat(), i64::try_from(body.len()).unwrap_or(i64::MAX));
        Ok(())
    };
    db.transact(operation).await
}

/// Memory of this process; 0 where the system does not tell.
fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
