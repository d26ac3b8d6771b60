//! Orders that end badly: whose fault, when to try again, and nothing left in the DNS.

use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_certificates::acme::{
    Account, AccountRequest, AcmeError, ChallengeError, Fault, OrderRequest, Retry, Server,
};

use crate::fake::{Answer, Fake};
use crate::hosts;
use crate::names::{Names, Trouble};
use crate::pebble::{Pebble, Settings, key};

/// The error of an order of two names at a Pebble whose name server has `trouble`.
async fn refused(trouble: Trouble) -> Option<(AcmeError, Pebble)> {
    let pebble = Pebble::start(Settings { trouble, ..Settings::default() }).await?;
    let account = pebble.account().await;
    let order = OrderRequest::new(hosts(&["mx.example.org", "imap.example.org"]));
    let error = account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap_err();
    assert_eq!(pebble.names.count(), 0, "no record is left after: {error}");
    assert!(!pebble.names.written().is_empty());
    Some((error, pebble))
}

#[tokio::test]
async fn what_the_authority_cannot_validate_is_named_with_its_words() {
    let Some((error, _)) = refused(Trouble::WrongValue).await else { return };
    let AcmeError::Validation { name, problem } = &error else { panic!("{error}") };
    assert!(name.ends_with(".example.org"), "{name}");
    assert_eq!(problem.kind, "unauthorized");
    assert!(problem.detail.contains("Correct value not found"), "{problem}");
    assert_eq!(error.fault(), Fault::Names);
    assert!(matches!(error.retry(), Retry::After(wait) if wait >= Duration::from_secs(600)));
}

#[tokio::test]
async fn a_record_that_may_have_been_written_is_removed() {
    let Some((error, pebble)) = refused(Trouble::SecondFails).await else { return };
    assert!(matches!(error, AcmeError::Challenge(ChallengeError::Unavailable { .. })), "{error}");
    assert_eq!(pebble.names.written().len(), 2);
}

#[tokio::test]
async fn the_authority_is_not_called_for_names_that_nobody_can_see() {
    let Some((error, _)) = refused(Trouble::NeverVisible).await else { return };
    assert!(matches!(error, AcmeError::Challenge(ChallengeError::NotVisible(_))), "{error}");
    assert_eq!(error.reason(), "ChallengeNotVisible");
    assert!(error.to_string().contains("_acme-challenge.mx.example.org"), "{error}");
}

#[tokio::test]
async fn names_that_the_authority_will_not_have_are_the_callers_fault() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    let account = pebble.account().await;
    let order = OrderRequest::new(hosts(&["mx.example.org", "blocked.example"]));
    let error = account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap_err();
    let AcmeError::OrderRefused(problem) = &error else { panic!("{error}") };
    assert_eq!(problem.kind, "rejectedIdentifier");
    assert!(problem.detail.contains("blocked.example"), "{problem}");
    assert_eq!((error.fault(), error.retry()), (Fault::Configuration, Retry::WhenChanged));

    let none = account.issue(&OrderRequest::new(Vec::new()), &key(), Arc::clone(&pebble.names) as _).await;
    assert!(matches!(none, Err(AcmeError::BadInput(_))));
}

#[tokio::test]
async fn aliases_in_a_circle_lead_nowhere() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    pebble.names.alias("_acme-challenge.mx.example.org", "a.example.net");
    pebble.names.alias("a.example.net", "_acme-challenge.mx.example.org");
    let account = pebble.account().await;
    let order = OrderRequest::new(hosts(&["mx.example.org"]));
    let error = account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap_err();
    assert!(matches!(&error, AcmeError::Challenge(ChallengeError::Refused(_))), "{error}");
    assert_eq!(error.retry(), Retry::WhenChanged);
    assert!(pebble.names.written().is_empty());
}

#[tokio::test]
async fn a_server_that_is_away_or_not_trusted_is_tried_again() {
    let away = Server::new("https://127.0.0.1:1/dir");
    let error = Account::create(&away, &AccountRequest::default()).await.unwrap_err();
    assert!(matches!(error, AcmeError::Unavailable { .. }), "{error}");
    assert_eq!((error.fault(), error.retry()), (Fault::Server, Retry::Backoff));

    let fake = Fake::start(Answer::Order).await;
    let mut untrusted = fake.server();
    untrusted.authorities = None;
    let error = Account::create(&untrusted, &AccountRequest::default()).await.unwrap_err();
    assert!(
        matches!(&error, AcmeError::Unavailable { detail, .. } if detail.contains("certificate")),
        "{error}"
    );
}

#[tokio::test]
async fn a_limit_of_the_rate_says_how_long_to_wait() {
    let fake = Fake::start(Answer::RateLimited).await;
    let error = fake_order(&fake).await;
    let AcmeError::RateLimited { problem, after } = &error else { panic!("{error}") };
    assert_eq!(*after, Some(Duration::from_secs(4711)));
    assert_eq!(problem.detail, "too many new orders recently");
    assert_eq!((error.fault(), error.retry()), (Fault::Limits, Retry::After(Duration::from_secs(4711))));
}

#[tokio::test]
async fn a_page_of_maintenance_is_no_answer() {
    let fake = Fake::start(Answer::Maintenance).await;
    let error = fake_order(&fake).await;
    let AcmeError::Unavailable { detail, after } = &error else { panic!("{error}") };
    assert_eq!(*after, Some(Duration::from_secs(120)));
    assert!(detail.contains("503"), "{detail}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let fake = Fake::start(Answer::Endless).await;
    let error = fake_order(&fake).await;
    assert_eq!(error.fault(), Fault::Server, "{error}");
}

async fn fake_order(fake: &Fake) -> AcmeError {
    let (account, _) = Account::create(&fake.server(), &AccountRequest::default()).await.unwrap();
    let order = OrderRequest::new(hosts(&["mx.example.org"]));
    account.issue(&order, &key(), Names::serve(Trouble::None).await).await.unwrap_err()
}
