//! Both ways into TLS, seen by OpenSSL: at the start of a connection, and by command.

use crate::support::{ALICE, Finished, Program, Server, password, require};

/// `openssl s_client`, which must trust the certificate and find its name in it.
fn s_client(server: &Server, port: u16, args: &str, input: &str) -> Finished {
    Program::new("openssl", server.home())
        .args("s_client -quiet -verify_return_error -verify_hostname localhost")
        .arg("-CAfile")
        .arg(server.certificate())
        .arg("-connect")
        .arg(format!("localhost:{port}"))
        .args(args)
        .stdin(input)
        .run()
}

#[test]
fn every_protocol_speaks_tls_both_ways() {
    require!("openssl");
    let server = Server::start();
    let ports = server.ports;
    let login = format!("a LOGIN {ALICE} \"{}\"\r\nb LOGOUT\r\n", password(ALICE));
    let pop = format!("USER {ALICE}\r\nPASS {}\r\nQUIT\r\n", password(ALICE));
    for (port, args, input, expected) in [
        (ports.smtp, "-starttls smtp", "NOOP\r\nQUIT\r\n", "221 2.0.0"),
        (ports.submission, "-starttls smtp", "EHLO me.test\r\nQUIT\r\n", "221 2.0.0"),
        (ports.submissions, "", "EHLO me.test\r\nQUIT\r\n", "AUTH PLAIN LOGIN"),
        (ports.imap, "-starttls imap", &login, "a OK"),
        (ports.imaps, "", &login, "a OK"),
        (ports.pop3, "-starttls pop3", &pop, "+OK"),
        (ports.pop3s, "", &pop, "+OK"),
    ] {
        let session = s_client(&server, port, args, input).success();
        assert!(session.stdout.contains(expected), "{port} {args}: {}", session.output());
    }
}

#[test]
fn old_versions_of_tls_are_refused_and_new_ones_spoken() {
    require!("openssl");
    let server = Server::start();
    for version in ["-tls1_2", "-tls1_3"] {
        s_client(&server, server.ports.imaps, version, "a LOGOUT\r\n").success();
    }
    let old = s_client(&server, server.ports.imaps, "-tls1_1 -cipher ALL:@SECLEVEL=0", "a LOGOUT\r\n");
    assert_ne!(old.code, Some(0), "{}", old.output());
}
