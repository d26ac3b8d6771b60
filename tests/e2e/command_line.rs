//! The administrator's verbs against a running service: what they do, what they print, how they end.

use std::fs;

use serde_json::Value;

use crate::support::mail::{message, with_crlf};
use crate::support::{ALICE, BOB, Finished, Imap, STRANGER, Server, password};

/// The exit codes that `ekitei --help` promises.
const WRONG_USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const UNREACHABLE: i32 = 5;
const REFUSED: i32 = 6;

const DORA: &str = "dora@example.test";

fn ekitei(server: &Server, args: &str) -> Finished {
    server.command(args).run()
}

fn json(finished: Finished) -> Value {
    let finished = finished.success();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

fn rcpt(server: &Server, to: &str) -> u16 {
    let mut smtp = server.smtp();
    smtp.command(&format!("MAIL FROM:<{STRANGER}>")).unwrap();
    smtp.command(&format!("RCPT TO:<{to}>")).unwrap().code
}

#[test]
fn an_account_forwards_with_a_copy_and_without() {
    let server = Server::start();
    let new = format!("account add {DORA} --password-file -");
    server.command(&new).stdin(password(DORA)).run().success();
    let to = format!("account set {ALICE} --forward-to {BOB}");
    let shown = ekitei(&server, &format!("{to} --forward-to {DORA} --keep-copy")).success().stdout;
    assert!(shown.contains(&format!("{BOB}, {DORA} (keeps a copy)")), "{shown}");
    server.deliver(&[ALICE], &message("first", "x"));
    assert_eq!([ALICE, BOB, DORA].map(|account| server.inbox(account).len()), [1, 1, 1]);
    let shown = json(ekitei(&server, &format!("--output json {to}")));
    assert_eq!(shown["forwarding"], serde_json::json!({ "addresses": [BOB], "keep_copy": false }));
    server.deliver(&[ALICE], &message("second", "x"));
    assert_eq!([ALICE, BOB, DORA].map(|account| server.inbox(account).len()), [1, 2, 1]);
    ekitei(&server, &format!("account set {ALICE} --no-forward")).success();
    server.deliver(&[ALICE], &message("third", "x"));
    assert_eq!([ALICE, BOB].map(|account| server.inbox(account).len()), [2, 2]);
    ekitei(&server, &format!("account set {ALICE} --forward-to {ALICE}")).failure(WRONG_USAGE);
    ekitei(&server, &format!("account set {ALICE} --keep-copy")).failure(WRONG_USAGE);
}

#[test]
fn a_domain_is_given_hosts_of_its_own() {
    let server = Server::start();
    let hosts = "--mx-host mx-eu.example.test --mx-host mx-us.example.test --client-host mail.example.test";
    let set = format!("domain set example.test {hosts} --mta-sts enforce --mta-sts-max-age 1d");
    let shown = json(ekitei(&server, &format!("--output json {set}")));
    assert_eq!(shown["mx_hosts"], serde_json::json!(["mx-eu.example.test", "mx-us.example.test"]));
    assert_eq!(shown["client_host"], "mail.example.test");
    let policy = serde_json::json!({ "mode": "enforce", "mx": [], "max_age": 86_400 });
    assert_eq!(shown["mta_sts"], policy);
    let table = ekitei(&server, "domain show example.test").success().stdout;
    assert!(table.contains("mx-eu.example.test, mx-us.example.test") && table.contains("enforce"), "{table}");
    let set = "domain set example.test --mx-host none --client-host none --mta-sts none";
    let shown = json(ekitei(&server, &format!("--output json {set}")));
    assert!(shown["mx_hosts"].is_null() && shown["client_host"].is_null() && shown["mta_sts"].is_null());
}

#[test]
fn an_account_lives_from_add_to_remove() {
    let server = Server::start();
    ekitei(&server, "domain add other.test").success();
    server
        .command("account add erin@other.test --name Erin --password-file -")
        .stdin("first password\n")
        .run()
        .success();
    let shown = json(ekitei(&server, "--output json account show erin@other.test"));
    assert_eq!((&shown["address"], &shown["display_name"]), (&"erin@other.test".into(), &"Erin".into()));
    assert!(!shown.to_string().contains("argon2"), "no hash leaves the service: {shown}");
    let listed = json(ekitei(&server, "--output json account list --domain other.test"));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert!(ekitei(&server, "account list").success().stdout.contains(ALICE), "a table for people");
    assert_eq!(rcpt(&server, "erin@other.test"), 250);

    server
        .command("account set erin@other.test --password-file -")
        .stdin("second password\n")
        .run()
        .success();
    let imap = Server::address(server.ports.imap);
    Imap::login(imap, "erin@other.test", "second password");
    assert!(
        Imap::try_login(imap, "erin@other.test", "first password").is_err(),
        "the old password is worth nothing"
    );

    ekitei(&server, "account set erin@other.test --disable").success();
    assert!(Imap::try_login(imap, "erin@other.test", "second password").is_err());
    assert_eq!(rcpt(&server, "erin@other.test"), 550);

    ekitei(&server, "account remove erin@other.test").success();
    ekitei(&server, "account show erin@other.test").failure(NOT_FOUND);
    ekitei(&server, "domain remove other.test").success();
    assert_eq!(rcpt(&server, "erin@other.test"), 550);
}

#[test]
fn an_alias_leads_to_its_targets() {
    let server = Server::start();
    ekitei(&server, &format!("alias add team@example.test {ALICE} {BOB}")).success();
    server.deliver(&["team@example.test"], &message("to-the-team", "Hello"));
    assert_eq!((server.inbox(ALICE).len(), server.inbox(BOB).len()), (1, 1));
    ekitei(&server, "alias remove team@example.test").success();
    assert_eq!(rcpt(&server, "team@example.test"), 550);
}

#[test]
fn an_app_password_opens_until_it_is_removed() {
    let server = Server::start();
    let made = json(ekitei(&server, &format!("--output json app-password add {ALICE} phone")));
    let secret = made["password"].as_str().unwrap();
    let imap = Server::address(server.ports.imap);
    Imap::login(imap, ALICE, secret);
    let listed = ekitei(&server, &format!("app-password list {ALICE}")).success().stdout;
    assert!(listed.contains("phone") && !listed.contains(secret), "it is shown once: {listed}");
    ekitei(&server, &format!("app-password remove {ALICE} phone")).success();
    assert!(Imap::try_login(imap, ALICE, secret).is_err());
    Imap::login(imap, ALICE, &password(ALICE));
}

#[test]
fn failures_have_exit_codes_and_say_why() {
    let server = Server::start();
    let taken = server.command(&format!("account add {ALICE} --no-password")).run().failure(CONFLICT);
    assert!(taken.stderr.contains(ALICE), "{}", taken.stderr);
    assert_eq!(taken.stderr.lines().count(), 1, "one line for a script's log: {}", taken.stderr);
    ekitei(&server, "account show nobody@example.test").failure(NOT_FOUND);
    ekitei(&server, "account add no-address --no-password").failure(WRONG_USAGE);
    ekitei(&server, "account paint").failure(WRONG_USAGE);
    server.command("account list").env("EKITEI_TOKEN", "wrong").run().failure(REFUSED);
    server.command("account list").env("EKITEI_SERVER", "http://127.0.0.1:1").run().failure(UNREACHABLE);
    let machine = server.command("--output json account show nobody@example.test").run().failure(NOT_FOUND);
    let error: Value = serde_json::from_str(&machine.stderr).unwrap();
    assert_eq!(error["exit_code"], NOT_FOUND);
}

#[test]
fn a_wrong_configuration_is_refused_with_a_suggestion() {
    let server = Server::start();
    let path = server.home().join("wrong.yaml");
    fs::write(&path, "hostname: mx.example.test\nsmtp:\n  maxMesageSize: 10MiB\n  maxRecipients: many\n")
        .unwrap();
    let checked = server.command("config check wrong.yaml").run().failure(WRONG_USAGE);
    for expected in ["smtp.maxMesageSize", "maxMessageSize", "smtp.maxRecipients", "many"] {
        assert!(checked.stderr.contains(expected), "{expected} in {}", checked.stderr);
    }
    ekitei(&server, "config check ekitei.yaml").success();
}

#[test]
fn the_documentation_of_the_configuration_is_that_of_the_types() {
    let server = Server::start();
    let printed = ekitei(&server, "config docs").success().stdout;
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    assert!(fs::read_to_string(kept).unwrap() == printed, "run `make docs`");
}

#[test]
fn doctor_finds_a_running_service_well() {
    let server = Server::start();
    let report = ekitei(&server, "doctor").success();
    assert!(report.stdout.to_lowercase().contains("store"), "{}", report.stdout);
}

#[test]
fn mail_goes_out_to_maildir_and_mbox_and_comes_back_the_same() {
    let server = Server::start();
    let mails = [
        message("plain", "A body"),
        message("from", "From the start of a line\n>From quoted\n.\n..dots"),
        with_crlf("Subject: 8 bit\n\nnaïve 日本語\n\n\n".as_bytes()),
    ];
    let mut imap = server.imap(ALICE);
    for (mail, flags) in mails.iter().zip(["\\Seen", "\\Flagged \\Answered", ""]) {
        imap.append("Archive", flags, mail).ok();
    }
    for (form, path) in [("maildir", "out-maildir"), ("mbox", "out.mbox")] {
        ekitei(&server, &format!("message export {ALICE} {path} --mailbox Archive --format {form}"))
            .success();
        ekitei(&server, &format!("message import {BOB} {path} --mailbox {form} --create")).success();
        let mut copy = server.imap(BOB);
        copy.select(form);
        let bodies: Vec<Vec<u8>> = copy.bodies().into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies.len(), mails.len());
        assert!(mails.iter().all(|mail| bodies.contains(mail)), "{form}: octet for octet");
        assert_eq!(copy.search("SEEN").len(), 1, "{form}: flags");
        assert_eq!(copy.search("FLAGGED ANSWERED").len(), 1, "{form}: flags");
    }
}

#[test]
fn a_lock_of_a_program_that_is_gone_is_given_back() {
    let server = Server::start();
    let take = |holder: &str| {
        let lock = serde_json::json!({ "holder": holder, "seconds": 600 });
        server.http("PUT", "/api/v1/locks/dns:example.test", &lock.to_string()).unwrap()
    };
    assert!(take("tokyo").starts_with("HTTP/1.1 200 "));
    let refused = take("singapore");
    assert!(refused.starts_with("HTTP/1.1 409 ") && refused.contains("held by tokyo"), "{refused}");
    let listed = ekitei(&server, "lock list").success().stdout;
    assert!(listed.contains("dns:example.test") && listed.contains("tokyo"), "{listed}");
    ekitei(&server, "lock release dns:example.test --holder singapore").failure(CONFLICT);
    ekitei(&server, "lock release dns:example.test").success();
    assert!(take("singapore").starts_with("HTTP/1.1 200 "));
    ekitei(&server, "lock release none").failure(NOT_FOUND);
}
