//! Our signatures, verified by dkimpy.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::knot::Knot;
use crate::support::mail::{message, message_from};
use crate::support::program::skip;
use crate::support::server::Builder;
use crate::support::sink::Sink;
use crate::support::{ALICE, Program, STRANGER, Server, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// The Python that has dkimpy: the system's, or the first on the path. If none has it, the running test is reported as skipped.
fn python() -> Option<&'static str> {
    let has = |python: &&str| {
        let import = Command::new(python).args(["-I", "-c", "import dkim, nacl"]).output();
        import.is_ok_and(|import| import.status.success())
    };
    let found = ["/usr/bin/python3", "python3"].into_iter().find(has);
    if found.is_none() {
        skip("not installed: dkimpy, with PyNaCl");
    }
    found
}

/// A service with signatures that hands mail to `sink`, and the records it would publish.
fn signing(builder: Builder, sink: &Sink) -> (Server, BTreeMap<String, String>) {
    let server = builder.set("relay", "smartHost", &sink.smart_host()).start();
    let records = keys(&server);
    (server, records)
}

/// Keys for the domain of the tests, and the records it would publish.
pub fn keys(server: &Server) -> BTreeMap<String, String> {
    let created = server.command("dkim create example.test --now --output json").run().success().stdout;
    let keys: Vec<Value> = serde_json::from_str(&created).unwrap();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let records = keys.iter().map(|key| {
        let name = text(key, "record_name");
        (format!("{}.", name.trim_end_matches('.')), text(key, "record_text"))
    });
    records.collect()
}

/// Makes sure that a message has a good signature of each algorithm, if dkimpy is there to say so.
#[track_caller]
pub fn assert_signed(server: &Server, records: &BTreeMap<String, String>, message: &[u8]) {
    let Some(python) = python() else { return };
    let said = verify(python, server.home(), records, message);
    assert_eq!(
        said["dkim"],
        serde_json::json!({"rsa-sha256": true, "ed25519-sha256": true}),
        "{said}\n{}",
        String::from_utf8_lossy(message)
    );
}

/// What dkimpy says of a message.
fn verify(python: &str, home: &Path, records: &BTreeMap<String, String>, message: &[u8]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/dkim_verify.py");
    let run = Program::new(python, home)
        .arg("-I")
        .arg(script)
        .env("RECORDS", serde_json::to_string(records).unwrap())
        .stdin(message)
        .run();
    serde_json::from_str(&run.success().stdout).unwrap()
}

#[test]
fn dkimpy_finds_both_our_signatures_good_and_sees_a_change() {
    require!("smtp-sink");
    let Some(python) = python() else { return };
    let sink = Sink::start("");
    let (server, records) = signing(Server::builder(), &sink);
    let sent = message_from(ALICE, "signed", "Gr\u{fc}\u{df}e  \n.\n\nend\n\n\n");
    assert!(server.submission(ALICE).deliver(ALICE, &[STRANGER], &sent).unwrap().ok());
    let caught = sink.wait_for(1, PATIENCE).remove(0).message;
    let said = verify(python, server.home(), &records, &caught);
    assert_eq!(said["dkim"]["rsa-sha256"], true, "{said}");
    assert_eq!(said["dkim"]["ed25519-sha256"], true, "{said}");
    let text = String::from_utf8(caught).unwrap();
    for (from, to) in [
        ("Subject: signed", "Subject: forged"),
        ("end", "END"),
        ("\r\n\r\n", "\r\nReply-To: x@x.test\r\n\r\n"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let said = verify(python, server.home(), &records, changed.as_bytes());
        assert_eq!(
            (&said["dkim"]["rsa-sha256"], &said["dkim"]["ed25519-sha256"]),
            (&false.into(), &false.into()),
            "{to}"
        );
    }
}

#[test]
fn what_senders_are_told_is_signed_too() {
    require!("smtp-sink");
    let sink = Sink::start("-f RCPT");
    let (server, records) =
        signing(Server::builder().set("queue", "notifications", "{domain: example.test}"), &sink);
    let sent = message_from(ALICE, "returned", "x");
    assert!(server.submission(ALICE).deliver(ALICE, &[STRANGER], &sent).unwrap().ok());
    wait_until("the notification", PATIENCE, || !server.inbox(ALICE).is_empty());
    let told = server.inbox(ALICE).remove(0);
    assert!(String::from_utf8_lossy(&told).contains("message/delivery-status"));
    assert_signed(&server, &records, &told);
}

#[test]
fn dkimpy_follows_the_chain_of_what_we_forward() {
    require!("smtp-sink", "knotd", "keymgr");
    let Some(python) = python() else { return };
    let sink = Sink::start("");
    let knot = Knot::start("elsewhere.test. 300 IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n", "");
    let builder = knot.resolves_for(Server::builder().set("filter", "checkLoopback", "true"));
    let (server, records) = signing(builder, &sink);
    server.command("alias set away@example.test dora@elsewhere.test").run().success();
    server.deliver(&["away@example.test"], &message("onward", "x"));
    let first = sink.wait_for(1, PATIENCE).remove(0).message;
    let said = verify(python, server.home(), &records, &first);
    assert_eq!(said["arc"], "pass", "{said} {}", String::from_utf8_lossy(&first));
    let changed = String::from_utf8(first).unwrap().replace("Subject: onward", "Subject: inward");
    let said = verify(python, server.home(), &records, changed.as_bytes());
    assert_eq!(said["arc"], "fail", "{said}");
}
