//! SIGTERM ends the service politely and soon, and a second one at once; neither loses anything.

use std::sync::Mutex;
use std::time::Duration;

use crate::support::mail::{message, subject};
use crate::support::smtp::stuffed;
use crate::support::{ALICE, STRANGER, Server, Smtp, wait_until};

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() {
    let mut server = Server::builder().set("shutdown", "grace", "10s").start();
    let address = Server::address(server.ports.smtp);
    let accepted = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for sender in 0..10 {
            let accepted = &accepted;
            scope.spawn(move || {
                let Ok(mut smtp) = Smtp::hello(address) else { return };
                for number in 0.. {
                    let id = format!("{sender}-{number}");
                    match smtp.deliver(STRANGER, &[ALICE], &message(&id, "A body")) {
                        Ok(reply) if reply.ok() => accepted.lock().unwrap().push(id),
                        Ok(reply) => {
                            assert_eq!(reply.code, 421, "the only refusal is the farewell: {reply:?}");
                            return;
                        }
                        Err(_) => return,
                    }
                }
            });
        }
        wait_until("some deliveries", Duration::from_secs(20), || accepted.lock().unwrap().len() > 100);
        server.terminate();
        assert_eq!(
            server.wait(Duration::from_secs(12)),
            Some(0),
            "the service ends by itself, in good order"
        );
    });
    server.launch();
    let there: Vec<String> = server.inbox(ALICE).iter().map(|mail| subject(mail)).collect();
    for id in accepted.into_inner().unwrap() {
        assert_eq!(there.iter().filter(|other| **other == id).count(), 1, "{id} was acknowledged");
    }
}

#[test]
fn idle_sessions_are_told_and_new_ones_refused() {
    let mut server = Server::builder().set("shutdown", "grace", "10s").start();
    let smtp = server.smtp();
    let mut imap = server.imap(ALICE);
    imap.select("INBOX");
    server.terminate();
    assert!(smtp.rest().starts_with("421 4.3.2"), "RFC 3463: system not accepting network messages");
    assert!(imap.rest().starts_with("* BYE"));
    assert_eq!(server.wait(Duration::from_secs(12)), Some(0));
    assert!(Smtp::connect(Server::address(server.ports.smtp)).is_err());
}

#[test]
fn a_message_on_its_way_is_finished_or_refused_but_never_in_between() {
    let mut server = Server::builder().set("shutdown", "grace", "10s").start();
    let mut smtp = server.smtp();
    for command in [&format!("MAIL FROM:<{STRANGER}>"), "RCPT TO:<alice@example.test>", "DATA"] {
        smtp.command(command).unwrap();
    }
    let mail = stuffed(&message("halfway", &"A line of the body\n".repeat(100)));
    let (first, second) = mail.split_at(mail.len() / 2);
    smtp.send(first).unwrap();
    server.terminate();
    std::thread::sleep(Duration::from_millis(300));
    let promised = smtp.send(second).and_then(|()| smtp.reply()).is_ok_and(|reply| reply.ok());
    drop(smtp);
    assert_eq!(server.wait(Duration::from_secs(12)), Some(0));
    server.launch();
    assert_eq!(server.inbox(ALICE).len(), usize::from(promised));
}

#[test]
fn a_second_sigterm_ends_the_service_at_once() {
    let mut server = Server::builder().set("shutdown", "grace", "60s").start();
    let mut smtp = server.smtp();
    // A message in the middle keeps the first SIGTERM waiting.
    for command in [&format!("MAIL FROM:<{STRANGER}>"), "RCPT TO:<alice@example.test>", "DATA"] {
        smtp.command(command).unwrap();
    }
    smtp.send(b"Subject: never finished\r\n").unwrap();
    server.terminate();
    std::thread::sleep(Duration::from_millis(500));
    server.terminate();
    assert_eq!(
        server.wait(Duration::from_secs(3)),
        Some(1),
        "it says that it ended before its time, and does not crash"
    );
    server.launch();
    assert!(server.inbox(ALICE).is_empty());
}
