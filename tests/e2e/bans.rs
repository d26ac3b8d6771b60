//! Bans: made on the command line, told in each protocol's words, there after a crash.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{ALICE, Imap, Server, wait_until};

/// What a client hears that only listens: all of it if the server closes, else its beginning.
fn heard(port: u16) -> String {
    let mut stream = TcpStream::connect(Server::address(port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut octets = [0; 512];
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        match stream.read(&mut octets) {
            Ok(0) | Err(_) => break,
            Ok(length) => said.extend_from_slice(&octets[..length]),
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn begins(port: u16, greeting: &str) -> bool {
    heard(port).starts_with(greeting)
}

#[test]
fn a_ban_holds_for_all_protocols_and_survives_a_crash() {
    let mut server = Server::start();
    let ports = server.ports;
    let made = server.command("ban add 127.0.0.0/24 --reason test --duration 1h").run().success();
    assert!(made.stdout.contains("127.0.0.0/24") && made.stdout.contains("test"), "{}", made.stdout);
    for (port, refusal) in [
        (ports.smtp, "421 4.7.0 "),
        (ports.submission, "421 4.7.0 "),
        (ports.imap, "* BYE [LIMIT] "),
        (ports.pop3, "-ERR [SYS/TEMP] "),
        (ports.imaps, ""),
    ] {
        let said = heard(port);
        assert!(said.starts_with(refusal) && (!refusal.is_empty() || said.is_empty()), "{refusal}: {said:?}");
    }
    assert!(begins(ports.lmtp, "220 "), "a front end is not banned");
    server.command("ban add 127.0.0.1").run().success();
    assert!(server.command("ban list").run().success().stdout.contains("for good"));
    server.kill();
    server.launch();
    assert!(!begins(ports.smtp, "220 "));
    server.command("ban remove 127.0.0.0/24").run().success();
    assert!(begins(ports.smtp, "554 5.7.1 ") && begins(ports.imap, "* BYE [CONTACTADMIN] "));
    server.command("ban remove 127.0.0.1").run().success();
    assert!(begins(ports.smtp, "220 ") && begins(ports.imap, "* OK ") && begins(ports.pop3, "+OK "));
    let gone = server.command("ban remove 127.0.0.1").run().failure(3);
    assert!(gone.stderr.contains("is not banned"), "{}", gone.stderr);
}

#[test]
fn who_guesses_passwords_is_banned_until_the_administrator_relents() {
    let limits = "{ bans: { exempt: [], threshold: 30 } }";
    let server = Server::builder().set("filter", "limits", limits).start();
    let ports = server.ports;
    for guess in ["a", "b", "c"] {
        assert!(Imap::try_login(Server::address(ports.imap), ALICE, guess).is_err());
    }
    assert!(begins(ports.imap, "* BYE [LIMIT] ") && begins(ports.smtp, "421 4.7.0 "));
    let shown = server.command("ban show 127.0.0.1").run().success().stdout;
    assert!(shown.contains("failed logins"), "{shown}");
    wait_until("the ban to be listed", Duration::from_secs(10), || {
        server.command("ban list").run().success().stdout.contains("127.0.0.1/32")
    });
    server.command("ban remove 127.0.0.1").run().success();
    assert!(begins(ports.imap, "* OK "));
}
