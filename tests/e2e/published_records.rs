//! What domains publish, served by Knot DNS from a signed zone: MX, null MX, TLSA for mail that leaves; SPF, DKIM and DMARC for mail that comes.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::support::knot::Knot;
use crate::support::mail::message_from;
use crate::support::opendkim::OpenDkim;
use crate::support::postfix::{self, Postfix};
use crate::support::{ALICE, STRANGER, Server, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// A service that asks `knot`, and sends to MX hosts on the port of `postfix`, on this machine.
fn sending(knot: &Knot, postfix: &Postfix) -> Server {
    let builder = Server::builder()
        .set("relay", "port", &postfix.port.to_string())
        .set("relay", "ignoreAddresses", "[]")
        .set("relay", "mtaSts", "false")
        .set("queue", "retrySchedule", "[1s]")
        .set("queue", "backoff", "[1s]");
    knot.resolves_for(builder).start()
}

fn submit(server: &Server, to: &str, subject: &str) {
    let reply = server.submission(ALICE).deliver(ALICE, &[to], &message_from(ALICE, subject, "x")).unwrap();
    assert!(reply.ok(), "{reply:?}");
}

/// What `ekitei queue list` says.
fn queue(server: &Server) -> String {
    server.command("queue list --output json").run().success().stdout
}

#[test]
fn mail_goes_to_the_first_mx_host_that_answers_and_nowhere_where_none_is_wanted() {
    require!("knotd", "keymgr");
    if !postfix::available() {
        return;
    }
    // Nobody listens on 127.0.0.2.
    let knot = Knot::start(
        "elsewhere.test. 300 IN MX 10 away.elsewhere.test.\n\
         elsewhere.test. 300 IN MX 20 mx.elsewhere.test.\n\
         away.elsewhere.test. 300 IN A 127.0.0.2\n\
         mx.elsewhere.test. 300 IN A 127.0.0.1\n\
         silent.test. 300 IN MX 0 .\n",
        "",
    );
    let postfix = Postfix::start(&[]);
    let server = sending(&knot, &postfix);
    submit(&server, STRANGER, "second");
    postfix.wait_for(1, PATIENCE);
    submit(&server, "a@silent.test", "never");
    submit(&server, "a@missing.test", "nowhere");
    wait_until("both to come back", PATIENCE, || server.inbox(ALICE).len() == 2);
    let notifications: Vec<String> =
        server.inbox(ALICE).iter().map(|mail| String::from_utf8_lossy(mail).into_owned()).collect();
    for status in ["Status: 5.1.10", "Status: 5.1.2"] {
        assert!(notifications.iter().any(|text| text.contains(status)), "{status} in {notifications:?}");
    }
}

#[test]
fn dane_lets_mail_go_only_to_whom_the_signed_zone_vouches_for() {
    require!("knotd", "keymgr");
    if !postfix::available() {
        return;
    }
    let postfix = Postfix::start(&[]);
    let digest = Sha256::digest(postfix.certificate());
    let right: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let (wrong, port) = ("00".repeat(32), postfix.port);
    let knot = Knot::start(
        &format!(
            "elsewhere.test. 300 IN MX 10 mx.elsewhere.test.\n\
             mx.elsewhere.test. 300 IN A 127.0.0.1\n\
             _{port}._tcp.mx.elsewhere.test. 300 IN TLSA 3 0 1 {right}\n\
             forged.test. 300 IN MX 10 mx.forged.test.\n\
             mx.forged.test. 300 IN A 127.0.0.1\n\
             _{port}._tcp.mx.forged.test. 300 IN TLSA 3 0 1 {wrong}\n"
        ),
        &format!(
            "unsigned. 300 IN MX 10 mx.unsigned.\n\
             mx.unsigned. 300 IN A 127.0.0.1\n\
             _{port}._tcp.mx.unsigned. 300 IN TLSA 3 0 1 {wrong}\n"
        ),
    );
    postfix.set("virtual_mailbox_domains", "elsewhere.test, unsigned, forged.test");
    let server = sending(&knot, &postfix);
    submit(&server, STRANGER, "vouched");
    postfix.wait_for(1, PATIENCE);
    submit(&server, "a@forged.test", "forged");
    wait_until("the reason", PATIENCE, || queue(&server).contains("TLSA"));
    assert!(server.inbox(ALICE).is_empty(), "that may be mended: the message waits");
    submit(&server, "a@unsigned", "unsigned");
    postfix.wait_for(2, PATIENCE);
    assert_eq!(postfix.mail().len(), 2, "what nobody signed means nothing, and the forged one waits");
}

#[test]
fn who_may_write_for_a_domain_is_told_to_the_reader() {
    require!("knotd", "keymgr", "opendkim", "openssl");
    if !postfix::available() {
        return;
    }
    let rsa = OpenDkim::start("rsa", "elsewhere.test");
    let ed25519 = OpenDkim::start("ed25519", "elsewhere.test");
    let knot = Knot::start(
        &format!(
            "elsewhere.test. 300 IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
             _dmarc.elsewhere.test. 300 IN TXT \"v=DMARC1; p=reject\"\n\
             {}{}\
             mx.elsewhere.test. 300 IN A 127.0.0.1\n\
             1.0.0.127.in-addr.arpa. 300 IN PTR mx.elsewhere.test.\n\
             forged.test. 300 IN TXT \"v=spf1 -all\"\n\
             _dmarc.forged.test. 300 IN TXT \"v=DMARC1; p=reject\"\n",
            rsa.record(),
            ed25519.record(),
        ),
        "",
    );
    let server = knot.resolves_for(Server::builder().set("filter", "checkLoopback", "true")).start();
    let postfix = Postfix::start(&[
        ("transport_maps", &format!("inline:{{example.test=smtp:[127.0.0.1]:{}}}", server.ports.smtp)),
        ("non_smtpd_milters", &format!("{}, {}", rsa.milter(), ed25519.milter())),
    ]);
    postfix.send(STRANGER, ALICE, &message_from(STRANGER, "signed", "x"));
    wait_until("the mail", PATIENCE, || server.inbox(ALICE).len() == 1);
    let mail = String::from_utf8_lossy(&server.inbox(ALICE)[0]).into_owned();
    let results = mail.split("Authentication-Results: ").nth(1).unwrap_or_default();
    for pass in ["spf=pass", "dkim=pass", "dmarc=pass", "iprev=pass"] {
        assert!(results.contains(pass), "{pass} in {mail}");
    }
    assert_eq!(results.matches("dkim=pass").count(), 2, "both algorithms: {mail}");

    let forged = "ceo@forged.test";
    let reply = server.smtp().deliver(forged, &[ALICE], &message_from(forged, "urgent", "x")).unwrap();
    assert_eq!(reply.code / 100, 5, "{reply:?}");
    assert!(reply.text.starts_with("5.7."), "{reply:?}");
}

#[test]
fn our_signatures_are_found_good_by_others() {
    require!("knotd", "keymgr", "opendkim");
    if !postfix::available() {
        return;
    }
    let postfix = Postfix::start(&[]);
    let smart_host = format!("{{host: 127.0.0.1, port: {}}}", postfix.port);
    let server = Server::builder().set("relay", "smartHost", &smart_host).start();
    let created = server.command("dkim create example.test --now --output json").run().success().stdout;
    let keys: Vec<serde_json::Value> = serde_json::from_str(&created).unwrap();
    let records: Vec<&str> = keys.iter().map(|key| key["record_line"].as_str().unwrap()).collect();
    assert_eq!(records.len(), 2, "RSA and Ed25519");
    let knot = Knot::start(&records.join("\n"), "");
    let verifier = OpenDkim::verifying(&knot);
    postfix.set("smtpd_milters", &verifier.milter());
    submit(&server, STRANGER, "signed");
    let mail = String::from_utf8_lossy(&postfix.wait_for(1, PATIENCE)[0]).into_owned();
    assert_eq!(mail.matches("dkim=pass").count(), 2, "both: {mail}");
}
