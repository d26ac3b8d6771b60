//! DKIM signatures: others verify them, and nothing that they cover can be changed.

use ekitei_kv::keys::{self, subspace};
use ekitei_signing::{Algorithm, Error, NewKey};
use mail_auth::DkimResult;
use proptest::prelude::*;

use crate::support::{MESSAGE, Records, configured, domain, reopened, service, vectors, verify_dkim};

#[tokio::test]
async fn both_signatures_of_a_message_verify() {
    let service = service(configured()).await;
    let keys = service.create().await;
    let algorithms: Vec<Algorithm> = keys.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, [Algorithm::Rsa, Algorithm::Ed25519]);
    let signatures = service.signing.sign(&domain(), MESSAGE.as_bytes()).await.unwrap();
    let signed = [&signatures, MESSAGE.as_bytes()].concat();
    let results = verify_dkim(&signed, &Records::default().publish(&keys)).await;
    assert_eq!(results, [DkimResult::Pass, DkimResult::Pass], "{}", String::from_utf8_lossy(&signed));
    let text = String::from_utf8(signatures).unwrap();
    assert!(text.lines().all(|line| line.len() <= 78), "{text}");
    assert!(!text.contains("l="), "a body length would let others add to the body");
}

#[tokio::test]
async fn what_is_signed_cannot_be_changed() {
    let service = service(configured()).await;
    let keys = service.create().await;
    let records = Records::default().publish(&keys);
    let signatures = service.signing.sign(&domain(), MESSAGE.as_bytes()).await.unwrap();
    let signed = [String::from_utf8(signatures).unwrap(), MESSAGE.to_owned()].concat();
    let tampered = [
        signed.replace("five o'clock", "six o'clock"),
        signed.replace("Subject:  Tea", "Subject:  Coffee"),
        signed.replace("\r\n\r\nHello", "\r\nSubject: another\r\n\r\nHello"),
        format!("From: mallory@example.test\r\n{signed}"),
        format!("Cc: mallory@example.test\r\n{signed}"),
        signed.replace("Hello  Bob", "Hello  Bob\r\n\r\nMore"),
    ];
    for message in tampered {
        assert_ne!(message, signed);
        let results = verify_dkim(message.as_bytes(), &records).await;
        assert!(results.iter().all(|result| *result != DkimResult::Pass), "{message}");
    }
    let relayed = signed.replace("Subject:  Tea \r\n\tat five", "subject: Tea at five");
    assert_eq!(verify_dkim(relayed.as_bytes(), &records).await, [DkimResult::Pass, DkimResult::Pass]);
}

#[tokio::test]
async fn a_domain_without_keys_sends_unsigned() {
    let service = service(configured()).await;
    assert!(service.signing.sign(&domain(), MESSAGE.as_bytes()).await.unwrap().is_empty());
    service.signing.create(&domain(), NewKey::default()).await.unwrap();
    let signatures = service.signing.sign(&domain(), MESSAGE.as_bytes()).await.unwrap();
    assert!(signatures.is_empty(), "keys that are only published do not sign");
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_an_error_and_never_an_unsigned_message() {
    let first = service(configured()).await;
    first.create().await;
    let mut other = configured();
    other.signing.encryption_key =
        Some(ekitei_config::Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    first.live.replace(other);
    let reopened = reopened(&first.database, &first.clock, &first.live).unwrap();
    let error = reopened.sign(&domain(), MESSAGE.as_bytes()).await.unwrap_err();
    assert!(matches!(error, Error::Key(_)), "{error}");
    assert!(error.to_string().contains("neither signing.encryptionKey nor"), "{error}");
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_never_an_unsigned_message() {
    let service = service(configured()).await;
    let selector = service.create().await.remove(0).selector;
    let row = keys::key(&(subspace::SIGNING, 1_u32, domain().as_ascii(), selector.as_str()));
    let transaction = service.database.begin();
    transaction.set(&row, &[1, 2, 3]);
    transaction.commit().await.unwrap();
    let other = reopened(&service.database, &service.clock, &service.live).unwrap();
    let error = other.sign(&domain(), MESSAGE.as_bytes()).await.unwrap_err();
    assert!(matches!(error, Error::Store(ekitei_kv::Error::Corrupt(_))), "{error}");
}

#[tokio::test]
async fn signatures_can_be_made_to_end() {
    let mut config = configured();
    config.signing.expiration = ekitei_config::Duration::days(7);
    let service = service(config).await;
    let keys = service.create().await;
    let signatures = service.signing.sign(&domain(), MESSAGE.as_bytes()).await.unwrap();
    let text = String::from_utf8(signatures.clone()).unwrap();
    let number = |tag: &str| -> u64 {
        let rest = text.split(tag).nth(1).unwrap();
        rest.split(';').next().unwrap().parse().unwrap()
    };
    assert_eq!(number(" x=") - number(" t="), 7 * 86_400);
    let signed = [&signatures, MESSAGE.as_bytes()].concat();
    let results = verify_dkim(&signed, &Records::default().publish(&keys)).await;
    assert_eq!(results, [DkimResult::Pass, DkimResult::Pass]);
}

/// Messages of many senders, with their own signatures, signed once more: real headers in all their forms.
#[tokio::test]
async fn messages_from_the_wild_verify_when_signed() {
    let Some(folder) = vectors("dkim") else { return };
    let service = service(configured()).await;
    let keys = service.create().await;
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let text = String::from_utf8(std::fs::read(file.path()).unwrap()).unwrap();
        let (_, message) = text.split_once("\n\n").unwrap();
        let message = message.replace('\n', "\r\n");
        let signatures = service.signing.sign(&domain(), message.as_bytes()).await.unwrap();
        let signed = [&signatures, message.as_bytes()].concat();
        let results = verify_dkim(&signed, &Records::default().publish(&keys)).await;
        assert_eq!(results[..2], [DkimResult::Pass, DkimResult::Pass], "{}", file.path().display());
        count += 1;
    }
    assert!(count > 0);
}

fn any_message() -> impl Strategy<Value = String> {
    let value = "( |\t|[a-z:;=]|\u{e9}|\r\n |\r\n\t){0,30}";
    let name = prop_oneof![
        Just("From"),
        Just("To"),
        Just("Subject"),
        Just("List-Id"),
        Just("X-Other"),
        Just("Content-Type")
    ];
    let fields = prop::collection::vec((name, value), 0..8);
    let body = "( |\t|[a-z.]|\r\n){0,60}";
    (fields, body).prop_map(|(fields, body)| {
        let header: String = fields.iter().map(|(name, value)| format!("{name}: v{value}\r\n")).collect();
        format!("{header}\r\n{body}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_message_verifies_when_signed(message in any_message()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut config = configured();
            config.signing.algorithms = vec![ekitei_config::DkimAlgorithm::Ed25519];
            let service = service(config).await;
            let keys = service.create().await;
            let signatures = service.signing.sign(&domain(), message.as_bytes()).await.unwrap();
            let signed = [&signatures, message.as_bytes()].concat();
            let results = verify_dkim(&signed, &Records::default().publish(&keys)).await;
            assert_eq!(results.first(), Some(&DkimResult::Pass), "{message:?}");
        });
    }
}
