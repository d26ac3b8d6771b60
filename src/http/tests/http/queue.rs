//! The queue over the API.

use std::time::Duration;

use ekitei_api::{
    Client, ClientError, PageQuery, ProblemCode, QueueAction, QueueFilter, QueueOrder, QueueState,
};
use ekitei_directory::EmailAddress;
use ekitei_queue::{Envelope, NewMessage, NewRecipient, Origin};

use crate::support::Service;

const MESSAGE: &str = "Subject: hello\r\n\r\nhello\r\n";

async fn enqueue(service: &Service, sender: &str, recipients: &[&str]) -> String {
    let recipient = |address: &&str| NewRecipient {
        address: EmailAddress::parse(address).unwrap(),
        notify: None,
        original: None,
    };
    let message = NewMessage {
        envelope: Envelope { reverse_path: Some(sender.to_owned()), ..Envelope::default() },
        recipients: recipients.iter().map(recipient).collect(),
        received: Duration::from_secs(1_700_000_000),
        size: MESSAGE.len() as u64,
        header: bytes::Bytes::from_static(b"X-First: yes\r\n"),
        account: None,
        origin: Origin::Submission,
    };
    service.queue.enqueue(MESSAGE.into(), message).await.unwrap().to_string()
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ProblemCode {
    match result.unwrap_err() {
        ClientError::Problem(problem) => problem.code,
        other => panic!("{other}"),
    }
}

fn order(action: QueueAction) -> QueueOrder {
    QueueOrder { action, ids: Vec::new(), filter: None, after: None }
}

async fn ids(client: &Client, filter: &QueueFilter) -> Vec<String> {
    let page = client.list_queue(filter, &PageQuery::default()).await.unwrap();
    page.items.into_iter().map(|entry| entry.id).collect()
}

#[tokio::test]
async fn what_waits_is_listed_and_shown() {
    let service = Service::start().await;
    let client = service.client();
    let first = enqueue(&service, "alice@here.test", &["bob@a.test", "carol@b.test"]).await;
    let second = enqueue(&service, "dave@here.test", &["bob@a.test"]).await;
    let every = QueueFilter::default();
    assert_eq!(
        ids(&client, &every).await,
        [format!("{first}-0"), format!("{first}-1"), format!("{second}-0")]
    );
    let page =
        client.list_queue(&every, &PageQuery { limit: Some(2), ..PageQuery::default() }).await.unwrap();
    let rest = PageQuery { after: page.next, ..PageQuery::default() };
    assert_eq!(client.list_queue(&every, &rest).await.unwrap().items[0].id, format!("{second}-0"));
    let of_a = QueueFilter { destination: Some("a.test".into()), ..QueueFilter::default() };
    assert_eq!(ids(&client, &of_a).await, [format!("{first}-0"), format!("{second}-0")]);
    let of_dave = QueueFilter { sender: Some("dave@here.test".into()), ..of_a };
    assert_eq!(ids(&client, &of_dave).await, [format!("{second}-0")]);
    let shown = client.queued_message(&first).await.unwrap();
    assert_eq!((shown.sender.as_str(), shown.entries.len()), ("alice@here.test", 2));
    assert_eq!(shown.entries[0].recipients[0].address, "bob@a.test");
    assert_eq!((shown.entries[0].state, shown.entries[0].attempts), (QueueState::Active, 0));
    assert_eq!(client.queued_message(&format!("{first}-1")).await.unwrap(), shown);
    let whole = client.queued_octets(&first, false).await.unwrap();
    assert_eq!(whole, format!("X-First: yes\r\n{MESSAGE}").into_bytes());
    let header = client.queued_octets(&first, true).await.unwrap();
    assert_eq!(header, b"X-First: yes\r\nSubject: hello\r\n\r\n");
    let figures = client.queue_statistics(1).await.unwrap();
    assert_eq!((figures.messages, figures.entries.active, figures.destinations), (2, 3, 2));
    assert_eq!((figures.top[0].destination.as_str(), figures.top[0].entries.active), ("a.test", 2));
    let nobody = "00000000000000000000000000000000";
    assert_eq!(code(client.queued_message(nobody).await), ProblemCode::NotFound);
    assert_eq!(code(client.queued_message("x").await), ProblemCode::Invalid);
    let wrong = QueueFilter { sender: Some("dave".into()), ..QueueFilter::default() };
    assert_eq!(code(client.list_queue(&wrong, &PageQuery::default()).await), ProblemCode::Invalid);
}

#[tokio::test]
async fn entries_are_held_released_returned_and_deleted_by_id_or_filter() {
    let service = Service::start().await;
    let client = service.client();
    let first = enqueue(&service, "alice@here.test", &["bob@a.test", "carol@b.test"]).await;
    enqueue(&service, "dave@here.test", &["bob@a.test"]).await;
    let hold = QueueOrder { ids: vec![first.clone()], ..order(QueueAction::Hold) };
    assert_eq!(client.order_queue(&hold).await.unwrap().changed, 2, "all of a message");
    assert_eq!(client.order_queue(&hold).await.unwrap().changed, 0, "it may be repeated");
    let held = QueueFilter { state: Some(QueueState::Held), ..QueueFilter::default() };
    assert_eq!(ids(&client, &held).await.len(), 2);
    let entry = &client.queued_message(&first).await.unwrap().entries[0];
    assert_eq!(entry.reason, "held by an administrator");
    let release = QueueOrder { ids: vec![format!("{first}-1")], ..order(QueueAction::Release) };
    assert_eq!(client.order_queue(&release).await.unwrap().changed, 1);
    let bounce = QueueOrder { filter: Some(held), ..order(QueueAction::Bounce) };
    assert_eq!(client.order_queue(&bounce).await.unwrap().changed, 1);
    assert!(client.queued_message(&first).await.unwrap().entries[0].reason.contains("returned"));
    let of_a = QueueFilter { destination: Some("a.test".into()), ..QueueFilter::default() };
    let delete = QueueOrder { filter: Some(of_a), ..order(QueueAction::Delete) };
    assert_eq!(client.order_queue(&delete).await.unwrap().changed, 2);
    assert_eq!(ids(&client, &QueueFilter::default()).await, [format!("{first}-1")]);
    assert_eq!(code(client.order_queue(&order(QueueAction::Delete)).await), ProblemCode::Invalid);
    let both = QueueOrder { filter: Some(QueueFilter::default()), ..release };
    assert_eq!(code(client.order_queue(&both).await), ProblemCode::Invalid);
}

#[tokio::test]
async fn suppressed_addresses_are_listed_and_removed() {
    let service = Service::start().await;
    let client = service.client();
    assert!(client.list_suppressed(&PageQuery::default()).await.unwrap().items.is_empty());
    assert_eq!(code(client.delete_suppressed("bob@a.test").await), ProblemCode::NotFound);
    assert_eq!(code(client.delete_suppressed("bob").await), ProblemCode::Invalid);
}
