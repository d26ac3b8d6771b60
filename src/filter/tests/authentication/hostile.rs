//! Bad input costs little, and ends.

use std::time::Duration;

use ekitei_dns::testing::Behaviour;
use tokio::time::Instant;

use crate::support::{Key, World, begin, message, outcome, results};

#[tokio::test]
async fn of_a_thousand_signatures_ten_are_verified_and_the_authors_first() {
    let key = Key::new("author.test");
    let world = World::new(&format!("_dmarc.author.test TXT \"v=DMARC1; p=reject\"\n{}", key.record()));
    let signed = key.sign(&message("a@author.test"));
    let mut hostile = Vec::new();
    for number in 0..1000 {
        let field = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=d{number}.test; s=s; c=relaxed/relaxed; h=from:to; \
             bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA\r\n"
        );
        hostile.extend_from_slice(field.as_bytes());
    }
    hostile.extend_from_slice(&signed);
    let judgement = world.judge("a@sender.test", hostile).await;
    assert_eq!(outcome(&judgement), "accept");
    let dkim = results(&judgement, "dkim");
    assert_eq!((dkim.len(), dkim[0]), (10, "pass"));
    let keys = world.dns.queries().into_iter().filter(|(name, _)| name.contains("_domainkey")).count();
    assert!(keys <= 10, "{keys}");
}

#[tokio::test]
async fn a_thousand_signatures_that_cannot_be_read_are_as_cheap() {
    let world = World::new("");
    let mut hostile = b"DKIM-Signature: v=2; d=x\r\n".repeat(1000);
    hostile.extend_from_slice(&message("a@author.test"));
    let judgement = world.judge("a@sender.test", hostile).await;
    assert_eq!(results(&judgement, "dkim").len(), 10);
}

#[tokio::test]
async fn a_signature_over_too_many_fields_is_not_verified() {
    let key = Key::new("author.test");
    let world = World::new(&key.record());
    let fields = ["From"].into_iter().chain(std::iter::repeat_n("X", 500)).collect::<Vec<_>>();
    let judgement = world.judge("a@sender.test", key.sign_fields(&message("a@author.test"), &fields)).await;
    assert_eq!(results(&judgement, "dkim"), ["policy"]);
}

#[tokio::test]
async fn a_chain_of_hundreds_of_seals_is_too_long() {
    let world = World::new("");
    let mut hostile = Vec::new();
    for instance in (1..=50).rev() {
        let set = format!(
            "ARC-Seal: i={instance}; a=rsa-sha256; cv=pass; d=x.test; s=s; b=AAAA\r\n\
             ARC-Message-Signature: i={instance}; a=rsa-sha256; d=x.test; s=s; h=from; bh=AAAA; b=AAAA\r\n\
             ARC-Authentication-Results: i={instance}; x.test; dmarc=pass\r\n"
        );
        hostile.extend_from_slice(set.as_bytes());
    }
    hostile.extend_from_slice(&message("a@author.test"));
    let judgement = world.judge("a@sender.test", hostile).await;
    assert_eq!(results(&judgement, "arc"), ["fail"]);
    assert!(!world.dns.queries().iter().any(|(name, _)| name.contains("x.test")));
}

#[tokio::test]
async fn spf_in_circles_ends() {
    let world = World::new(
        "a.test TXT \"v=spf1 include:b.test include:b.test -all\"\nb.test TXT \"v=spf1 include:a.test redirect=a.test\"\n",
    );
    let judgement = world.judge("x@a.test", message("x@a.test")).await;
    assert_eq!(results(&judgement, "spf")[0], "permerror");
    assert!(world.dns.queries().len() < 60);
}

#[tokio::test(start_paused = true)]
async fn dns_that_never_answers_costs_a_message_no_more_than_the_time_limit_of_one_check() {
    let key = Key::new("author.test");
    let world =
        World::with("_dmarc.author.test TXT \"v=DMARC1; p=none; rua=mailto:r@author.test\"\n", |config| {
            config.filter.authentication.time_limit = ekitei_config::Duration::seconds(1);
        });
    for name in [
        "1.2.0.192.in-addr.arpa",
        "mail.sender.test",
        "sender.test",
        "s1._domainkey.author.test",
        "_dmarc.author.test",
        "_dmarc.test",
    ] {
        world.dns.behave(name, Behaviour::Silent);
    }
    let begun = Instant::now();
    let mut session = world.session();
    begin(&mut session, "mail.sender.test", "x@sender.test", &["bob@here.test"]).await;
    assert!(begun.elapsed() < Duration::from_millis(100), "nobody needs the results yet");
    let chain = "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=author.test; s=s1; b=AAAA\r\n\
                 ARC-Message-Signature: i=1; a=rsa-sha256; d=author.test; s=s1; h=from; bh=AAAA; b=AAAA\r\n\
                 ARC-Authentication-Results: i=1; x.test; dmarc=pass\r\n";
    let judgement =
        session.message([chain.as_bytes(), &key.sign(&message("a@author.test"))].concat().into()).await;
    assert_eq!(
        (results(&judgement, "iprev"), results(&judgement, "spf")),
        (vec!["temperror"], vec!["temperror"; 2])
    );
    assert_eq!(
        (results(&judgement, "dkim"), results(&judgement, "dmarc")),
        (vec!["temperror"], vec!["temperror"])
    );
    assert_eq!(outcome(&judgement), "accept");
    assert!(begun.elapsed() <= Duration::from_millis(1_200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_chain_is_held_to_what_signatures_are_held_to() {
    for (seal, signature) in [("rsa-sha1", "rsa-sha256"), ("rsa-sha256", "rsa-sha1")] {
        let world = World::new("");
        let chain = format!(
            "ARC-Seal: i=1; a={seal}; cv=none; d=x.test; s=s; b=AAAA\r\n\
             ARC-Message-Signature: i=1; a={signature}; d=x.test; s=s; h=from; bh=AAAA; b=AAAA\r\n\
             ARC-Authentication-Results: i=1; x.test; dmarc=pass\r\n"
        );
        let judgement =
            world.judge("b@sender.test", [chain.into_bytes(), message("a@author.test")].concat()).await;
        let expected = "arc=fail (rsa-sha1 is not accepted)";
        assert!(judgement.results.contains(expected), "{}", judgement.results);
    }
}

#[tokio::test]
async fn keys_that_are_waited_for_do_not_hide_the_authors_policy() {
    let world = World::with("_dmarc.author.test TXT \"v=DMARC1; p=reject\"\n", |config| {
        config.filter.authentication.time_limit = ekitei_config::Duration::millis(1500);
    });
    let mut hostile = Vec::new();
    for number in 0..10 {
        let key = Key::new(&format!("slow{number}.test"));
        world.dns.behave(&format!("s1._domainkey.slow{number}.test"), Behaviour::Silent);
        let signed = key.sign(&message("a@author.test"));
        let length = signed.len() - message("a@author.test").len();
        hostile.extend_from_slice(&signed[..length]);
    }
    hostile.extend_from_slice(&message("a@author.test"));
    let judgement = world.judge("a@sender.test", hostile).await;
    assert_eq!(results(&judgement, "dkim"), ["temperror"; 10]);
    assert_eq!(outcome(&judgement), "5.7.26", "{}", judgement.results);
}

#[tokio::test]
async fn keys_that_are_waited_for_do_not_hide_others() {
    let (slow, good) = (Key::new("slow.test"), Key::new("list.test"));
    let zone = format!("_dmarc.author.test TXT \"v=DMARC1; p=none\"\n{}", good.record());
    let world = World::with(&zone, |config| {
        config.filter.authentication.time_limit = ekitei_config::Duration::millis(1500);
    });
    world.dns.behave("s1._domainkey.slow.test", Behaviour::Silent);
    let plain = message("a@author.test");
    let by_good = good.sign(&plain);
    let by_slow = slow.sign(&plain);
    let field = &by_slow[..by_slow.len() - plain.len()];
    let judgement = world.judge("a@sender.test", [field, &by_good].concat()).await;
    assert_eq!(results(&judgement, "dkim"), ["temperror", "pass"], "{}", judgement.results);
}

#[tokio::test]
async fn what_is_no_message_is_judged_all_the_same() {
    let world = World::new("");
    let colons = ":\r\n".repeat(10_000);
    for junk in [
        "",
        "\r\n",
        "no header",
        "\r\n\r\nbody",
        "From\r\n :\r\n\r\n",
        &colons,
        "From: <@@>, \"\r\n\r\n",
        "\0\u{ff}",
    ] {
        let judgement = world.judge("alice@sender.test", junk.to_owned()).await;
        assert_eq!(outcome(&judgement), "accept", "{junk:.20}");
    }
}
