//! Bodies encrypted at rest, from the configuration to the files: nothing of a text is in them, keys are replaced in a running service, and without
//! the master key mail waits.

use std::path::{Path, PathBuf};

use crate::support::mail::{below_trace, message};
use crate::support::server::is_embedded;
use crate::support::{ALICE, BOB, STRANGER, Server};

/// 32 octets in base64.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Another one.
const NEW_MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
/// An account of another domain.
const DAVE: &str = "dave@other.test";

/// A word that no compression shortens, and nobody else writes.
fn marker() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A message with the marker in its text, which takes this many octets more.
fn marked(marker: &str, octets: usize) -> Vec<u8> {
    let noise: Vec<String> = (0..octets / 32).map(|_| self::marker()).collect();
    message("a subject", &format!("{marker}\n{}", noise.join("\n")))
}

/// The files in a folder of the stores that have the marker in them.
fn files_with(server: &Server, folder: &str, marker: &str) -> Vec<PathBuf> {
    fn search(folder: &Path, marker: &[u8], found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                search(&path, marker, found);
                continue;
            }
            let octets = std::fs::read(&path).unwrap();
            if marker.is_empty() || octets.windows(marker.len()).any(|part| part == marker) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    search(&server.home().join(folder), marker.as_bytes(), &mut found);
    found
}

fn with_other_domain(server: Server) -> Server {
    server.create("domains", &serde_json::json!({ "name": "other.test" }));
    server.add_account(DAVE);
    server
}

/// The data keys, as `ekitei key list` has them: domain, state, master key.
fn keys(server: &Server) -> Vec<(Option<String>, String, String)> {
    let listed = server.command("key list --output json").run().success().stdout;
    let keys: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let keys = keys.as_array().unwrap().iter();
    keys.map(|key| {
        (text(&key["domain"]), text(&key["state"]).unwrap(), text(&key["master_key"]).unwrap_or_default())
    })
    .collect()
}

/// Changes the text of the configuration.
fn reconfigure(server: &Server, from: &str, to: &str) {
    let path = server.home().join("ekitei.yaml");
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "{before}");
    std::fs::write(path, before.replace(from, to)).unwrap();
}

fn restart(server: &mut Server) {
    server.kill();
    server.launch();
}

#[test]
fn no_text_of_encrypted_mail_is_in_the_files() {
    if !is_embedded() {
        return;
    }
    let word = marker();
    // Compression would hide it, too.
    let builder = || Server::builder().set("blobs", "compressionLevel", "0");
    let mut plain = builder().start();
    plain.deliver(&[ALICE], &marked(&word, 100));
    plain.deliver(&[ALICE], &marked(&word, 600_000));
    plain.kill();
    assert_eq!(files_with(&plain, "blobs", &word).len(), 1, "the search would find it");
    assert!(!files_with(&plain, "store", &word).is_empty(), "the search would find it");

    let encrypted = builder().set("encryption", "enabled", "true").set("encryption", "masterKey", MASTER_KEY);
    let mut server = with_other_domain(encrypted.start());
    let (small, large) = (marked(&word, 100), marked(&word, 600_000));
    server.deliver(&[ALICE, BOB, DAVE], &small);
    server.deliver(&[ALICE, BOB, DAVE], &large);
    restart(&mut server);
    for user in [ALICE, BOB, DAVE] {
        let inbox = server.inbox(user);
        assert_eq!(inbox.len(), 2, "{user}");
        assert!(below_trace(&inbox[0], &small).is_some() && below_trace(&inbox[1], &large).is_some());
    }
    let owners: Vec<_> = keys(&server).into_iter().map(|(domain, ..)| domain).collect();
    assert_eq!(owners, [Some("example.test".to_owned()), Some("other.test".to_owned())]);
    server.kill();
    assert!(!files_with(&server, "blobs", "").is_empty(), "there are objects");
    for folder in ["store", "blobs"] {
        assert_eq!(files_with(&server, folder, &word), [] as [PathBuf; 0]);
    }
}

#[test]
fn keys_are_replaced_while_mail_is_read() {
    let mut server = with_other_domain(
        Server::builder()
            .set("encryption", "enabled", "true")
            .set("encryption", "masterKey", MASTER_KEY)
            .start(),
    );
    let (before, after) = (marked(&marker(), 100), marked(&marker(), 300_000));
    server.deliver(&[ALICE, DAVE], &before);
    server.command("key rotate example.test").run().success();
    server.deliver(&[ALICE, DAVE], &after);
    let states: Vec<_> =
        keys(&server).into_iter().map(|(domain, state, _)| (domain.unwrap(), state)).collect();
    let state = |domain: &str, state: &str| (domain.to_owned(), state.to_owned());
    assert_eq!(
        states,
        [state("example.test", "retired"), state("other.test", "active"), state("example.test", "active")]
    );
    // Mail needs it.
    server.command("key destroy 1").run().failure(4);

    // A new master key, as docs/encryption.md has it; every step is a restart in the middle of everything.
    let old = format!("masterKey: {MASTER_KEY}");
    reconfigure(&server, &old, &format!("{old}\n  previousMasterKeys: [{NEW_MASTER_KEY}]"));
    restart(&mut server);
    reconfigure(&server, NEW_MASTER_KEY, "THE-OLD-ONE");
    reconfigure(&server, MASTER_KEY, NEW_MASTER_KEY);
    reconfigure(&server, "THE-OLD-ONE", MASTER_KEY);
    restart(&mut server);
    server.command("key rewrap").run().success();
    reconfigure(&server, &format!("\n  previousMasterKeys: [{MASTER_KEY}]"), "");
    restart(&mut server);
    for user in [ALICE, DAVE] {
        let inbox = server.inbox(user);
        assert!(below_trace(&inbox[0], &before).is_some() && below_trace(&inbox[1], &after).is_some());
    }
    let masters: Vec<_> = keys(&server).into_iter().map(|(.., master)| master).collect();
    assert!(masters.windows(2).all(|pair| pair[0] == pair[1]), "{masters:?}");
}

#[test]
fn without_its_master_key_mail_waits_and_nothing_is_stored_in_the_clear() {
    let mut server = Server::builder()
        .set("encryption", "enabled", "true")
        .set("encryption", "masterKey", MASTER_KEY)
        .start();
    let first = marked(&marker(), 100);
    server.deliver(&[ALICE], &first);
    reconfigure(&server, MASTER_KEY, NEW_MASTER_KEY);
    restart(&mut server);
    let refused = server.smtp().deliver(STRANGER, &[ALICE], &marked(&marker(), 100));
    let reply = format!("{refused:?}");
    assert!(reply.contains("451"), "{reply}");
    let log = server.log();
    assert!(log.contains("encryption.previousMasterKeys"), "the log says which key is missing: {log}");

    reconfigure(&server, NEW_MASTER_KEY, MASTER_KEY);
    restart(&mut server);
    let inbox = server.inbox(ALICE);
    assert_eq!(inbox.len(), 1, "what was refused is not there");
    assert!(below_trace(&inbox[0], &first).is_some());
}
