//! Route 53, against moto. Skipped by name where that is not installed.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use aws_sdk_route53::types::{
    AliasTarget, Change as Line, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use ekitei_operator_dns::record::{Routing, Variant};
use ekitei_operator_dns::{
    Adoption, Change, Desired, Inventory, Key, Provider, ProviderError, RecordType, Value,
};
use support::moto::Moto;
use support::world::{everything, owner, round, round_of, states_of};
use support::{name, set, want};

/// What somebody else does.
async fn upsert(moto: &Moto, zone: &str, set: ResourceRecordSet) {
    let line = Line::builder().action(ChangeAction::Upsert).resource_record_set(set).build().unwrap();
    let batch = ChangeBatch::builder().changes(line).build().unwrap();
    let request = moto.client().await.change_resource_record_sets().hosted_zone_id(zone);
    request.change_batch(batch).send().await.unwrap();
}

#[tokio::test]
async fn a_domain_is_published_and_removed_and_others_stay() {
    let Some(moto) = Moto::start() else { return };
    let id = moto.zone("a.test").await;
    moto.zone("test").await;
    let provider = moto.provider(None).await;
    let zone = provider.zone(&name("s1._domainkey.a.test")).await.unwrap();
    assert_eq!((&zone.name, zone.id.as_deref()), (&name("a.test"), Some(id.as_str())));
    let theirs = set("a.test", RecordType::Txt, &["\"somebody=else\" \"\\001\\200\""]);
    let records = theirs
        .values
        .iter()
        .map(|_| ResourceRecord::builder().value("\"somebody=else\" \"\\001\\310\"").build().unwrap());
    let set = ResourceRecordSet::builder().name("a.test.").r#type(RrType::Txt).ttl(300);
    let set = set.set_resource_records(Some(records.collect())).build().unwrap();
    upsert(&moto, &id, set).await;

    let desired = everything();
    let outcome = round(&provider, &desired, &Inventory::default()).await;
    assert_eq!(
        (states_of(&outcome), &outcome.error),
        (["Published"].into(), &None),
        "{:#?}",
        outcome.records
    );
    for one in &desired {
        let found = provider.get(&zone, &one.set.key()).await.unwrap().unwrap();
        assert!(one.family.shows(&one.set.values, &found.values), "{one:?} {found:?}");
    }
    let again = round(&provider, &desired, &outcome.inventory).await;
    assert_eq!(
        (again.written.len(), again.error),
        (0, None),
        "nothing is left to write: {:?}",
        again.written
    );
    let gone = round(&provider, &[], &outcome.inventory).await;
    assert_eq!((gone.error, gone.inventory.is_empty()), (None, true));
    let left = provider.get(&zone, &theirs.key()).await.unwrap();
    assert_eq!(left, Some(theirs));
    assert_eq!(provider.get(&zone, &Key::new(name("a.test"), RecordType::Mx)).await.unwrap(), None);
}

#[tokio::test]
async fn a_batch_happens_as_a_whole_and_only_to_what_was_seen() {
    let Some(moto) = Moto::start() else { return };
    let id = moto.zone("a.test").await;
    let provider = moto.provider(Some(&id)).await;
    let zone = provider.zone(&name("a.test")).await.unwrap();
    let theirs = set("x.a.test", RecordType::Txt, &["theirs"]);
    provider.apply(&zone, &[Change { before: None, after: Some(theirs.clone()) }]).await.unwrap();

    let ours = set("x.a.test", RecordType::Txt, &["ours"]);
    let beside = set("y.a.test", RecordType::Txt, &["ours"]);
    for before in [None, Some(set("x.a.test", RecordType::Txt, &["other"]))] {
        let changes = [
            Change { before: None, after: Some(beside.clone()) },
            Change { before, after: Some(ours.clone()) },
        ];
        let error = provider.apply(&zone, &changes).await.unwrap_err();
        assert!(matches!(error, ProviderError::Conflict(_)), "{error}");
        assert_eq!(provider.get(&zone, &beside.key()).await.unwrap(), None, "all or nothing");
    }
    provider.apply(&zone, &[Change { before: Some(theirs), after: Some(ours.clone()) }]).await.unwrap();
    assert_eq!(provider.get(&zone, &ours.key()).await.unwrap(), Some(ours));

    let elsewhere = provider.zone(&name("b.test")).await.unwrap_err();
    assert!(matches!(elsewhere, ProviderError::NoZone { .. }), "{elsewhere}");
    let nowhere = moto.provider(Some("Z0000000")).await.zone(&name("a.test")).await.unwrap_err();
    assert!(matches!(nowhere, ProviderError::NoZone { .. }), "{nowhere}");
}

#[tokio::test]
async fn each_region_has_addresses_of_its_own_under_one_name() {
    let Some(moto) = Moto::start() else { return };
    moto.zone("a.test").await;
    let provider = moto.provider(None).await;
    let zone = provider.zone(&name("a.test")).await.unwrap();
    let of = |id: &str, region: &str, address: &str| -> [Desired; 1] {
        let mut desired = want("mail.a.test", RecordType::A, "", &[address]);
        desired.set.variant =
            Some(Variant { id: id.to_owned(), routing: Routing::Latency(region.to_owned()) });
        [desired]
    };
    let tokyo = of("tokyo", "ap-northeast-1", "192.0.2.1");
    let us = of("us", "us-east-1", "192.0.2.2");
    // Two operators, each with its own region.
    let (east, west) = (owner("tokyo"), owner("us"));
    let none = Inventory::default();
    let one = round_of(&provider, &east, &tokyo, &none, Adoption::Never).await;
    let two = round_of(&provider, &west, &us, &none, Adoption::Never).await;
    assert_eq!((one.error, two.error), (None, None));
    for desired in [&tokyo, &us] {
        assert_eq!(provider.get(&zone, &desired[0].set.key()).await.unwrap(), Some(desired[0].set.clone()));
    }
    let moved = of("tokyo", "ap-northeast-1", "192.0.2.9");
    let three = round_of(&provider, &east, &moved, &one.inventory, Adoption::Never).await;
    let gone = round_of(&provider, &west, &[], &two.inventory, Adoption::Never).await;
    assert_eq!((three.error, gone.error), (None, None));
    let found = provider.get(&zone, &tokyo[0].set.key()).await.unwrap().unwrap();
    assert_eq!(found.values, [Value::parse(RecordType::A, "192.0.2.9").unwrap()].into());
    assert_eq!(provider.get(&zone, &us[0].set.key()).await.unwrap(), None);

    // Beside them there can be no set for all.
    let plain = [want("mail.a.test", RecordType::A, "", &["192.0.2.3"])];
    let mixed = round(&provider, &plain, &none).await;
    assert!(mixed.records[0].message.contains("identifiers"), "{:?}", mixed.records);
}

#[tokio::test]
async fn what_is_special_to_amazon_is_not_touched() {
    let Some(moto) = Moto::start() else { return };
    let id = moto.zone("a.test").await;
    let target =
        AliasTarget::builder().hosted_zone_id(&id).dns_name("web.a.test.").evaluate_target_health(false);
    let alias = ResourceRecordSet::builder()
        .name("mail.a.test.")
        .r#type(RrType::A)
        .alias_target(target.build().unwrap());
    upsert(&moto, &id, alias.build().unwrap()).await;

    let provider = moto.provider(None).await;
    let desired = [want("mail.a.test", RecordType::A, "", &["192.0.2.3"])];
    let outcome = round_of(&provider, &owner("test"), &desired, &Inventory::default(), Adoption::Force).await;
    assert_eq!((states_of(&outcome), outcome.written.len()), (["Failed"].into(), 0));
    assert!(outcome.records[0].message.contains("not touched"), "{:?}", outcome.records);
}

#[tokio::test]
async fn a_service_that_is_away_changes_nothing() {
    let Some(mut moto) = Moto::start() else { return };
    moto.zone("a.test").await;
    let provider = moto.provider(None).await;
    let zone = provider.zone(&name("a.test")).await.unwrap();
    moto.stop();
    let error = provider.get(&zone, &Key::new(name("a.test"), RecordType::Mx)).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}
