//! Mail is read, and mailboxes are kept in step, by programs that people use for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::mail::{message, subject};
use crate::support::{ALICE, Imap, Program, STRANGER, Server, Smtp, password, require};

/// The size of a mailbox that is worth synchronising.
const MANY: usize = 2000;

#[test]
fn imaplib_does_what_users_do() {
    require!("python3");
    let server = Server::start();
    Program::python("imap_session.py", server.home())
        .env("IMAP_PORT", server.ports.imap.to_string())
        .env("IMAPS_PORT", server.ports.imaps.to_string())
        .env("CERTIFICATE", server.certificate())
        .env("USER", ALICE)
        .env("PASSWORD", password(ALICE))
        .run()
        .success();
}

#[test]
fn curl_reads_over_imap_and_imaps() {
    require!("curl");
    let server = Server::start();
    let mail = message("curl", "Read me\n.dots stay");
    server.imap(ALICE).append("INBOX", "", &mail).ok();
    for (url, tls) in [
        (format!("imap://localhost:{}", server.ports.imap), "--ssl-reqd"),
        (format!("imaps://localhost:{}", server.ports.imaps), "--tlsv1.2"),
    ] {
        let curl = |path: &str, request: &str| {
            let mut program = Program::new("curl", server.home()).args("--silent --show-error").arg(tls);
            if !request.is_empty() {
                program = program.arg("--request").arg(request);
            }
            program
                .arg("--user")
                .arg(format!("{ALICE}:{}", password(ALICE)))
                .arg("--cacert")
                .arg(server.certificate())
                .arg(format!("{url}/{path}"))
                .run()
                .success()
                .stdout
        };
        assert_eq!(curl("INBOX;UID=1", "").as_bytes(), mail, "byte for byte");
        assert!(curl("", "").contains("Archive"), "LIST of the mailboxes an account begins with");
        assert!(curl("INBOX", "SEARCH SUBJECT curl").contains("SEARCH 1"));
    }
}

#[test]
fn an_idle_client_is_told_at_once() {
    let server = Server::start();
    let mut idle = server.imap(ALICE);
    idle.select("INBOX");
    std::thread::scope(|scope| {
        let (told, telling) = std::sync::mpsc::channel();
        scope.spawn(move || {
            for wanted in ["* 1 EXISTS", "* 1 FETCH (FLAGS (\\Flagged))", "* 1 EXPUNGE"] {
                idle.idle_until(wanted);
                told.send(wanted).unwrap();
            }
        });
        let told = || telling.recv_timeout(Duration::from_secs(5)).unwrap();
        server.deliver(&[ALICE], &message("idle", "New mail"));
        assert_eq!(told(), "* 1 EXISTS");
        let mut other = server.imap(ALICE);
        other.select("INBOX");
        for (command, wanted) in [
            ("STORE 1 +FLAGS.SILENT (\\Flagged)", "FETCH"),
            ("STORE 1 +FLAGS.SILENT (\\Deleted)", ""),
            ("EXPUNGE", "EXPUNGE"),
        ] {
            other.command(command).ok();
            assert!(wanted.is_empty() || told().contains(wanted));
        }
    });
}

/// The files of a Maildir: name without flags -> contents.
fn maildir(dir: &Path) -> Vec<PathBuf> {
    let folders = ["cur", "new"].map(|sub| dir.join(sub));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Fills Alice's INBOX over SMTP, on a few connections at once.
fn fill_inbox(server: &Server, count: usize) {
    let address = Server::address(server.ports.smtp);
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || {
                let mut smtp = Smtp::hello(address).unwrap();
                for number in (first..count).step_by(4) {
                    let mail = message(&format!("number-{number}"), &format!("The body of message {number}"));
                    assert_eq!(smtp.deliver(STRANGER, &[ALICE], &mail).unwrap().code, 250);
                }
            });
        }
    });
}

/// What both sides of a synchronisation must agree on: subject -> (answered, flagged, seen).
type Contents = BTreeMap<String, (bool, bool, bool)>;

fn contents_of_server(imap: &mut Imap, mailbox: &str) -> Contents {
    imap.select(mailbox);
    let listed = imap.list();
    let bodies: BTreeMap<u64, Vec<u8>> = imap.bodies().into_iter().collect();
    let has = |flags: &std::collections::BTreeSet<String>, flag: &str| flags.contains(flag);
    listed
        .iter()
        .map(|mail| {
            let flags =
                (has(&mail.flags, "\\Answered"), has(&mail.flags, "\\Flagged"), has(&mail.flags, "\\Seen"));
            (subject(&bodies[&mail.uid]), flags)
        })
        .collect()
}

fn contents_of_maildir(dir: &Path) -> Contents {
    maildir(dir)
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let flags = name.rsplit_once(":2,").map_or("", |(_, flags)| flags);
            let flags = (flags.contains('R'), flags.contains('F'), flags.contains('S'));
            (subject(&fs::read(path).unwrap()), flags)
        })
        .collect()
}

/// Renames a message file so that it carries these Maildir flags.
fn set_maildir_flags(dir: &Path, path: &Path, flags: &str) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let base = name.split_once(":2,").map_or(name, |(base, _)| base);
    fs::rename(path, dir.join("cur").join(format!("{base}:2,{flags}"))).unwrap();
}

#[test]
fn mbsync_keeps_a_large_mailbox_in_step_both_ways() {
    require!("mbsync");
    let server = Server::start();
    fill_inbox(&server, MANY);
    let home = server.home();
    let dir = home.join("Mail/INBOX");
    fs::create_dir_all(home.join("Mail")).unwrap();
    fs::write(
        home.join(".mbsyncrc"),
        format!(
            "IMAPAccount test\nHost localhost\nPort {}\nUser {ALICE}\nPass \"{}\"\nSSLType IMAPS\n\
             SystemCertificates no\nCertificateFile {}\n\n\
             IMAPStore remote\nAccount test\n\nMaildirStore local\nPath {home}/Mail/\nInbox {home}/Mail/INBOX\n\
             SubFolders Verbatim\n\n\
             Channel all\nFar :remote:\nNear :local:\nPatterns INBOX Archive\nCreate Near\nExpunge Both\nSyncState *\n",
            server.ports.imaps,
            password(ALICE),
            server.certificate().display(),
            home = home.display(),
        ),
    )
    .unwrap();
    let sync = || Program::new("mbsync", home).args("-a").run().success();

    sync();
    let mut imap = server.imap(ALICE);
    assert_eq!(contents_of_maildir(&dir).len(), MANY);
    assert_eq!(contents_of_maildir(&dir), contents_of_server(&mut imap, "INBOX"));

    // Changes on both sides: flags, deletions and new messages.
    imap.command("UID STORE 1:50 +FLAGS.SILENT (\\Flagged)").ok();
    imap.command("UID STORE 51:80 +FLAGS.SILENT (\\Deleted)").ok();
    imap.command("EXPUNGE").ok();
    imap.append("INBOX", "\\Seen", &message("appended-on-the-server", "new")).ok();
    for path in maildir(&dir) {
        let name = subject(&fs::read(&path).unwrap());
        let number: usize = name.strip_prefix("number-").unwrap().parse().unwrap();
        match number {
            1900..1950 => set_maildir_flags(&dir, &path, "RS"),
            1950..1990 => fs::remove_file(&path).unwrap(),
            _ => {}
        }
    }
    fs::write(dir.join("new/1.local.host"), message("created-in-the-maildir", "new")).unwrap();

    sync();
    let both = contents_of_maildir(&dir);
    assert_eq!(both, contents_of_server(&mut imap, "INBOX"));
    assert_eq!(both.len(), MANY - 30 - 40 + 2, "what was deleted on one side is gone from both");
    assert_eq!(both["number-1900"], (true, false, true));
    assert!(both.contains_key("created-in-the-maildir") && both.contains_key("appended-on-the-server"));
    assert_eq!(both.values().filter(|flags| flags.1).count(), 50);

    // Nothing is left to do.
    sync();
    assert_eq!(contents_of_maildir(&dir), both);
    assert_eq!(contents_of_server(&mut imap, "INBOX"), both);
}

#[test]
fn offlineimap_keeps_mailboxes_in_step_both_ways() {
    require!("offlineimap");
    let server = Server::start();
    fill_inbox(&server, 100);
    let home = server.home();
    let dir = home.join("Mail/INBOX");
    fs::write(
        home.join(".offlineimaprc"),
        format!(
            "[general]\naccounts = test\nmaxsyncaccounts = 1\nui = basic\nmetadata = {home}/.offlineimap\n\
             [Account test]\nlocalrepository = local\nremoterepository = remote\n\
             [Repository local]\ntype = Maildir\nlocalfolders = {home}/Mail\n\
             [Repository remote]\ntype = IMAP\nremotehost = localhost\nremoteport = {}\nremoteuser = {ALICE}\n\
             remotepass = {}\nssl = yes\nsslcacertfile = {}\nexpunge = yes\n",
            server.ports.imaps,
            password(ALICE),
            server.certificate().display(),
            home = home.display(),
        ),
    )
    .unwrap();
    let sync = || Program::new("offlineimap", home).args("-o -1").run().success();

    sync();
    let mut imap = server.imap(ALICE);
    assert_eq!(contents_of_maildir(&dir), contents_of_server(&mut imap, "INBOX"));
    assert!(home.join("Mail/Archive").is_dir(), "the mailboxes an account begins with are there too");

    imap.command("UID STORE 1:10 +FLAGS.SILENT (\\Deleted)").ok();
    imap.command("EXPUNGE").ok();
    fs::write(dir.join("new/1.local.host"), message("created-in-the-maildir", "new")).unwrap();
    sync();
    let both = contents_of_maildir(&dir);
    assert_eq!(both.len(), 91);
    assert_eq!(both, contents_of_server(&mut imap, "INBOX"));
}

#[test]
fn mutt_reads_saves_and_sends_in_batch_mode() {
    require!("mutt", "script");
    let server = Server::start();
    server.imap(ALICE).append("INBOX", "", &message("for-mutt", "Read by mutt")).ok();
    let home = server.home();
    let account = format!(
        "set ssl_ca_certificates_file=\"\"\nset certificate_file={}\nset ssl_force_tls=yes\n\
         set folder=imaps://localhost:{}\nset imap_user={ALICE}\nset imap_pass=\"{}\"\n\
         set smtp_url=smtps://alice%40example.test@localhost:{}\nset smtp_pass=\"{}\"\n\
         set from={ALICE}\nset realname=Alice\nset record=\"+Sent\"\nset confirmcreate=no\nset confirmappend=no\n\
         set quit=yes\nset delete=yes\nset move=no\nset timeout=2\n",
        server.certificate().display(),
        server.ports.imaps,
        password(ALICE),
        server.ports.submissions,
        password(ALICE),
    );
    fs::write(home.join("muttrc"), account).unwrap();

    // Sends, and keeps a copy in Sent.
    Program::new("mutt", home)
        .args("-n -F muttrc -s from-mutt -- bob@example.test")
        .stdin("Sent by mutt\n")
        .run()
        .success();
    assert_eq!(server.inbox(crate::support::BOB).len(), 1);
    let mut imap = server.imap(ALICE);
    assert_eq!(imap.status("Sent").messages, 1);

    // Opens INBOX, saves the message to Archive, deletes it and leaves. mutt wants a terminal for that.
    let keys = "push '<save-message>=Archive<enter><quit>'";
    Program::new("script", home)
        .args("--quiet --return --command")
        .arg(format!("mutt -n -F muttrc -f =INBOX -e \"{keys}\""))
        .arg("/dev/null")
        .env("TERM", "xterm")
        .run()
        .success();
    assert_eq!((imap.status("INBOX").messages, imap.status("Archive").messages), (0, 1));
}
