//! MTA-STS (RFC 8461): what a domain says over HTTPS of its hosts decides whom mail is given to.

use std::time::Duration;

use crate::support::authority::Authority;
use crate::support::knot::Knot;
use crate::support::mail::{message_from, subject};
use crate::support::policy_server::{self, PolicyServer};
use crate::support::postfix::{self, Postfix};
use crate::support::{ALICE, Server, require, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Domains by their policies; all have one host, which is Postfix.
const ENFORCED: &str = "enforced.test";
const TESTING: &str = "testing.test";
const ELSEWHERE: &str = "othermx.test";
const UNFETCHED: &str = "unfetched.test";

fn policy(mode: &str, host: &str) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: 86400\r\n")
}

/// The names of a domain in the DNS, with the host `mx.elsewhere.test`.
fn zone(policies: &PolicyServer) -> String {
    let mut zone = "mx.elsewhere.test. 300 IN A 127.0.0.1\n".to_owned();
    for domain in [ENFORCED, TESTING, ELSEWHERE, UNFETCHED] {
        zone += &format!("{domain}. 300 IN MX 10 mx.elsewhere.test.\n{}", policies.records(domain));
    }
    zone
}

fn submit(server: &Server, domain: &str) {
    let message = message_from(ALICE, domain, "x");
    let reply = server.submission(ALICE).deliver(ALICE, &[&format!("carol@{domain}")], &message).unwrap();
    assert!(reply.ok(), "{reply:?}");
}

/// Why mail for `domain` waits.
fn reason(server: &Server, domain: &str) -> String {
    let list = server.command(&format!("queue list --output json --destination {domain}")).run().success();
    let entries: Vec<serde_json::Value> = serde_json::from_str(&list.stdout).unwrap();
    entries.iter().map(|entry| entry["reason"].as_str().unwrap()).collect()
}

#[test]
fn a_policy_that_is_enforced_keeps_mail_from_whom_no_authority_vouches_for() {
    require!("knotd", "keymgr", "python3");
    if !postfix::available() || !policy_server::available() {
        return;
    }
    let authority = Authority::new();
    let names = [ENFORCED, TESTING, ELSEWHERE].map(|domain| format!("mta-sts.{domain}"));
    let identity = authority.issue(&names.each_ref().map(String::as_str));
    let policies = PolicyServer::start(
        &identity,
        &[
            (ENFORCED, policy("enforce", "mx.elsewhere.test")),
            (TESTING, policy("testing", "mx.elsewhere.test")),
            (ELSEWHERE, policy("enforce", "*.other.test")),
        ],
    );
    let knot = Knot::start(&zone(&policies), "");
    let (wrong, right) = (authority.self_signed(postfix::HOST), authority.issue(&[postfix::HOST]));
    let postfix = Postfix::start(&[
        ("virtual_mailbox_domains", &[ENFORCED, TESTING, ELSEWHERE, UNFETCHED].join(", ")),
        ("smtpd_tls_chain_files", &format!("{}, {}", wrong.key.display(), wrong.certificate.display())),
    ]);
    let builder = Server::builder()
        .set("relay", "port", &postfix.port.to_string())
        .set("relay", "ignoreAddresses", "[]")
        .set("relay", "caFile", &authority.file().display().to_string())
        .set("queue", "retrySchedule", "[1s]")
        .set("queue", "backoff", "[1s]");
    let server = knot.resolves_for(builder).start();

    for domain in [ENFORCED, TESTING, ELSEWHERE, UNFETCHED] {
        submit(&server, domain);
    }
    let arrived = |count| {
        let mut subjects: Vec<String> =
            postfix.wait_for(count, PATIENCE).iter().map(|mail| subject(mail)).collect();
        subjects.sort();
        subjects
    };
    assert_eq!(arrived(2), [TESTING, UNFETCHED], "a policy on trial, and one that nobody can fetch");
    for (domain, why) in [(ENFORCED, "certificate"), (ELSEWHERE, "MTA-STS")] {
        wait_until("the reason", PATIENCE, || reason(&server, domain).contains(why));
    }
    assert!(server.inbox(ALICE).is_empty(), "that may be mended: the messages wait");

    let chain = format!("{}, {}", right.key.display(), right.certificate.display());
    postfix.set("smtpd_tls_chain_files", &chain);
    assert_eq!(arrived(3), [ENFORCED, TESTING, UNFETCHED], "now an authority vouches for the host");
    assert!(!reason(&server, ELSEWHERE).is_empty(), "but the policy does not name it for everyone");
    let asked = policies.requests();
    let once = asked.iter().filter(|host| host.ends_with(ENFORCED)).count();
    assert_eq!(once, 1, "a policy is kept: {asked:?}");
}
