//! The life of keys.

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::Secret;
use ekitei_directory::{Domain, EmailAddress, PageRequest};
use ekitei_dns::testing::TestDns;
use ekitei_kv::{CommitFault, Database, FaultScript, MemoryOptions};
use ekitei_signing::{Activation, Algorithm, Error, KeyInfo, Maintained, NewKey, Parts, Signing, Stage};

use crate::support::{self, MESSAGE, configured, domain, reopened, reopened_with, service, service_in};

const DAY: Duration = Duration::from_secs(86_400);

async fn all(signing: &Signing) -> Vec<KeyInfo> {
    signing.list(Some(&domain()), &PageRequest::default()).await.unwrap().items
}

/// How many keys are published, sign, and are retired.
async fn stages(signing: &Signing) -> [usize; 3] {
    let keys = all(signing).await;
    [Stage::Published, Stage::Signing, Stage::Retired]
        .map(|stage| keys.iter().filter(|key| key.stage == stage).count())
}

#[tokio::test]
async fn keys_are_published_then_sign_then_retire_then_go() {
    let service = service(configured()).await;
    let signing = &service.signing;
    signing.create(&domain(), NewKey::default()).await.unwrap();
    assert_eq!(stages(signing).await, [2, 0, 0]);
    signing.maintain().await.unwrap();
    assert_eq!(stages(signing).await, [2, 0, 0], "signing.activateAfter is not over");
    service.pass(DAY);
    assert_eq!(signing.maintain().await.unwrap(), Maintained { activated: 2, ..Maintained::default() });
    assert_eq!(stages(signing).await, [0, 2, 0]);

    signing.create(&domain(), NewKey::default()).await.unwrap();
    assert_eq!(stages(signing).await, [2, 2, 0]);
    service.pass(DAY);
    signing.maintain().await.unwrap();
    assert_eq!(stages(signing).await, [0, 2, 2], "the new ones sign, the old ones stay published");
    service.pass(6 * DAY);
    signing.maintain().await.unwrap();
    assert_eq!(stages(signing).await, [0, 2, 2], "mail that the old ones signed may be under way");
    service.pass(DAY);
    assert_eq!(signing.maintain().await.unwrap().removed, 2);
    assert_eq!(stages(signing).await, [0, 2, 0]);
}

#[tokio::test]
async fn an_older_key_never_follows_a_newer_one() {
    let service = service(configured()).await;
    let signing = &service.signing;
    let forgotten = signing.create(&domain(), NewKey::default()).await.unwrap();
    let current = service.create().await;
    service.pass(DAY);
    assert_eq!(signing.maintain().await.unwrap(), Maintained { removed: 2, ..Maintained::default() });
    let left: Vec<String> = all(signing).await.into_iter().map(|key| key.selector).collect();
    assert!(current.iter().all(|key| left.contains(&key.selector)) && left.len() == 2, "{left:?}");
    assert!(forgotten.iter().all(|key| !left.contains(&key.selector)), "it never signed, and goes at once");
}

#[tokio::test]
async fn of_several_new_keys_the_latest_signs() {
    let service = service(configured()).await;
    let signing = &service.signing;
    for _ in 0..2 {
        signing
            .create(&domain(), NewKey { algorithm: Some(Algorithm::Ed25519), ..NewKey::default() })
            .await
            .unwrap();
        service.pass(Duration::from_secs(60));
    }
    service.pass(DAY);
    assert_eq!(signing.maintain().await.unwrap().activated, 1);
    assert_eq!(stages(signing).await, [0, 1, 1]);
}

#[tokio::test]
async fn new_keys_are_made_by_schedule_once() {
    let mut config = configured();
    config.signing.rotation = ekitei_config::Duration::days(90);
    let service = service(config).await;
    service.create().await;
    service.pass(89 * DAY);
    assert_eq!(service.signing.maintain().await.unwrap(), Maintained::default());
    service.pass(DAY);
    assert_eq!(service.signing.maintain().await.unwrap().created, 2);
    assert_eq!(service.signing.maintain().await.unwrap().created, 0, "those wait already");
}

#[tokio::test]
async fn a_key_that_nobody_can_see_does_not_sign_by_itself() {
    let mut config = configured();
    config.signing.require_published = true;
    let service = service(config).await;
    let key = service.signing.create(&domain(), NewKey::default()).await.unwrap().remove(0);
    service.pass(30 * DAY);
    service.signing.maintain().await.unwrap();
    assert_eq!(stages(&service.signing).await, [2, 0, 0]);
    let key = service.signing.activate(&domain(), &key.selector).await.unwrap();
    assert_eq!(key.stage, Stage::Signing, "the administrator decides");
}

#[tokio::test]
async fn a_key_signs_when_its_record_is_seen() {
    let mut config = configured();
    config.signing.require_published = true;
    let service = service(config).await;
    let keys = service.signing.create(&domain(), NewKey::default()).await.unwrap();
    let dns = TestDns::start("");
    let watching =
        reopened_with(&service.database, &service.clock, &service.live, Some(dns.resolver())).unwrap();
    service.pass(DAY);
    assert_eq!(watching.maintain().await.unwrap().activated, 0);
    let wrong = format!("{} TXT \"v=DKIM1; k=rsa; p=AAAA\"", keys[0].record.name);
    let lines: Vec<String> = keys
        .iter()
        .skip(1)
        .map(|key| key.record.zone_line().replace(". IN", "").replace(['(', ')'], ""))
        .collect();
    dns.set(&format!("{wrong}\n{}", lines.join("\n")));
    assert_eq!(
        watching.maintain().await.unwrap().activated,
        1,
        "one record is there, the other is another key's"
    );
    assert_eq!(watching.key(&domain(), &keys[1].selector).await.unwrap().stage, Stage::Signing);
}

fn by_hand() -> NewKey {
    NewKey { algorithm: Some(Algorithm::Rsa), activation: Activation::Manual, ..NewKey::default() }
}

#[tokio::test]
async fn maintenance_leaves_a_manual_key_alone_all_its_life() {
    let mut config = configured();
    config.signing.rotation = ekitei_config::Duration::days(90);
    let service = service(config).await;
    let signing = &service.signing;
    let key = signing.create(&domain(), by_hand()).await.unwrap().remove(0);
    assert_eq!(key.activation, Activation::Manual);
    for stage in [Stage::Published, Stage::Signing, Stage::Retired] {
        match stage {
            Stage::Published => {}
            Stage::Signing => drop(signing.activate(&domain(), &key.selector).await.unwrap()),
            Stage::Retired => drop(signing.retire(&domain(), &key.selector).await.unwrap()),
        }
        service.pass(400 * DAY);
        assert_eq!(signing.maintain().await.unwrap(), Maintained::default(), "{stage}");
        let left = all(signing).await;
        assert_eq!(
            left.iter().map(|key| (key.stage, key.activation)).collect::<Vec<_>>(),
            [(stage, Activation::Manual)]
        );
    }
    signing.remove(&domain(), &key.selector, false).await.unwrap();
}

#[tokio::test]
async fn a_manual_key_takes_the_place_of_an_automatic_one_and_not_the_other_way_round() {
    let service = service(configured()).await;
    let signing = &service.signing;
    let before = service.create().await.remove(0);
    let ours = signing.create(&domain(), by_hand()).await.unwrap().remove(0);
    signing.activate(&domain(), &ours.selector).await.unwrap();
    let stage = async |key: &KeyInfo| signing.key(&domain(), &key.selector).await.unwrap().stage;
    assert_eq!((stage(&before).await, stage(&ours).await), (Stage::Retired, Stage::Signing));
    let automatic = NewKey { activation: Activation::Automatic, ..by_hand() };
    let late = signing.create(&domain(), automatic).await.unwrap().remove(0);
    let waiting = signing.create(&domain(), by_hand()).await.unwrap().remove(0);
    service.pass(30 * DAY);
    assert_eq!(signing.maintain().await.unwrap().activated, 0);
    assert_eq!((stage(&ours).await, stage(&late).await), (Stage::Signing, Stage::Published));
    signing.activate(&domain(), &late.selector).await.unwrap();
    assert_eq!(stage(&ours).await, Stage::Retired, "the administrator decides");
    assert_eq!(stage(&waiting).await, Stage::Published, "its turn comes when its maker says so");
}

#[tokio::test]
async fn a_manual_key_is_not_made_while_another_release_would_activate_it() {
    let service = service(configured()).await;
    let parts = support::parts(&service.database, &service.clock, &service.live, None);
    let old = Signing::open(Parts { manual_gate: Arc::new(|| false), ..parts }).unwrap();
    assert!(matches!(old.create(&domain(), by_hand()).await, Err(Error::NotYet)));
    old.create(&domain(), NewKey::default()).await.unwrap();
}

#[tokio::test]
async fn what_signs_or_signed_is_removed_only_by_force() {
    let service = service(configured()).await;
    let selector = service.create().await.remove(0).selector;
    let remove = async |force| service.signing.remove(&domain(), &selector, force).await;
    assert!(matches!(remove(false).await, Err(Error::InUse(_))));
    service.signing.retire(&domain(), &selector).await.unwrap();
    assert!(matches!(remove(false).await, Err(Error::InUse(_))));
    let again = service.signing.activate(&domain(), &selector).await;
    assert!(matches!(again, Err(Error::Invalid(_))), "a retired key does not come back");
    remove(true).await.unwrap();
    assert!(matches!(remove(true).await, Err(Error::NoSuchKey { .. })));
}

#[tokio::test]
async fn a_change_is_seen_at_once() {
    let service = service(configured()).await;
    let keys = service.create().await;
    let lines = async || {
        let signatures = service.signing.sign(&domain(), MESSAGE.as_bytes()).await.unwrap();
        String::from_utf8(signatures).unwrap().matches("DKIM-Signature:").count()
    };
    assert_eq!(lines().await, 2);
    service.signing.retire(&domain(), &keys[0].selector).await.unwrap();
    assert_eq!(lines().await, 1);
}

#[tokio::test]
async fn a_change_of_another_process_is_seen() {
    let here = service(configured()).await;
    let other = reopened(&here.database, &here.clock, &here.live).unwrap();
    let keys = here.create().await;
    let following = other.clone();
    let follow = tokio::spawn(async move { following.follow_changes().await });
    assert!(!other.sign(&domain(), MESSAGE.as_bytes()).await.unwrap().is_empty());
    for key in &keys {
        here.signing.retire(&domain(), &key.selector).await.unwrap();
    }
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while !other.sign(&domain(), MESSAGE.as_bytes()).await.unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < until, "it is not heard of");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    follow.abort();
}

#[tokio::test]
async fn the_encryption_key_can_be_replaced() {
    let service = service(configured()).await;
    service.create().await;
    let mut config = configured();
    config.signing.previous_encryption_keys = vec![config.signing.encryption_key.take().unwrap()];
    let new = Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    config.signing.encryption_key = Some(new.clone());
    service.live.replace(config);
    let both = reopened(&service.database, &service.clock, &service.live).unwrap();
    assert!(!both.sign(&domain(), MESSAGE.as_bytes()).await.unwrap().is_empty());
    assert_eq!(both.maintain().await.unwrap().resealed, 2);
    let mut config = configured();
    config.signing.encryption_key = Some(new);
    service.live.replace(config);
    let only_new = reopened(&service.database, &service.clock, &service.live).unwrap();
    assert!(!only_new.sign(&domain(), MESSAGE.as_bytes()).await.unwrap().is_empty());
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let service = service(configured()).await;
    let signing = &service.signing;
    let unknown = Domain::parse("elsewhere.test").unwrap();
    assert!(matches!(signing.create(&unknown, NewKey::default()).await, Err(Error::NoSuchDomain(_))));
    let named = NewKey {
        algorithm: Some(Algorithm::Ed25519),
        selector: Some("mail".to_owned()),
        ..NewKey::default()
    };
    let made = signing.create(&domain(), named.clone()).await.unwrap();
    assert_eq!(made[0].record.name, "mail._domainkey.example.test");
    assert!(matches!(signing.create(&domain(), named).await, Err(Error::AlreadyExists { .. })));
    let both = NewKey { selector: Some("mail".to_owned()), ..NewKey::default() };
    assert!(matches!(signing.create(&domain(), both).await, Err(Error::Invalid(_))));
    let missing = signing.activate(&domain(), "none").await;
    assert!(matches!(missing, Err(Error::NoSuchKey { .. })));
    let page = PageRequest { after: Some("nonsense".to_owned()), limit: 0 };
    assert!(matches!(signing.list(None, &page).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_commit_of_unknown_result_makes_keys_once() {
    let faults = Arc::new(FaultScript::default());
    let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
    let service = service_in(Database::in_memory_with(options).unwrap(), configured()).await;
    faults.commits([Some(CommitFault::UnknownApplied), Some(CommitFault::UnknownNotApplied)]);
    let made = service.create().await;
    assert_eq!(all(&service.signing).await, made);
    assert_eq!(made.len(), 2);
    faults.commits([Some(CommitFault::UnknownApplied)]);
    service.signing.remove(&domain(), &made[0].selector, true).await.unwrap();
}

#[tokio::test]
async fn listings_come_in_pages() {
    let service = service(configured()).await;
    service.create().await;
    let mut page = PageRequest { after: None, limit: 1 };
    let mut seen = Vec::new();
    loop {
        let found = service.signing.list(None, &page).await.unwrap();
        seen.extend(found.items.into_iter().map(|key| key.selector));
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, all(&service.signing).await.into_iter().map(|key| key.selector).collect::<Vec<_>>());
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_bounce_to_a_rewritten_sender_comes_back() {
    let service = service(configured()).await;
    let sender = EmailAddress::parse("carol@elsewhere.test").unwrap();
    let rewritten = service.signing.srs_forward(&sender, &domain());
    assert_eq!(*rewritten.domain(), domain());
    assert_eq!(service.signing.srs_reverse(rewritten.local()), Some(sender));
    service.pass(22 * DAY);
    assert_eq!(service.signing.srs_reverse(rewritten.local()), None);
}
