//! What senders are told of their messages (RFC 3461, RFC 3464), read by Python's `email` as a mail program would.

use std::time::Duration;

use serde_json::Value;

use crate::support::mail::{message_from, subject};
use crate::support::postfix::{self, Postfix};
use crate::support::server::Builder;
use crate::support::sink::Sink;
use crate::support::{ALICE, BOB, Program, STRANGER, Server, Smtp, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);
/// Another one of elsewhere.
const DORA: &str = "dora@elsewhere.test";

fn sending_to(sink: &Sink) -> Builder {
    Server::builder()
        .set("relay", "smartHost", &sink.smart_host())
        .set("queue", "retrySchedule", "[1s]")
        .set("queue", "backoff", "[1s]")
}

/// Submits a message of Alice with these parameters of MAIL, and of RCPT.
#[track_caller]
fn submit(server: &Server, subject: &str, mail: &str, recipients: &[(&str, &str)]) {
    send(server.submission(ALICE), ALICE, subject, mail, recipients);
}

#[track_caller]
fn send(mut smtp: Smtp, from: &str, subject: &str, mail: &str, recipients: &[(&str, &str)]) {
    let mut say = |line: &str| {
        let reply = smtp.command(line).unwrap();
        assert!(reply.code < 400, "{line}: {reply:?}");
    };
    say(&format!("MAIL FROM:<{from}> {mail}"));
    for (address, parameters) in recipients {
        say(&format!("RCPT TO:<{address}> {parameters}"));
    }
    say("DATA");
    smtp.send(&crate::support::smtp::stuffed(&message_from(from, subject, "the body"))).unwrap();
    assert!(smtp.reply().unwrap().ok());
}

/// Waits until Alice has `count` messages, and reads all of them as notifications.
#[track_caller]
fn notifications(server: &Server, count: usize) -> Vec<Value> {
    wait_until(&format!("{count} notifications"), PATIENCE, || server.inbox(ALICE).len() >= count);
    let inbox = server.inbox(ALICE);
    assert_eq!(inbox.len(), count);
    inbox.into_iter().map(|mail| read(server, mail)).collect()
}

/// What a notification says.
fn read(server: &Server, mail: Vec<u8>) -> Value {
    let script = Program::python("notification.py", server.home()).stdin(mail);
    serde_json::from_str(&script.run().success().stdout).unwrap()
}

fn wait_for_an_empty_queue(server: &Server) {
    wait_until("an empty queue", PATIENCE, || {
        server.command("queue list --output json").run().success().stdout.trim() == "[]"
    });
}

#[test]
fn between_servers_that_can_the_last_one_tells_of_success() {
    require!("python3");
    if !postfix::available() {
        return;
    }
    let postfix = Postfix::start(&[]);
    let smart_host = format!("{{host: 127.0.0.1, port: {}}}", postfix.port);
    let server = Server::builder().set("relay", "smartHost", &smart_host).start();
    postfix.set("transport_maps", &format!("inline:{{example.test=smtp:[127.0.0.1]:{}}}", server.ports.smtp));
    let orcpt = "ORCPT=rfc822;Carol+40elsewhere.test";
    submit(
        &server,
        "asked",
        "ENVID=QQ314159 RET=HDRS",
        &[(STRANGER, &format!("NOTIFY=SUCCESS,FAILURE {orcpt}"))],
    );
    let [told] = &notifications(&server, 1)[..] else { unreachable!("one was awaited") };
    assert_eq!(told["about"]["reporting-mta"], format!("dns; {}", postfix::HOST), "Postfix says so, not we");
    assert_eq!(told["about"]["original-envelope-id"], "QQ314159");
    assert_eq!(told["recipients"][0]["action"], "delivered");
    assert_eq!(told["recipients"][0]["original-recipient"], "rfc822;Carol@elsewhere.test");
    wait_for_an_empty_queue(&server);
    assert_eq!(server.inbox(ALICE).len(), 1);

    // And the other way: what Postfix was asked for is asked of us, and told to its user.
    let smtp = Smtp::hello(Server::address(postfix.port)).unwrap();
    send(smtp, STRANGER, "back", "ENVID=QQ271828", &[(BOB, "NOTIFY=SUCCESS")]);
    let arrived = postfix.wait_for(2, PATIENCE);
    let told = arrived.into_iter().find(|mail| subject(mail) != "asked").unwrap();
    let told = read(&server, crate::support::mail::with_crlf(&told));
    assert_eq!(told["about"]["reporting-mta"], "dns; localhost");
    assert_eq!(told["about"]["original-envelope-id"], "QQ271828");
    assert_eq!(told["recipients"][0]["action"], "delivered");
    assert_eq!(server.inbox(BOB).len(), 1);
}

#[test]
fn where_a_server_will_not_tell_of_success_we_say_how_far_we_know() {
    require!("smtp-sink", "python3");
    let sink = Sink::start("-N");
    let server = sending_to(&sink).start();
    let recipients = [
        (STRANGER, "NOTIFY=SUCCESS"),
        (DORA, "NOTIFY=FAILURE"),
        (BOB, "NOTIFY=SUCCESS"),
        ("both@example.test", "NOTIFY=SUCCESS"),
    ];
    server.command(&format!("alias set both@example.test {BOB} {DORA}")).run().success();
    submit(&server, "told", "ENVID=Q1", &recipients);
    wait_for_an_empty_queue(&server);
    let told = notifications(&server, 3);
    let mut actions: Vec<(&str, &str)> = Vec::new();
    for recipient in told.iter().flat_map(|told| told["recipients"].as_array().unwrap()) {
        let address = recipient["final-recipient"].as_str().unwrap();
        actions.push((address, recipient["action"].as_str().unwrap()));
    }
    actions.sort_unstable();
    let expected = [
        ("rfc822; bob@example.test", "delivered"),
        ("rfc822; both@example.test", "expanded"),
        ("rfc822; carol@elsewhere.test", "relayed"),
    ];
    assert_eq!(actions, expected);
    assert!(told.iter().all(|told| told["about"]["original-envelope-id"] == "Q1"), "{told:?}");
    for caught in sink.wait_for(2, PATIENCE) {
        assert!(
            !caught.mail.contains("ENVID") && !format!("{:?}", caught.recipients).contains("NOTIFY"),
            "{caught:?}"
        );
    }
}

#[test]
fn of_a_failure_everyone_is_told_but_who_wished_not_to_be() {
    require!("smtp-sink", "python3");
    let sink = Sink::start("-f RCPT");
    let server = sending_to(&sink).start();
    submit(&server, "never", "", &[(STRANGER, "NOTIFY=NEVER")]);
    submit(&server, "success", "", &[(STRANGER, "NOTIFY=SUCCESS")]);
    submit(&server, "headers", "RET=HDRS ENVID=a+2Bb", &[(STRANGER, ""), (DORA, "NOTIFY=FAILURE")]);
    submit(&server, "full", "RET=FULL", &[(STRANGER, "ORCPT=rfc822;c+2Barol@elsewhere.test")]);
    wait_for_an_empty_queue(&server);
    let told = notifications(&server, 2);
    let about = |subject: &str| {
        let line = format!("Subject: {subject}");
        told.iter().find(|told| told["returned_text"].as_str().unwrap().contains(&line)).unwrap()
    };
    let headers = about("headers");
    assert_eq!(headers["returned"], "text/rfc822-headers");
    assert!(!headers["returned_text"].as_str().unwrap().contains("the body"));
    assert_eq!(headers["about"]["original-envelope-id"], "a+b");
    assert_eq!(headers["recipients"].as_array().unwrap().len(), 2, "one notification for both");
    let full = about("full");
    assert_eq!(full["returned"], "message/rfc822");
    assert!(full["returned_text"].as_str().unwrap().contains("the body"));
    let recipient = &full["recipients"][0];
    assert_eq!(recipient["original-recipient"], "rfc822; c+arol@elsewhere.test");
    assert_eq!(recipient["status"], "5.3.0");
    assert!(recipient["diagnostic-code"].as_str().unwrap().starts_with("smtp; 500"), "{recipient}");
    assert!(recipient["remote-mta"].as_str().unwrap().starts_with("dns;"), "{recipient}");
    assert!(full["text"].as_str().unwrap().contains(STRANGER));
}

#[test]
fn who_waits_is_told_once_and_then_that_it_was_in_vain() {
    require!("smtp-sink", "python3");
    let sink = Sink::start("-r RCPT");
    let server = sending_to(&sink).set("queue", "delayNotice", "1s").set("queue", "lifetime", "6s").start();
    submit(&server, "late", "", &[(STRANGER, ""), (DORA, "NOTIFY=FAILURE")]);
    let told = notifications(&server, 1);
    let [delayed] = &told[0]["recipients"].as_array().unwrap()[..] else {
        panic!("only one wants to know: {told:?}")
    };
    assert_eq!((&delayed["action"], &delayed["status"]), (&"delayed".into(), &"4.3.0".into()));
    assert!(delayed["will-retry-until"].is_string(), "{delayed}");
    assert_eq!(
        told[0]["returned"], "text/rfc822-headers",
        "RFC 3461 §4.3: the whole message only with a failure"
    );
    wait_for_an_empty_queue(&server);
    let told = notifications(&server, 2);
    let failed = told[1]["recipients"].as_array().unwrap();
    assert_eq!(failed.len(), 2);
    for recipient in failed {
        assert_eq!(recipient["action"], "failed");
        assert!(
            recipient["diagnostic-code"].as_str().unwrap().contains("450"),
            "what was said last: {recipient}"
        );
    }
    assert_eq!(sink.count(), 0);
}
