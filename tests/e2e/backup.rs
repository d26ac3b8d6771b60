//! Backups by the administrator's verbs: the store is lost and comes back, what was removed comes back, and one mailbox goes back to a point in time.
//!
//! On a cluster backups go to a bucket of their own, and a store that is lost is followed by an empty one at another place.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::mail::{message, subject};
use crate::support::server::{Builder, is_embedded, s3};
use crate::support::{ALICE, BOB, Finished, Imap, Server, Smtp};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ANOTHER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
/// An account of another domain.
const DAVE: &str = "dave@other.test";

/// A service with backups: in a bucket where there is an S3 server, else in a directory below `dir`.
fn with_backups(dir: &Path) -> Builder {
    let builder = Server::builder().set("backup", "encryptionKey", KEY);
    let Some(endpoint) = s3() else {
        return builder.set("backup", "path", &dir.join("backups").display().to_string());
    };
    builder
        .set("backup", "kind", "s3")
        .set("backup", "endpoint", &endpoint)
        .set("backup", "bucket", "ekitei-backup")
        .set("backup", "region", "us-east-1")
        .set("backup", "pathStyle", "true")
        .set("backup", "credentials", "{accessKeyId: ekitei, secretAccessKey: ekitei-secret}")
        .set("backup", "prefix", &format!("'{:032x}/'", rand::random::<u128>()))
}

fn ekitei(server: &Server, args: &str) -> Finished {
    server.command(args).run()
}

fn read(finished: Finished) -> Value {
    let finished = finished.success();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

/// A job that the service does.
fn backup(server: &Server, args: &str) -> Value {
    read(ekitei(server, &format!("--output json backup {args}")))
}

fn create(server: &Server) -> Value {
    backup(server, "create")["snapshot"].take()
}

fn restore(server: &Server, args: &str) -> Value {
    backup(server, &format!("restore {args}"))["restored"].take()
}

fn offline(server: &Server, args: &str) -> Finished {
    let config = server.home().join("ekitei.yaml");
    ekitei(server, &format!("--output json backup {args} --offline --config {}", config.display()))
}

fn id(snapshot: &Value) -> String {
    snapshot["id"].as_str().unwrap().to_owned()
}

/// These members of an object, all numbers.
fn numbers<const N: usize>(object: &Value, members: [&str; N]) -> [u64; N] {
    members.map(|member| object[member].as_u64().unwrap_or_else(|| panic!("{member}: {object}")))
}

/// Reads the repository whole, and makes sure that nothing is wrong with it.
fn verify(server: &Server, snapshots: u64) {
    let report = &backup(server, "verify --full")["report"];
    assert_eq!((&report["snapshots"], &report["problems"]), (&json!(snapshots), &json!([])));
}

/// UIDs, flags and subjects.
fn mailbox(server: &Server, name: &str) -> Vec<(u64, Vec<String>, String)> {
    let mut imap = server.imap(ALICE);
    imap.select(name);
    let flags: Vec<_> =
        imap.list().into_iter().map(|found| found.flags.into_iter().collect::<Vec<_>>()).collect();
    let bodies = imap.bodies();
    bodies.into_iter().zip(flags).map(|((uid, body), flags)| (uid, flags, subject(&body))).collect()
}

/// The subjects of the messages in a mailbox that a search finds.
fn subjects(server: &Server, user: &str, name: &str, criteria: &str) -> Vec<String> {
    let mut imap = server.imap(user);
    imap.select(name);
    let found: Vec<String> = imap.search(criteria).iter().map(u64::to_string).collect();
    if found.is_empty() {
        return Vec::new();
    }
    let fetch = format!("UID FETCH {} (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])", found.join(","));
    let fetched = imap.command(&fetch).ok().untagged.into_iter();
    fetched.filter_map(|response| Some(subject(response.literals.first()?))).collect()
}

fn uid_validity(server: &Server) -> String {
    let status = server.imap(ALICE).command("STATUS INBOX (UIDVALIDITY)").ok();
    status.untagged[0].text.clone()
}

#[test]
fn a_lost_store_comes_back_from_a_backup_and_a_mailbox_to_a_point_in_time() {
    let dir = tempfile::tempdir().unwrap();
    // Encrypted at rest as well, so that the new store has to encrypt all bodies under keys of its own.
    let mut server = with_backups(dir.path())
        .set("encryption", "enabled", "true")
        .set("encryption", "masterKey", ANOTHER_KEY)
        .start();
    let mut session = server.imap(ALICE);
    for n in 0..3 {
        session.append("INBOX", "\\Seen", &message(&format!("message {n}"), "text")).ok();
    }
    let large = "a line of a large message\r\n".repeat(40_000);
    session.append("INBOX", "\\Flagged", &message("large", &large)).ok();
    session.select("INBOX");
    session.command("UID STORE 2 +FLAGS (\\Deleted)").ok();
    session.command("EXPUNGE").ok();
    drop(session);
    ekitei(&server, "dkim create example.test --now");
    let first = create(&server);
    let snapshot = id(&first);
    assert_eq!(first["messages"], 3, "{first}");
    let (at_first, validity) = (mailbox(&server, "INBOX"), uid_validity(&server));

    let mut session = server.imap(ALICE);
    session.select("INBOX");
    session.command("UID STORE 1 +FLAGS (\\Deleted)").ok();
    session.command("EXPUNGE").ok();
    session.append("INBOX", "", &message("later", "text")).ok();
    drop(session);
    create(&server);
    verify(&server, 2);

    // One mailbox as it was, beside what it is now; twice, and nothing is there twice.
    for added in [3, 0] {
        let args = format!("{snapshot} --account {ALICE} --mailbox INBOX --prefix Old");
        assert_eq!(restore(&server, &args)["messages"], added);
    }
    assert_eq!(subjects(&server, ALICE, "Old/INBOX", "ALL"), ["message 0", "message 2", "large"]);
    assert_eq!(subjects(&server, ALICE, "INBOX", "ALL"), ["message 2", "large", "later"]);

    server.kill();
    server.lose_stores();
    let restored = read(offline(&server, &format!("restore {snapshot} --all")));
    assert_eq!(restored["restored"]["messages"], 3, "{restored}");
    let listed = read(offline(&server, "list"));
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    server.launch();
    assert_eq!(mailbox(&server, "INBOX"), at_first, "UIDs and flags are those of the backup");
    assert_eq!(uid_validity(&server), validity);
    let keys = read(ekitei(&server, "--output json dkim list"));
    assert!(keys.as_array().is_some_and(|keys| keys.len() == 2), "{keys}");
    let refused = offline(&server, "restore --all");
    assert!(refused.code != Some(0) && refused.stderr.contains("store"), "the service has it: {refused:?}");

    // Nobody reads backups with another key.
    let config = fs::read_to_string(server.home().join("ekitei.yaml")).unwrap();
    fs::write(server.home().join("ekitei.yaml"), config.replace(KEY, ANOTHER_KEY)).unwrap();
    let refused = offline(&server, "list");
    assert!(refused.code != Some(0) && refused.stderr.contains("encryptionKey"), "{refused:?}");
}

#[test]
fn a_removed_domain_and_a_removed_account_come_back_from_what_changed_last() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_backups(dir.path()).start();
    server.create("domains", &json!({ "name": "other.test" }));
    server.add_account(DAVE);
    ekitei(&server, &format!("alias add friends@other.test {DAVE}")).success();
    server.deliver(&[ALICE, BOB, DAVE], &message("first", "to all three"));
    let first = create(&server);
    server.deliver(&["friends@other.test"], &message("second", "to one"));
    let second = create(&server);
    let members = ["accounts", "messages", "changed_accounts", "new_bodies"];
    assert_eq!(numbers(&first, members), [3, 3, 3, 1], "{first}");
    assert_eq!(numbers(&second, members), [3, 4, 1, 1], "only what changed was read: {second}");

    ekitei(&server, "domain remove other.test --force").success();
    ekitei(&server, &format!("account remove {BOB}")).success();
    assert_eq!(server.smtp().deliver("", &[BOB], &message("x", "")).unwrap().code, 550);
    let members = ["domains", "accounts", "names", "messages", "present"];
    let restored = restore(&server, "--domain other.test");
    assert_eq!(numbers(&restored, members), [1, 1, 1, 2, 0], "{restored}");
    let restored = restore(&server, &format!("--account {BOB}"));
    assert_eq!(numbers(&restored, members), [0, 1, 0, 1, 0], "{restored}");
    let again = restore(&server, "--domain other.test");
    assert_eq!(numbers(&again, members), [0, 0, 0, 0, 2], "nothing is added twice: {again}");
    // With their passwords, and ready for new mail.
    server.deliver(&[BOB, "friends@other.test"], &message("third", "to both"));
    assert_eq!(subjects(&server, DAVE, "INBOX", "ALL"), ["first", "second", "third"]);
    assert_eq!(subjects(&server, BOB, "INBOX", "ALL"), ["first", "third"]);
    let restored = restore(&server, &format!("{} --account {DAVE} --into {ALICE} --prefix Dave", id(&first)));
    assert_eq!(restored["messages"], 1, "{restored}");
    assert_eq!(subjects(&server, ALICE, "Dave/INBOX", "ALL"), ["first"]);

    // The first backup goes, and the second, which took over most of it, is still whole.
    let pruned = &backup(&server, "prune --keep-last 1")["pruned"];
    assert_eq!(pruned["removed"], json!([id(&first)]), "{pruned}");
    let listed = backup(&server, "list");
    assert_eq!(listed.as_array().map(|left| left.iter().map(id).collect()), Some(vec![id(&second)]));
    verify(&server, 1);
    let gone = ekitei(&server, &format!("backup restore {} --account {BOB}", id(&first)));
    assert!(gone.code != Some(0) && gone.stderr.contains(&id(&first)), "{gone:?}");
    ekitei(&server, &format!("account remove {BOB}")).success();
    assert_eq!(restore(&server, &format!("--account {BOB}"))["messages"], 1);
    assert_eq!(subjects(&server, BOB, "INBOX", "ALL"), ["first"]);
}

/// Messages that are moved to and fro, known by a keyword.
const MARKS: usize = 20;
/// Microseconds, which FoundationDB's versions count, that no transaction may last.
const TRANSACTION: u64 = 5_000_000;

/// Moves the marked messages between INBOX and another mailbox, one by one, until it is told to stop.
fn move_about(imap: &mut Imap, stop: &AtomicBool) {
    for (from, to) in [("INBOX", "Other"), ("Other", "INBOX")].into_iter().cycle() {
        imap.select(from);
        for uid in imap.search("KEYWORD $Mark") {
            if stop.load(Ordering::Acquire) {
                return;
            }
            imap.command(&format!("UID MOVE {uid} {to}")).ok();
        }
    }
}

/// Delivers `delivered 0`, `delivered 1` and so on to Alice until it is told to stop; `accepted` is how many were.
fn deliver(smtp: &mut Smtp, stop: &AtomicBool, accepted: &AtomicUsize) {
    while !stop.load(Ordering::Acquire) {
        let n = accepted.load(Ordering::Acquire);
        let reply = smtp.deliver("", &[ALICE], &message(&format!("delivered {n}"), "text")).unwrap();
        assert!(reply.ok(), "{reply:?}");
        accepted.store(n + 1, Ordering::Release);
    }
}

/// Makes a backup while messages come and move; what was accepted before it began, and when it was complete.
fn create_under_load(server: &Server, accepted: &AtomicUsize) -> (Value, [usize; 2]) {
    let stop = AtomicBool::new(false);
    let (mut imap, mut smtp) = (server.imap(ALICE), server.smtp());
    std::thread::scope(|scope| {
        scope.spawn(|| move_about(&mut imap, &stop));
        scope.spawn(|| deliver(&mut smtp, &stop, accepted));
        let before = accepted.load(Ordering::Acquire);
        let made = catch_unwind(AssertUnwindSafe(|| create(server)));
        let after = accepted.load(Ordering::Acquire);
        stop.store(true, Ordering::Release);
        (made.unwrap_or_else(|panic| resume_unwind(panic)), [before, after])
    })
}

#[test]
fn a_mailbox_that_takes_longer_to_read_than_a_transaction_lasts_is_as_it_was_at_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = with_backups(dir.path()).set("backup", "page", "10").start();
    let mut imap = server.imap(ALICE);
    imap.command("CREATE Other").ok();
    for n in 0..MARKS {
        imap.append("INBOX", "$Mark", &message(&format!("mark {n}"), "text")).ok();
    }
    imap.append("INBOX", "$Bulk", &message("bulk", "text")).ok();
    // Each page is one transaction. A cluster gets as many of them as last longer than one transaction may.
    let accepted = AtomicUsize::new(0);
    let mut bulk = 1;
    imap.select("INBOX");
    let (snapshot, delivered) = loop {
        let until = if is_embedded() { 2_048 } else { bulk.max(2_048) * 2 };
        while bulk < until {
            imap.command("UID SEARCH RETURN (SAVE) KEYWORD $Bulk").ok();
            imap.command("UID COPY $ INBOX").ok();
            bulk *= 2;
        }
        let (snapshot, delivered) = create_under_load(&server, &accepted);
        let [first, last] = numbers(&snapshot, ["first_version", "last_version"]);
        if is_embedded() || last - first > TRANSACTION {
            break (snapshot, delivered);
        }
        assert!(bulk < 1 << 17, "{bulk} messages are read in {} µs", last - first);
    };
    assert!(delivered[1] > delivered[0], "nothing came while it was made: {delivered:?}");
    verify(&server, backup(&server, "list").as_array().map_or(0, Vec::len) as u64);

    server.kill();
    server.lose_stores();
    read(offline(&server, &format!("restore {} --all", id(&snapshot))));
    server.launch();
    let found = |name: &str, criteria: &str| subjects(&server, ALICE, name, criteria);
    let marks = [found("INBOX", "KEYWORD $Mark"), found("Other", "ALL")].concat();
    let distinct: BTreeSet<&String> = marks.iter().collect();
    assert_eq!((marks.len(), distinct.len()), (MARKS, MARKS), "each is in one mailbox: {marks:?}");
    let came = found("INBOX", "UNKEYWORD $Mark UNKEYWORD $Bulk");
    let in_order: Vec<String> = (0..came.len()).map(|n| format!("delivered {n}")).collect();
    assert_eq!(came, in_order, "none is missing before one that is there");
    // One more may have been stored whose acceptance nobody had seen yet.
    assert!((delivered[0]..=delivered[1] + 1).contains(&came.len()), "{} of {delivered:?}", came.len());
    let mut imap = server.imap(ALICE);
    imap.select("INBOX");
    assert_eq!(imap.search("KEYWORD $Bulk").len(), bulk);
}
