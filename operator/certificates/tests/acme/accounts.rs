//! Accounts: made, kept, restored, refused.

use std::sync::Arc;

use ekitei_operator_certificates::acme::{
    Account, AccountRequest, AcmeError, Credentials, ExternalAccount, Fault, OrderRequest, Retry, Server,
};

use crate::hosts;
use crate::pebble::{EXTERNAL_KEY, Pebble, Settings, key};

#[tokio::test]
async fn an_account_comes_back_from_what_was_kept_of_it() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    let request = AccountRequest { contact: vec!["postmaster@example.org".to_owned()], external: None };
    let (made, credentials) = Account::create(&pebble.server(), &request).await.unwrap();
    assert_eq!(credentials.directory(), pebble.server().directory);
    assert!(!format!("{credentials:?}").contains("key"), "{credentials:?}");

    let kept = credentials.json().to_owned();
    let credentials = Credentials::from_json(&kept).unwrap();
    let restored = Account::restore(&pebble.server(), &credentials).await.unwrap();
    assert_eq!(restored.id(), made.id());
    restored.set_contact(&["hostmaster@example.org".to_owned()]).await.unwrap();

    let elsewhere = Server::new("https://acme.example/directory");
    let refused = Account::restore(&elsewhere, &credentials).await.unwrap_err();
    assert!(matches!(refused, AcmeError::BadInput(_)), "{refused}");
    assert!(matches!(Credentials::from_json("{}"), Err(AcmeError::BadInput(_))));
}

#[tokio::test]
async fn a_server_that_forgot_the_account_says_so() {
    let Some(mut pebble) = Pebble::start(Settings::default()).await else { return };
    let (_, credentials) = Account::create(&pebble.server(), &AccountRequest::default()).await.unwrap();
    pebble.restart().await;
    let account = Account::restore(&pebble.server(), &credentials).await.unwrap();
    let order = OrderRequest::new(hosts(&["mx.example.org"]));
    let error = account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap_err();
    assert!(matches!(error, AcmeError::UnknownAccount(_)), "{error}");
    assert_eq!(error.reason(), "ACMEAccountUnknown");
    assert!(pebble.names.written().is_empty());
}

#[tokio::test]
async fn an_external_account_is_needed_where_it_is_and_must_be_the_right_one() {
    let settings = Settings { external: true, ..Settings::default() };
    let Some(pebble) = Pebble::start(settings).await else { return };
    let with = |external| AccountRequest { contact: Vec::new(), external };
    let wrong_key = ExternalAccount::new("kid-1", &EXTERNAL_KEY.replace('z', "y")).unwrap();
    let unknown = ExternalAccount::new("kid-9", EXTERNAL_KEY).unwrap();
    for external in [None, Some(wrong_key), Some(unknown)] {
        let error = Account::create(&pebble.server(), &with(external.clone())).await.unwrap_err();
        assert!(matches!(error, AcmeError::AccountRefused(_)), "{external:?}: {error}");
        assert_eq!((error.fault(), error.retry()), (Fault::Configuration, Retry::WhenChanged));
    }
    let right = ExternalAccount::new(" kid-1 ", &format!("{EXTERNAL_KEY}\n")).unwrap();
    assert!(!format!("{right:?}").contains(EXTERNAL_KEY));
    Account::create(&pebble.server(), &with(Some(right))).await.unwrap();

    for (id, key) in [("", EXTERNAL_KEY), ("kid-1", ""), ("kid-1", "not Base64!")] {
        assert!(matches!(ExternalAccount::new(id, key), Err(AcmeError::BadInput(_))), "{id:?} {key:?}");
    }
}
