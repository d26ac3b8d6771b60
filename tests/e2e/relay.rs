//! No open relay: mail for other hosts is not taken from those who have not logged in, however it is addressed.

use crate::support::{ALICE, STRANGER, Server, Smtp};

/// Ways of naming a mailbox elsewhere that have made relays of servers.
const ELSEWHERE: [&str; 13] = [
    "<victim@elsewhere.test>",
    "<@example.test:victim@elsewhere.test>",
    "<@example.test,@elsewhere.test:victim@elsewhere.test>",
    "<victim%elsewhere.test@example.test>",
    "<victim%elsewhere.test@localhost>",
    "<elsewhere.test!victim>",
    "<elsewhere.test!victim@example.test>",
    "<\"victim@elsewhere.test\"@example.test>",
    "<\"victim%elsewhere.test\"@example.test>",
    "<victim@elsewhere.test@example.test>",
    "<victim@[127.0.0.1]>",
    "<victim@[IPv6:::1]>",
    "<victim@example.test.elsewhere.test>",
];

fn assert_no_relay(smtp: &mut Smtp, from: &str) {
    for to in ELSEWHERE {
        assert!(smtp.command(&format!("MAIL FROM:<{from}>")).unwrap().ok());
        let reply = smtp.command(&format!("RCPT TO:{to}")).unwrap();
        assert!((500..600).contains(&reply.code), "from {from} to {to}: {reply:?}");
        assert_eq!(smtp.command("DATA").unwrap().code / 100, 5, "no data without a recipient");
        assert!(smtp.command("RSET").unwrap().ok());
    }
}

#[test]
fn mail_for_other_hosts_is_refused_whatever_the_sender_claims() {
    let server = Server::builder()
        .set("smtp", "maxErrors", "1000")
        .set("smtp", "maxUnknownRecipients", "1000")
        .start();
    for from in [STRANGER, ALICE, "", "postmaster@example.test", "root@localhost"] {
        assert_no_relay(&mut server.smtp(), from);
    }
    let mut smtp = server.smtp();
    assert!(smtp.command(&format!("MAIL FROM:<{STRANGER}>")).unwrap().ok());
    let reply = smtp.command("RCPT TO:<victim@elsewhere.test>").unwrap();
    assert_eq!((reply.code, &reply.text[..6]), (550, "5.7.1 "), "relaying denied");
}

#[test]
fn the_local_address_of_the_client_grants_nothing() {
    // The tests come from 127.0.0.1, which is where a load balancer or a sidecar would be too.
    let server = Server::builder().set("smtp", "maxErrors", "1000").start();
    let mut smtp = server.smtp();
    for pretence in [
        "XCLIENT ADDR=127.0.0.1 LOGIN=alice@example.test",
        "XFORWARD ADDR=127.0.0.1",
        "PROXY TCP4 127.0.0.1 127.0.0.1 25 25",
        "AUTH PLAIN AGFsaWNlAHNlY3JldA==",
        "AUTH=<alice@example.test>",
    ] {
        assert_eq!(smtp.command(pretence).unwrap().code / 100, 5, "{pretence}");
    }
    assert_no_relay(&mut smtp, ALICE);
    let reply = smtp.command(&format!("MAIL FROM:<{ALICE}> AUTH={ALICE}")).unwrap();
    assert!(smtp.command("RCPT TO:<victim@elsewhere.test>").unwrap().code >= 500, "{reply:?}");
}

#[test]
fn a_proxy_header_from_an_unlisted_network_closes_the_connection() {
    let server = Server::start();
    let address = Server::address(server.ports.proxied);
    for header in [
        &b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 25\r\n"[..],
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\x9c\x40\0\x19"[..],
        b"EHLO no.header.test\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        use std::io::{Read, Write};
        // It may be closed before all is written.
        let _ = stream.write_all(header);
        let _ = stream.write_all(b"EHLO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<victim@elsewhere.test>\r\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("250"), "{answer}");
    }
}
