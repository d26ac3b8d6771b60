//! ARC chains: others verify them, and what failed stays failed.

use mail_auth::DkimResult;

use crate::support::{MESSAGE, Records, Service, configured, domain, service, vectors, verify_arc};

async fn seal(service: &Service, message: &[u8], results: &str) -> Vec<u8> {
    let set = service.signing.seal(&domain(), message, results).await.unwrap();
    [set.as_slice(), message].concat()
}

#[tokio::test]
async fn a_chain_of_forwarders_verifies_up_to_its_longest() {
    let service = service(configured()).await;
    let records = Records::default().publish(&service.create().await);
    let mut message =
        seal(&service, MESSAGE.as_bytes(), "mx.test; spf=pass smtp.mailfrom=a@b.test; arc=none").await;
    for instance in 2..=50 {
        let sealed = seal(&service, &message, "mx.test; spf=fail;\r\n\tarc=pass (i=1)").await;
        assert!(sealed.len() > message.len(), "{instance}");
        message = sealed;
    }
    assert_eq!(verify_arc(&message, &records).await, DkimResult::Pass);
    assert_eq!(seal(&service, &message, "mx.test; arc=pass").await, message, "50 sets are the most");
}

#[tokio::test]
async fn a_change_on_the_way_breaks_the_chain_for_good() {
    let service = service(configured()).await;
    let records = Records::default().publish(&service.create().await);
    let sealed = seal(&service, MESSAGE.as_bytes(), "mx.test; arc=none").await;
    let changed = String::from_utf8(sealed).unwrap().replace("five o'clock", "six o'clock");
    assert_ne!(verify_arc(changed.as_bytes(), &records).await, DkimResult::Pass);
    let failed = seal(&service, changed.as_bytes(), "mx.test; arc=fail").await;
    assert!(String::from_utf8_lossy(&failed).contains("cv=fail"));
    assert_ne!(verify_arc(&failed, &records).await, DkimResult::Pass);
    assert_eq!(seal(&service, &failed, "mx.test; arc=fail").await, failed, "a failed chain ends");
}

/// Chains that other services made, from the sources of `mail-auth`, go on with ours.
#[tokio::test]
async fn a_chain_of_others_is_continued() {
    let Some(folder) = vectors("arc") else { return };
    let service = service(configured()).await;
    let keys = service.create().await;
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let text = String::from_utf8(std::fs::read(file.path()).unwrap()).unwrap();
        let (records, message) = text.split_once("\n\n").unwrap();
        let records = records
            .lines()
            .filter_map(|line| line.split_once(' '))
            .fold(Records::default().publish(&keys), |records, (name, text)| {
                records.with(&format!("{name}."), text)
            });
        let message = message.replace('\n', "\r\n").into_bytes();
        assert_eq!(verify_arc(&message, &records).await, DkimResult::Pass, "{}", file.path().display());
        let sealed = seal(&service, &message, "mx.test; dkim=pass; arc=pass").await;
        assert!(sealed.len() > message.len());
        assert_eq!(verify_arc(&sealed, &records).await, DkimResult::Pass, "{}", file.path().display());
    }
}

#[tokio::test]
async fn a_domain_without_keys_seals_nothing() {
    let service = service(configured()).await;
    assert_eq!(seal(&service, MESSAGE.as_bytes(), "mx.test; arc=none").await, MESSAGE.as_bytes());
}
