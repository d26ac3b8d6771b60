//! Mail that comes from Postfix, as from somebody else's server, and from clients that break off or dawdle.

use std::time::Duration;

use crate::support::knot::Knot;
use crate::support::mail::{message, subject};
use crate::support::postfix::{self, Postfix};
use crate::support::smtp::{Reply, stuffed};
use crate::support::{ALICE, BOB, STRANGER, Server, Smtp, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// A Postfix that sends mail for `example.test` to `server`, and comes again soon.
fn sending_to(server: &Server, settings: &[(&str, &str)]) -> Postfix {
    let transport = format!("inline:{{example.test=smtp:[127.0.0.1]:{}}}", server.ports.smtp);
    let mut all = vec![
        ("transport_maps", transport.as_str()),
        ("queue_run_delay", "1s"),
        // With a second, it may come again while the attempt before still has its file, and then waits for five minutes.
        ("minimal_backoff_time", "2s"),
        ("maximal_backoff_time", "2s"),
        ("smtp_destination_concurrency_failed_cohort_limit", "1000"),
    ];
    all.extend(settings);
    Postfix::start(&all)
}

/// Hands a message to Postfix.
#[track_caller]
fn give(postfix: &Postfix, to: &str, message: &[u8]) {
    let reply =
        Smtp::hello(Server::address(postfix.port)).unwrap().deliver(STRANGER, &[to], message).unwrap();
    assert!(reply.ok(), "{reply:?}");
}

fn body(mail: &[u8]) -> &[u8] {
    let end = mail.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap();
    &mail[end + 4..]
}

#[test]
fn postfix_sends_anything_over_tls_that_it_trusts() {
    if !postfix::available() {
        return;
    }
    let server = Server::start();
    server.add_account("\u{99c5}@example.test");
    let certificate = server.certificate().display().to_string();
    let postfix = sending_to(
        &server,
        &[
            ("smtp_tls_security_level", "secure"),
            ("smtp_tls_secure_cert_match", "localhost"),
            ("smtp_tls_CAfile", &certificate),
            ("smtp_tls_loglevel", "1"),
        ],
    );
    let line = "0123456789abcdef".repeat(4) + "\n";
    let large = message("large", &line.repeat(620_000));
    let eight_bit = message("eight", "Gr\u{fc}\u{df}e\n.\n..dots\n\u{99c5}\u{9013}");
    give(&postfix, ALICE, &large);
    give(&postfix, BOB, &eight_bit);
    give(&postfix, "\u{99c5}@example.test", &message("\u{99c5}\u{9013}", "x"));
    for (user, sent) in [(BOB, &eight_bit), (ALICE, &large)] {
        wait_until("the mail", PATIENCE, || server.inbox(user).len() == 1);
        assert!(body(&server.inbox(user)[0]) == body(sent), "every octet for {user}");
    }
    wait_until("the mail", PATIENCE, || server.inbox("\u{99c5}@example.test").len() == 1);
    let unicode = server.inbox("\u{99c5}@example.test").remove(0);
    assert_eq!(subject(&unicode), "\u{99c5}\u{9013}");
    assert!(String::from_utf8_lossy(&unicode).contains("with UTF8SMTPS"), "RFC 6531 \u{a7}4.3");
    let log = postfix.log();
    assert!(log.contains("Verified TLS connection established to 127.0.0.1"), "{log}");
}

#[test]
fn postfix_comes_again_when_we_were_away_or_a_mailbox_was_full() {
    if !postfix::available() {
        return;
    }
    let mut server = Server::start();
    server.command(&format!("account set {BOB} --quota 10KiB")).run().success();
    let postfix = sending_to(&server, &[]);
    let most = "0123456789abcdef\n".repeat(400);
    give(&postfix, BOB, &message("first", &most));
    wait_until("the mail", PATIENCE, || server.inbox(BOB).len() == 1);
    give(&postfix, BOB, &message("full", &most));
    wait_until("Postfix to be put off", PATIENCE, || postfix.log().contains("status=deferred"));
    assert!(postfix.log().contains("4.2.2"), "the mailbox is full: {}", postfix.log());
    server.kill();
    give(&postfix, ALICE, &message("away", "x"));
    wait_until("Postfix to find nobody", PATIENCE, || postfix.log().contains("Connection refused"));
    server.launch();
    wait_until("the mail", PATIENCE, || server.inbox(ALICE).len() == 1);
    assert_eq!(server.inbox(BOB).len(), 1);
    server.command(&format!("account set {BOB} --quota none")).run().success();
    wait_until("the mail", PATIENCE, || server.inbox(BOB).len() == 2);
    assert!(postfix.mail().is_empty(), "nothing bounced");
}

#[test]
fn a_user_that_nobody_knows_comes_back_from_postfix() {
    if !postfix::available() {
        return;
    }
    let server = Server::start();
    let postfix = sending_to(&server, &[]);
    give(&postfix, "nobody@example.test", &message("lost", "x"));
    let bounce = String::from_utf8_lossy(&postfix.wait_for(1, PATIENCE)[0]).into_owned();
    for part in ["Action: failed", "Status: 5.1.1", "Final-Recipient: rfc822; nobody@example.test", "550"] {
        assert!(bounce.contains(part), "{part} in {bounce}");
    }
}

#[test]
fn greylisting_lets_postfix_in_when_it_comes_again() {
    require!("knotd", "keymgr");
    if !postfix::available() {
        return;
    }
    let knot = Knot::start("", "");
    let builder = Server::builder().set("filter", "checkLoopback", "true").set(
        "filter",
        "greylist",
        "{enabled: true, delay: 1s}",
    );
    let server = knot.resolves_for(builder).start();
    let postfix = sending_to(&server, &[]);
    give(&postfix, ALICE, &message("patience", "x"));
    wait_until("the mail", PATIENCE, || server.inbox(ALICE).len() == 1);
    let log = postfix.log();
    assert!(log.contains("status=deferred") && log.contains("451 4.7.1"), "{log}");
    let before = log.matches("status=deferred").count();
    give(&postfix, ALICE, &message("known", "x"));
    wait_until("the second mail", PATIENCE, || server.inbox(ALICE).len() == 2);
    assert_eq!(postfix.log().matches("status=deferred").count(), before, "known by now");
}

/// A connection that has come to the point where the message begins.
fn at_data(server: &Server) -> Smtp {
    let mut smtp = server.smtp();
    for line in [&format!("MAIL FROM:<{STRANGER}>"), &format!("RCPT TO:<{ALICE}>"), "DATA"] {
        let reply: Reply = smtp.command(line).unwrap();
        assert!(reply.code < 400, "{line}: {reply:?}");
    }
    smtp
}

#[test]
fn a_message_that_breaks_off_is_none_and_a_slow_one_is() {
    let server = Server::start();
    let sent = message("slow", &"a line of the message\n".repeat(20));
    let mail = stuffed(&sent);
    // Everything but the last octets of the end.
    for missing in [1, 2, 3, 5, mail.len() - 1] {
        let mut smtp = at_data(&server);
        smtp.send(&mail[..mail.len() - missing]).unwrap();
    }
    let mut chunk = server.smtp();
    for line in [format!("MAIL FROM:<{STRANGER}>"), format!("RCPT TO:<{ALICE}>")] {
        assert!(chunk.command(&line).unwrap().ok());
    }
    chunk.send(b"BDAT 1000 LAST\r\n").unwrap();
    chunk.send(&mail).unwrap();
    drop(chunk);
    let mut smtp = at_data(&server);
    for part in mail.chunks(20) {
        smtp.send(part).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(smtp.reply().unwrap().ok());
    let inbox = server.inbox(ALICE);
    assert_eq!(inbox.len(), 1, "the one whose end was seen");
    assert!(inbox[0].ends_with(&sent));
}
