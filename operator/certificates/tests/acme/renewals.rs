//! Renewal information (RFC 9773), and orders that say what they replace.

use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_certificates::Certificate;
use ekitei_operator_certificates::acme::{AcmeError, OrderRequest};
use ekitei_operator_certificates::renewal::{Freshness, Plan};
use jiff::Timestamp;

use crate::hosts;
use crate::pebble::{Pebble, Settings, key};

#[tokio::test]
async fn a_certificate_is_renewed_in_the_window_that_the_authority_suggests() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    let account = pebble.account().await;
    let mut order = OrderRequest::new(hosts(&["mx.example.org"]));
    let key = key();
    let first = account.issue(&order, &key, Arc::clone(&pebble.names) as _).await.unwrap();

    let now = Timestamp::now();
    let advice = account.advice(&first).await.unwrap().unwrap();
    assert_eq!(advice.ask_after.as_secs().div_ceil(3600), 6);
    let mut plan = Plan::new(&first, Some(advice.clone()), now);
    assert!((advice.window.start..advice.window.end).contains(&plan.renew_at));
    assert_eq!(plan.freshness(now), Freshness::Fresh);

    // The authority is about to revoke: it moves the window into the past.
    let window = r#"{"suggestedWindow": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-02T00:00:00Z"},
        "explanationURL": "https://authority.example/incident"}"#;
    pebble.set_renewal_info(first.pem(), window).await;
    plan.update(&first, account.advice(&first).await.unwrap(), now);
    assert!(plan.freshness(now) >= Freshness::Due);
    assert_eq!(plan.window.unwrap().explanation.as_deref(), Some("https://authority.example/incident"));

    // The new order says what it replaces; a second one for the same is taken without.
    order.replaces = Some(first.clone());
    let second = account.issue(&order, &key, Arc::clone(&pebble.names) as _).await.unwrap();
    assert_ne!(second.fingerprint(), first.fingerprint());
    account.issue(&order, &key, Arc::clone(&pebble.names) as _).await.unwrap();
}

#[tokio::test]
async fn nonsense_about_a_renewal_is_an_error_that_changes_nothing() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    let account = pebble.account().await;
    let order = OrderRequest::new(hosts(&["mx.example.org"]));
    let certificate = account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap();
    pebble.set_renewal_info(certificate.pem(), "{").await;
    let error = account.advice(&certificate).await.unwrap_err();
    assert!(matches!(error, AcmeError::BadAnswer(_)), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_renewed_like_a_new_one() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    let account = pebble.account().await;
    let own = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
    let own = Certificate::from_pem(&own.cert.pem()).unwrap();
    assert_eq!(account.advice(&own).await.unwrap(), None, "it names no authority");

    let other = Pebble::start(Settings::default()).await.unwrap();
    let mut order = OrderRequest::new(hosts(&["mx.example.org"]));
    let foreign = other.account().await.issue(&order, &key(), Arc::clone(&other.names) as _).await.unwrap();
    assert!(account.advice(&foreign).await.is_err());
    order.replaces = Some(foreign);
    account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap();
}

#[tokio::test]
async fn an_order_that_is_given_up_leaves_no_record() {
    let settings = Settings { trouble: crate::names::Trouble::NeverVisible, ..Settings::default() };
    let Some(pebble) = Pebble::start(settings).await else { return };
    let account = pebble.account().await;
    let order = OrderRequest::new(hosts(&["mx.example.org", "imap.example.org"]));
    let key = key();
    let issue = account.issue(&order, &key, Arc::clone(&pebble.names) as _);
    let given_up = tokio::time::timeout(Duration::from_secs(1), issue).await;
    assert!(given_up.is_err());
    assert_eq!(pebble.names.written().len(), 2);
    let gone = async {
        while pebble.names.count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}
