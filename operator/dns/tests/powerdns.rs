//! A provider of the `dns-update` library against the real thing: PowerDNS and its HTTP API. Skipped by name where that is not installed.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use ekitei_operator_dns::provider::cloud::{Cloud, KINDS, Settings};
use ekitei_operator_dns::{
    Adoption, Change, Inventory, Key, Provider, ProviderError, RecordType, State, Value, Zone, verify,
};
use support::pdns::{API_KEY, PowerDns};
use support::world::{everything, owner, round, round_of, states_of};
use support::{name, set, verifier, want};

#[tokio::test]
async fn a_domain_is_published_and_removed_and_others_stay() {
    let Some(server) =
        PowerDns::start("a.test. 300 IN TXT \"somebody=else\"\na.test. 300 IN CAA 0 issue \"other.test\"")
    else {
        return;
    };
    let verifier = verifier(&[server.address()]);
    let provider = server.provider(API_KEY, verifier.clone());
    let zone = provider.zone(&name("mail.a.test")).await.unwrap();
    let desired = everything();
    let outcome = round(&provider, &desired, &Inventory::default()).await;
    assert_eq!(
        (states_of(&outcome), &outcome.error),
        (["Published"].into(), &None),
        "{:#?}",
        outcome.records
    );

    let authorities = verifier.authorities(&name("a.test")).await.unwrap();
    let mut records = outcome.records.clone();
    verify::confirm(&mut records, &verifier.check(&authorities, &desired).await);
    for record in &records {
        assert_eq!(record.state, State::Verified, "{record:?}");
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
    for (record_type, left) in [
        (RecordType::Txt, Some("\"somebody=else\"")),
        (RecordType::Caa, Some("0 issue \"other.test\"")),
        (RecordType::Mx, None),
    ] {
        let found = provider.get(&zone, &Key::new(name("a.test"), record_type)).await.unwrap();
        let values = found.into_iter().flat_map(|set| set.values).collect::<Vec<_>>();
        assert_eq!(
            values,
            left.map(|value| Value::parse(record_type, value).unwrap()).into_iter().collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn what_was_changed_meanwhile_is_not_overwritten() {
    let Some(server) = PowerDns::start("x.a.test. 300 IN TXT \"theirs\"") else { return };
    let provider = server.provider(API_KEY, verifier(&[server.address()]));
    let zone = provider.zone(&name("a.test")).await.unwrap();
    for before in [None, Some(set("x.a.test", RecordType::Txt, &["other"]))] {
        let change = Change { before, after: Some(set("x.a.test", RecordType::Txt, &["ours"])) };
        let error = provider.apply(&zone, &[change]).await.unwrap_err();
        assert!(matches!(error, ProviderError::Conflict(_)), "{error}");
    }
    let desired = [want("x.a.test", RecordType::Txt, "*", &["ours"])];
    let shared = round_of(&provider, &owner("test"), &desired, &Inventory::default(), Adoption::Never).await;
    assert_eq!(shared.error, None);
    let found = provider.get(&zone, &desired[0].set.key()).await.unwrap().unwrap();
    assert_eq!(found.values, [Value::txt("ours"), Value::txt("theirs")].into());
}

#[tokio::test]
async fn a_zone_that_is_not_there_is_not_taken_for_one_without_records() {
    let Some(server) = PowerDns::start("") else { return };
    let provider = server.provider(API_KEY, verifier(&[server.address()]));
    let other = Zone { name: name("b.test"), id: None };
    let error = provider.get(&other, &Key::new(name("mail.b.test"), RecordType::A)).await.unwrap_err();
    assert!(matches!(error, ProviderError::NoZone { .. }), "{error}");
}

#[tokio::test]
async fn what_is_replaced_and_what_is_done_already_is_well() {
    let Some(server) = PowerDns::start("a.test. 300 IN MX 10 old.test.") else { return };
    let provider = server.provider(API_KEY, verifier(&[server.address()]));
    let zone = provider.zone(&name("a.test")).await.unwrap();
    let key = Key::new(name("a.test"), RecordType::Mx);
    let before = provider.get(&zone, &key).await.unwrap();
    let after = set("a.test", RecordType::Mx, &["10 new.test.", "20 newer.test."]);
    let change = Change { before, after: Some(after.clone()) };
    for _ in 0..2 {
        provider.apply(&zone, std::slice::from_ref(&change)).await.unwrap();
        let found = provider.get(&zone, &key).await.unwrap().unwrap();
        assert_eq!(found.values, after.values);
    }
}

#[tokio::test]
async fn by_what_servers_say_values_of_others_are_not_written() {
    let Some(server) = PowerDns::start("a.test. 300 IN TXT \"theirs\"") else { return };
    let settings = Settings {
        provider: "duckdns".to_owned(),
        credentials: [("token".to_owned(), "nobody's".to_owned())].into(),
        zones: vec![name("a.test")],
        timeout: Duration::from_secs(1),
    };
    let provider = Cloud::new(&settings, verifier(&[server.address()])).unwrap();
    let zone = provider.zone(&name("a.test")).await.unwrap();
    let before = provider.get(&zone, &Key::new(name("a.test"), RecordType::Txt)).await.unwrap();
    let after = set("a.test", RecordType::Txt, &["theirs", "ours"]);
    let error = provider.apply(&zone, &[Change { before, after: Some(after) }]).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Rejected(said) if said.contains("by hand")), "{error}");
}

#[tokio::test]
async fn a_wrong_key_and_a_server_that_is_away_are_told_apart() {
    let Some(mut server) = PowerDns::start("") else { return };
    let desired = [want("a.test", RecordType::Mx, "", &["10 mx.a.test."])];
    let provider = server.provider("wrong", verifier(&[server.address()]));
    let refused = round(&provider, &desired, &Inventory::default()).await;
    assert!(matches!(refused.error, Some(ProviderError::Unauthorized(_))), "{:?}", refused.error);

    let provider = server.provider(API_KEY, verifier(&[server.address()]));
    let done = round(&provider, &desired, &Inventory::default()).await;
    server.stop();
    let away = round(&provider, &[], &done.inventory).await;
    assert!(matches!(away.error, Some(ProviderError::Unavailable(_))), "{:?}", away.error);
    assert_eq!(away.inventory, done.inventory);
}

#[test]
fn settings_say_what_is_wrong_with_them() {
    let make = |provider: &str, fields: &[&str]| {
        let credentials: BTreeMap<String, String> =
            fields.iter().map(|field| ((*field).to_owned(), "x".to_owned())).collect();
        let settings = Settings {
            provider: provider.to_owned(),
            credentials,
            zones: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        Cloud::new(&settings, verifier(&[])).map(|cloud| cloud.name()).map_err(|error| error.to_string())
    };
    assert_eq!(make("Cloudflare", &["apiToken"]), Ok("cloudflare".to_owned()));
    assert!(make("cloudflare", &[]).unwrap_err().contains("apiToken"));
    assert!(make("porkbun", &["apiKey", "secret"]).unwrap_err().contains("secretApiKey"));
    assert!(make("pdns", &["apiKey", "token"]).unwrap_err().contains("endpoint"));
    assert!(make("nobody", &[]).unwrap_err().contains("cloudflare, "));
    assert!(
        make("ovh", &["applicationKey", "applicationSecret", "consumerKey", "endpoint"])
            .unwrap_err()
            .contains("ovh")
    );

    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted, "each once, in order");
    assert!(names.len() > 65);
}

#[test]
fn the_documentation_has_all_providers_and_their_fields() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dns.md")).unwrap();
    for kind in KINDS {
        let field = |field: &&str| match field.strip_prefix('?') {
            Some(field) => format!("`{field}`?"),
            None => format!("`{field}`"),
        };
        let fields = kind.fields.iter().map(field).collect::<Vec<_>>().join(", ");
        let line = format!("| `{}` | {fields}", kind.name);
        assert!(page.lines().any(|one| one.starts_with(&line)), "docs/dns.md lacks: {line}");
    }
}
