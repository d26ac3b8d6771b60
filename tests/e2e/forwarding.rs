//! Mail of an account that is sent on to a server elsewhere: Postfix, which asks about the sender as everyone does.

use std::time::Duration;

use crate::support::knot::Knot;
use crate::support::mail::message_from;
use crate::support::postfix::{self, Postfix};
use crate::support::{ALICE, BOB, STRANGER, Server, require};

/// How long a message may take to the next host and back.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service with signatures, and the server elsewhere that it hands mail to.
fn installation() -> (Postfix, Knot, Server) {
    let postfix = Postfix::start(&[]);
    let knot = Knot::start("elsewhere.test. 300 IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n", "");
    let builder = Server::builder()
        .set("relay", "smartHost", &format!("{{host: 127.0.0.1, port: {}}}", postfix.port))
        .set("filter", "checkLoopback", "true");
    let server = knot.resolves_for(builder).start();
    server.command("dkim create example.test --now").run().success();
    (postfix, knot, server)
}

fn arrived(postfix: &Postfix, count: usize) -> Vec<String> {
    let mail = postfix.wait_for(count, PATIENCE);
    mail.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect()
}

#[test]
fn mail_of_an_account_goes_on_in_a_name_of_ours_and_is_sealed() {
    require!("knotd", "keymgr");
    if !postfix::available() {
        return;
    }
    let (postfix, _knot, server) = installation();
    server
        .command(&format!("account set {ALICE} --forward-to dora@elsewhere.test --keep-copy"))
        .run()
        .success();
    server.deliver(&[ALICE], &message_from(STRANGER, "onward", "to the end"));
    assert_eq!(server.inbox(ALICE).len(), 1, "a copy is kept");
    let [mail] = <[String; 1]>::try_from(arrived(&postfix, 1)).unwrap();
    assert!(mail.contains("Delivered-To: dora@elsewhere.test"), "{mail}");
    assert!(mail.contains("Return-Path: <SRS0="), "SPF at the next host is asked about us: {mail}");
    assert!(mail.contains("ARC-Seal: i=1;"), "{mail}");
    let results = mail.split("ARC-Authentication-Results: ").nth(1).unwrap_or_default();
    assert!(results.contains("spf=pass"), "what was found out is sealed: {mail}");
    assert!(mail.contains("to the end"), "{mail}");

    // What bounces goes back through us to whom it is from, and to no mailbox of ours.
    let path = mail.split("Return-Path: <").nth(1).unwrap().split('>').next().unwrap();
    let bounce = message_from("x@elsewhere.test", "bounce", "x");
    assert!(server.smtp().deliver("", &[path], &bounce).unwrap().ok(), "{path} is taken back");
    let back = arrived(&postfix, 2);
    let bounce = back.iter().find(|mail| mail.contains("Subject: bounce")).unwrap();
    assert!(bounce.contains(&format!("Delivered-To: {STRANGER}")), "{bounce}");
    assert_eq!(server.inbox(ALICE).len(), 1);
}

#[test]
fn an_account_without_a_copy_sends_on_what_users_here_write_too() {
    if !postfix::available() {
        return;
    }
    require!("knotd", "keymgr");
    let (postfix, _knot, server) = installation();
    server.command(&format!("account set {ALICE} --forward-to dora@elsewhere.test")).run().success();
    let reply = server.submission(BOB).deliver(BOB, &[ALICE], &message_from(BOB, "colleague", "x"));
    assert!(reply.unwrap().ok());
    let [mail] = <[String; 1]>::try_from(arrived(&postfix, 1)).unwrap();
    assert!(mail.contains("DKIM-Signature: "), "it is ours: {mail}");
    assert!(server.inbox(ALICE).is_empty());
    server.command(&format!("account set {ALICE} --no-forward")).run().success();
    server.deliver(&[ALICE], &message_from(STRANGER, "home", "x"));
    assert_eq!(server.inbox(ALICE).len(), 1);
    assert_eq!(arrived(&postfix, 1).len(), 1);
}
