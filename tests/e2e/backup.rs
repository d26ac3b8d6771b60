//! Backups by the administrator's verbs: the store is lost and comes back, and one mailbox goes back to a point in time.

use std::fs;

use serde_json::Value;

use crate::support::mail::{message, subject};
use crate::support::server::is_embedded;
use crate::support::{ALICE, Finished, Imap, Server, password};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn ekitei(server: &Server, args: &str) -> Finished {
    server.command(args).run()
}

fn json(finished: Finished) -> Value {
    let finished = finished.success();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

fn offline(server: &Server, args: &str) -> Finished {
    let config = server.home().join("ekitei.yaml");
    ekitei(server, &format!("--output json backup {args} --offline --config {}", config.display()))
}

fn imap(server: &Server) -> Imap {
    Imap::login(Server::address(server.ports.imap), ALICE, &password(ALICE))
}

/// UIDs, flags and subjects.
fn mailbox(server: &Server, name: &str) -> Vec<(u64, Vec<String>, String)> {
    let mut imap = imap(server);
    imap.select(name);
    let flags: Vec<_> =
        imap.list().into_iter().map(|found| found.flags.into_iter().collect::<Vec<_>>()).collect();
    let bodies = imap.bodies();
    bodies.into_iter().zip(flags).map(|((uid, body), flags)| (uid, flags, subject(&body))).collect()
}

fn uid_validity(server: &Server) -> String {
    let status = imap(server).command("STATUS INBOX (UIDVALIDITY UIDNEXT)").ok();
    status.untagged[0].text.clone()
}

#[test]
fn a_lost_store_comes_back_from_a_backup_and_a_mailbox_to_a_point_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backups").display().to_string();
    let mut server =
        Server::builder().set("backup", "encryptionKey", KEY).set("backup", "path", &path).start();
    let mut session = imap(&server);
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
    let first = json(ekitei(&server, "--output json backup create"));
    let snapshot = first["snapshot"]["id"].as_str().unwrap().to_owned();
    assert_eq!(first["snapshot"]["messages"], 3, "{first}");
    let (at_first, validity) = (mailbox(&server, "INBOX"), uid_validity(&server));

    let mut session = imap(&server);
    session.select("INBOX");
    session.command("UID STORE 1 +FLAGS (\\Deleted)").ok();
    session.command("EXPUNGE").ok();
    session.append("INBOX", "", &message("later", "text")).ok();
    drop(session);
    json(ekitei(&server, "--output json backup create"));
    let report = json(ekitei(&server, "--output json backup verify --full"));
    assert_eq!(
        (&report["report"]["snapshots"], &report["report"]["problems"]),
        (&2.into(), &Value::Array(Vec::new()))
    );

    // One mailbox as it was, beside what it is now; twice, and nothing is there twice.
    for added in [3, 0] {
        let args =
            format!("--output json backup restore {snapshot} --account {ALICE} --mailbox INBOX --prefix Old");
        assert_eq!(json(ekitei(&server, &args))["restored"]["messages"], added);
    }
    let subjects =
        |found: Vec<(u64, Vec<String>, String)>| found.into_iter().map(|(.., s)| s).collect::<Vec<_>>();
    assert_eq!(subjects(mailbox(&server, "Old/INBOX")), ["message 0", "message 2", "large"]);
    assert_eq!(subjects(mailbox(&server, "INBOX")), ["message 2", "large", "later"]);

    if !is_embedded() {
        return; // there is no directory to lose
    }
    server.kill();
    for lost in ["store", "blobs"] {
        let lost = server.home().join(lost);
        fs::remove_dir_all(&lost).unwrap();
    }
    let restored = json(offline(&server, &format!("restore {snapshot} --all")));
    assert_eq!(restored["restored"]["messages"], 3, "{restored}");
    let listed = json(offline(&server, "list"));
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    server.launch();
    assert_eq!(mailbox(&server, "INBOX"), at_first, "UIDs and flags are those of the backup");
    assert_eq!(uid_validity(&server), validity);
    let keys = json(ekitei(&server, "--output json dkim list"));
    assert!(keys.as_array().is_some_and(|keys| keys.len() == 2), "{keys}");
    let refused = offline(&server, "restore --all");
    assert!(refused.code != Some(0) && refused.stderr.contains("store"), "the service has it: {refused:?}");
}
