//! Mail that leaves: a user submits it, and Postfix, as somebody else's server, takes it, refuses it, or comes to it later.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::knot::Knot;
use crate::support::mail::{message_from, subject};
use crate::support::postfix::{self, Postfix};
use crate::support::server::Builder;
use crate::support::{ALICE, BOB, STRANGER, Server, Smtp, require, wait_until};

/// How long a message may take to the next host and back.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service that hands all mail for others to `postfix`, and comes again soon.
fn sending_to(postfix: &Postfix) -> Server {
    with_smart_host(postfix).start()
}

fn with_smart_host(postfix: &Postfix) -> Builder {
    Server::builder()
        .set("relay", "smartHost", &format!("{{host: 127.0.0.1, port: {}}}", postfix.port))
        .set("queue", "retrySchedule", "[1s, 1s, 2s]")
        .set("queue", "backoff", "[1s]")
}

/// Submits a message of Alice.
#[track_caller]
fn submit(server: &Server, to: &[&str], message: &[u8]) {
    let reply = server.submission(ALICE).deliver(ALICE, to, message).unwrap();
    assert!(reply.ok(), "{reply:?}");
}

fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).into_owned()
}

#[test]
fn a_user_writes_to_somebody_elsewhere_and_to_a_colleague() {
    if !postfix::available() {
        return;
    }
    let postfix = Postfix::start(&[]);
    let server = sending_to(&postfix);
    server.command("dkim create example.test --now").run().success();
    submit(&server, &[STRANGER, BOB], &message_from(ALICE, "both", "Hello, both."));
    assert_eq!(server.inbox(BOB).len(), 1, "who is here has it before the reply");
    let mail = text(&postfix.wait_for(1, PATIENCE)[0]);
    assert!(mail.contains("Return-Path: <alice@example.test>"), "{mail}");
    assert_eq!(mail.matches("DKIM-Signature: ").count(), 2, "RSA and Ed25519: {mail}");
    assert!(postfix.log().contains("TLSv1.3"), "between servers that know it, mail is encrypted");
    wait_until("an empty queue", PATIENCE, || {
        server.command("queue list --output json").run().success().stdout.trim() == "[]"
    });
}

#[test]
fn a_temporary_refusal_delays_a_message_and_the_queue_says_why() {
    if !postfix::available() {
        return;
    }
    let refuse = "check_recipient_access static:{450 4.2.1 come again}, reject_unauth_destination";
    let postfix = Postfix::start(&[("smtpd_recipient_restrictions", refuse)]);
    let server = sending_to(&postfix);
    submit(&server, &[STRANGER], &message_from(ALICE, "patience", "x"));
    let list = || server.command("queue list --output json").run().success().stdout;
    wait_until("the reason", PATIENCE, || list().contains("come again"));
    assert!(server.inbox(ALICE).is_empty(), "nobody is told of a short delay");
    postfix.set("smtpd_recipient_restrictions", "reject_unauth_destination");
    assert_eq!(subject(&postfix.wait_for(1, PATIENCE)[0]), "patience");
}

#[test]
fn a_refusal_comes_back_to_the_sender_in_words_and_in_fields() {
    if !postfix::available() {
        return;
    }
    let refuse = "check_recipient_access static:{550 5.1.1 nobody of that name}, reject_unauth_destination";
    let postfix = Postfix::start(&[("smtpd_recipient_restrictions", refuse)]);
    let server = Server::builder()
        .set("relay", "smartHost", &format!("{{host: 127.0.0.1, port: {}}}", postfix.port))
        .set("queue", "suppression", "{bounces: 1}")
        .start();
    submit(&server, &[STRANGER], &message_from(ALICE, "lost", "x"));
    wait_until("the notification", PATIENCE, || server.inbox(ALICE).len() == 1);
    let notification = text(&server.inbox(ALICE)[0]);
    for part in [
        "Return-Path: <>",
        "multipart/report; report-type=delivery-status",
        "Final-Recipient: rfc822; carol@elsewhere.test",
        "Action: failed",
        "Status: 5.1.1",
        "nobody of that name",
        "Subject: lost",
    ] {
        assert!(notification.contains(part), "{part} in {notification}");
    }
    // Having said so often enough, the server is not asked again, and the user hears it at once.
    let again =
        server.submission(ALICE).deliver(ALICE, &[STRANGER], &message_from(ALICE, "again", "x")).unwrap();
    assert_eq!((again.code, &again.text[..6]), (550, "5.1.1 "), "{again:?}");
}

#[test]
fn large_and_foreign_messages_arrive_octet_for_octet() {
    if !postfix::available() {
        return;
    }
    let postfix = Postfix::start(&[]);
    let server = sending_to(&postfix);
    let line = "0123456789abcdef".repeat(4) + "\n";
    let large = message_from(ALICE, "large", &line.repeat(600_000));
    let eight_bit = message_from(ALICE, "eight", "Gr\u{fc}\u{df}e\n.\n..dots\n\u{99c5}\u{9013}");
    for message in [&large, &eight_bit] {
        submit(&server, &[STRANGER], message);
    }
    let unicode = "\u{99c5}@elsewhere.test";
    submit(&server, &[unicode], &message_from(ALICE, "utf8", "x"));
    let arrived = postfix.wait_for(3, Duration::from_secs(60));
    let body = |octets: &[u8]| {
        let text = text(octets).replace("\r\n", "\n");
        let (_, body) = text.split_once("\n\n").unwrap();
        body.trim_end().to_owned()
    };
    let by_subject: BTreeMap<String, &Vec<u8>> =
        arrived.iter().map(|octets| (subject(octets), octets)).collect();
    assert!(body(by_subject["large"]) == body(&large), "every octet of 38 MB");
    assert_eq!(body(by_subject["eight"]), body(&eight_bit));
    assert!(text(by_subject["utf8"]).contains(&format!("Delivered-To: {unicode}")));
}

#[test]
fn an_alias_forwards_to_another_server_in_a_name_of_ours() {
    require!("knotd", "keymgr");
    if !postfix::available() {
        return;
    }
    let postfix = Postfix::start(&[]);
    let knot = Knot::start("elsewhere.test. 300 IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n", "");
    let builder = with_smart_host(&postfix).set("filter", "checkLoopback", "true");
    let server = knot.resolves_for(builder).start();
    server.command("dkim create example.test --now").run().success();
    server.command("alias set away@example.test dora@elsewhere.test").run().success();
    server.deliver(&["away@example.test"], &message_from(STRANGER, "onward", "x"));
    let mail = text(&postfix.wait_for(1, PATIENCE)[0]);
    assert!(mail.contains("Return-Path: <SRS0="), "SPF at the next host is asked about us: {mail}");
    assert!(mail.contains("ARC-Seal: i=1;"), "{mail}");
    let results = mail.split("ARC-Authentication-Results: ").nth(1).unwrap_or_default();
    assert!(results.contains("spf=pass"), "what was found out is sealed: {mail}");
    // What bounces finds its way back through us.
    let path = mail.split("Return-Path: <").nth(1).unwrap().split('>').next().unwrap().to_owned();
    let reply = server.smtp().deliver("", &[&path], &message_from("x@elsewhere.test", "bounce", "x"));
    assert!(reply.unwrap().ok(), "{path} is taken back");
}

#[test]
fn mail_waits_for_a_server_that_is_away_and_an_administrator_decides() {
    let server = Server::builder()
        .set(
            "relay",
            "smartHost",
            &format!("{{host: 127.0.0.1, port: {}}}", crate::support::server::free_port()),
        )
        .start();
    for subject in ["one", "two", "three"] {
        submit(&server, &[STRANGER], &message_from(ALICE, subject, "x"));
    }
    let list = || {
        let out = server.command("queue list --output json").run().success().stdout;
        serde_json::from_str::<Vec<serde_json::Value>>(&out).unwrap()
    };
    wait_until("a reason for each", PATIENCE, || {
        let entries = list();
        entries.len() == 3 && entries.iter().all(|entry| entry.to_string().contains("refused"))
    });
    let id = list()[0]["id"].as_str().unwrap().to_owned();
    let shown = server.command(&format!("queue show {id}")).run().success().stdout;
    assert!(shown.contains(STRANGER) && shown.contains(ALICE), "{shown}");
    server.command(&format!("queue delete {id}")).run().success();
    assert_eq!(list().len(), 2);
    server.command("queue bounce --destination elsewhere.test").run().success();
    wait_until("notifications for both", PATIENCE, || server.inbox(ALICE).len() == 2);
    // That a notification has arrived is written down a moment later.
    wait_until("an empty queue", PATIENCE, || list().is_empty());
}

#[test]
fn what_was_promised_before_a_crash_arrives() {
    if !postfix::available() {
        return;
    }
    const MESSAGES: usize = 2_000;
    let postfix = Postfix::start(&[]);
    let mut server = sending_to(&postfix);
    let address = Server::address(server.ports.submission);
    let senders: Vec<_> = (0..10)
        .map(|sender| {
            std::thread::spawn(move || {
                let mut smtp = Smtp::hello(address).unwrap();
                smtp.authenticate(ALICE);
                for number in 0..MESSAGES / 10 {
                    let message = message_from(ALICE, &format!("m{sender}-{number}"), "x");
                    assert!(smtp.deliver(ALICE, &[STRANGER], &message).unwrap().ok());
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    let mut kills = Vec::new();
    for _ in 0..3 {
        let more = MESSAGES.min(postfix.mail().len() + 200);
        wait_until("some to arrive", Duration::from_secs(60), || postfix.mail().len() >= more);
        server.kill();
        kills.push(server.log().len());
        server.launch();
    }
    let copies = || {
        let mut by_subject: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mail in postfix.mail() {
            by_subject.entry(subject(&mail)).or_default().push(postfix_id(&mail));
        }
        by_subject
    };
    wait_until("every message", Duration::from_secs(120), || copies().len() == MESSAGES);
    wait_until("an empty queue", PATIENCE, || {
        server.command("queue list --output json").run().success().stdout.trim() == "[]"
    });
    let log = server.log();
    let (mut twice, mut unseen) = (0, 0);
    for (subject, ids) in copies().into_iter().filter(|(_, ids)| ids.len() > 1) {
        twice += ids.len() - 1;
        let seen: Vec<usize> = ids.iter().filter_map(|id| log.find(&replied(id))).collect();
        unseen += ids.len() - seen.len();
        let known =
            seen.iter().filter(|&&at| kills.iter().all(|&kill| !is_under_way(&log, at, kill))).count();
        // None may be known for sure: the last copy may have been written down right before a process died.
        assert!(known <= 1, "{subject} came as {ids:?}, and was known to be sent already");
    }
    println!("{twice} messages came twice; of {unseen} copies the reply was not seen");
    assert!(twice <= 100, "{twice} messages came twice");
}

/// What Postfix calls a message that it took.
fn postfix_id(mail: &[u8]) -> String {
    let text = String::from_utf8_lossy(mail);
    let trace = text.split(" (Postfix) with ").nth(1).and_then(|trace| trace.split(" id ").nth(1)).unwrap();
    trace.split([';', ' ', '\r', '\n', '\t']).next().unwrap().to_owned()
}

/// The reply to a message as the service logs it.
fn replied(id: &str) -> String {
    format!("queued as {id}")
}

/// Whether a reply that was logged at `at` may not have been written down when the process died at `kill`: no more than twenty
/// messages are on their way to a destination, from their beginning until their result is committed.
fn is_under_way(log: &str, at: usize, kill: usize) -> bool {
    at < kill && log.get(at..kill).is_some_and(|since| since.matches("queued as ").count() <= 2 * 20)
}
