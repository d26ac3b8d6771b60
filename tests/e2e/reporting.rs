//! The reports that others get from us, read as they would read them: by mail in a Postfix, and over HTTPS.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dkimpy;
use crate::support::authority::{Authority, Identity};
use crate::support::knot::Knot;
use crate::support::mail::message_from;
use crate::support::postfix::{self, Postfix};
use crate::support::server::Builder;
use crate::support::{ALICE, BOB, Program, Server, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);
/// A domain elsewhere, whose mail Postfix takes.
const THEIRS: &str = "theirs.test";

/// A web server that takes TLS reports.
struct Taker {
    port: u16,
    dir: TempDir,
    child: Child,
}

impl Taker {
    fn start(identity: &Identity) -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-reports-").tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/report_taker.py");
        let mut child = Command::new("python3")
            .arg("-I")
            .arg(script)
            .env("CERTIFICATE", &identity.certificate)
            .env("KEY", &identity.key)
            .env("TAKEN", dir.path().join("taken"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap(), dir, child }
    }

    fn taken(&self) -> Vec<Value> {
        let taken = fs::read_to_string(self.dir.path().join("taken")).unwrap_or_default();
        taken.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service that sends to `postfix` what is for the domains of `knot`.
fn sending_to(postfix: &Postfix, knot: &Knot) -> Builder {
    let builder = Server::builder()
        .set("relay", "port", &postfix.port.to_string())
        .set("relay", "ignoreAddresses", "[]")
        .set("queue", "retrySchedule", "[1s]")
        .set("queue", "backoff", "[1s]");
    knot.resolves_for(builder)
}

fn zone(more: &str) -> String {
    format!("mx.elsewhere.test. 300 IN A 127.0.0.1\n{THEIRS}. 300 IN MX 10 mx.elsewhere.test.\n{more}")
}

/// What a report in a message says.
fn read(server: &Server, message: &[u8]) -> Value {
    let script = Program::python("read_report.py", server.home()).stdin(message.to_vec());
    serde_json::from_str(&script.run().success().stdout).unwrap()
}

/// Has reports sent, and says how many were.
fn send_now(server: &Server) -> u64 {
    let sent = server.command("report send --now --output json").run().success().stdout;
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!((&sent["done"], &sent["deferred"]), (&true.into(), &0.into()), "{sent}");
    sent["handed_over"].as_u64().unwrap()
}

#[test]
fn the_owner_of_a_domain_hears_of_mail_in_its_name() {
    require!("knotd", "keymgr", "python3");
    if !postfix::available() {
        return;
    }
    let knot = Knot::start(
        &zone(&format!(
            "{THEIRS}. 300 IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
             _dmarc.{THEIRS}. 300 IN TXT \"v=DMARC1; p=quarantine; rua=mailto:dmarc@{THEIRS}\"\n"
        )),
        "",
    );
    let postfix = Postfix::start(&[("virtual_mailbox_domains", THEIRS)]);
    let server = sending_to(&postfix, &knot).set("filter", "checkLoopback", "true").start();
    let records = dkimpy::keys(&server);
    for (sender, text) in
        [("carol@theirs.test", "one"), ("carol@theirs.test", "two"), ("x@stranger.test", "three")]
    {
        let message = message_from("carol@theirs.test", text, "x");
        assert!(server.smtp().deliver(sender, &[BOB], &message).unwrap().ok());
    }
    assert_eq!(send_now(&server), 1);
    assert_eq!(send_now(&server), 0, "what was sent is not sent again");
    let mail = postfix.wait_for(1, PATIENCE).remove(0);
    let said = read(&server, &mail);
    assert_eq!(said["type"], "application/gzip", "{said}");
    assert!(said["from"].as_str().unwrap().contains("postmaster@example.test"), "{said}");
    assert!(said["subject"].as_str().unwrap().starts_with("Report Domain: theirs.test"), "{said}");
    let file = said["file"].as_str().unwrap();
    assert!(file.starts_with("example.test!theirs.test!") && file.ends_with(".xml.gz"), "{file}");
    assert_eq!((&said["policy"]["domain"], &said["policy"]["p"]), (&THEIRS.into(), &"quarantine".into()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(said["begin"].as_u64() < said["end"].as_u64() && said["end"].as_u64() <= Some(now), "{said}");
    let record = |count: u64, disposition: &str, spf: &str, domain: &str, result: &str| {
        json!({"source": "127.0.0.1", "count": count, "disposition": disposition, "dkim": "fail", "spf": spf,
               "from": THEIRS, "spf-domain": domain, "spf-result": result})
    };
    let expected =
        [record(2, "pass", "pass", THEIRS, "pass"), record(1, "quarantine", "fail", "stranger.test", "none")];
    assert_eq!(said["records"], json!(expected), "{said}");
    dkimpy::assert_signed(&server, &records, &mail);
}

#[test]
fn the_owner_of_a_domain_hears_of_tls_with_its_hosts_by_mail_and_https() {
    require!("knotd", "keymgr", "python3");
    if !postfix::available() {
        return;
    }
    let authority = Authority::new();
    let taker = Taker::start(&authority.issue(&["collector.theirs.test"]));
    let (mail, https) =
        (format!("mailto:tls@{THEIRS}"), format!("https://collector.{THEIRS}:{}/v1/tlsrpt", taker.port));
    let knot = Knot::start(
        &zone(&format!(
            "collector.{THEIRS}. 300 IN A 127.0.0.1\n\
             _smtp._tls.{THEIRS}. 300 IN TXT \"v=TLSRPTv1; rua={mail},{https}\"\n"
        )),
        "",
    );
    let postfix = Postfix::start(&[("virtual_mailbox_domains", THEIRS)]);
    let authorities: PathBuf = authority.file();
    let server = sending_to(&postfix, &knot)
        .set("relay", "caFile", &authorities.display().to_string())
        .set("reports", "privateNetworks", "[127.0.0.0/8]")
        .start();
    let records = dkimpy::keys(&server);
    let message = message_from(ALICE, "over TLS", "x");
    assert!(server.submission(ALICE).deliver(ALICE, &["carol@theirs.test"], &message).unwrap().ok());
    postfix.wait_for(1, PATIENCE);
    wait_until("the session to be counted", PATIENCE, || send_now(&server) == 1);

    let reports: Vec<Vec<u8>> = postfix
        .wait_for(2, PATIENCE)
        .into_iter()
        .filter(|mail| String::from_utf8_lossy(mail).contains("TLS-Report-Domain:"))
        .collect();
    let [report] = &reports[..] else { panic!("{} reports", reports.len()) };
    let said = read(&server, report);
    assert_eq!(said["report-type"], "multipart/report tlsrpt", "{said}");
    assert_eq!((&said["domain"], &said["submitter"]), (&THEIRS.into(), &"example.test".into()), "{said}");
    assert_eq!(said["tls-required"], "No", "it has to arrive where TLS fails");
    let [policy] = &said["report"]["policies"].as_array().unwrap()[..] else { panic!("{said}") };
    assert_eq!(policy["policy"]["policy-type"], "no-policy-found", "{said}");
    assert_eq!(policy["policy"]["policy-domain"], THEIRS, "{said}");
    assert_eq!(
        policy["summary"],
        json!({"total-successful-session-count": 1, "total-failure-session-count": 0}),
        "{said}"
    );
    dkimpy::assert_signed(&server, &records, report);

    let taken = taker.taken();
    let [posted] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((&posted["path"], &posted["type"]), (&"/v1/tlsrpt".into(), &"application/tlsrpt+gzip".into()));
    assert_eq!(posted["report"], said["report"], "the same report by both ways");
}
