//! Mail is taken away over POP3 by programs that people use for it.

use std::fs;

use crate::support::mail::{message, subject};
use crate::support::{ALICE, Program, Server, password, require};

fn server_with_mail(count: usize) -> Server {
    let server = Server::start();
    let mut imap = server.imap(ALICE);
    for number in 0..count {
        imap.append("INBOX", "", &message(&format!("pop-{number}"), "A body\n.with a dot\n..and two")).ok();
    }
    server
}

#[test]
fn poplib_lists_reads_and_deletes() {
    require!("python3");
    let server = server_with_mail(5);
    Program::python("pop3_session.py", server.home())
        .env("POP3_PORT", server.ports.pop3.to_string())
        .env("POP3S_PORT", server.ports.pop3s.to_string())
        .env("CERTIFICATE", server.certificate())
        .env("USER", ALICE)
        .env("PASSWORD", password(ALICE))
        .run()
        .success();
    let left: Vec<String> = server.inbox(ALICE).iter().map(|mail| subject(mail)).collect();
    assert_eq!(left, ["pop-1", "pop-2", "pop-3", "pop-4"], "only what was deleted before QUIT is gone");
}

#[test]
fn curl_retrieves_byte_for_byte() {
    require!("curl");
    let server = server_with_mail(1);
    for url in [
        format!("pop3s://localhost:{}/1", server.ports.pop3s),
        format!("pop3://localhost:{}/1", server.ports.pop3),
    ] {
        let got = Program::new("curl", server.home())
            .args("--silent --show-error --ssl-reqd --user")
            .arg(format!("{ALICE}:{}", password(ALICE)))
            .arg("--cacert")
            .arg(server.certificate())
            .arg(url)
            .run()
            .success();
        assert_eq!(got.stdout.as_bytes(), server.inbox(ALICE)[0]);
    }
}

#[test]
fn fetchmail_takes_all_and_leaves_nothing() {
    require!("fetchmail");
    let server = server_with_mail(20);
    let home = server.home();
    let rc = home.join("fetchmailrc");
    fs::write(
        &rc,
        format!(
            "poll localhost protocol POP3 service {} username \"{ALICE}\" password \"{}\"\n\
             ssl sslcertck sslcertfile {}\nmda \"cat >> {}/fetched\"\n",
            server.ports.pop3s,
            password(ALICE),
            server.certificate().display(),
            home.display(),
        ),
    )
    .unwrap();
    // It refuses a file with passwords that others may read.
    Program::new("chmod", home).args("600 fetchmailrc").run().success();
    let fetch =
        || Program::new("fetchmail", home).args("--nosyslog --pidfile fetchmail.pid -f fetchmailrc").run();
    fetch().success();
    let fetched = fs::read_to_string(home.join("fetched")).unwrap();
    assert_eq!(fetched.matches("Subject: pop-").count(), 20);
    assert!(server.inbox(ALICE).is_empty());
    fetch().failure(1); // fetchmail's code for "no mail"
}

#[test]
fn mpop_takes_new_mail_once() {
    require!("mpop");
    let server = server_with_mail(20);
    let home = server.home();
    let maildir = home.join("Maildir");
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join(sub)).unwrap();
    }
    let mpop = |port: u16, starttls: &str| {
        Program::new("mpop", home)
            .args("--file=/dev/null --host=localhost --auth=user --tls=on --keep=on --timeout=20")
            .args(&format!("--port={port} --tls-starttls={starttls} --user={ALICE}"))
            .arg(format!("--tls-trust-file={}", server.certificate().display()))
            .arg(format!("--passwordeval=echo '{}'", password(ALICE)))
            .arg(format!("--delivery=maildir,{}", maildir.display()))
            .arg(format!("--uidls-file={}/uidls", home.display()))
            .run()
            .success()
    };
    let count = || fs::read_dir(maildir.join("new")).unwrap().count();
    mpop(server.ports.pop3s, "off");
    assert_eq!(count(), 20);
    // The unique ids are the same in the next session, so nothing is fetched twice, and what is new is.
    server.imap(ALICE).append("INBOX", "", &message("pop-new", "A body")).ok();
    mpop(server.ports.pop3, "on");
    assert_eq!(count(), 21);
}
