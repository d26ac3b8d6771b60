//! What accounts and domains hold, and counting it again.

use ekitei_api::{
    AccountPatch, CountDifference, CountedIn, DomainPatch, ImportQuery, NewAccount, NewDomain, PageQuery,
    ProblemCode,
};
use ekitei_kv::keys::{key, subspace::MAILBOXES};

use crate::support::Service;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

async fn service() -> Service {
    let service = Service::start().await;
    let client = service.client();
    let domain = NewDomain { name: "example.test".to_owned(), ..NewDomain::default() };
    client.create_domain(&domain).await.unwrap();
    for name in ["alice", "bob"] {
        let new = NewAccount {
            address: format!("{name}@example.test"),
            display_name: String::new(),
            password: None,
            password_hash: None,
            quota: None,
            enabled: true,
            forwarding: None,
        };
        client.create_account(&new).await.unwrap();
        let address = &new.address;
        client.import_message(address, &ImportQuery::default(), MESSAGE.to_vec()).await.unwrap();
    }
    service
}

#[tokio::test]
async fn usage_is_told_of_accounts_and_of_their_domain() {
    let service = service().await;
    let client = service.client();
    let quota = AccountPatch { quota: Some(Some(1 << 20)), ..AccountPatch::default() };
    client.update_account("bob@example.test", &quota, None).await.unwrap();
    let size = MESSAGE.len() as u64;
    let all = client.list_account_usage(&PageQuery::default()).await.unwrap().items;
    let told: Vec<_> =
        all.iter().map(|usage| (usage.address.as_str(), usage.messages, usage.octets, usage.quota)).collect();
    assert_eq!(told, [("alice@example.test", 1, size, None), ("bob@example.test", 1, size, Some(1 << 20))]);
    assert_eq!(client.account_usage("alice@example.test").await.unwrap(), all[0]);
    let domain = client.domain_usage("example.test").await.unwrap();
    assert_eq!((domain.messages, domain.octets, domain.total_quota), (2, 2 * size, None));
    assert_eq!(client.list_domain_usage(&PageQuery::default()).await.unwrap().items, [domain]);
}

#[tokio::test]
async fn a_domain_that_is_full_takes_no_more_for_any_account() {
    let service = service().await;
    let client = service.client();
    let size = MESSAGE.len() as u64;
    let total = DomainPatch { total_quota: Some(Some(3 * size)), ..DomainPatch::default() };
    assert_eq!(client.update_domain("example.test", &total, None).await.unwrap().total_quota, Some(3 * size));
    let import = async |name: &str| {
        client
            .import_message(&format!("{name}@example.test"), &ImportQuery::default(), MESSAGE.to_vec())
            .await
    };
    import("alice").await.unwrap();
    match import("bob").await {
        Err(ekitei_api::ClientError::Problem(problem)) => assert_eq!(problem.code, ProblemCode::OverQuota),
        other => panic!("{other:?}"),
    }
    let none = DomainPatch { total_quota: Some(None), ..DomainPatch::default() };
    assert_eq!(client.update_domain("example.test", &none, None).await.unwrap().total_quota, None);
    import("bob").await.unwrap();
}

#[tokio::test]
async fn a_recount_finds_damaged_counters_and_repairs_them_if_told_to() {
    let service = service().await;
    let client = service.client();
    let damage = |transaction: ekitei_kv::Transaction| async move {
        transaction.add(&key(&(MAILBOXES, 1u64, 5u32, 1u32)), 4);
        transaction.add(&key(&(MAILBOXES, "domain", "example.test", 0u32, 1u64, 1u32)), -1);
        Ok::<_, ekitei_kv::Error>(())
    };
    service.database.transact(damage).await.unwrap();
    let wrong = |counted_in, name: &str, counter, actual, repaired| CountDifference {
        counted_in,
        name: name.to_owned(),
        mailbox: None,
        what: "messages".to_owned(),
        counter,
        actual,
        repaired,
    };
    for repair in [false, true] {
        let found = client.recount_account("alice@example.test", repair).await.unwrap().items;
        assert_eq!(found, [wrong(CountedIn::Account, "alice@example.test", 5, 1, repair)]);
    }
    for repair in [false, true] {
        let found = client.recount_domain("example.test", repair).await.unwrap().items;
        assert_eq!(found, [wrong(CountedIn::Domain, "example.test", 0, 1, repair)]);
    }
    assert_eq!(client.recount_account("alice@example.test", false).await.unwrap().items, []);
    assert_eq!(client.recount_domain("example.test", false).await.unwrap().items, []);
}
