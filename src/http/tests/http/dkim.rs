//! DKIM keys over the admin API.

use ekitei_api::{
    ClientError, DkimActivation, DkimAlgorithm, DkimKey, DkimKeyPatch, DkimStage, NewDkimKeys, PageQuery,
    ProblemCode,
};

use crate::support::Service;

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ProblemCode {
    match result {
        Err(ClientError::Problem(problem)) => problem.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_are_made_activated_retired_and_removed() {
    let service = Service::start().await;
    service.add_domain("example.test").await;
    let client = service.client();
    let new = NewDkimKeys { domain: "example.test".to_owned(), ..NewDkimKeys::default() };
    let made = client.create_dkim_keys(&new).await.unwrap().items;
    assert_eq!(made.len(), 2);
    for key in &made {
        assert_eq!(key.stage, DkimStage::Published);
        assert_eq!(key.record_name, format!("{}._domainkey.example.test", key.selector));
        assert!(key.record_line.contains(&key.record_text[..100.min(key.record_text.len())]));
    }
    let query = PageQuery { domain: Some("example.test".to_owned()), ..PageQuery::default() };
    let mut listed = client.list_dkim_keys(&query).await.unwrap().items;
    listed.sort_by_key(|key| key.algorithm != DkimAlgorithm::Rsa);
    assert_eq!(listed, made);

    let selector = &made[0].selector;
    let patch = |stage| DkimKeyPatch { stage };
    let signing = client.update_dkim_key("example.test", selector, &patch(DkimStage::Signing)).await.unwrap();
    assert!(signing.activated.is_some());
    assert_eq!(code(client.delete_dkim_key("example.test", selector, false).await), ProblemCode::InUse);
    let published = client.update_dkim_key("example.test", selector, &patch(DkimStage::Published)).await;
    assert_eq!(code(published), ProblemCode::Invalid);
    client.update_dkim_key("example.test", selector, &patch(DkimStage::Retired)).await.unwrap();
    client.delete_dkim_key("example.test", selector, true).await.unwrap();
    assert_eq!(code(client.dkim_key("example.test", selector).await), ProblemCode::NotFound);
}

#[tokio::test]
async fn a_key_says_who_activates_it() {
    let service = Service::start().await;
    service.add_domain("example.test").await;
    let client = service.client();
    let make = async |activation| {
        let new = NewDkimKeys {
            domain: "example.test".to_owned(),
            algorithm: Some(DkimAlgorithm::Ed25519),
            activation,
            ..NewDkimKeys::default()
        };
        client.create_dkim_keys(&new).await.unwrap().items.remove(0)
    };
    let (by_itself, by_hand) = (make(DkimActivation::Automatic).await, make(DkimActivation::Manual).await);
    let sign = DkimKeyPatch { stage: DkimStage::Signing };
    client.update_dkim_key("example.test", &by_itself.selector, &sign).await.unwrap();
    client.update_dkim_key("example.test", &by_hand.selector, &sign).await.unwrap();
    let shown = async |key: &DkimKey| {
        let key = client.dkim_key("example.test", &key.selector).await.unwrap();
        (key.activation, key.stage)
    };
    assert_eq!(shown(&by_itself).await, (DkimActivation::Automatic, DkimStage::Retired));
    assert_eq!(shown(&by_hand).await, (DkimActivation::Manual, DkimStage::Signing));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let service = Service::start().await;
    let client = service.client();
    let new = NewDkimKeys { domain: "elsewhere.test".to_owned(), ..NewDkimKeys::default() };
    assert_eq!(code(client.create_dkim_keys(&new).await), ProblemCode::NotFound);
    service.add_domain("example.test").await;
    let mut new = NewDkimKeys { domain: "example.test".to_owned(), ..NewDkimKeys::default() };
    new.selector = Some("mail".to_owned());
    assert_eq!(code(client.create_dkim_keys(&new).await), ProblemCode::Invalid, "one name for two keys");
    new.algorithm = Some(DkimAlgorithm::Ed25519);
    client.create_dkim_keys(&new).await.unwrap();
    assert_eq!(code(client.create_dkim_keys(&new).await), ProblemCode::AlreadyExists);
}
