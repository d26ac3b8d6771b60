//! Bodies move from the metadata store into segments of a running service, which is killed again and again, and nobody notices.

use std::time::Duration;

use serde_json::Value;

use crate::support::mail::{below_trace, message};
use crate::support::{ALICE, BOB, Server, wait_until};

/// Long enough for another process to take over what a killed one did.
const LIMIT: Duration = Duration::from_secs(90);

/// `ekitei blob status`.
fn status(server: &Server) -> Value {
    let shown = server.command("blob status --output json").run().success().stdout;
    serde_json::from_str(&shown).unwrap()
}

fn number(status: &Value, key: &str) -> u64 {
    status[key].as_u64().unwrap_or_else(|| panic!("{key} in {status}"))
}

#[test]
fn bodies_are_packed_while_mail_comes_and_a_killed_process_does_no_harm() {
    let packing = "{interval: 1s, minAge: 0s, segmentSize: 1MiB}";
    let mut server = Server::builder().set("blobs", "packing", packing).start();
    let mut sent = Vec::new();
    for round in 0..4 {
        for n in 0..10 {
            let noise: Vec<String> =
                (0..n * 40).map(|_| format!("{:064x}", rand::random::<u128>())).collect();
            let mail = message(&format!("mail {round}.{n}"), &noise.join("\n"));
            server.deliver(&[ALICE, BOB], &mail);
            sent.push(mail);
        }
        server.command("blob pack").run().success();
        // At another point of its work each time.
        std::thread::sleep(Duration::from_millis(400 * round));
        server.kill();
        server.launch();
    }
    server.command("blob pack").run().success();
    wait_until("everything is packed", LIMIT, || number(&status(&server), "hot_bodies") == 0);
    let packed = status(&server);
    assert_eq!(number(&packed, "live_bodies"), 40, "{packed}");
    assert!(number(&packed, "segments") >= 1);
    for user in [ALICE, BOB] {
        let inbox = server.inbox(user);
        assert_eq!(inbox.len(), sent.len());
        for (mail, sent) in inbox.iter().zip(&sent) {
            assert_eq!(below_trace(mail, sent), Some(&sent[..]));
        }
    }

    server.command("blob scrub").run().success();
    wait_until("everything is checked", LIMIT, || {
        let scrub = &status(&server)["scrub"];
        scrub["phase"] == "idle" && number(scrub, "bodies") >= 40
    });
    let checked = status(&server);
    assert_eq!(checked["scrub"]["findings"], serde_json::json!([]), "{checked}");
    let table = server.command("blob status").run().success().stdout;
    assert!(table.contains("last checked") && table.contains("accounts-0"), "{table}");
    wait_until("the figures are shown", LIMIT, || {
        let metrics = server.http("GET", "/metrics", "").unwrap();
        metrics.lines().any(|line| line == "ekitei_blob_segment_bodies 40")
    });
}
