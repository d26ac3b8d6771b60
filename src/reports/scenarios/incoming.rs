//! Reports of others.

use std::io::Write as _;

use ekitei_directory::PageRequest;
use ekitei_mailstore::Delivery;
use mail_auth::flate2::Compression;
use mail_auth::flate2::write::GzEncoder;

use super::*;
use crate::{Kind, Received, ReceivedFilter};

const GO_ON: &(dyn Fn() -> bool + Send + Sync) = &|| true;

const DMARC: &str = "<?xml version=\"1.0\"?><feedback><report_metadata><org_name>Theirs\u{1b}[2J</org_name><email>a@b.test</email>\
    <report_id>42</report_id><date_range><begin>1795305600</begin><end>1795391999</end></date_range></report_metadata>\
    <policy_published><domain>ours.test</domain><p>reject</p></policy_published>\
    <record><row><source_ip>192.0.2.1</source_ip><count>7</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>\
    <identifiers><header_from>ours.test</header_from></identifiers><auth_results><spf><domain>ours.test</domain><result>fail</result></spf></auth_results></record>\
    <record><row><source_ip>203.0.113.9</source_ip><count>2</count><policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>\
    <identifiers><header_from>ours.test</header_from></identifiers><auth_results></auth_results></record></feedback>";

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn message(media_type: &str, name: &str, octets: &[u8]) -> Vec<u8> {
    let encoded: String = octets
        .iter()
        .map(|octet| format!("={octet:02X}"))
        .collect::<Vec<_>>()
        .chunks(20)
        .map(|line| line.concat() + "=\r\n")
        .collect();
    format!(
        "From: reports@theirs.test\r\nSubject: Report\r\nMIME-Version: 1.0\r\nContent-Type: {media_type}; name=\"{name}\"\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{encoded}\r\n"
    )
    .into_bytes()
}

impl World {
    /// Takes a message as the server does.
    async fn take(&self, node: &Node, recipient: &str, message: Vec<u8>) -> bool {
        let Some(companion) = node.reports.received(&address(recipient), &message) else { return false };
        let delivery = Delivery {
            message: message.into(),
            received: NOON,
            targets: Vec::new(),
            companions: vec![companion],
            fence: None,
        };
        self.mailstore.deliver(delivery).await.unwrap();
        true
    }
}

async fn all(node: &Node) -> Vec<Received> {
    node.reports.list(&ReceivedFilter::default(), &PageRequest::default()).await.unwrap().items
}

#[tokio::test]
async fn a_report_that_came_is_read_and_shown() {
    let world = World::new("").await;
    let node = world.node().await;
    let report = message("application/gzip", "theirs.test!ours.test!1!2.xml.gz", &gzip(DMARC.as_bytes()));
    assert!(world.take(&node, "DMARC-Reports@ours.test", report).await);
    assert_eq!(node.reports.read_pending(GO_ON).await.unwrap(), 1);
    assert_eq!(node.reports.read_pending(GO_ON).await.unwrap(), 0, "once");

    let [Received { id, head }] = &all(&node).await[..] else { panic!() };
    assert_eq!((head.kind, head.domain.as_str(), head.report_id.as_str()), (Kind::Dmarc, "ours.test", "42"));
    assert_eq!(head.organization, "Theirs [2J", "no control characters reach the terminal");
    assert_eq!((head.total, head.good, head.rejected, head.records), (9, 7, 2, 2));
    let (_, records) = node.reports.show(*id).await.unwrap();
    assert_eq!(records[0].source.as_deref(), Some("192.0.2.1"));
    assert_eq!((records[0].dkim.as_deref(), records[0].spf.as_deref()), (Some("pass"), Some("fail")));
    assert_eq!((records[1].result.as_str(), records[1].count), ("reject", 2));

    let [summary] = &node.reports.summary(Some("OURS.test"), 0).await.unwrap()[..] else { panic!() };
    assert_eq!((summary.reports, summary.total, summary.good, summary.rejected), (1, 9, 7, 2));
    assert!(node.reports.summary(None, NOON.as_secs() + 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_report_counts_once() {
    let world = World::new("").await;
    let node = world.node().await;
    for recipient in ["dmarc-reports@ours.test", "tls-reports@ours.test"] {
        assert!(world.take(&node, recipient, message("text/xml", "r.xml", DMARC.as_bytes())).await);
    }
    assert_eq!(node.reports.read_pending(GO_ON).await.unwrap(), 2);
    assert_eq!(all(&node).await.len(), 1);
}

#[tokio::test]
async fn mail_to_others_is_no_report() {
    let world =
        World::configured("", |config| config.reports.max_received_size = ekitei_config::ByteSize::kib(8))
            .await;
    let node = world.node().await;
    let report = || message("text/xml", "r.xml", DMARC.as_bytes());
    assert!(!world.take(&node, "alice@ours.test", report()).await);
    assert!(!world.take(&node, "abuse@ours.test", report()).await);
    let large = [report(), vec![b' '; 8 << 10]].concat();
    assert!(!world.take(&node, "dmarc-reports@ours.test", large).await);
    let complaint = b"Content-Type: multipart/report; report-type=Feedback-Report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
                      Feedback-Type: abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\nReported-Domain: ours.test\r\nSource-IP: 192.0.2.1\r\n\r\n--b--\r\n";
    assert!(world.take(&node, "abuse@ours.test", complaint.to_vec()).await);
    node.reports.read_pending(GO_ON).await.unwrap();
    let [Received { head, .. }] = &all(&node).await[..] else { panic!() };
    assert_eq!((head.kind, head.domain.as_str(), head.total), (Kind::Feedback, "ours.test", 1));
}

#[tokio::test]
async fn bombs_and_nonsense_are_unreadable_and_say_why() {
    let world =
        World::configured("", |config| config.reports.max_unpacked_size = ekitei_config::ByteSize::kib(64))
            .await;
    let node = world.node().await;
    let bomb = gzip(&vec![b' '; 16 << 20]);
    let many = format!("<feedback>{}</feedback>", "<record/>".repeat(5_000));
    let cases = [
        (message("application/gzip", "r.xml.gz", &bomb), "maxUnpackedSize"),
        (message("application/zip", "r.zip", b"PK\x03\x04 and no more"), "archive is damaged"),
        (message("text/xml", "r.xml", b"<feedback></feedback>"), "report_metadata"),
        (message("text/xml", "r.xml", many.as_bytes()), "report_metadata"),
        (message("application/tlsrpt+json", "r.json", b"{\"a\":1}"), "date-range"),
        (b"Subject: hello\r\n\r\nhello\r\n".to_vec(), "nothing in it is a report"),
    ];
    for (message, reason) in cases {
        assert!(world.take(&node, "tls-reports@ours.test", message).await);
        world.pass(Duration::from_millis(1));
        node.reports.read_pending(GO_ON).await.unwrap();
        let head = all(&node).await.remove(0).head;
        assert_eq!(head.kind, Kind::Unreadable);
        assert!(head.problem.as_deref().unwrap().contains(reason), "{reason}: {:?}", head.problem);
    }
}

#[tokio::test]
async fn listings_come_in_pages_the_latest_first_and_old_reports_go() {
    let world = World::new("").await;
    let node = world.node().await;
    for n in 0..5 {
        let report = DMARC.replace("<report_id>42", &format!("<report_id>{n}"));
        assert!(
            world
                .take(&node, "dmarc-reports@ours.test", message("text/xml", "r.xml", report.as_bytes()))
                .await
        );
        world.pass(HOUR);
    }
    node.reports.read_pending(GO_ON).await.unwrap();
    let (mut page, mut seen) = (PageRequest { after: None, limit: 2 }, Vec::new());
    loop {
        let filter = ReceivedFilter { domain: Some("ours.test".to_owned()), kind: Some(Kind::Dmarc) };
        let found = node.reports.list(&filter, &page).await.unwrap();
        seen.extend(found.items.into_iter().map(|report| report.head.report_id));
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
    let other = ReceivedFilter { kind: Some(Kind::Tls), ..ReceivedFilter::default() };
    assert!(node.reports.list(&other, &PageRequest::default()).await.unwrap().items.is_empty());

    world.pass(90 * 24 * HOUR - 3 * HOUR);
    assert_eq!(node.reports.remove_old(GO_ON).await.unwrap(), 2);
    assert_eq!(all(&node).await.len(), 3);
    let again = DMARC.replace("<report_id>42", "<report_id>0");
    world.take(&node, "dmarc-reports@ours.test", message("text/xml", "r.xml", again.as_bytes())).await;
    node.reports.read_pending(GO_ON).await.unwrap();
    assert_eq!(all(&node).await.len(), 4, "what is gone is not known any more");
}
