//! Reports of other services, which come as mail.

use ekitei_config::Protocol;
use ekitei_directory::PageRequest;
use ekitei_reports::{Kind, ReceivedFilter};

use crate::support::{STRANGER, World};

const REPORT: &str = "From: reports@theirs.test\r\nContent-Type: text/xml\r\n\r\n<feedback><report_metadata><org_name>Theirs</org_name>\r\n\
    <report_id>42</report_id></report_metadata><policy_published><domain>example.test</domain></policy_published>\r\n\
    <record><row><count>3</count></row></record></feedback>\r\n.\r\n";

#[tokio::test]
async fn a_report_is_delivered_and_read() {
    let world = World::new().await;
    let mut client = world.hello(Protocol::Smtp, STRANGER).await;
    client.envelope("reports@theirs.test", &["alice@example.test", "dmarc-reports@example.test"]).await;
    client.ask("DATA", "354 ").await;
    client.send(REPORT).await;
    client.expect("250 ").await;
    assert!(world.inbox("alice").await[0].contains("<org_name>Theirs"), "people get it too");
    assert_eq!(world.reports.read_pending(&|| true).await.unwrap(), 1);
    let read = world.reports.list(&ReceivedFilter::default(), &PageRequest::default()).await.unwrap().items;
    let heads: Vec<_> = read.iter().map(|report| (report.head.kind, report.head.total)).collect();
    assert_eq!(heads, [(Kind::Dmarc, 3)]);
}

#[tokio::test]
async fn mail_to_people_is_not_read() {
    let world = World::new().await;
    let mut client = world.hello(Protocol::Smtp, STRANGER).await;
    client.envelope("reports@theirs.test", &["alice@example.test"]).await;
    client.ask("DATA", "354 ").await;
    client.send(REPORT).await;
    client.expect("250 ").await;
    assert_eq!(world.reports.read_pending(&|| true).await.unwrap(), 0);
}
