//! Domains, accounts, aliases and groups as the administrator sees them.

use super::*;
use crate::{
    AccountChange, DomainChange, DomainQuota, Error, Forwarding, GroupChange, MtaSts, MtaStsMode, NewGroup,
    PageRequest, Quota,
};

fn new_account(text: &str) -> NewAccount {
    NewAccount {
        address: address(text),
        display_name: String::new(),
        password: None,
        quota: None,
        enabled: true,
        forwarding: None,
    }
}

fn new_group(text: &str) -> NewGroup {
    NewGroup {
        address: address(text),
        display_name: String::new(),
        members_may_send: false,
        members: BTreeSet::new(),
    }
}

fn taken_by<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::AlreadyExists { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_is_unique_across_accounts_aliases_and_groups() {
    let directory = example().await;
    let bob = addresses(&["bob@example.test"]);
    directory.create_alias(&address("info@example.test"), bob.clone()).await.unwrap();
    directory.create_group(new_group("team@example.test")).await.unwrap();
    for (name, kind) in [("ALICE", "an account"), ("Info", "an alias"), ("team", "a group")] {
        let name = format!("{name}@example.test");
        assert_eq!(taken_by(directory.create_account(new_account(&name)).await), kind);
        assert_eq!(taken_by(directory.create_alias(&address(&name), bob.clone()).await), kind);
        assert_eq!(taken_by(directory.create_group(new_group(&name)).await), kind);
    }
    assert_eq!(
        taken_by(directory.create_domain(&domain("Example.Test"), NewDomain::default()).await),
        "a domain"
    );

    // A name that was given up is free, and its account number is not used again.
    let alice = id(&directory, "alice@example.test").await;
    directory.delete_account(alice).await.unwrap();
    directory.create_alias(&address("alice@example.test"), bob).await.unwrap();
    let carol = directory.create_account(new_account("carol@example.test")).await.unwrap();
    assert!(carol.id > id(&directory, "bob@example.test").await);
    assert!(matches!(directory.account(alice).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn names_need_a_domain_of_ours() {
    let directory = example().await;
    let refused = directory.create_account(new_account("alice@elsewhere.test")).await;
    assert!(matches!(refused, Err(Error::NotFound { what: "domain", .. })), "{refused:?}");
    let refused =
        directory.create_alias(&address("a@elsewhere.test"), addresses(&["bob@example.test"])).await;
    assert!(matches!(refused, Err(Error::NotFound { what: "domain", .. })), "{refused:?}");
    let literal = directory.create_domain(&domain("[192.0.2.1]"), NewDomain::default()).await;
    assert!(matches!(literal, Err(Error::Invalid(_))), "{literal:?}");
}

#[tokio::test]
async fn a_domain_in_use_goes_only_by_force_and_then_with_everything() {
    let directory = example().await;
    directory.create_alias(&address("info@example.test"), addresses(&["bob@example.test"])).await.unwrap();
    directory.create_domain(&domain("other.test"), NewDomain::default()).await.unwrap();
    add(&directory, "carol@other.test").await;
    match directory.delete_domain(&domain("example.test"), false).await {
        Err(Error::InUse { by, .. }) => assert_eq!(by, "it still has accounts and aliases"),
        other => panic!("{other:?}"),
    }
    directory.delete_domain(&domain("example.test"), true).await.unwrap();
    assert!(!directory.is_local_domain(&domain("example.test")).await.unwrap());
    let left = directory.list_accounts(None, &PageRequest::default()).await.unwrap();
    assert_eq!(left.items.len(), 1, "the other domain's");
    assert!(directory.list_aliases(None, &PageRequest::default()).await.unwrap().items.is_empty());
    // Nothing is left behind to come back with the name.
    directory.create_domain(&domain("example.test"), NewDomain::default()).await.unwrap();
    assert!(directory.account_by_address(&address("alice@example.test")).await.is_err());
    directory.delete_domain(&domain("example.test"), false).await.unwrap();
    let again = directory.delete_domain(&domain("example.test"), false).await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
}

#[tokio::test]
async fn a_change_names_what_it_changes_and_leaves_the_rest() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    let before = directory.account(alice).await.unwrap();
    let change = AccountChange { quota: Some(Some(1000)), ..AccountChange::default() };
    let after = directory.update_account(alice, change, Some(before.revision)).await.unwrap();
    assert_eq!(after, Account { quota: Some(1000), revision: after.revision, ..before.clone() });
    assert_eq!(directory.account(alice).await.unwrap(), after);

    // Whoever still holds the old revision is told.
    let change = AccountChange { enabled: Some(false), ..AccountChange::default() };
    let stale = directory.update_account(alice, change, Some(before.revision)).await;
    assert!(matches!(stale, Err(Error::Stale { .. })), "{stale:?}");
    assert!(directory.account(alice).await.unwrap().enabled);
}

#[tokio::test]
async fn forwarding_needs_somebody_else_and_not_too_many() {
    let directory = example().await;
    directory.reload(Settings { forwarding_addresses: 2, ..settings() });
    let alice = id(&directory, "alice@example.test").await;
    let forward = async |to: &[&str]| {
        let forwarding = Forwarding { addresses: addresses(to), keep_copy: true };
        let change = AccountChange { forwarding: Some(Some(forwarding)), ..AccountChange::default() };
        directory.update_account(alice, change, None).await
    };
    for bad in [&[][..], &["Alice@Example.test"], &["a@x.test", "b@x.test", "c@x.test"]] {
        let refused = forward(bad).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{bad:?}: {refused:?}");
    }
    forward(&["a@x.test", "b@x.test"]).await.unwrap();
    let change = AccountChange { quota: Some(Some(1)), ..AccountChange::default() };
    let account = directory.update_account(alice, change, None).await.unwrap();
    assert_eq!(account.forwarding.unwrap().addresses, addresses(&["a@x.test", "b@x.test"]));
    let change = AccountChange { forwarding: Some(None), ..AccountChange::default() };
    assert_eq!(directory.update_account(alice, change, None).await.unwrap().forwarding, None);
}

#[tokio::test]
async fn what_an_earlier_release_would_not_follow_waits_until_none_runs() {
    let clock = ManualClock::new(Duration::from_secs(1));
    let directory = Directory::gated(Database::in_memory(), settings(), clock, Arc::new(|| false));
    fill(&directory).await;
    let forwarding = Forwarding { addresses: addresses(&["a@x.test"]), keep_copy: true };
    let change = AccountChange { forwarding: Some(Some(forwarding)), ..AccountChange::default() };
    let alice = id(&directory, "alice@example.test").await;
    assert!(matches!(directory.update_account(alice, change, None).await, Err(Error::NotYet)));
    let change = DomainChange { client_host: Some(Some(domain("mail.x.test"))), ..DomainChange::default() };
    let refused = directory.update_domain(&domain("example.test"), change, None).await;
    assert!(refused.is_err_and(|error| error.is_temporary()));
    let none = DomainChange { client_host: Some(None), quota: Some(Some(1)), ..DomainChange::default() };
    directory.update_domain(&domain("example.test"), none, None).await.unwrap();
}

#[tokio::test]
async fn a_domain_has_hosts_of_its_own_each_alone_or_all() {
    let directory = example().await;
    let ours = domain("example.test");
    let policy = MtaSts { mode: MtaStsMode::Enforce, mx: vec!["*.MX.test".to_owned()], max_age: 86_400 };
    let set = async |change| directory.update_domain(&ours, change, None).await;
    let mx_hosts = Some(Some(vec![domain("a.mx.test"), domain("b.mx.test")]));
    let last_alone = set(DomainChange { mx_hosts, ..DomainChange::default() }).await.unwrap();
    assert_eq!((last_alone.total_quota, last_alone.client_host, last_alone.mta_sts), (None, None, None));
    assert_eq!(directory.domain(&ours).await.unwrap().mx_hosts.unwrap().len(), 2);
    set(DomainChange { mta_sts: Some(Some(policy)), ..DomainChange::default() }).await.unwrap();
    let client_host = Some(Some(domain("mail.example.test")));
    set(DomainChange { client_host, mx_hosts: Some(None), ..DomainChange::default() }).await.unwrap();
    let info = directory.domain(&ours).await.unwrap();
    assert_eq!(info.mta_sts.unwrap().mx, ["*.mx.test"]);
    assert_eq!((info.client_host, info.mx_hosts), (Some(domain("mail.example.test")), None));
    for bad in [
        DomainChange { mx_hosts: Some(Some(Vec::new())), ..DomainChange::default() },
        DomainChange { client_host: Some(Some(domain("[192.0.2.1]"))), ..DomainChange::default() },
    ] {
        let refused = set(bad).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_host_in_a_domain_of_ours_is_us_if_the_domain_says_so() {
    let directory = example().await;
    let ours = domain("example.test");
    let mx_hosts = Some(Some(vec![domain("mx.eu.example.test"), domain("mx.elsewhere.test")]));
    directory.update_domain(&ours, DomainChange { mx_hosts, ..DomainChange::default() }, None).await.unwrap();
    for (host, is_ours) in [
        ("MX.eu.example.test", true),
        ("mx.us.example.test", false),
        // What other domains' mail goes to is not for this domain to say.
        ("mx.elsewhere.test", false),
        ("example.test", false),
        ("not a host", false),
    ] {
        assert_eq!(directory.is_own_mx_host(host).await.unwrap(), is_ours, "{host}");
    }
}

#[tokio::test]
async fn the_quota_is_the_accounts_else_the_domains_else_the_default() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    assert_eq!(directory.quota(alice).await.unwrap().account, None);
    directory.reload(Settings { default_quota: Some(3), ..settings() });
    assert_eq!(directory.quota(alice).await.unwrap().account, Some(3));
    let of_domain = DomainChange { quota: Some(Some(2)), ..DomainChange::default() };
    directory.update_domain(&domain("example.test"), of_domain, None).await.unwrap();
    assert_eq!(directory.quota(alice).await.unwrap().account, Some(2));
    let own = AccountChange { quota: Some(Some(1)), ..AccountChange::default() };
    directory.update_account(alice, own, None).await.unwrap();
    assert_eq!(directory.quota(alice).await.unwrap().account, Some(1));
    assert_eq!(directory.quota(alice).await.unwrap().domain, None);
    let total = DomainChange { total_quota: Some(Some(9)), ..DomainChange::default() };
    directory.update_domain(&domain("example.test"), total, None).await.unwrap();
    let of_all = DomainQuota { domain: domain("example.test"), limit: 9 };
    assert_eq!(directory.quota(alice).await.unwrap(), Quota { account: Some(1), domain: Some(of_all) });
    let nobody = directory.quota(AccountId::new(99)).await;
    assert!(matches!(nobody, Err(Error::NotFound { .. })), "{nobody:?}");
}

#[tokio::test]
async fn pages_together_are_the_whole_listing_in_order() {
    let directory = example().await;
    directory.create_domain(&domain("another.test"), NewDomain::default()).await.unwrap();
    for n in 0..5 {
        directory.create_account(new_account(&format!("User{n}@another.test"))).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut page = PageRequest { after: None, limit: 2 };
    loop {
        let found = directory.list_accounts(None, &page).await.unwrap();
        assert!(found.items.len() <= 2);
        seen.extend(found.items.iter().map(|account| account.address.to_string()));
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    let all = [
        "User0@another.test",
        "User1@another.test",
        "User2@another.test",
        "User3@another.test",
        "User4@another.test",
    ];
    assert_eq!(seen[..5], all);
    assert_eq!(seen[5..], ["alice@example.test", "bob@example.test"]);
    let other = PageRequest { after: Some("zoe@zzz.test".to_owned()), limit: 0 };
    let past = directory.list_accounts(Some(&domain("another.test")), &other).await.unwrap();
    assert!(past.items.is_empty() && past.next.is_none(), "a page behind the end is empty");
    let bad = PageRequest { after: Some("no address".to_owned()), limit: 0 };
    assert!(matches!(directory.list_accounts(None, &bad).await, Err(Error::Invalid(_))));
    assert_eq!(directory.list_domains(&PageRequest::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn members_of_a_group_come_and_go_one_by_one() {
    let directory = example().await;
    let team = address("team@example.test");
    directory.create_group(new_group("team@example.test")).await.unwrap();
    for member in ["bob@example.test", "alice@example.test", "ALICE@example.test"] {
        directory.add_member(&team, &address(member)).await.unwrap();
    }
    let members = directory.list_members(&team, &PageRequest::default()).await.unwrap().items;
    assert_eq!(members, [address("alice@example.test"), address("bob@example.test")]);
    let change = GroupChange { display_name: Some("The team".to_owned()), ..GroupChange::default() };
    directory.update_group(&team, change, None).await.unwrap();
    assert_eq!(directory.group(&team).await.unwrap().display_name, "The team");
    directory.remove_member(&team, &address("bob@example.test")).await.unwrap();
    let again = directory.remove_member(&team, &address("bob@example.test")).await;
    assert!(matches!(again, Err(Error::NotFound { what: "member", .. })), "{again:?}");
    assert!(matches!(directory.add_member(&team, &team).await, Err(Error::Invalid(_))));
    directory.delete_group(&team).await.unwrap();
    directory.create_group(new_group("team@example.test")).await.unwrap();
    let members = directory.list_members(&team, &PageRequest::default()).await.unwrap().items;
    assert!(members.is_empty(), "a new group of the same name starts empty");
}

#[tokio::test]
async fn every_change_is_seen_in_the_version() {
    let directory = empty();
    let mut last = directory.version().await.unwrap();
    assert_eq!(last, 0);
    fill(&directory).await;
    for _ in 0..3 {
        let version = directory.version().await.unwrap();
        assert!(version > last);
        last = version;
        let change = DomainChange { quota: Some(None), ..DomainChange::default() };
        directory.update_domain(&domain("example.test"), change, None).await.unwrap();
    }
}
