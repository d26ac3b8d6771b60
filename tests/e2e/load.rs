//! Much mail at once, to servers that are quick, slow, or refuse: smtp-sink of Postfix.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::mail::{message_from, subject};
use crate::support::server::free_port;
use crate::support::sink::Sink;
use crate::support::{ALICE, STRANGER, Server, Smtp, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Submits `count` messages of Alice on ten connections, each with its number as the subject.
fn submit(server: &Server, count: usize, recipient: impl Fn(usize) -> String + Sync) {
    let address = Server::address(server.ports.submission);
    std::thread::scope(|scope| {
        for first in 0..10 {
            let recipient = &recipient;
            scope.spawn(move || {
                let mut smtp = Smtp::hello(address).unwrap();
                smtp.authenticate(ALICE);
                for number in (first..count).step_by(10) {
                    let message = message_from(ALICE, &format!("m{number}"), "x");
                    let reply = smtp.deliver(ALICE, &[&recipient(number)], &message).unwrap();
                    assert!(reply.ok(), "{reply:?}");
                }
            });
        }
    });
}

fn queued(server: &Server, options: &str) -> Vec<serde_json::Value> {
    let list = server.command(&format!("queue list --output json --limit 1000 {options}")).run().success();
    serde_json::from_str(&list.stdout).unwrap()
}

#[test]
fn two_thousand_messages_leave_and_each_arrives_once() {
    require!("smtp-sink");
    const MESSAGES: usize = 2_000;
    let sink = Sink::start("");
    let server = Server::builder().set("relay", "smartHost", &sink.smart_host()).start();
    submit(&server, MESSAGES, |_| STRANGER.to_owned());
    let caught = sink.wait_for(MESSAGES, PATIENCE);
    wait_until("an empty queue", PATIENCE, || queued(&server, "").is_empty());
    let subjects: BTreeSet<String> = caught.iter().map(|caught| subject(&caught.message)).collect();
    assert_eq!((subjects.len(), sink.count()), (MESSAGES, MESSAGES));
    assert!(server.inbox(ALICE).is_empty());
}

#[test]
fn each_destination_gets_what_it_takes_and_the_sender_hears_of_the_rest() {
    require!("smtp-sink");
    const EACH: usize = 25;
    // Takes all; refuses for good; refuses for now; breaks off where nobody can know whether it took the message.
    let destinations =
        [("good.test", ""), ("bad.test", "-f RCPT"), ("busy.test", "-r MAIL"), ("cut.test", "-q .")];
    let mut sinks: Vec<Sink> = destinations.iter().map(|(_, options)| Sink::start(options)).collect();
    let routes: Vec<String> = destinations
        .iter()
        .zip(&sinks)
        .map(|((domain, _), sink)| {
            format!("{{destinations: [{domain}], host: 127.0.0.1, port: {}}}", sink.port)
        })
        .collect();
    let server = Server::builder()
        .set("relay", "routes", &format!("[{}]", routes.join(", ")))
        .set("queue", "retrySchedule", "[1s]")
        .set("queue", "backoff", "[1s]")
        .start();
    submit(&server, 4 * EACH, |number| format!("u{number}@{}", destinations[number % 4].0));
    assert_eq!(sinks[0].wait_for(EACH, PATIENCE).len(), EACH);
    wait_until("a notification of each failure", PATIENCE, || server.inbox(ALICE).len() >= EACH);
    wait_until("attempts at the others", PATIENCE, || {
        let waiting = queued(&server, "--state deferred");
        waiting.len() == 2 * EACH && waiting.iter().all(|entry| !entry["reason"].as_str().unwrap().is_empty())
    });
    let busy = queued(&server, "--destination busy.test --error 450");
    assert_eq!(busy.len(), EACH, "{:?}", queued(&server, "--destination busy.test")[0]);

    // Both are mended.
    let ports = [sinks[2].port, sinks[3].port];
    sinks.truncate(2);
    sinks.extend(ports.map(|port| Sink::start_at(port, "")));
    for sink in &sinks[2..] {
        let caught = sink.wait_for(EACH, PATIENCE);
        let recipients: BTreeSet<&String> = caught.iter().flat_map(|caught| &caught.recipients).collect();
        assert_eq!(recipients.len(), EACH);
    }
    wait_until("an empty queue", PATIENCE, || queued(&server, "").is_empty());
    let failed: BTreeSet<String> = server
        .inbox(ALICE)
        .iter()
        .map(|mail| String::from_utf8_lossy(mail).into_owned())
        .filter_map(|mail| Some(mail.split("Final-Recipient: rfc822; ").nth(1)?.lines().next()?.to_owned()))
        .collect();
    assert!(failed.iter().all(|address| address.ends_with("@bad.test")), "{failed:?}");
    assert_eq!((failed.len(), server.inbox(ALICE).len()), (EACH, EACH));
}

#[test]
fn a_slow_reader_is_waited_for_and_one_that_stands_still_is_given_up() {
    require!("smtp-sink");
    // Neither reads at first, with a window that is soon full.
    let (slow, still) = (Sink::start("-H 2 -T 8192"), Sink::start("-H 60 -T 8192"));
    let routes = format!(
        "[{{destinations: [slow.test], host: 127.0.0.1, port: {}}}, \
         {{destinations: [still.test], host: 127.0.0.1, port: {}}}]",
        slow.port, still.port
    );
    let server = Server::builder()
        .set("relay", "routes", &routes)
        .set("relay", "timeouts", "{dataBlock: 4s}")
        .set("queue", "retrySchedule", "[1s]")
        .set("queue", "backoff", "[1s]")
        .start();
    let line = "0123456789abcdef".repeat(4) + "\n";
    let message = message_from(ALICE, "long", &line.repeat(100_000));
    let reply = server.submission(ALICE).deliver(ALICE, &["a@slow.test", "a@still.test"], &message).unwrap();
    assert!(reply.ok(), "{reply:?}");
    let caught = slow.wait_for(1, PATIENCE);
    assert!(caught[0].message.ends_with(&message), "every octet of 6 MB");
    wait_until("the reason", PATIENCE, || {
        let waiting = queued(&server, "--destination still.test");
        waiting.len() == 1 && waiting[0].to_string().contains("4.4.")
    });
    let port = still.port;
    drop(still);
    let mended = Sink::start_at(port, "");
    assert!(mended.wait_for(1, PATIENCE)[0].message.ends_with(&message));
}

#[test]
fn a_destination_that_is_away_gets_its_mail_when_it_is_back() {
    require!("smtp-sink");
    let port = free_port();
    let server = Server::builder()
        .set("relay", "smartHost", &format!("{{host: 127.0.0.1, port: {port}}}"))
        .set("queue", "retrySchedule", "[1s]")
        .set("queue", "backoff", "[1s]")
        .start();
    submit(&server, 30, |number| format!("u{number}@elsewhere.test"));
    wait_until("reasons", PATIENCE, || {
        let waiting = queued(&server, "--state deferred");
        waiting.len() == 30
            && waiting.iter().all(|entry| entry["reason"].as_str().unwrap().contains("refused"))
    });
    // First a server that breaks off at DATA, then one that does its work.
    let broken = Sink::start_at(port, "-q DATA");
    wait_until("another reason", PATIENCE, || {
        queued(&server, "").iter().any(|entry| entry["reason"].as_str().unwrap().contains("clos"))
    });
    drop(broken);
    let sink = Sink::start_at(port, "");
    assert_eq!(sink.wait_for(30, PATIENCE).len(), 30);
    wait_until("an empty queue", PATIENCE, || queued(&server, "").is_empty());
    assert!(server.inbox(ALICE).is_empty());
}
