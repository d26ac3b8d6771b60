//! DKIM, DMARC and ARC.

use ekitei_dns::testing::Behaviour;
use mail_auth::arc::ArcSealer;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::{ArcOutput, AuthenticatedMessage, AuthenticationResults, DmarcOutput, DmarcResult};

use crate::support::{Key, World, message, outcome, results};

const REJECT: &str = "_dmarc.author.test TXT \"v=DMARC1; p=reject\"\n";

#[tokio::test]
async fn an_aligned_signature_passes_dmarc() {
    let key = Key::new("author.test");
    let world = World::new(&format!("{REJECT}{}", key.record()));
    let judgement = world.judge("a@sender.test", key.sign(&message("a@author.test"))).await;
    assert_eq!(outcome(&judgement), "accept");
    assert_eq!((results(&judgement, "dkim"), results(&judgement, "dmarc")), (vec!["pass"], vec!["pass"]));
    assert!(
        judgement.results.contains("header.d=author.test header.s=s1 header.a=ed25519-sha256 header.b="),
        "{}",
        judgement.results
    );
    assert!(
        judgement.results.contains("dmarc=pass (p=reject dis=pass) header.from=author.test"),
        "{}",
        judgement.results
    );
}

#[tokio::test]
async fn a_changed_body_fails() {
    let key = Key::new("author.test");
    let world = World::new(&format!("{REJECT}{}", key.record()));
    let mut changed = key.sign(&message("a@author.test"));
    changed.extend_from_slice(b"Buy!\r\n");
    let judgement = world.judge("a@sender.test", changed).await;
    assert_eq!((results(&judgement, "dkim"), outcome(&judgement)), (vec!["fail"], "5.7.26"));
}

#[tokio::test]
async fn a_signature_of_someone_else_does_not_count_for_the_author() {
    let key = Key::new("spammer.test");
    let world = World::new(&format!("{REJECT}{}", key.record()));
    let judgement = world.judge("a@sender.test", key.sign(&message("a@author.test"))).await;
    assert_eq!((results(&judgement, "dkim"), results(&judgement, "dmarc")), (vec!["pass"], vec!["fail"]));
    assert_eq!(outcome(&judgement), "5.7.26");
}

#[tokio::test]
async fn spf_passes_dmarc_for_the_organizational_domain() {
    let world = World::new("_dmarc.sender.test TXT \"v=DMARC1; p=reject; sp=reject\"\n");
    let relaxed = world.judge("a@sender.test", message("a@news.sender.test")).await;
    assert_eq!((results(&relaxed, "dmarc"), outcome(&relaxed)), (vec!["pass"], "accept"));
    world.dns.set(&format!(
        "{}{}",
        crate::support::ZONE,
        "_dmarc.sender.test TXT \"v=DMARC1; p=reject; aspf=s\"\n"
    ));
    let strict = world.judge("a@sender.test", message("a@news.sender.test")).await;
    assert_eq!((results(&strict, "dmarc"), outcome(&strict)), (vec!["fail"], "5.7.26"));
}

#[tokio::test]
async fn the_tags_of_the_record_are_obeyed() {
    for (record, from, expected) in [
        ("v=DMARC1; p=none", "a@author.test", "accept"),
        ("v=DMARC1; p=quarantine", "a@author.test", "junk"),
        ("v=DMARC1; p=reject", "a@author.test", "5.7.26"),
        // Test mode is one level less (RFC 9989 §4.7).
        ("v=DMARC1; p=reject; t=y", "a@author.test", "junk"),
        ("v=DMARC1; p=quarantine; t=y", "a@author.test", "accept"),
        ("v=DMARC1; p=none; sp=reject", "a@there.author.test", "5.7.26"),
        ("v=DMARC1; p=none; sp=none; np=reject", "a@there.author.test", "accept"),
        ("v=DMARC1; p=none; sp=none; np=reject", "a@notthere.author.test", "5.7.26"),
        ("v=DMARC1; p=reject; sp=none", "a@notthere.author.test", "accept"),
        ("no record", "a@author.test", "accept"),
        // A mistake elsewhere in the record takes nothing away; one in a policy does (RFC 9989 §4.7, §4.10.1).
        ("v=DMARC1; p=reject; adkim=relaxed; fo=x", "a@author.test", "5.7.26"),
        ("v=DMARC1; p=reject; sp=every", "a@author.test", "accept"),
        // Of several nobody knows which one counts (RFC 9989 §4.10).
        ("v=DMARC1; p=reject\"\n_dmarc.author.test TXT \"v=DMARC1; p=none", "a@author.test", "accept"),
        ("v=spf1 -all\"\n_dmarc.author.test TXT \"v=DMARC1; p=reject", "a@author.test", "5.7.26"),
    ] {
        let world =
            World::new(&format!("_dmarc.author.test TXT \"{record}\"\nthere.author.test A 192.0.2.7\n"));
        let judgement = world.judge("b@sender.test", message(from)).await;
        assert_eq!(outcome(&judgement), expected, "{record} {from}: {}", judgement.results);
    }
}

#[tokio::test]
async fn several_authors_are_refused_if_one_of_them_has_a_policy() {
    let world = World::new(REJECT);
    let both = world.judge("b@sender.test", message("a@other.test, b@author.test")).await;
    assert_eq!(outcome(&both), "5.7.1");
    let fields = "From: a@other.test\r\nFrom: b@author.test\r\nSubject: x\r\n\r\nx\r\n";
    assert_eq!(outcome(&world.judge("b@sender.test", fields).await), "5.7.1");
    let harmless = world.judge("b@sender.test", message("a@other.test, b@third.test")).await;
    assert_eq!((outcome(&harmless), results(&harmless, "dmarc")), ("accept", vec!["permerror"]));
    let same = world.judge("b@sender.test", message("a@other.test, b@other.test")).await;
    assert_eq!(outcome(&same), "accept");
}

#[tokio::test]
async fn no_author_is_hidden_behind_others_or_behind_dns_that_fails() {
    let world = World::with(REJECT, |config| {
        config.filter.authentication.time_limit = ekitei_config::Duration::millis(300);
    });
    world.dns.behave("_dmarc.silent.test", Behaviour::Silent);
    let crowd = "a@1.test, a@2.test, a@3.test, a@4.test, ceo@author.test";
    assert_eq!(outcome(&world.judge("b@sender.test", message(crowd)).await), "5.7.1");
    let failing = world.judge("b@sender.test", message("a@silent.test, ceo@author.test")).await;
    assert_eq!(outcome(&failing), "5.7.1");
    let unknown = world.judge("b@sender.test", message("a@silent.test, b@third.test")).await;
    assert_eq!((outcome(&unknown), results(&unknown, "dmarc")), ("accept", vec!["temperror"]));
}

#[tokio::test]
async fn an_author_is_the_same_however_it_is_written() {
    let world = World::new(REJECT);
    for from in [
        "ceo@author.test.",
        "CEO@AUTHOR.Test",
        "<ceo@author.test>",
        "\"a@sender.test\" <ceo@author.test>",
        "(a@sender.test) ceo@author.test",
        "ceo@author.test (a@sender.test)",
        "<@sender.test:ceo@author.test>",
        "Board: ceo@author.test;",
        "Board: ceo@author.test, b@author.test;, c@author.test",
        "\"ceo@sender.test>\"@author.test",
        "ceo@author.test\u{3002}",
        "ceo@\u{ff41}uthor.test",
        "ceo @ author . test",
        "ceo@author.\r\n test",
        "ceo@author(sender).test",
        "\"ceo@author.test",
    ] {
        let judgement = world.judge("a@sender.test", message(from)).await;
        assert_eq!(outcome(&judgement), "5.7.26", "{from}: {}", judgement.results);
    }
    for nobody in ["ceo@", "ceo@.", "Board:;"] {
        let judgement = world.judge("a@sender.test", message(nobody)).await;
        let notes = String::from_utf8_lossy(&judgement.header).into_owned();
        assert!(notes.contains("no-author"), "{nobody}: {notes}");
    }
}

#[tokio::test]
async fn whoever_some_reader_may_take_for_the_author_is_one() {
    let world = World::new(REJECT);
    for from in [
        "<ceo@author.test> <a@sender.test>",
        "<ceo@author.test> a@sender.test",
        "ceo@author.test a@sender.test",
        "ceo@author.test>a@sender.test",
        "<ceo@author.test,a@sender.test>",
        "<ceo@author.test@sender.test>",
        "x: ceo@author.test; y: a@sender.test;",
    ] {
        let judgement = world.judge("a@sender.test", message(from)).await;
        assert_eq!(outcome(&judgement), "5.7.1", "{from}: {}", judgement.results);
    }
    for named in [
        "ceo@author.test <a@sender.test>",
        "\"ceo@author.test\" <a@sender.test>",
        "a@sender.test (ceo@author.test)",
        "ceo@author, Inc. <a@sender.test>",
    ] {
        let judgement = world.judge("a@sender.test", message(named)).await;
        assert_eq!(outcome(&judgement), "accept", "{named}: {}", judgement.results);
    }
}

#[tokio::test]
async fn a_signature_that_leaves_from_out_proves_nothing() {
    let key = Key::new("author.test");
    let world = World::new(&format!("{REJECT}{}", key.record()));
    let signed = key.sign_fields(&message("a@author.test"), &["To", "Subject"]);
    let judgement = world.judge("a@sender.test", signed).await;
    assert_eq!((results(&judgement, "dkim"), outcome(&judgement)), (vec!["policy"], "5.7.26"));
}

/// The message with a set of ARC in front, whose sealer says that DMARC passed for `author`.
fn sealed(sealer: &Key, domain: &str, author: &str, message: &[u8]) -> Vec<u8> {
    let parsed = AuthenticatedMessage::parse(message).unwrap();
    let passed = DmarcOutput::new(author.to_owned()).with_dkim_result(DmarcResult::Pass);
    let results = AuthenticationResults::new(domain).with_dmarc_result(&passed);
    let set = ArcSealer::from_key(sealer.secret())
        .domain(domain)
        .selector("s1")
        .headers(["From", "To", "Subject"])
        .seal(&parsed, &results, &ArcOutput::default())
        .unwrap();
    [set.to_header().as_bytes(), message].concat()
}

#[tokio::test]
async fn a_trusted_seal_overrides_a_failure_of_dmarc() {
    let list = Key::new("list.test");
    let zone = format!("{REJECT}{}", list.record());
    let trusting = World::with(&zone, |config| {
        config.filter.authentication.trusted_sealers = vec!["List.Test".to_owned()];
    });
    let forwarded = sealed(&list, "list.test", "author.test", &message("a@author.test"));
    let judgement = trusting.judge("bounce@sender.test", forwarded.clone()).await;
    assert_eq!((results(&judgement, "arc"), results(&judgement, "dmarc")), (vec!["pass"], vec!["fail"]));
    assert_eq!(outcome(&judgement), "accept");

    let stranger = World::new(&zone).judge("bounce@sender.test", forwarded.clone()).await;
    assert_eq!((results(&stranger, "arc"), outcome(&stranger)), (vec!["pass"], "5.7.26"), "anyone may seal");

    let other = sealed(&list, "list.test", "elsewhere.test", &message("a@author.test"));
    assert_eq!(
        outcome(&trusting.judge("bounce@sender.test", other).await),
        "5.7.26",
        "it passed for another author"
    );

    let mut changed = forwarded;
    changed.extend_from_slice(b"Buy!\r\n");
    let broken = trusting.judge("bounce@sender.test", changed).await;
    assert_eq!((results(&broken, "arc"), outcome(&broken)), (vec!["neutral"], "5.7.26"));
}
