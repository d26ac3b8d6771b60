//! Mail comes in from programs that people use to send it.

use crate::support::mail::{below_trace, message, message_from, subject};
use crate::support::{ALICE, BOB, Finished, Program, STRANGER, Server, password, require};

/// swaks against the port for mail from other hosts, unless `args` say otherwise.
fn swaks(server: &Server, port: u16, args: &str) -> Finished {
    Program::new("swaks", server.home())
        .args("--timeout 20s --helo client.elsewhere.test --hide-informational")
        .arg(format!("--server=127.0.0.1:{port}"))
        .args(args)
        .run()
}

/// A service where passwords are taken over TLS only.
fn server_with_tls_for_passwords() -> Server {
    let submission = "{messagesPerAccountPerMinute: 0, recipientsPerAccountPerDay: 0}";
    Server::builder().set("smtp", "submission", submission).start()
}

/// The only message in Alice's INBOX.
#[track_caller]
fn only_message(server: &Server) -> String {
    let inbox = server.inbox(ALICE);
    assert_eq!(inbox.len(), 1);
    String::from_utf8(inbox.into_iter().next().unwrap()).unwrap()
}

#[test]
fn swaks_delivers_from_another_host() {
    require!("swaks");
    let server = Server::start();
    swaks(&server, server.ports.smtp, &format!("--from {STRANGER} --to {ALICE} --body Konnichiwa")).success();
    let mail = only_message(&server);
    assert!(
        mail.starts_with(&format!("Return-Path: <{STRANGER}>\r\nDelivered-To: {ALICE}\r\nReceived: ")),
        "{mail}"
    );
    assert!(mail.contains("\r\nReceived: from client.elsewhere.test "), "{mail}");
    assert!(mail.contains("\r\n\r\nKonnichiwa\r\n"), "{mail}");
}

#[test]
fn swaks_delivers_with_pipelining() {
    require!("swaks");
    let server = Server::start();
    let sent = swaks(&server, server.ports.smtp, &format!("--pipeline --from {STRANGER} --to {ALICE},{BOB}"));
    assert!(sent.success().stdout.contains("PIPELINING"));
    assert_eq!((server.inbox(ALICE).len(), server.inbox(BOB).len()), (1, 1));
}

#[test]
fn swaks_delivers_over_starttls() {
    require!("swaks");
    let server = Server::start();
    swaks(&server, server.ports.smtp, &format!("--tls --from {STRANGER} --to {ALICE}")).success();
    let mail = only_message(&server);
    assert!(mail.contains("with ESMTPS"), "RFC 3848 names the transport: {mail}");
}

#[test]
fn swaks_submits_with_each_mechanism_and_kind_of_tls() {
    require!("swaks");
    let server = Server::start();
    let account =
        |mechanism: &str| format!("--from {ALICE} --to {BOB} --auth {mechanism} --auth-user {ALICE}");
    for (port, tls) in [(server.ports.submission, "--tls"), (server.ports.submissions, "--tls-on-connect")] {
        for mechanism in ["PLAIN", "LOGIN"] {
            Program::new("swaks", server.home())
                .arg(format!("--server=127.0.0.1:{port}"))
                .args(&account(mechanism))
                .arg(format!("--auth-password={}", password(ALICE)))
                .arg(tls)
                .run()
                .success();
        }
    }
    let inbox = server.inbox(BOB);
    assert_eq!(inbox.len(), 4);
    assert!(inbox.iter().all(|mail| String::from_utf8_lossy(mail).contains("with ESMTPSA")));
}

#[test]
fn a_submission_needs_the_right_password_and_tls() {
    require!("swaks");
    let server = server_with_tls_for_passwords();
    let login = format!("--from {ALICE} --to {BOB} --auth PLAIN --auth-user {ALICE} --auth-password wrong");
    let refused = swaks(&server, server.ports.submission, &format!("--tls {login}")).failure(28);
    assert!(refused.stdout.contains("535 5.7.8"), "{}", refused.stdout);
    let bare = swaks(&server, server.ports.submission, &login).failure(28);
    assert!(!bare.stdout.contains("250-AUTH"), "no AUTH before TLS: {}", bare.stdout);
    let anonymous = swaks(&server, server.ports.submission, &format!("--tls --from {ALICE} --to {BOB}"));
    assert!(anonymous.failure(23).stdout.contains("530 5.7.0"), "authentication comes first");
    assert_eq!(server.inbox(BOB).len(), 0);
}

#[test]
fn a_user_may_not_send_as_another() {
    require!("swaks");
    let server = Server::start();
    let sent = Program::new("swaks", server.home())
        .arg(format!("--server=127.0.0.1:{}", server.ports.submission))
        .args(&format!("--tls --from {BOB} --to {ALICE} --auth PLAIN --auth-user {ALICE}"))
        .arg(format!("--auth-password={}", password(ALICE)))
        .run();
    assert_ne!(sent.code, Some(0));
    assert!(sent.stdout.contains("553 5.7.1") || sent.stdout.contains("550 5.7.1"), "{}", sent.stdout);
    assert_eq!(server.inbox(ALICE).len(), 0);
}

#[test]
fn a_message_above_the_limit_is_refused_early_and_late() {
    require!("swaks");
    let server = Server::builder().set("smtp", "maxMessageSize", "64KiB").start();
    let body = server.home().join("body");
    std::fs::write(&body, "0123456789abcdef\n".repeat(6000)).unwrap();
    let args = format!("--from {STRANGER} --to {ALICE} --body @{}", body.display());
    let late = swaks(&server, server.ports.smtp, &args).failure(26);
    assert!(late.stdout.contains("552 5.3.4"), "{}", late.stdout);

    let early = server.smtp().command(&format!("MAIL FROM:<{STRANGER}> SIZE=65537")).unwrap();
    assert_eq!(early.code, 552, "{early:?}");
    assert!(early.text.starts_with("5.3.4 "), "{early:?}");
    assert_eq!(server.inbox(ALICE).len(), 0);
}

#[test]
fn unknown_recipients_are_refused_and_the_others_served() {
    require!("swaks");
    let server = Server::start();
    let sent =
        swaks(&server, server.ports.smtp, &format!("--from {STRANGER} --to nobody@example.test,{ALICE}"));
    assert!(sent.stdout.contains("550 5.1.1"), "{}", sent.stdout);
    only_message(&server);
}

#[test]
fn smtplib_sends_what_the_extensions_allow() {
    require!("python3");
    let server = server_with_tls_for_passwords();
    Program::python("smtp_session.py", server.home())
        .env("SMTP_PORT", server.ports.smtp.to_string())
        .env("SUBMISSION_PORT", server.ports.submission.to_string())
        .env("SUBMISSIONS_PORT", server.ports.submissions.to_string())
        .env("CERTIFICATE", server.certificate())
        .env("USER", ALICE)
        .env("PASSWORD", password(ALICE))
        .env("PEER", BOB)
        .run()
        .success();
    let inbox = server.inbox(BOB);
    let mut subjects: Vec<String> = inbox.iter().map(|mail| subject(mail)).collect();
    subjects.sort();
    assert_eq!(subjects, ["8bitmime", "chunking", "smtputf8", "starttls", "tls"]);
    let eight_bit = inbox.iter().find(|mail| subject(mail) == "8bitmime").unwrap();
    assert!(String::from_utf8_lossy(eight_bit).contains("naïve café, 日本語"));
}

#[test]
fn curl_uploads_over_smtp_and_smtps() {
    require!("curl");
    let server = Server::start();
    let mail = message_from(ALICE, "curl", "A body\n.with a dot at the start of a line");
    for (url, tls) in [
        (format!("smtp://localhost:{}/client.elsewhere.test", server.ports.submission), "--ssl-reqd"),
        (format!("smtps://localhost:{}/client.elsewhere.test", server.ports.submissions), "--tlsv1.2"),
    ] {
        Program::new("curl", server.home())
            .args("--silent --show-error --upload-file - --mail-from alice@example.test --mail-rcpt bob@example.test")
            .arg(tls)
            .arg("--user")
            .arg(format!("{ALICE}:{}", password(ALICE)))
            .arg("--cacert")
            .arg(server.certificate())
            .arg(url)
            .stdin(mail.clone())
            .run()
            .success();
    }
    let inbox = server.inbox(BOB);
    assert_eq!(inbox.len(), 2);
    assert!(inbox.iter().all(|stored| below_trace(stored, &mail) == Some(&mail)), "byte for byte");
}

#[test]
fn msmtp_submits() {
    require!("msmtp");
    let server = Server::start();
    for (port, starttls) in [(server.ports.submission, "on"), (server.ports.submissions, "off")] {
        let mail = message_from(ALICE, "msmtp", "From a terminal");
        Program::new("msmtp", server.home())
            .args("--file=/dev/null --host=localhost --auth=plain --tls=on --timeout=20")
            .args(&format!("--port={port} --tls-starttls={starttls} --user={ALICE} --from={ALICE}"))
            .arg(format!("--tls-trust-file={}", server.certificate().display()))
            .arg(format!("--passwordeval=echo '{}'", password(ALICE)))
            .arg(BOB)
            .stdin(String::from_utf8(mail).unwrap().replace("\r\n", "\n"))
            .run()
            .success();
    }
    assert_eq!(server.inbox(BOB).len(), 2);
}

#[test]
fn a_front_end_delivers_over_lmtp_with_one_reply_for_each_recipient() {
    let server = Server::start();
    let mut lmtp = crate::support::Smtp::connect(Server::address(server.ports.lmtp)).unwrap();
    assert_eq!(lmtp.command("EHLO front.example.test").unwrap().code, 500, "RFC 2033 §4.1: LHLO only");
    assert!(lmtp.command("LHLO front.example.test").unwrap().ok());
    assert!(lmtp.command(&format!("MAIL FROM:<{STRANGER}>")).unwrap().ok());
    assert!(lmtp.command(&format!("RCPT TO:<{ALICE}>")).unwrap().ok());
    assert_eq!(lmtp.command("RCPT TO:<nobody@example.test>").unwrap().code, 550);
    assert!(lmtp.command(&format!("RCPT TO:<{BOB}>")).unwrap().ok());
    assert_eq!(lmtp.command("DATA").unwrap().code, 354);
    lmtp.send(&crate::support::smtp::stuffed(&message("lmtp", "One message"))).unwrap();
    assert_eq!((lmtp.reply().unwrap().code, lmtp.reply().unwrap().code), (250, 250));
    assert_eq!((server.inbox(ALICE).len(), server.inbox(BOB).len()), (1, 1));
}
