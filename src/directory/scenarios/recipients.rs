//! Where mail goes.

use super::*;
use crate::{AccountChange, DomainChange, Forwarding, LocalRecipient, NewGroup, Recipient};

/// The local parts of the accounts, with details, and the addresses elsewhere.
async fn leads_to(directory: &Directory, text: &str) -> Vec<String> {
    match directory.resolve_recipient(&address(text)).await.unwrap() {
        Recipient::Local { accounts, forwards } => {
            let local = accounts.into_iter().map(|LocalRecipient { address, detail, .. }| match detail {
                Some(detail) => format!("{}+{detail}", address.local()),
                None => address.local().to_string(),
            });
            local.chain(forwards.iter().map(EmailAddress::to_wire)).collect()
        }
        other => vec![format!("{other:?}")],
    }
}

async fn set_domain(directory: &Directory, change: DomainChange) {
    directory.update_domain(&domain("example.test"), change, None).await.unwrap();
}

async fn group(directory: &Directory, text: &str, members: &[&str], members_may_send: bool) {
    let new = NewGroup {
        address: address(text),
        display_name: String::new(),
        members_may_send,
        members: addresses(members),
    };
    directory.create_group(new).await.unwrap();
}

#[tokio::test]
async fn accounts_are_found_in_any_case_and_with_a_detail() {
    let directory = example().await;
    assert_eq!(leads_to(&directory, "alice@example.test").await, ["alice"]);
    assert_eq!(leads_to(&directory, "ALICE@EXAMPLE.TEST").await, ["alice"]);
    assert_eq!(leads_to(&directory, "alice+Lists@example.test").await, ["alice+Lists"]);
    // The spelling of the detail is kept even when another one was looked up before.
    assert_eq!(leads_to(&directory, "alice+lists@example.test").await, ["alice+lists"]);
    assert_eq!(leads_to(&directory, "carol@example.test").await, ["Unknown"]);
    assert_eq!(leads_to(&directory, "carol+x@example.test").await, ["Unknown"]);
    assert_eq!(leads_to(&directory, "alice@elsewhere.test").await, ["Remote"]);
    assert_eq!(leads_to(&directory, "alice@[127.0.0.1]").await, ["Remote"]);
}

#[tokio::test]
async fn an_account_with_the_separator_in_its_name_is_found_before_the_detail_is_cut_off() {
    let directory = example().await;
    add(&directory, "alice+work@example.test").await;
    assert_eq!(leads_to(&directory, "alice+work@example.test").await, ["alice+work"]);
    assert_eq!(leads_to(&directory, "alice+home@example.test").await, ["alice+home"]);
    let other = Settings { detail_separator: None, ..settings() };
    directory.reload(other);
    assert_eq!(leads_to(&directory, "alice+home@example.test").await, ["Unknown"]);
}

#[tokio::test]
async fn aliases_and_groups_lead_to_each_account_once() {
    let directory = example().await;
    let team = addresses(&["alice@example.test", "Bob+team@example.test", "carol@elsewhere.test"]);
    directory.create_alias(&address("team@example.test"), team).await.unwrap();
    group(&directory, "all@example.test", &["team@example.test", "alice@example.test"], false).await;
    assert_eq!(
        leads_to(&directory, "team@example.test").await,
        ["alice", "bob+team", "carol@elsewhere.test"]
    );
    assert_eq!(leads_to(&directory, "all@example.test").await, ["alice", "bob+team", "carol@elsewhere.test"]);
    assert_eq!(leads_to(&directory, "team+x@example.test").await[0], "alice+x");

    directory.remove_member(&address("all@example.test"), &address("team@example.test")).await.unwrap();
    assert_eq!(leads_to(&directory, "all@example.test").await, ["alice"]);
}

#[tokio::test]
async fn circles_end_and_dead_ends_wait_for_the_administrator() {
    let directory = example().await;
    let (one, two) = ("one@example.test", "two@example.test");
    directory.create_alias(&address(one), addresses(&[two])).await.unwrap();
    directory.create_alias(&address(two), addresses(&[one])).await.unwrap();
    let stuck = directory.resolve_recipient(&address(one)).await.unwrap();
    assert!(matches!(stuck, Recipient::Misconfigured(_)), "{stuck:?}");
    directory.update_alias(&address(two), addresses(&[one, "bob@example.test"]), None).await.unwrap();
    assert_eq!(leads_to(&directory, one).await, ["bob"]);

    directory.create_alias(&address("gone@example.test"), addresses(&["nobody@example.test"])).await.unwrap();
    let gone = directory.resolve_recipient(&address("gone@example.test")).await.unwrap();
    assert!(matches!(gone, Recipient::Misconfigured(_)), "{gone:?}");
}

/// Sends an account's mail on.
async fn forward(directory: &Directory, from: &str, to: &[&str], keep_copy: bool) {
    let forwarding = Some(Some(Forwarding { addresses: addresses(to), keep_copy }));
    let change = AccountChange { forwarding, ..AccountChange::default() };
    directory.update_account(id(directory, from).await, change, None).await.unwrap();
}

#[tokio::test]
async fn forwarding_leads_to_others_with_a_copy_or_without() {
    let directory = example().await;
    forward(&directory, "alice@example.test", &["bob@example.test", "a@elsewhere.test"], true).await;
    assert_eq!(leads_to(&directory, "alice@example.test").await, ["alice", "bob", "a@elsewhere.test"]);
    // A detail names a mailbox of the account that was written to, and none of those whom it forwards to.
    assert_eq!(leads_to(&directory, "alice+x@example.test").await, ["alice+x", "bob", "a@elsewhere.test"]);
    forward(&directory, "alice@example.test", &["a@elsewhere.test"], false).await;
    assert_eq!(leads_to(&directory, "alice@example.test").await, ["a@elsewhere.test"]);
    directory.create_alias(&address("sales@example.test"), addresses(&["alice@example.test"])).await.unwrap();
    assert_eq!(
        leads_to(&directory, "sales@example.test").await,
        ["a@elsewhere.test"],
        "and aliases follow it"
    );

    let alice = id(&directory, "alice@example.test").await;
    assert!(directory.may_send_as(alice, &address("alice@example.test")).await.unwrap());
    forward(&directory, "alice@example.test", &["bob@example.test"], false).await;
    let bob = id(&directory, "bob@example.test").await;
    assert!(!directory.may_send_as(bob, &address("alice@example.test")).await.unwrap());
    let off = AccountChange { enabled: Some(false), ..AccountChange::default() };
    directory.update_account(alice, off, None).await.unwrap();
    assert_eq!(leads_to(&directory, "alice@example.test").await, ["Disabled"], "nothing of it goes on");
}

#[tokio::test]
async fn accounts_that_forward_in_a_circle_keep_their_copies_or_wait_for_the_administrator() {
    let directory = example().await;
    forward(&directory, "alice@example.test", &["bob@example.test"], true).await;
    forward(&directory, "bob@example.test", &["alice@example.test"], true).await;
    assert_eq!(leads_to(&directory, "alice@example.test").await, ["alice", "bob"]);
    assert_eq!(leads_to(&directory, "bob+x@example.test").await, ["alice", "bob+x"]);
    forward(&directory, "alice@example.test", &["bob@example.test"], false).await;
    forward(&directory, "bob@example.test", &["alice@example.test"], false).await;
    let stuck = directory.resolve_recipient(&address("alice@example.test")).await.unwrap();
    assert!(matches!(stuck, Recipient::Misconfigured(_)), "{stuck:?}");
    directory.reload(Settings { expansion_fanout: 1, ..settings() });
    forward(&directory, "alice@example.test", &["a@elsewhere.test", "b@elsewhere.test"], true).await;
    let wide = directory.resolve_recipient(&address("alice@example.test")).await.unwrap();
    assert!(matches!(wide, Recipient::Misconfigured(_)), "{wide:?}");
}

#[tokio::test]
async fn depth_and_breadth_are_bounded() {
    let directory = example().await;
    for n in 0..10 {
        let next =
            if n == 9 { "alice@example.test".to_owned() } else { format!("chain{}@example.test", n + 1) };
        let alias = address(&format!("chain{n}@example.test"));
        directory.create_alias(&alias, addresses(&[&next])).await.unwrap();
    }
    assert_eq!(leads_to(&directory, "chain0@example.test").await, ["alice"]);
    directory.create_alias(&address("more@example.test"), addresses(&["chain0@example.test"])).await.unwrap();
    let deep = directory.resolve_recipient(&address("more@example.test")).await.unwrap();
    assert!(matches!(deep, Recipient::Misconfigured(_)), "{deep:?}");

    directory.reload(Settings { expansion_fanout: 2, ..settings() });
    let three = ["a@elsewhere.test", "b@elsewhere.test", "c@elsewhere.test"];
    group(&directory, "small@example.test", &three[..2], false).await;
    group(&directory, "large@example.test", &three, false).await;
    assert_eq!(leads_to(&directory, "small@example.test").await, three[..2]);
    let large = directory.resolve_recipient(&address("large@example.test")).await.unwrap();
    assert!(matches!(large, Recipient::Misconfigured(_)), "{large:?}");
}

#[tokio::test]
async fn a_catch_all_takes_what_nobody_has() {
    let directory = example().await;
    let catch_all = Some(Some(address("bob@example.test")));
    set_domain(&directory, DomainChange { catch_all, ..DomainChange::default() }).await;
    assert_eq!(leads_to(&directory, "anything@example.test").await, ["bob"]);
    assert_eq!(leads_to(&directory, "alice@example.test").await, ["alice"]);
    // One that nobody has either must not catch itself.
    let catch_all = Some(Some(address("nobody@example.test")));
    set_domain(&directory, DomainChange { catch_all, ..DomainChange::default() }).await;
    assert_eq!(leads_to(&directory, "nobody@example.test").await, ["Unknown"]);
}

#[tokio::test]
async fn roles_always_reach_somebody() {
    let directory = example().await;
    let roles = ["postmaster", "Abuse", "dmarc-reports", "TLS-Reports"];
    for role in roles.map(|role| format!("{role}@example.test")) {
        assert_eq!(leads_to(&directory, &role).await, ["alice"], "the first account");
    }
    assert_eq!(leads_to(&directory, "hostmaster@example.test").await, ["Unknown"]);
    let postmaster = Some(Some(address("bob@example.test")));
    set_domain(&directory, DomainChange { postmaster, ..DomainChange::default() }).await;
    assert_eq!(leads_to(&directory, "postmaster@example.test").await, ["bob"], "the domain's");
    directory.create_alias(&address("abuse@example.test"), addresses(&["alice@example.test"])).await.unwrap();
    assert_eq!(leads_to(&directory, "abuse@example.test").await, ["alice"], "a name of its own");

    // Without a domain: the first domain's, or the configured one.
    assert!(matches!(directory.resolve_postmaster().await.unwrap(), Recipient::Local { .. }));
    assert_eq!(empty().resolve_postmaster().await.unwrap(), Recipient::Unknown);
}

#[tokio::test]
async fn what_is_disabled_says_so_and_does_not_hide_others() {
    let directory = example().await;
    directory
        .create_alias(&address("both@example.test"), addresses(&["alice@example.test", "bob@example.test"]))
        .await
        .unwrap();
    assert_eq!(leads_to(&directory, "both@example.test").await, ["alice", "bob"]);
    let off = || AccountChange { enabled: Some(false), ..AccountChange::default() };
    directory.update_account(id(&directory, "alice@example.test").await, off(), None).await.unwrap();
    assert_eq!(leads_to(&directory, "alice@example.test").await, ["Disabled"]);
    assert_eq!(leads_to(&directory, "both@example.test").await, ["bob"]);
    directory.update_account(id(&directory, "bob@example.test").await, off(), None).await.unwrap();
    assert_eq!(leads_to(&directory, "both@example.test").await, ["Disabled"]);
    set_domain(&directory, DomainChange { enabled: Some(false), ..DomainChange::default() }).await;
    assert_eq!(leads_to(&directory, "nobody@example.test").await, ["Disabled"]);
}

#[tokio::test]
async fn an_account_sends_as_itself_and_as_what_leads_to_it() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    let bob = id(&directory, "bob@example.test").await;
    directory.create_alias(&address("sales@example.test"), addresses(&["alice@example.test"])).await.unwrap();
    group(&directory, "open@example.test", &["alice@example.test"], true).await;
    group(&directory, "list@example.test", &["alice@example.test"], false).await;
    for (sender, may) in [
        ("Alice@example.test", true),
        ("alice+shop@example.test", true),
        ("sales@example.test", true),
        ("open@example.test", true),
        ("list@example.test", false),
        ("bob@example.test", false),
        ("nobody@example.test", false),
        ("alice@elsewhere.test", false),
    ] {
        assert_eq!(directory.may_send_as(alice, &address(sender)).await.unwrap(), may, "{sender}");
    }
    assert!(!directory.may_send_as(bob, &address("sales@example.test")).await.unwrap());
    let catch_all = Some(Some(address("bob@example.test")));
    set_domain(&directory, DomainChange { catch_all, ..DomainChange::default() }).await;
    assert!(directory.may_send_as(bob, &address("nobody@example.test")).await.unwrap());
    assert!(!directory.may_send_as(alice, &address("nobody@example.test")).await.unwrap());
}

#[tokio::test]
async fn another_process_sees_a_change_without_waiting_for_the_cache_to_expire() {
    let (writer, reader) = two_processes();
    fill(&writer).await;
    let _task = following(&reader);
    assert_eq!(leads_to(&reader, "carol@example.test").await, ["Unknown"]);
    assert_eq!(leads_to(&reader, "carol@example.test").await, ["Unknown"], "now surely remembered");
    add(&writer, "carol@example.test").await;
    for _ in 0..200 {
        if leads_to(&reader, "carol@example.test").await == ["carol"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the change was not noticed within two seconds");
}

#[tokio::test(start_paused = true)]
async fn without_word_of_a_change_a_lookup_is_believed_for_its_time_only() {
    let (writer, reader) = two_processes();
    fill(&writer).await;
    assert_eq!(leads_to(&reader, "carol@example.test").await, ["Unknown"]);
    add(&writer, "carol@example.test").await;
    assert_eq!(leads_to(&reader, "carol@example.test").await, ["Unknown"]);
    tokio::time::advance(settings().lookup_cache_ttl).await;
    assert_eq!(leads_to(&reader, "carol@example.test").await, ["carol"]);
}
