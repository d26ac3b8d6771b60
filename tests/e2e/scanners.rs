//! Mail past real scanners: rspamd, clamd with a signature of our own, and OpenDKIM as a milter.

use std::time::{Duration, Instant};

use crate::support::knot::Knot;
use crate::support::mail::{message, message_from};
use crate::support::opendkim::OpenDkim;
use crate::support::scanners::{Clamd, PASSWORD, Rspamd, VIRUS, VIRUS_NAME};
use crate::support::server::free_port;
use crate::support::smtp::Reply;
use crate::support::{ALICE, BOB, Program, STRANGER, Server, require, wait_until};

/// How long a lesson may take from the command to the statistics.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pattern that rspamd takes for spam of some degree: `X` to refuse, `Y` to mark, `Z` to rewrite the subject.
fn test_pattern(degree: char) -> String {
    format!("{degree}JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X")
}

/// A service with these scanners.
fn server(scanners: &str) -> Server {
    Server::builder().set("filter", "scanners", &format!("{{{scanners}}}")).start()
}

fn deliver(server: &Server, message: &[u8]) -> Reply {
    server.smtp().deliver(STRANGER, &[ALICE], message).unwrap()
}

/// What is in a mailbox of Alice.
fn mailbox(server: &Server, name: &str) -> Vec<String> {
    let mut imap = server.imap(ALICE);
    imap.select(name);
    imap.bodies().into_iter().map(|(_, body)| String::from_utf8_lossy(&body).into_owned()).collect()
}

/// A message with one attachment, in base64.
fn attached(kind: &str, content: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(content);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!(
        "From: {STRANGER}\r\nTo: {ALICE}\r\nSubject: attached\r\nMIME-Version: 1.0\r\n\
         Content-Type: {kind}; name=\"file\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        lines.join("\r\n")
    )
    .into_bytes()
}

#[test]
fn rspamd_refuses_marks_and_rewrites() {
    require!("rspamd");
    let rspamd = Rspamd::start();
    let server = server(&format!(
        "rspamd: {{servers: ['{}'], password: {PASSWORD}, onFailure: tempfail}}",
        rspamd.controller
    ));
    let refused = deliver(&server, &message("refused", &test_pattern('X')));
    assert_eq!(refused.code, 550, "{refused:?}");
    assert!(refused.text.contains("Gtube pattern"), "{refused:?}");

    assert_eq!(deliver(&server, &message("marked", &test_pattern('Y'))).code, 250);
    assert_eq!(deliver(&server, &message("renamed", &test_pattern('Z'))).code, 250);
    let junk = mailbox(&server, "Junk");
    assert!(junk[0].contains("X-Spam: Yes\r\n"), "{}", junk[0]);
    assert!(junk[1].contains("Subject: [SPAM] renamed\r\n"), "{}", junk[1]);

    let forged = String::from_utf8(message("good", "Nothing wrong here.")).unwrap();
    assert_eq!(deliver(&server, format!("X-Spam: Yes\r\n{forged}").as_bytes()).code, 250);
    let inbox = mailbox(&server, "INBOX");
    assert_eq!(inbox.len(), 1);
    assert!(inbox[0].contains("X-Spamd-Bar: "), "rspamd's own field: {}", inbox[0]);
    assert!(!inbox[0].contains("X-Spam: "), "a stranger's field: {}", inbox[0]);
}

#[test]
fn rspamd_learns_what_users_move_into_and_out_of_junk() {
    require!("rspamd");
    let rspamd = Rspamd::start();
    let controller = rspamd.controller;
    let server = server(&format!(
        "rspamd: {{servers: ['{controller}'], password: {PASSWORD}, learning: {{controllers: ['{controller}'], password: {PASSWORD}}}}}"
    ));
    assert_eq!(rspamd.learned(), 0);
    let learned = |lesson: &str| {
        let counted = format!("ekitei_filter_lessons_total{{lesson=\"{lesson}\",outcome=\"learned\"}} 1");
        wait_until(&counted, PATIENCE, || server.http("GET", "/metrics", "").unwrap().contains(&counted));
    };
    let words = "cheap pills and watches for everybody who answers within the hour";
    assert_eq!(deliver(&server, &message("pills", words)).code, 250);
    let mut imap = server.imap(ALICE);
    imap.select("INBOX");
    imap.command("MOVE 1 Junk").ok();
    learned("spam");
    let other = "minutes of our meeting about the new harbour and its railway";
    assert_eq!(deliver(&server, &message("minutes", other)).code, 250);
    imap.command("NOOP").ok();
    imap.command("STORE 1 +FLAGS ($NotJunk)").ok();
    learned("ham");
    // It may count one twice that it answered with an error, which is then taught again.
    assert!(rspamd.learned() >= 2);
}

#[test]
fn clamd_finds_a_virus_however_it_is_wrapped() {
    require!("clamd");
    let clamd = Clamd::start();
    let endpoint = clamd.socket();
    let server = server(&format!("clamd: {{servers: ['127.0.0.1:{}', '{endpoint}']}}", free_port()));
    for infected in [message("plain", VIRUS), attached("application/octet-stream", VIRUS.as_bytes())] {
        let refused = deliver(&server, &infected);
        assert_eq!(refused.code, 550, "{refused:?}");
        assert!(refused.text.contains("5.7.1") && refused.text.contains(VIRUS_NAME), "{refused:?}");
    }
    let submitted = message_from(ALICE, "submitted", VIRUS);
    let refused = server.submission(ALICE).deliver(ALICE, &[BOB, STRANGER], &submitted).unwrap();
    assert_eq!(refused.code, 550, "nor does it go out: {refused:?}");
    assert_eq!(deliver(&server, &message("clean", "No virus.")).code, 250);
    assert_eq!(mailbox(&server, "INBOX").len(), 1);
}

#[test]
fn a_virus_goes_to_junk_where_it_is_configured_to() {
    require!("clamd");
    let clamd = Clamd::start();
    let server = server(&format!("clamd: {{servers: ['{}'], onVirus: junk}}", clamd.address));
    assert_eq!(deliver(&server, &message("infected", VIRUS)).code, 250);
    assert_eq!(mailbox(&server, "Junk").len(), 1);
    assert_eq!(mailbox(&server, "INBOX").len(), 0);
}

/// Archives in archives, which become 320 MB of zeros.
fn zip_bomb(server: &Server) -> Vec<u8> {
    let script = "import base64, io, zipfile\n\
                  data = bytes(20 << 20)\n\
                  for depth in range(3):\n\
                  \u{20}   file = io.BytesIO()\n\
                  \u{20}   archive = zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED)\n\
                  \u{20}   for number in range(4 if depth else 1): archive.writestr(f'f{number}', data)\n\
                  \u{20}   archive.close()\n\
                  \u{20}   data = file.getvalue()\n\
                  print(base64.b64encode(data).decode())\n";
    let made = Program::new("python3", server.home()).arg("-c").arg(script).run().success();
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(made.stdout.trim()).unwrap()
}

#[test]
fn a_zip_bomb_is_bounded_and_treated_as_configured() {
    require!("clamd", "python3");
    let clamd = Clamd::start();
    for (policy, code) in [("accept", 250), ("reject", 550), ("tempfail", 451)] {
        let server = server(&format!("clamd: {{servers: ['{}'], onLimit: {policy}}}", clamd.address));
        let bomb = zip_bomb(&server);
        assert!(bomb.len() < 10_000, "{}", bomb.len());
        let start = Instant::now();
        let reply = deliver(&server, &attached("application/zip", &bomb));
        assert_eq!(reply.code, code, "{reply:?}");
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        // More than clamd's StreamMaxLength: it hangs up in the middle.
        let large = deliver(
            &server,
            &message("large", &"x".repeat(70).repeat(90_000).replace("xxxxxxxxxx", "xxxxxxxxx\n")),
        );
        assert_eq!(large.code, code, "{large:?}");
        assert_eq!(mailbox(&server, "INBOX").len(), if code == 250 { 2 } else { 0 });
    }
}

#[test]
fn a_message_waits_or_passes_while_scanners_are_down() {
    let nobody = free_port();
    let waits = server(&format!("clamd: {{servers: ['127.0.0.1:{nobody}']}}"));
    assert_eq!(deliver(&waits, &message("waits", "x")).code, 451);
    let milter = server(&format!("milters: [{{address: '127.0.0.1:{nobody}'}}]"));
    assert_eq!(deliver(&milter, &message("waits", "x")).code, 451);
    let passes = server(&format!(
        "clamd: {{servers: ['127.0.0.1:{nobody}'], onFailure: accept}}, rspamd: {{servers: ['127.0.0.1:{nobody}']}}, \
         milters: [{{address: '127.0.0.1:{nobody}', onFailure: accept}}]"
    ));
    assert_eq!(deliver(&passes, &message("passes", "x")).code, 250);
    assert_eq!(mailbox(&passes, "INBOX").len(), 1);
    let metrics = passes.http("GET", "/metrics", "").unwrap();
    for scanner in ["clamd", "rspamd", &format!("milter:127.0.0.1:{nobody}")] {
        let counted =
            format!("ekitei_filter_scan_failures_total{{reason=\"connect\",scanner=\"{scanner}\"}}");
        assert!(metrics.contains(&counted), "{counted} in {metrics}");
    }
}

/// One OpenDKIM signs, and the next in the chain finds the signature good: it saw what the first one changed, and both saw the message as it is.
#[test]
fn opendkim_signs_and_another_in_the_chain_verifies() {
    require!("opendkim", "knotd", "openssl");
    let signer = OpenDkim::start("rsa", "elsewhere.test");
    let knot = Knot::start(signer.record(), "");
    let verifier = OpenDkim::verifying(&knot);
    let address = |milter: &OpenDkim| milter.milter().replace("inet:", "");
    let server = server(&format!(
        "milters: [{{name: signer, address: '{}'}}, {{name: verifier, address: '{}'}}]",
        address(&signer),
        address(&verifier)
    ));
    let folded = message_from(STRANGER, "signed", "Hello\n  there \n\n.\n\n");
    let folded = [b"X-Folded: one\r\n\ttwo\r\n".as_slice(), &folded].concat();
    assert_eq!(deliver(&server, &folded).code, 250);
    let mail = mailbox(&server, "INBOX").remove(0);
    assert!(mail.contains("DKIM-Signature: v=1; a=rsa-sha256;"), "{mail}");
    let verified = mail.find("Authentication-Results: verifier.test;").unwrap_or_else(|| panic!("{mail}"));
    assert!(mail[verified..].replace("\r\n\t", " ").contains("dkim=pass"), "{mail}");
    let position = |field: &str| mail.find(field).unwrap_or_else(|| panic!("{field} in {mail}"));
    assert!(
        position("Received: ") < verified && verified < position("X-Folded: "),
        "above what the client sent: {mail}"
    );
    let metrics = server.http("GET", "/metrics", "").unwrap();
    assert!(
        metrics.contains("verdict=\"change\"} 1") && metrics.contains("scanner=\"milter:verifier\""),
        "{metrics}"
    );
}
