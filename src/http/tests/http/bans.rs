//! Bans and the greylist over the API.

use ekitei_api::{Client, ClientError, NewBan, PageQuery, ProblemCode};

use crate::support::Service;

async fn networks(client: &Client) -> Vec<String> {
    let page = client.list_bans(&PageQuery::default()).await.unwrap();
    page.items.into_iter().map(|ban| ban.network).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ProblemCode {
    match result.unwrap_err() {
        ClientError::Problem(problem) => problem.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn bans_are_made_shown_listed_and_ended() {
    let service = Service::start().await;
    let client = service.client();
    let hour = NewBan { reason: "spam".into(), duration: Some(3600) };
    let ban = client.put_ban("192.0.2.0/24", &hour).await.unwrap();
    assert_eq!((ban.network.as_str(), ban.reason.as_str(), ban.manual), ("192.0.2.0/24", "spam", true));
    assert_eq!(ban.until, Some(ban.created + 3600));
    assert_eq!(client.put_ban("192.0.2.0/24", &hour).await.unwrap().times, 1, "it may be repeated");
    assert_eq!(client.put_ban("2001:db8::1", &NewBan::default()).await.unwrap().until, None);
    assert_eq!(networks(&client).await, ["192.0.2.0/24", "2001:db8::1/128"]);
    assert_eq!(client.ban("192.0.2.99").await.unwrap(), ban);
    let first = PageQuery { limit: Some(1), ..PageQuery::default() };
    let first = client.list_bans(&first).await.unwrap();
    let second = client.list_bans(&PageQuery { after: first.next, ..PageQuery::default() }).await.unwrap();
    assert_eq!(second.items[0].network, "2001:db8::1/128");
    client.delete_ban("192.0.2.0/24").await.unwrap();
    assert_eq!(networks(&client).await, ["2001:db8::1/128"]);
    assert_eq!(code(client.delete_ban("192.0.2.0/24").await), ProblemCode::NotFound);
    assert_eq!(code(client.ban("192.0.2.99").await), ProblemCode::NotFound);
    for nonsense in ["0.0.0.0/0", "192.0.2.1/24", "example.org"] {
        assert_eq!(
            code(client.put_ban(nonsense, &NewBan::default()).await),
            ProblemCode::Invalid,
            "{nonsense}"
        );
    }
}

#[tokio::test]
async fn the_greylist_is_shown_and_forgets() {
    let service = Service::with(|config| config.filter.greylist.enabled = true).await;
    let client = service.client();
    service.greylist("192.0.2.7", "a@else.test", "b@example.test").await;
    let waiting = client.list_greylist(true, &PageQuery::default()).await.unwrap().items;
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].network.as_str(), waiting[0].passed), ("192.0.2.0/24", false));
    assert!(client.list_greylist(false, &PageQuery::default()).await.unwrap().items.is_empty());
    assert_eq!(client.delete_greylist("192.0.2.8").await.unwrap().removed, 1);
    assert_eq!(client.delete_greylist("192.0.2.8").await.unwrap().removed, 0);
    assert_eq!(code(client.delete_greylist("nobody").await), ProblemCode::Invalid);
}
