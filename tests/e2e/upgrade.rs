//! From one release to the next: the new one finds all that the old one left behind, and takes over while mail comes in.
//!
//! `fixtures/previous-release` is the data of a service of the release before, stopped; `scripts/make-release-fixture` made it and wrote down what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::support::mail::{message, message_from, subject};
use crate::support::server::{Builder, is_embedded};
use crate::support::{ALICE, BOB, STRANGER, Server, Smtp, password, program, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Where a binary of the release before is, for the tests that run both.
const PREVIOUS: &str = "EKITEI_PREVIOUS_BINARY";
/// A FoundationDB that no other test uses, since the release before knows no prefixes.
const CLUSTER: &str = "EKITEI_TEST_UPGRADE_CLUSTER_FILE";
const ELSEWHERE: &str = "elsewhere.test";

/// What has to be found.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    accounts: BTreeMap<String, AccountManifest>,
    domains: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    groups: Vec<String>,
    dkim: Vec<serde_json::Value>,
    bans: Vec<String>,
    queue: Vec<Waiting>,
    app_password: String,
}

#[derive(Deserialize)]
struct AccountManifest {
    mailboxes: BTreeMap<String, MailboxManifest>,
    uidl: Vec<String>,
}

#[derive(Deserialize)]
struct MailboxManifest {
    uidvalidity: u64,
    uidnext: u64,
    messages: u64,
    unseen: u64,
    deleted: u64,
    size: u64,
    list: Vec<MessageManifest>,
}

#[derive(Deserialize)]
struct MessageManifest {
    uid: u64,
    flags: BTreeSet<String>,
    size: u64,
    sha256: String,
}

#[derive(Deserialize)]
struct Waiting {
    id: String,
    recipients: Vec<String>,
    state: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/fixtures")
}

fn manifest() -> Manifest {
    serde_json::from_slice(&std::fs::read(fixtures().join("previous-release.json")).unwrap()).unwrap()
}

/// Unpacks what the release before left behind.
fn unpack(into: &Path) {
    let packed = std::fs::read(fixtures().join("previous-release.tar.zst")).unwrap();
    let tar = zstd::decode_all(&packed[..]).unwrap();
    let mut child =
        Command::new("tar").arg("--extract").current_dir(into).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&tar).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A service that takes mail for everybody elsewhere.
fn receiver() -> Server {
    let server = Server::builder().start_empty();
    server.create(
        "domains",
        &serde_json::json!({ "name": ELSEWHERE, "catch_all": format!("carol@{ELSEWHERE}") }),
    );
    server.add_account(&format!("carol@{ELSEWHERE}"));
    server
}

/// A service that hands what is not for here to `receiver`, whatever its age.
fn sending_to(receiver: &Server) -> Builder {
    Server::builder()
        .set("relay", "smartHost", &format!("{{host: 127.0.0.1, port: {}}}", receiver.ports.smtp))
        .set("queue", "lifetime", "36500d")
        .set("signing", "keepRetired", "36500d")
        .set("queue", "retrySchedule", "[1s, 1s, 2s]")
        .set("queue", "backoff", "[1s]")
        .set("queue", "delayNotice", "0s")
        .set("pop3", "allowInsecureAuth", "true")
}

fn digest(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Every mailbox of an account is as it was, octet for octet.
fn check_mailboxes(server: &Server, user: &str, expected: &BTreeMap<String, MailboxManifest>) {
    let mut imap = server.imap(user);
    for (name, mailbox) in expected {
        let status = imap.status(name);
        let counted = (status.messages, status.unseen, status.deleted, status.size, status.uid_next);
        let wanted = (mailbox.messages, mailbox.unseen, mailbox.deleted, mailbox.size, mailbox.uidnext);
        assert_eq!(counted, wanted, "{user} {name}");
        let selected = imap.command(&format!("EXAMINE \"{name}\"")).ok();
        let validity = format!("[UIDVALIDITY {}]", mailbox.uidvalidity);
        assert!(selected.untagged.iter().any(|line| line.text.contains(&validity)), "{user} {name}");
        let (listed, bodies) = (imap.list(), imap.bodies());
        assert_eq!(listed.len(), mailbox.list.len(), "{user} {name}");
        for (wanted, (found, (uid, body))) in mailbox.list.iter().zip(listed.iter().zip(&bodies)) {
            assert_eq!((found.uid, *uid, found.size), (wanted.uid, wanted.uid, wanted.size), "{user} {name}");
            assert_eq!(found.flags, wanted.flags, "{user} {name} {uid}");
            assert_eq!(digest(body), wanted.sha256, "{user} {name} {uid}");
        }
    }
}

/// What UIDL says (RFC 1939 §7).
fn unique_ids(server: &Server, user: &str) -> Vec<String> {
    let stream = TcpStream::connect(Server::address(server.ports.pop3)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    for command in ["", &format!("USER {user}"), &format!("PASS {}", password(user)), "UIDL"] {
        if !command.is_empty() {
            reader.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        }
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("+OK"), "{command}: {line}");
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "." => return lines,
            line => lines.push(line.to_owned()),
        }
    }
}

/// The objects of a listing.
fn listed(server: &Server, verb: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(&server.command(&format!("{verb} --output json")).run().success().stdout).unwrap()
}

/// Everything that the release before wrote down.
fn check_all(server: &Server, manifest: &Manifest) {
    for (user, account) in &manifest.accounts {
        check_mailboxes(server, user, &account.mailboxes);
        assert_eq!(unique_ids(server, user), account.uidl, "{user}");
    }
    let names = |verb: &str, member: &str| -> Vec<String> {
        listed(server, verb).iter().map(|object| object[member].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("domain list", "name"), manifest.domains);
    assert_eq!(names("group list", "address"), manifest.groups);
    assert_eq!(names("ban list", "network"), manifest.bans);
    for alias in listed(server, "alias list") {
        let targets: Vec<String> = serde_json::from_value(alias["targets"].clone()).unwrap();
        assert_eq!(manifest.aliases[alias["address"].as_str().unwrap()], targets);
    }
    let keys = listed(server, "dkim list example.test");
    assert_eq!(keys.len(), manifest.dkim.len());
    for (found, wanted) in keys.iter().zip(&manifest.dkim) {
        for member in ["selector", "algorithm", "stage"] {
            assert_eq!(found[member], wanted[member]);
        }
    }
    crate::support::Imap::login(Server::address(server.ports.imap), BOB, &manifest.app_password);
}

#[test]
fn a_new_release_finds_all_that_the_one_before_left_behind() {
    require!("tar");
    if !is_embedded() {
        return program::skip("what the release before left behind is an embedded store");
    }
    let manifest = manifest();
    let receiver = receiver();
    let mut server = sending_to(&receiver).start_on(unpack);
    check_all(&server, &manifest);

    // The mail that waited leaves, but for what is held.
    let (held, due): (Vec<&Waiting>, Vec<&Waiting>) =
        manifest.queue.iter().partition(|entry| entry.state == "held");
    let carol = format!("carol@{ELSEWHERE}");
    wait_until("the mail that waited", PATIENCE, || receiver.inbox(&carol).len() >= due.len());
    let arrived = receiver.inbox(&carol);
    assert_eq!(arrived.len(), due.len(), "nothing twice");
    for entry in &due {
        let to = format!("To: {}\r\n", entry.recipients[0]);
        assert!(arrived.iter().any(|mail| String::from_utf8_lossy(mail).contains(&to)), "{to}");
    }
    let waiting = || -> Vec<String> {
        let queue = listed(&server, "queue list");
        queue.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    let left: Vec<String> = held.iter().map(|entry| entry.id.clone()).collect();
    wait_until("what is held to be alone", PATIENCE, || waiting() == left);
    server.command(&format!("queue release {}", left[0])).run().success();
    wait_until("what was held", PATIENCE, || receiver.inbox(&carol).len() == due.len() + 1);

    // New mail comes in, is changed, and leaves, signed with the key that was there.
    server.deliver(&[ALICE, BOB], &message("new", "Hello."));
    let mut imap = server.imap(ALICE);
    imap.select("INBOX");
    let last = imap.list().last().unwrap().uid;
    assert_eq!(last, manifest.accounts[ALICE].mailboxes["INBOX"].uidnext, "UIDs go on where they were");
    imap.command("UID STORE 1 -FLAGS (\\Seen)").ok();
    imap.command("UID COPY 8 Archive").ok();
    imap.command("EXPUNGE").ok();
    let out = message_from(ALICE, "signed", "Signed.");
    assert!(server.submission(ALICE).deliver(ALICE, &[&carol], &out).unwrap().ok());
    wait_until("new mail", PATIENCE, || receiver.inbox(&carol).len() == due.len() + 2);
    let signed = receiver.inbox(&carol).pop().unwrap();
    let selector = manifest.dkim[0]["selector"].as_str().unwrap().to_owned();
    assert!(String::from_utf8_lossy(&signed).contains(&format!("s={selector}")), "the old key signs");

    // And all of it is there after another start.
    let features = listed(&server, "cluster features");
    assert!(features.iter().all(|feature| feature["active"] == true), "{features:?}");
    server.terminate();
    assert_eq!(server.wait(PATIENCE), Some(0));
    server.launch();
    let mut imap = server.imap(ALICE);
    imap.select("INBOX");
    assert_eq!(imap.list().last().unwrap().uid, last);
    let flags = &imap.list()[0].flags;
    assert!(!flags.contains("\\Seen"), "{flags:?}");
    imap.select("Archive");
    let large = &manifest.accounts[ALICE].mailboxes["INBOX"].list.last().unwrap().sha256;
    assert_eq!(digest(&imap.bodies()[0].1), *large);
}

/// The binary of the release before, if it is here.
fn previous() -> Option<PathBuf> {
    match std::env::var_os(PREVIOUS).map(PathBuf::from) {
        Some(binary) if binary.is_file() => Some(binary),
        _ => {
            program::skip(&format!("{PREVIOUS} names no binary of the release before"));
            None
        }
    }
}

/// What a sender knows: the subjects that were accepted, and all that it tried.
type Ledger = (BTreeSet<String>, BTreeSet<String>);

/// All that was accepted is there, and nothing that nobody sent.
fn check_ledgers(server: &Server, ledgers: &[Ledger]) {
    let tried: BTreeSet<&String> = ledgers.iter().flat_map(|(_, tried)| tried).collect();
    for user in [ALICE, BOB] {
        let found: BTreeSet<String> = server.inbox(user).iter().map(|mail| subject(mail)).collect();
        for (accepted, _) in ledgers {
            let lost: Vec<&String> = accepted.difference(&found).collect();
            assert!(!accepted.is_empty() && lost.is_empty(), "{user} has lost {lost:?}");
        }
        assert!(found.iter().all(|subject| tried.contains(subject)), "nobody sent the rest");
    }
}

/// Sends until it is told to stop, again and again what it got no reply for.
fn send_all(server: std::net::SocketAddr, name: usize, stop: &AtomicBool, sent: &AtomicUsize) -> Ledger {
    let (mut accepted, mut tried) = (BTreeSet::new(), BTreeSet::new());
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("load-{name}-{n}");
        tried.insert(id.clone());
        let reply = Smtp::hello(server)
            .and_then(|mut smtp| smtp.deliver(STRANGER, &[ALICE, BOB], &message(&id, "Under load.")));
        match reply {
            Ok(reply) if reply.ok() => {
                accepted.insert(id);
                sent.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
            // It stops, or has not started yet: the same message again, as a real sender would.
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    (accepted, tried)
}

#[test]
fn senders_lose_nothing_while_the_old_release_stops_and_the_new_one_starts() {
    let Some(previous) = previous().filter(|_| is_embedded()) else { return };
    const SENDERS: usize = 4;
    let mut server = Server::builder().start_with(&previous);
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = Server::address(server.ports.smtp);
    let sent_by_now = || sent.load(Ordering::Relaxed);
    let ledgers = std::thread::scope(|scope| {
        let (stop, sent) = (&stop, &sent);
        let senders: Vec<_> =
            (0..SENDERS).map(|name| scope.spawn(move || send_all(address, name, stop, sent))).collect();
        wait_until("mail at the old release", PATIENCE, || sent_by_now() >= 100);
        server.terminate();
        assert_eq!(server.wait(PATIENCE), Some(0));
        let before = sent_by_now();
        server.launch();
        wait_until("mail at the new release", PATIENCE, || sent_by_now() >= before + 100);
        // Once more without saying good-bye.
        server.kill();
        server.launch();
        let before = sent_by_now();
        wait_until("mail after a crash", PATIENCE, || sent_by_now() >= before + 50);
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });
    check_ledgers(&server, &ledgers);
}

/// The features that are active, and for whom the others wait.
fn features(server: &Server) -> (usize, BTreeSet<String>) {
    let features = listed(server, "cluster features");
    let active = features.iter().filter(|feature| feature["active"] == true).count();
    let waits = features.iter().flat_map(|feature| feature["waits_for"].as_array().unwrap());
    (active, waits.map(|id| id.as_str().unwrap().to_owned()).collect())
}

#[test]
fn old_and_new_processes_serve_one_cluster_and_agree_on_what_they_write() {
    let Some(previous) = previous() else { return };
    let Some(cluster) = std::env::var_os(CLUSTER) else {
        return program::skip(&format!(
            "{CLUSTER} names no FoundationDB for both releases (make test-upgrade)"
        ));
    };
    let store = format!("{{kind: foundationdb, clusterFile: {}}}", Path::new(&cluster).display());
    let bodies = tempfile::tempdir().unwrap();
    let builder = || Server::builder().over(&store, bodies.path()).set("queue", "lease", "3s");
    let mut old = builder().start_with(&previous);
    let builder = builder().set("cluster", "interval", "500ms").set("cluster", "featureDelay", "2s");
    let new = builder.start_empty();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let sent_by_now = || sent.load(Ordering::Relaxed);
    let ledgers = std::thread::scope(|scope| {
        let (stop, sent) = (&stop, &sent);
        let senders: Vec<_> = [&old, &new, &old, &new]
            .map(|server| Server::address(server.ports.smtp))
            .into_iter()
            .enumerate()
            .map(|(name, address)| scope.spawn(move || send_all(address, name, stop, sent)))
            .collect();
        wait_until("mail at both", PATIENCE, || sent_by_now() >= 200);
        let (active, waits) = features(&new);
        assert_eq!((active, waits.len()), (0, 1), "the old release keeps everything back: {waits:?}");
        assert_eq!(listed(&new, "node list").len(), 2);
        old.terminate();
        assert_eq!(old.wait(PATIENCE), Some(0));
        wait_until("the features", PATIENCE, || features(&new).0 > 0);
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });
    check_ledgers(&new, &ledgers);
    let refused = old.serve_with(&previous).run().failure(1);
    assert!(refused.output().contains("written by a later release"), "{}", refused.output());
}

#[test]
fn a_release_without_features_refuses_what_a_later_one_wrote() {
    let Some(previous) = previous().filter(|_| is_embedded()) else { return };
    let mut server = Server::start();
    server.terminate();
    assert_eq!(server.wait(PATIENCE), Some(0));
    let refused = server.serve_with(&previous).run().failure(1);
    assert!(refused.output().contains("written by a later release"), "{}", refused.output());
}
