//! Reports to others.

use std::io::Read as _;

use ekitei_kv::{CommitFault, Transaction};
use ekitei_mailstore::Fence;
use ekitei_queue::Origin;
use ekitei_relay::{TlsResult, TlsSession};
use futures_util::future::BoxFuture;
use mail_auth::flate2::read::GzDecoder;
use mail_auth::report::tlsrpt::TlsReport;
use mail_auth::report::{Alignment, Disposition, Report};

use super::*;
use crate::{Days, Sent, Turn};

const MEBIBYTE: usize = 1 << 20;

/// Always goes on.
const GO_ON: Turn<'static> = Turn { go_on: &|| true, fence: None };

fn sent(handed_over: usize, dropped: usize, deferred: usize) -> Sent {
    Sent { handed_over, dropped, deferred }
}

#[tokio::test]
async fn a_domain_gets_one_report_of_what_all_processes_saw_in_a_day() {
    let world = World::new("").await;
    let (one, other) = (world.node().await, world.node().await);
    for node in [&one, &other] {
        for source in ["192.0.2.1", "192.0.2.1", "2001:db8::1"] {
            node.ears.dmarc().report(outcome("theirs.test", source, &["mailto:rua@theirs.test"]));
        }
        node.reports.flush().await.unwrap();
    }
    assert_eq!(one.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 0, 0), "the day is not over");
    world.pass(24 * HOUR);
    assert_eq!(one.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(1, 0, 0));
    assert_eq!(other.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 0, 0), "what was sent is gone");

    let queued = world.queued().await;
    let [(row, recipients, message)] = &queued[..] else { panic!("{} messages", queued.len()) };
    assert_eq!(recipients, &["rua@theirs.test"]);
    assert_eq!((row.origin, &row.envelope.reverse_path), (Origin::Report, &None));
    let text = String::from_utf8(message.to_vec()).unwrap();
    assert_eq!(text.matches("DKIM-Signature:").count(), 2, "{text}");
    assert!(text.contains("ours.test!theirs.test!1795305600!1795391999"), "{text}");

    let report = Report::parse_rfc5322(message, MEBIBYTE).unwrap();
    assert_eq!(
        (report.domain(), report.org_name(), report.email()),
        ("theirs.test", "mx.ours.test", "postmaster@ours.test")
    );
    assert_eq!((report.date_range_begin(), report.date_range_end()), (1_795_305_600, 1_795_391_999));
    assert_eq!(
        (report.p(), report.sp(), report.np()),
        (Disposition::Reject, Disposition::Quarantine, Disposition::Reject)
    );
    assert_eq!((report.adkim(), report.aspf()), (Alignment::Strict, Alignment::Relaxed));
    let rows: Vec<(String, u32)> = report
        .records()
        .iter()
        .map(|record| (record.row.source_ip.unwrap().to_string(), record.row.count))
        .collect();
    assert_eq!(rows, [("192.0.2.1".to_owned(), 4), ("2001:db8::1".to_owned(), 2)]);
    assert_eq!(report.records()[0].auth_results.dkim[0].selector, "s<1>");
}

#[tokio::test]
async fn an_address_elsewhere_has_to_agree() {
    let zone = "theirs.test._report._dmarc.collector.test TXT \"v=DMARC1\"\n\
                _dmarc.parent.test TXT \"v=DMARC1; p=none\"\n\
                _dmarc.suffix.test TXT \"v=DMARC1; p=none; psd=y\"";
    let world = World::new(zone).await;
    let node = world.node().await;
    let rua = [
        "mailto:a@collector.test!10m",
        "mailto:b@victim.test",
        "mailto:c@sub.theirs.test",
        "https://theirs.test/",
    ];
    node.ears.dmarc().report(outcome("theirs.test", "192.0.2.1", &rua));
    node.ears.dmarc().report(outcome("unit.parent.test", "192.0.2.1", &["mailto:d@parent.test"]));
    node.ears.dmarc().report(outcome("unit.suffix.test", "192.0.2.1", &["mailto:e@suffix.test"]));
    node.reports.flush().await.unwrap();
    world.pass(24 * HOUR);
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(2, 1, 0));
    let mut recipients: Vec<String> =
        world.queued().await.into_iter().flat_map(|(_, recipients, _)| recipients).collect();
    recipients.sort();
    assert_eq!(recipients, ["a@collector.test", "c@sub.theirs.test", "d@parent.test"]);
}

#[tokio::test]
async fn what_cannot_be_looked_up_waits_and_is_given_up_in_the_end() {
    let world = World::new("").await;
    let node = world.node().await;
    let name = "theirs.test._report._dmarc.collector.test";
    world.dns.behave(name, ekitei_dns::testing::Behaviour::ServFail);
    node.ears.dmarc().report(outcome("theirs.test", "192.0.2.1", &["mailto:a@collector.test"]));
    node.reports.flush().await.unwrap();
    world.pass(24 * HOUR);
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 0, 1));
    world.pass(48 * HOUR);
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 1, 0));
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 0, 0));
}

#[tokio::test]
async fn a_commit_of_unknown_result_sends_one_report() {
    let world = World::new("").await;
    let node = world.node().await;
    node.ears.dmarc().report(outcome("theirs.test", "192.0.2.1", &["mailto:rua@theirs.test"]));
    world.faults.commits([Some(CommitFault::UnknownApplied), Some(CommitFault::UnknownNotApplied)]);
    node.reports.flush().await.unwrap();
    world.pass(24 * HOUR);
    world.faults.commits([Some(CommitFault::UnknownApplied)]);
    node.reports.send(Days::Due, &GO_ON).await.unwrap();
    node.reports.send(Days::Due, &GO_ON).await.unwrap();
    let queued = world.queued().await;
    assert_eq!(queued.len(), 1);
    let report = Report::parse_rfc5322(&queued[0].2, MEBIBYTE).unwrap();
    assert_eq!(report.records()[0].row.count, 1, "flushed once");
}

#[tokio::test]
async fn who_lost_the_work_sends_nothing() {
    let world = World::new("").await;
    let node = world.node().await;
    node.ears.dmarc().report(outcome("theirs.test", "192.0.2.1", &["mailto:rua@theirs.test"]));
    node.reports.flush().await.unwrap();
    world.pass(24 * HOUR);
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let paused = || asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
    assert_eq!(
        node.reports.send(Days::Due, &Turn { go_on: &paused, fence: None }).await.unwrap(),
        sent(0, 0, 1)
    );
    assert!(world.queued().await.is_empty());
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(1, 0, 0), "the next one does it");
}

#[tokio::test]
async fn a_report_is_no_larger_than_is_wanted() {
    let world = World::configured("", |config| config.reports.max_collected = 3).await;
    let node = world.node().await;
    for n in 0..5 {
        node.ears.dmarc().report(outcome(
            "theirs.test",
            &format!("192.0.2.{n}"),
            &["mailto:rua@theirs.test"],
        ));
    }
    let mut small = outcome("small.test", "192.0.2.1", &["mailto:rua@small.test"]);
    small.policy.rua[0].1 = 100;
    node.reports.flush().await.unwrap();
    node.ears.dmarc().report(small);
    node.reports.flush().await.unwrap();
    world.pass(24 * HOUR);
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(1, 1, 0), "100 octets are too few");
    let report = Report::parse_rfc5322(&world.queued().await[0].2, MEBIBYTE).unwrap();
    assert_eq!(report.records().len(), 3);
    assert!(report.error()[0].starts_with("2 messages are not in this report"), "{:?}", report.error());
}

fn session(domain: &str, result: TlsResult) -> TlsSession {
    TlsSession {
        domain: domain.to_owned(),
        mx_host: format!("mx.{domain}"),
        source: None,
        remote: Some("192.0.2.25".parse().unwrap()),
        policy_type: "sts",
        policy: ["version: STSv1", "mode: enforce", "mx: *.theirs.test"].map(str::to_owned).to_vec(),
        result,
    }
}

fn failure() -> TlsResult {
    TlsResult::Failure { result_type: "certificate-expired", detail: "since yesterday".to_owned() }
}

fn unpacked(packed: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn tls_reports_go_by_mail_and_https_to_who_asks_for_them() {
    let zone =
        "_smtp._tls.theirs.test TXT \"v=TLSRPTv1; rua=mailto:tls@theirs.test,https://report.theirs.test/\"";
    let world = World::new(zone).await;
    let (one, other) = (world.node().await, world.node().await);
    for node in [&one, &other] {
        node.ears.tls().session(session("theirs.test", TlsResult::Success));
        node.ears.tls().session(session("theirs.test", failure()));
        node.ears.tls().session(session("silent.test", failure()));
        node.reports.flush().await.unwrap();
    }
    world.pass(24 * HOUR);
    *world.taker.refuses.lock().unwrap() = true;
    assert_eq!(
        one.reports.send(Days::Due, &GO_ON).await.unwrap(),
        sent(0, 0, 1),
        "nothing of silent.test is kept"
    );
    assert_eq!(world.queued().await.len(), 1, "mail does not wait for HTTPS");
    *world.taker.refuses.lock().unwrap() = false;
    assert_eq!(other.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(1, 0, 0));
    assert_eq!(other.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 0, 0));
    assert!(world.rows_of_reports().await.is_empty(), "nothing is left of it");

    let queued = world.queued().await;
    let [(row, recipients, message)] = &queued[..] else { panic!("{} messages", queued.len()) };
    assert_eq!(
        (row.origin, recipients.as_slice()),
        (Origin::Report, ["tls@theirs.test".to_owned()].as_slice())
    );
    let text = String::from_utf8(message.to_vec()).unwrap();
    for field in [
        "TLS-Report-Domain: theirs.test",
        "TLS-Report-Submitter: ours.test",
        "TLS-Required: No",
        "report-type=\"tlsrpt\"",
    ] {
        assert!(text.contains(field), "{field} is not in {text}");
    }
    let report = TlsReport::parse_rfc5322(message, MEBIBYTE).unwrap();
    let [policy] = &report.policies[..] else { panic!("{report:?}") };
    assert_eq!((policy.summary.total_success, policy.summary.total_failure), (2, 2));
    assert_eq!(policy.policy.mx_host, ["*.theirs.test"], "the names that the policy has");
    assert_eq!(policy.failure_details[0].failed_session_count, 2);
    let taken = world.taker.taken.lock().unwrap();
    let [(url, packed)] = &taken[..] else { panic!("{} posts", taken.len()) };
    assert_eq!(url, "https://report.theirs.test/");
    let json = unpacked(packed);
    assert_eq!(TlsReport::parse_json(json.as_bytes()).unwrap(), report);
    assert!(!json.contains("null"), "{json}");
    assert!(json.contains("\"failure-reason-code\":\"since yesterday\""), "{json}");
}

#[tokio::test]
async fn https_that_never_answers_is_given_up() {
    let zone = "_smtp._tls.theirs.test TXT \"v=TLSRPTv1; rua=https://report.theirs.test/\"";
    let world = World::new(zone).await;
    let node = world.node().await;
    node.ears.tls().session(session("theirs.test", failure()));
    node.reports.flush().await.unwrap();
    *world.taker.refuses.lock().unwrap() = true;
    world.pass(24 * HOUR);
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 0, 1));
    world.pass(48 * HOUR);
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 1, 0));
}

#[tokio::test]
async fn nothing_is_collected_when_nothing_is_sent() {
    let world = World::configured("", |config| config.reports.send = false).await;
    let node = world.node().await;
    node.ears.dmarc().report(outcome("theirs.test", "192.0.2.1", &["mailto:rua@theirs.test"]));
    node.ears.tls().session(session("theirs.test", failure()));
    node.reports.flush().await.unwrap();
    world.pass(24 * HOUR);
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(0, 0, 0));
}

#[tokio::test]
async fn an_order_sends_what_was_collected_until_now_and_the_rest_of_the_day_makes_another_report() {
    let world = World::new("").await;
    let node = world.node().await;
    let reports = node.reports.clone();
    let sending = tokio::spawn(async move {
        loop {
            let order = reports.obey(&GO_ON).await.unwrap();
            order.changed().await.unwrap();
        }
    });
    let report = || outcome("theirs.test", "192.0.2.1", &["mailto:rua@theirs.test"]);
    node.ears.dmarc().report(report());
    let order = async |days| node.reports.order(days, Duration::from_secs(20)).await.unwrap();
    assert_eq!(order(Days::Over).await, Some(sent(0, 0, 0)), "the day is not over");
    assert_eq!(order(Days::UntilNow).await, Some(sent(1, 0, 0)), "what was in memory is in it");
    assert_eq!(order(Days::UntilNow).await, Some(sent(0, 0, 0)));
    node.ears.dmarc().report(report());
    assert_eq!(order(Days::UntilNow).await, Some(sent(1, 0, 0)));
    sending.abort();
    let mut ids: Vec<String> = Vec::new();
    for (_, _, message) in world.queued().await {
        let report = Report::parse_rfc5322(&message, MEBIBYTE).unwrap();
        assert_eq!((report.date_range_begin(), report.date_range_end()), (1_795_305_600, NOON.as_secs()));
        ids.push(report.report_id().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "{ids:?}");
}

/// A claim that was lost after it was looked at.
struct Lost;

impl Fence for Lost {
    fn check<'a>(&'a self, _: &'a Transaction) -> BoxFuture<'a, ekitei_kv::Result<()>> {
        Box::pin(std::future::ready(Err(ekitei_kv::Error::Fenced)))
    }
}

#[tokio::test]
async fn who_lost_the_work_in_the_last_moment_commits_nothing() {
    let world = World::new("_smtp._tls.theirs.test TXT \"v=TLSRPTv1; rua=mailto:tls@theirs.test\"").await;
    let node = world.node().await;
    node.ears.dmarc().report(outcome("theirs.test", "192.0.2.1", &["mailto:rua@theirs.test"]));
    node.ears.dmarc().report(outcome("unwanted.test", "192.0.2.1", &["mailto:x@elsewhere.test"]));
    node.ears.tls().session(session("theirs.test", failure()));
    node.reports.flush().await.unwrap();
    world.pass(24 * HOUR);
    let rows = world.rows_of_reports().await;
    let lost = Turn { fence: Some(Arc::new(Lost)), ..GO_ON };
    assert_eq!(node.reports.send(Days::Due, &lost).await.unwrap(), sent(0, 0, 3));
    assert_eq!((world.rows_of_reports().await, world.queued().await.len()), (rows, 0));
    assert_eq!(node.reports.send(Days::Due, &GO_ON).await.unwrap(), sent(2, 1, 0));
}
