//! Reverse names, EHLO, SPF.

use ekitei_config::{FilterAction, HelloAction};
use ekitei_dns::testing::Behaviour;
use ekitei_filter::{Client, SenderParameters, Verdict};

use crate::support::{World, begin, message, outcome, results};

#[tokio::test]
async fn a_client_with_a_name_and_a_permission_is_told_so() {
    let world = World::new("");
    let judgement = world.judge("alice@sender.test", message("alice@sender.test")).await;
    assert_eq!(outcome(&judgement), "accept");
    assert_eq!(
        String::from_utf8(judgement.header).unwrap(),
        "Authentication-Results: mx.here.test;\r\n\tiprev=pass (mail.sender.test) policy.iprev=192.0.2.1;\r\n\t\
         spf=pass smtp.mailfrom=alice@sender.test;\r\n\tspf=pass smtp.helo=mail.sender.test;\r\n\t\
         dmarc=none header.from=sender.test\r\n"
    );
    assert_eq!(judgement.message, None);
}

#[tokio::test]
async fn a_name_that_does_not_lead_back_fails() {
    let world = World::with("9.2.0.192.in-addr.arpa PTR mail.sender.test\n", |config| {
        config.filter.policy.iprev_fail = FilterAction::Reject;
    });
    for (client, result) in [("192.0.2.9", "fail"), ("192.0.2.77", "permerror")] {
        let mut session = world.session_from(client);
        begin(&mut session, "mail.sender.test", "", &["bob@here.test"]).await;
        let judgement = session.message(message("a@nowhere.test").into()).await;
        assert_eq!((results(&judgement, "iprev"), outcome(&judgement)), (vec![result], "5.7.25"));
    }
}

#[tokio::test]
async fn spf_of_the_null_reverse_path_is_that_of_ehlo() {
    let world = World::with("", |config| config.filter.policy.spf_fail = FilterAction::Reject);
    let mut session = world.session();
    begin(&mut session, "stranger.test", "", &["bob@here.test"]).await;
    let judgement = session.message(message("a@nowhere.test").into()).await;
    assert_eq!((results(&judgement, "spf"), outcome(&judgement)), (vec!["fail"], "5.7.23"));
}

#[tokio::test]
async fn what_the_domain_says_to_those_it_does_not_permit_is_passed_on() {
    let zone =
        "own.test TXT \"v=spf1 -all exp=why.own.test\"\nwhy.own.test TXT \"%{i} is not one of %{d}\"\n";
    let world = World::with(zone, |config| config.filter.policy.spf_fail = FilterAction::Reject);
    let judgement = world.judge("a@own.test", message("a@own.test")).await;
    let ekitei_filter::Disposition::Refuse(refusal) = judgement.disposition else { panic!() };
    assert_eq!(
        (refusal.code, refusal.text.as_str()),
        (550, "SPF: own.test says: 192.0.2.1 is not one of own.test")
    );
}

#[tokio::test]
async fn a_domain_outside_of_ascii_is_looked_up_as_a_labels() {
    let world = World::new("xn--bcher-kva.test TXT \"v=spf1 ip4:192.0.2.1 -all\"\n");
    let judgement = world.judge("wör@bücher.test", message("a@nowhere.test")).await;
    assert_eq!(results(&judgement, "spf"), ["pass", "pass"]);
}

#[tokio::test]
async fn a_name_in_ehlo_that_cannot_be_is_refused_where_so_configured() {
    let world = World::with("", |config| {
        config.filter.hello.malformed = HelloAction::Reject;
        config.filter.hello.unresolvable = HelloAction::Reject;
    });
    for name in ["localhost", "[192.0.2.99]", "mx.here.test", "nothing.sender.test"] {
        let verdict = world.session().hello(name).await;
        assert!(matches!(&verdict, Verdict::Refuse(refusal) if refusal.code == 550), "{name}: {verdict:?}");
    }
    for name in ["[192.0.2.1]", "mail.sender.test"] {
        assert_eq!(world.session().hello(name).await, Verdict::Continue, "{name}");
    }
}

#[tokio::test]
async fn a_strange_name_is_noted() {
    let world = World::new("");
    let mut session = world.session();
    begin(&mut session, "localhost", "alice@sender.test", &["bob@here.test"]).await;
    let judgement = session.message(message("alice@sender.test").into()).await;
    let header = String::from_utf8(judgement.header).unwrap();
    assert!(header.ends_with("X-Ekitei-Filter: score=2;\r\n\thello-malformed\r\n"), "{header}");
}

#[tokio::test]
async fn a_lookup_that_fails_is_an_error_that_passes() {
    let world = World::new("");
    world.dns.behave("sender.test", Behaviour::ServFail);
    let judgement = world.judge("alice@sender.test", message("alice@sender.test")).await;
    assert_eq!((results(&judgement, "spf"), outcome(&judgement)), (vec!["temperror", "pass"], "accept"));
}

#[tokio::test]
async fn clients_that_are_trusted_are_not_judged() {
    let world = World::with("", |config| config.filter.policy.spf_fail = FilterAction::Reject);
    for (trusted, authenticated) in [(true, false), (false, true)] {
        let address = "192.0.2.1".parse().unwrap();
        let client = Client { address, trusted, authenticated, tls: false };
        let mut session = world.filter.session(client, 1);
        assert_eq!(session.sender("a@stranger.test", SenderParameters::default()).await, Verdict::Continue);
        let judgement = session.message(message("a@stranger.test").into()).await;
        assert_eq!(judgement, ekitei_filter::Judgement::accept());
    }
    assert_eq!(world.dns.queries(), [], "and nothing is looked up for them");
}

#[tokio::test]
async fn a_local_part_may_be_anything_in_a_name() {
    let world = World::new("macro.test TXT \"v=spf1 exists:%{l}._spf.%{d} -all\"\n");
    let judgement = world.judge("a+b=c@macro.test", message("a@nowhere.test")).await;
    assert_eq!(results(&judgement, "spf"), ["fail", "pass"]);
    let asked = world.dns.queries();
    assert!(asked.iter().any(|(name, kind)| name.ends_with("._spf.macro.test") && kind == "A"), "{asked:?}");
}
