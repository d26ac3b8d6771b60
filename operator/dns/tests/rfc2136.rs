//! Dynamic updates against Knot DNS, and what its servers then show. Skipped by name where that is not installed.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_dns::provider::manual::Manual;
use ekitei_operator_dns::verify::{self, Security, View};
use ekitei_operator_dns::{
    Adoption, Change, Inventory, Key, Provider, ProviderError, RecordSet, RecordType, State, Value, Verifier,
    Zone,
};
use support::knot::{Knot, OTHER_SECRET, SECRET};
use support::world::{everything, owner, round, round_of, states_of};
use support::{name, set, verifier, want};

fn zone() -> Zone {
    Zone { name: name("a.test"), id: None }
}

#[tokio::test]
async fn a_domain_is_published_from_nothing_and_removed_without_a_trace_and_others_stay() {
    let Some(knot) =
        Knot::primary("a.test. 300 IN TXT \"somebody=else\"\na.test. 300 IN CAA 0 issue \"other.test\"")
    else {
        return;
    };
    let provider = knot.writer();
    assert_eq!(provider.zone(&name("s1._domainkey.a.test")).await.unwrap(), zone());
    let desired = everything();
    let outcome = round(&provider, &desired, &Inventory::default()).await;
    assert_eq!(
        (states_of(&outcome), &outcome.error),
        (["Published"].into(), &None),
        "{:#?}",
        outcome.records
    );

    let verifier = verifier(&[knot.address()]);
    let authorities = verifier.authorities(&name("a.test")).await.unwrap();
    assert_eq!((&authorities.zone, authorities.negative_ttl), (&name("a.test"), 60));
    assert_eq!(authorities.security, Some(Security::Signed));
    let seen = verifier.check(&authorities, &desired).await;
    let mut records = outcome.records.clone();
    verify::confirm(&mut records, &seen);
    for record in &records {
        assert_eq!(record.state, State::Verified, "{:?}", record);
    }

    let again = round(&provider, &desired, &outcome.inventory).await;
    assert_eq!(
        (again.written.len(), again.error),
        (0, None),
        "nothing is left to write: {:?}",
        again.written
    );

    let gone = round(&provider, &[], &outcome.inventory).await;
    assert_eq!(gone.error, None);
    assert!(gone.inventory.is_empty());
    let apex = |record_type| Key::new(name("a.test"), record_type);
    let text = provider.get(&zone(), &apex(RecordType::Txt)).await.unwrap();
    assert_eq!(text, Some(set("a.test", RecordType::Txt, &["somebody=else"])));
    let caa = provider.get(&zone(), &apex(RecordType::Caa)).await.unwrap();
    assert_eq!(caa, Some(set("a.test", RecordType::Caa, &["0 issue other.test"])));
    for one in &desired {
        if one.set.name != name("a.test") {
            assert_eq!(provider.get(&zone(), &one.set.key()).await.unwrap(), None);
        }
    }
    let marker = Key::new(name("_ekitei-owner.a.test"), RecordType::Txt);
    assert_eq!(provider.get(&zone(), &marker).await.unwrap(), None);
}

#[tokio::test]
async fn wildcards_of_others_are_no_records_and_stay() {
    let wildcards = "*.a.test. 300 IN A 192.0.2.9\n*.a.test. 300 IN TXT \"anything\"\n*.b.a.test. 300 IN CNAME elsewhere.test.";
    let Some(knot) = Knot::primary(wildcards) else { return };
    let provider = knot.writer();
    let mut desired = everything();
    desired.push(want("mail.b.a.test", RecordType::A, "", &["192.0.2.1"]));
    let outcome = round(&provider, &desired, &Inventory::default()).await;
    // The last of them has its marker where the other wildcard is.
    assert_eq!(
        (states_of(&outcome), &outcome.error),
        (["Published"].into(), &None),
        "{:#?}",
        outcome.records
    );
    let verifier = verifier(&[knot.address()]);
    let authorities = verifier.authorities(&name("a.test")).await.unwrap();
    let mut records = outcome.records.clone();
    verify::confirm(&mut records, &verifier.check(&authorities, &desired).await);
    assert!(records.iter().all(|record| record.state == State::Verified), "{records:#?}");
    let again = round(&provider, &desired, &outcome.inventory).await;
    assert_eq!((again.written.len(), again.error), (0, None), "{:?}", again.written);

    let nobody = Key::new(name("nobody.a.test"), RecordType::A);
    assert_eq!(provider.get(&zone(), &nobody).await.unwrap(), None);
    assert_eq!(verifier.get(&authorities, &nobody).await.unwrap(), None);
    // One that is there and says the same as the wildcard is there.
    let same = set("same.a.test", RecordType::A, &["192.0.2.9"]);
    provider.apply(&zone(), &[Change { before: None, after: Some(same.clone()) }]).await.unwrap();
    assert_eq!(provider.get(&zone(), &same.key()).await.unwrap(), Some(same));

    let gone = round(&provider, &[], &outcome.inventory).await;
    assert_eq!((gone.error, gone.inventory.is_empty()), (None, true));
    for (at, record_type, value) in [
        ("*.a.test", RecordType::A, "192.0.2.9"),
        ("*.a.test", RecordType::Txt, "anything"),
        ("*.b.a.test", RecordType::Cname, "elsewhere.test."),
    ] {
        let wildcard = set(at, record_type, &[value]);
        assert_eq!(provider.get(&zone(), &wildcard.key()).await.unwrap(), Some(wildcard));
    }
}

#[tokio::test]
async fn an_alias_where_a_marker_belongs_is_no_marker() {
    let Some(knot) = Knot::primary("_ekitei-owner.x.a.test. 300 IN CNAME elsewhere.test.") else { return };
    let desired = [
        want("x.a.test", RecordType::A, "", &["192.0.2.1"]),
        want("y.a.test", RecordType::A, "", &["192.0.2.1"]),
    ];
    let outcome = round(&knot.writer(), &desired, &Inventory::default()).await;
    let states: Vec<_> = outcome.records.iter().map(|record| record.state.as_str()).collect();
    assert_eq!(states, ["Failed", "Published"]);
    assert!(outcome.records[0].message.contains("alias of elsewhere.test"), "{:?}", outcome.records[0]);
    let alias = set("_ekitei-owner.x.a.test", RecordType::Cname, &["elsewhere.test."]);
    assert_eq!(knot.writer().get(&zone(), &alias.key()).await.unwrap(), Some(alias));
}

#[tokio::test]
async fn a_secondary_server_that_lags_is_named() {
    let Some(primary) = Knot::primary("") else { return };
    let Some(secondary) = Knot::secondary(&primary) else { return };
    let desired = [want("s1._domainkey.a.test", RecordType::Txt, "", &["\"v=DKIM1; p=QUJD\""])];
    let outcome = round(&primary.writer(), &desired, &Inventory::default()).await;
    let verifier = verifier(&[primary.address(), secondary.address()]);
    let authorities = verifier.authorities(&name("a.test")).await.unwrap();

    let seen = verifier.check(&authorities, &desired).await;
    assert!(matches!(seen[0].servers[0].1, View::Shown { ttl: 300 }));
    assert_eq!(seen[0].servers[1], (secondary.address().to_string(), View::Absent));
    let mut records = outcome.records.clone();
    verify::confirm(&mut records, &seen);
    assert_eq!(records[0].state, State::Published);
    assert!(records[0].message.contains(&secondary.address().to_string()), "{}", records[0].message);

    secondary.refresh();
    let seen = verifier.check(&authorities, &desired).await;
    verify::confirm(&mut records, &seen);
    assert_eq!((&records[0].state, records[0].message.as_str()), (&State::Verified, ""));

    // A key that replaces another is waited for as long as caches have the old one; one that is new, as long as its absence.
    let next = [want("s1._domainkey.a.test", RecordType::Txt, "", &["\"v=DKIM1; p=REVG\""])];
    let outcome = round(&primary.writer(), &next, &outcome.inventory).await;
    let change = outcome.written.iter().find(|change| change.key() == Some(next[0].set.key())).unwrap();
    assert_eq!(verify::forgotten_after(change, &authorities, 3600), Duration::from_secs(300));
    let fresh = Change { before: None, ..change.clone() };
    assert_eq!(verify::forgotten_after(&fresh, &authorities, 3600), Duration::from_secs(60));
    let seen = verifier.check(&authorities, &next).await;
    assert!(seen[0].message().contains("still shows"), "{}", seen[0].message());
}

#[tokio::test]
async fn drift_is_found_and_corrected() {
    let Some(knot) = Knot::primary("") else { return };
    let provider = knot.writer();
    let desired = [want("a.test", RecordType::Mx, "", &["10 mx.a.test."])];
    let first = round(&provider, &desired, &Inventory::default()).await;
    let wrong = Change {
        before: Some(set("a.test", RecordType::Mx, &["10 mx.a.test."])),
        after: Some(set("a.test", RecordType::Mx, &["10 Evil.test."])),
    };
    provider.apply(&zone(), &[wrong]).await.unwrap();
    let corrected = round(&provider, &desired, &first.inventory).await;
    assert_eq!(corrected.drifted, [desired[0].set.key()]);
    assert_eq!(provider.get(&zone(), &desired[0].set.key()).await.unwrap(), Some(desired[0].set.clone()));
    // Another TTL is another record set.
    let longer = RecordSet { ttl: Some(600), ..desired[0].set.clone() };
    let change = Change { before: Some(desired[0].set.clone()), after: Some(longer.clone()) };
    provider.apply(&zone(), &[change]).await.unwrap();
    assert_eq!(provider.get(&zone(), &longer.key()).await.unwrap(), Some(longer));
    let corrected = round(&provider, &desired, &corrected.inventory).await;
    assert_eq!(corrected.written.len(), 1);
}

#[tokio::test]
async fn who_writes_at_the_same_time_is_not_overwritten() {
    let Some(knot) = Knot::primary("A.test. 300 IN MX 10 MiXed.Example.") else { return };
    let (one, two) = (knot.writer(), knot.writer());
    // One sees nothing, the other writes, and the first must not.
    let theirs = set("x.a.test", RecordType::Txt, &["theirs"]);
    let ours = set("x.a.test", RecordType::Txt, &["ours"]);
    let first = Change { before: None, after: Some(ours.clone()) };
    two.apply(&zone(), &[Change { before: None, after: Some(theirs.clone()) }]).await.unwrap();
    let beside = Change { before: None, after: Some(set("y.a.test", RecordType::Txt, &["ours"])) };
    let error = one.apply(&zone(), &[beside.clone(), first]).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Conflict(said) if said.contains("YXRRSET")), "{error}");
    assert_eq!(one.get(&zone(), &beside.key().unwrap()).await.unwrap(), None, "all or nothing");
    let stale = Change { before: Some(ours), after: None };
    let error = one.apply(&zone(), &[stale]).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Conflict(said) if said.contains("NXRRSET")), "{error}");
    // Names are the same however their letters are written.
    let key = Key::new(name("a.test"), RecordType::Mx);
    let before = one.get(&zone(), &key).await.unwrap();
    one.apply(&zone(), &[Change { before, after: None }]).await.unwrap();

    // Two operators that know nothing of each other share a record set, at the same time.
    let desired = |text: &str| [want("_acme-challenge.a.test", RecordType::Txt, "*", &[text])];
    let (left, right) = (owner("left"), owner("right"));
    let (first, second) = (desired("left"), desired("right"));
    let none = Inventory::default();
    let (a, b) = tokio::join!(
        round_of(&one, &left, &first, &none, Adoption::Never),
        round_of(&two, &right, &second, &none, Adoption::Never),
    );
    assert_eq!(
        (states_of(&a), states_of(&b)),
        (["Published"].into(), ["Published"].into()),
        "{:?} {:?}",
        a.error,
        b.error
    );
    let both = one.get(&zone(), &first[0].set.key()).await.unwrap().unwrap();
    assert_eq!(both.values, [Value::txt("left"), Value::txt("right")].into());
    let gone = round_of(&one, &left, &[], &a.inventory, Adoption::Never).await;
    assert_eq!(gone.error, None);
    let left = one.get(&zone(), &first[0].set.key()).await.unwrap().unwrap();
    assert_eq!(left.values, [Value::txt("right")].into());
}

#[tokio::test]
async fn a_wrong_key_is_told_from_one_that_may_not() {
    let Some(knot) = Knot::primary("") else { return };
    let key = Key::new(name("a.test"), RecordType::Mx);
    for (provider, said) in [
        (knot.provider("nobody", "hmac-sha256", SECRET), "BADKEY"),
        (knot.provider("writer", "hmac-sha512", SECRET), "BADKEY"),
        (knot.provider("writer", "hmac-sha256", OTHER_SECRET), "BADSIG"),
    ] {
        let error = provider.get(&zone(), &key).await.unwrap_err();
        assert!(matches!(&error, ProviderError::Unauthorized(text) if text.contains(said)), "{error}");
    }
    let desired = [
        want("a.test", RecordType::Mx, "", &["10 mx.a.test."]),
        want("a.test", RecordType::Txt, "v=spf1", &["\"v=spf1 mx -all\""]),
        want("_dmarc.a.test", RecordType::Txt, "v=DMARC1", &["\"v=DMARC1; p=none\""]),
    ];
    // A key that may do some of it does that.
    let text = knot.provider("text", "hmac-sha512", SECRET);
    let outcome = round(&text, &desired, &Inventory::default()).await;
    let states: Vec<_> = outcome
        .records
        .iter()
        .map(|record| (record.desired.set.record_type, record.state.as_str()))
        .collect();
    let expected =
        [(RecordType::Txt, "Published"), (RecordType::Mx, "Failed"), (RecordType::Txt, "Published")];
    assert_eq!(states, expected);
    // What is claimed is what was written, and what was rejected is tried by itself from now on.
    let marker = Key::new(name("_ekitei-owner.a.test"), RecordType::Txt);
    let lines = text.get(&zone(), &marker).await.unwrap().unwrap().values;
    let [Value::Txt(line)] = &lines.into_iter().collect::<Vec<_>>()[..] else { panic!("one line") };
    assert!(line.text().ends_with("record=TXT/v=spf1"), "{}", line.text());
    let again = round(&text, &desired, &outcome.inventory).await;
    assert!(matches!(&again.error, Some(ProviderError::Rejected(_))) && again.written.is_empty());
    let able = round(&knot.writer(), &desired, &again.inventory).await;
    assert_eq!((states_of(&able), able.error), (["Published"].into(), None));
    let reader = knot.provider("reader", "hmac-sha384", SECRET);
    let outcome = round(&reader, &desired, &Inventory::default()).await;
    assert_eq!(states_of(&outcome), ["Failed"].into());
    assert!(matches!(&outcome.error, Some(ProviderError::Unauthorized(_))), "{:?}", outcome.error);
    let elsewhere = text.zone(&name("b.test")).await.unwrap_err();
    assert!(matches!(elsewhere, ProviderError::NoZone { .. }), "{elsewhere}");
}

#[tokio::test]
async fn a_server_that_is_away_changes_nothing() {
    let Some(mut knot) = Knot::primary("") else { return };
    let provider = knot.writer();
    let desired = [want("a.test", RecordType::Mx, "", &["10 mx.a.test."])];
    let first = round(&provider, &desired, &Inventory::default()).await;
    knot.stop();
    for desired in [&desired[..], &[]] {
        let outcome = round(&provider, desired, &first.inventory).await;
        assert!(outcome.written.is_empty());
        assert!(matches!(outcome.error, Some(ProviderError::Unavailable(_))), "{:?}", outcome.error);
        assert_eq!(outcome.inventory, first.inventory, "what could not be looked up is not forgotten");
        assert!(outcome.records.iter().all(|record| record.state == State::Failed));
    }
    let verifier = verifier(&[knot.address()]);
    let error = verifier.authorities(&name("a.test")).await.unwrap_err();
    assert!(error.to_string().contains(&knot.address().to_string()), "{error}");
}

#[tokio::test]
async fn the_servers_of_a_zone_are_found_and_one_that_is_away_is_named() {
    let Some(knot) = Knot::primary("") else { return };
    let Some(standard) = knot.standard() else {
        support::skip("port 53 can be had by root only");
        return;
    };
    // It answers for its zone, and with that for all that is asked of a resolver here.
    let settings = verify::Settings {
        resolvers: vec![(standard, 53).into()],
        timeout: Duration::from_millis(300),
        ..verify::Settings::default()
    };
    let desired = [want("deep.down.a.test", RecordType::Txt, "", &["here"])];
    round(&knot.writer(), &desired, &Inventory::default()).await;
    let verifier = Verifier::new(settings.clone());
    let authorities = verifier.authorities(&name("deep.down.a.test")).await.unwrap();
    assert_eq!((&authorities.zone, authorities.security), (&name("a.test"), Some(Security::Signed)));
    let mut names: Vec<&str> = authorities.servers.iter().map(|server| server.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ns1.a.test", "ns2.a.test"]);
    let seen = verifier.check(&authorities, &desired).await;
    assert!(seen[0].is_shown() && !seen[0].is_verified());
    assert!(seen[0].message().starts_with("ns2.a.test: "), "{}", seen[0].message());
    let missing = verifier.authorities(&name("b.test")).await.unwrap_err();
    assert!(missing.to_string().contains("no resolver answers"), "{missing}");

    // Who trusts the zone's keys finds it secure.
    let validator = verify::Validator::new(&[(standard, 53).into()], Some(&knot.trust_anchors())).unwrap();
    let validator = Some(Arc::new(validator));
    let verifier = Verifier::new(verify::Settings { validator, ..settings });
    let authorities = verifier.recent_authorities(&name("a.test")).await.unwrap();
    assert_eq!(authorities.security, Some(Security::Secure));

    // What only people can write is seen once they did.
    let manual = Manual::new(verifier);
    let more = [desired[0].clone(), want("a.test", RecordType::Mx, "", &["10 mx.a.test."])];
    let outcome = round(&manual, &more, &Inventory::default()).await;
    let states: Vec<_> = outcome.records.iter().map(|record| record.state.as_str()).collect();
    assert_eq!((states, outcome.error), (vec!["Manual", "Published"], None));
    assert!(outcome.records[0].message.contains("a.test. 300 IN MX 10 mx.a.test."));
}
