//! One message is never read as two, and what came before TLS never counts after it.

use crate::support::{ALICE, Program, STRANGER, Server, require};

/// Ends of data that some server somewhere takes for `<CRLF>.<CRLF>` (RFC 5321 §4.1.1.4 knows no other).
const FALSE_ENDS: [&str; 13] = [
    "\n.\n",
    "\n.\r\n",
    "\n.\r",
    "\r.\r",
    "\r.\r\n",
    "\r.\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r\n\n.\r\n",
    "\r\n.\r\r\n",
    "\n\n.\n\n",
    "\n\r.\r\n",
    "\r\n\0.\r\n",
];

#[test]
fn a_false_end_of_data_never_makes_a_second_message() {
    let server = Server::start();
    for end in FALSE_ENDS {
        let mut smtp = server.smtp();
        for command in [&format!("MAIL FROM:<{STRANGER}>"), "RCPT TO:<alice@example.test>", "DATA"] {
            assert!(smtp.command(command).unwrap().code < 400);
        }
        let smuggled = format!(
            "Subject: outer\r\n\r\nfirst{end}MAIL FROM:<root@example.test>\r\nRCPT TO:<alice@example.test>\r\n\
             DATA\r\nSubject: smuggled\r\n\r\nsecond\r\n.\r\nQUIT\r\n"
        );
        smtp.send(smuggled.as_bytes()).unwrap();
        let answer = smtp.rest();
        let replies: Vec<&str> = answer.lines().collect();
        let bare = end != "\r\n\0.\r\n" && end != "\r\n.\r\n";
        if bare {
            assert!(
                replies.first().is_some_and(|reply| reply.starts_with("550 5.6.11 ")),
                "{end:?}: {replies:?}"
            );
        }
        assert!(!answer.contains("354 "), "{end:?} began a second message: {replies:?}");
        assert!(replies.len() <= 2, "{end:?}: one reply for the data and one for QUIT: {replies:?}");
    }
    assert!(server.inbox(ALICE).is_empty());
}

#[test]
fn bare_line_ends_in_headers_and_at_the_end_are_refused() {
    let server = Server::start();
    for body in ["Subject: a\nX: b\r\n\r\nc\r\n", "Subject: a\r\n\r\nb\rc\r\n", "Subject: a\r\n\r\nb\r", "\n"]
    {
        let mut smtp = server.smtp();
        let reply = smtp.deliver(STRANGER, &[ALICE], body.as_bytes()).unwrap();
        assert_eq!((reply.code, reply.text.starts_with("5.6.11 ")), (550, true), "{body:?}: {reply:?}");
        // The session goes on in step.
        assert_eq!(smtp.command("NOOP").unwrap().code, 250);
    }
    assert!(server.inbox(ALICE).is_empty());
}

#[test]
fn commands_with_bare_line_ends_are_no_commands() {
    let server = Server::start();
    let mut smtp = server.smtp();
    smtp.send(
        format!("MAIL FROM:<{STRANGER}>\nRCPT TO:<{ALICE}>\nDATA\nSubject: x\n\ny\n.\nQUIT\r\n").as_bytes(),
    )
    .unwrap();
    let answer = smtp.rest();
    assert!(!answer.contains("354"), "{answer}");
    assert!(server.inbox(ALICE).is_empty());
}

#[test]
fn what_was_sent_before_tls_is_forgotten() {
    require!("python3");
    let server = Server::start();
    Program::python("starttls_injection.py", server.home())
        .env("SMTP_PORT", server.ports.smtp.to_string())
        .env("SUBMISSION_PORT", server.ports.submission.to_string())
        .env("IMAP_PORT", server.ports.imap.to_string())
        .env("POP3_PORT", server.ports.pop3.to_string())
        .env("CERTIFICATE", server.certificate())
        .run()
        .success();
}
