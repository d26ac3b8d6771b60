//! Reports of others over the admin API.

use std::time::Duration;

use ekitei_api::{ClientError, ProblemCode, ReportKind, ReportQuery, SummaryQuery};
use ekitei_directory::EmailAddress;
use ekitei_mailstore::Delivery;

use crate::support::Service;

const REPORT: &str = "Content-Type: application/tlsrpt+json\r\n\r\n{\"organization-name\":\"Theirs\",\"date-range\":{\"start-datetime\":\"2026-11-21T00:00:00Z\",\
    \"end-datetime\":\"2026-11-21T23:59:59Z\"},\"report-id\":\"7\",\"policies\":[{\"policy\":{\"policy-type\":\"sts\",\"policy-domain\":\"example.test\"},\
    \"summary\":{\"total-successful-session-count\":5,\"total-failure-session-count\":2},\"failure-details\":[{\"result-type\":\"certificate-expired\",\
    \"failed-session-count\":2,\"receiving-mx-hostname\":\"mx.example.test\"}]}]}\r\n";

#[tokio::test]
async fn received_reports_are_listed_shown_and_added_up() {
    let service = Service::start().await;
    let recipient = EmailAddress::parse("tls-reports@example.test").unwrap();
    let companion = service.reports.received(&recipient, REPORT.as_bytes()).unwrap();
    let delivery = Delivery {
        message: REPORT.as_bytes().to_vec().into(),
        received: Duration::from_secs(1),
        targets: Vec::new(),
        companions: vec![companion],
        fence: None,
    };
    service.mailstore.deliver(delivery).await.unwrap();
    service.reports.read_pending(&|| true).await.unwrap();

    let client = service.client();
    let query = ReportQuery { kind: Some(ReportKind::Tls), ..ReportQuery::default() };
    let listed = client.list_reports(&query).await.unwrap();
    let [report] = &listed.items[..] else { panic!("{listed:?}") };
    assert_eq!((report.organization.as_str(), report.total, report.good), ("Theirs", 7, 5));
    let detail = client.report(&report.id).await.unwrap();
    assert_eq!(detail.report, *report);
    let failure = detail.records.iter().find(|record| record.result == "certificate-expired").unwrap();
    assert_eq!((failure.count, failure.subject.as_deref()), (2, Some("mx.example.test")));
    let query = SummaryQuery { domain: Some("example.test".to_owned()), since: None };
    let summary = client.summarize_reports(&query).await.unwrap().items;
    assert_eq!((summary.len(), summary[0].total, summary[0].kind), (1, 7, ReportKind::Tls));

    for id in ["none", "00000000000000000000000000000000"] {
        match client.report(id).await {
            Err(ClientError::Problem(problem)) => assert_eq!(problem.code, ProblemCode::NotFound),
            other => panic!("{other:?}"),
        }
    }
}
