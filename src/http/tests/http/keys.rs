//! Data keys over the API.

use ekitei_api::{ClientError, DataKeyRotation, DataKeyState, PageQuery, ProblemCode};
use ekitei_blob::{DataKeys as _, KeyScope};
use ekitei_config::Secret;

use crate::support::Service;

fn code(result: Result<impl std::fmt::Debug, ClientError>) -> ProblemCode {
    match result.unwrap_err() {
        ClientError::Problem(problem) => problem.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn data_keys_are_listed_replaced_rewrapped_and_destroyed() {
    let service = Service::with(|config| {
        config.encryption.enabled = true;
        config.encryption.master_key = Some(Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    })
    .await;
    let client = service.client();
    for scope in [KeyScope::Domain("a.test".into()), KeyScope::Service] {
        service.keyring.current(&scope).await.unwrap();
    }
    let all = PageQuery::default();
    let keys = client.list_data_keys(&all).await.unwrap().items;
    let shown: Vec<_> = keys.iter().map(|key| (key.id, key.domain.as_deref(), key.state)).collect();
    assert_eq!(shown, [(1, Some("a.test"), DataKeyState::Active), (2, None, DataKeyState::Active)]);
    assert!(keys[0].master_key.as_ref().unwrap().starts_with("local:"));

    let domain = |name: &str| DataKeyRotation { domain: Some(name.to_owned()), ..DataKeyRotation::default() };
    assert_eq!(client.rotate_data_keys(&domain("a.test")).await.unwrap().rotated, 1);
    assert_eq!(code(client.rotate_data_keys(&domain("b.test")).await), ProblemCode::NotFound);
    assert_eq!(code(client.rotate_data_keys(&DataKeyRotation::default()).await), ProblemCode::Invalid);
    let both = DataKeyRotation { service: true, ..domain("a.test") };
    assert_eq!(code(client.rotate_data_keys(&both).await), ProblemCode::Invalid);
    let everybody = DataKeyRotation { all: true, ..DataKeyRotation::default() };
    assert_eq!(client.rotate_data_keys(&everybody).await.unwrap().rotated, 2);
    assert_eq!(client.data_key(1).await.unwrap().state, DataKeyState::Retired);
    let done = client.rewrap_data_keys().await.unwrap();
    assert_eq!((done.rewrapped, done.current, done.failed), (0, 5, 0));

    let page = PageQuery { domain: Some("A.test".to_owned()), limit: Some(2), ..PageQuery::default() };
    let first = client.list_data_keys(&page).await.unwrap();
    assert_eq!(first.items.iter().map(|key| key.id).collect::<Vec<_>>(), [1, 3]);
    let rest = client.list_data_keys(&PageQuery { after: first.next, ..page }).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));

    client.destroy_data_key(1, false).await.unwrap();
    let destroyed = client.data_key(1).await.unwrap();
    assert_eq!((destroyed.state, destroyed.master_key), (DataKeyState::Destroyed, None));
    assert_eq!(code(client.destroy_data_key(99, true).await), ProblemCode::NotFound);
}
