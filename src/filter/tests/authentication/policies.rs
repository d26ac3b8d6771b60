//! What follows from what was found: actions, scores, and several recipients.

use ekitei_config::{
    DnsList, DnsListKind, DomainPolicy, FilterAction, FilterFailure, FilterPolicy, TemporaryError,
};
use ekitei_dns::testing::Behaviour;
use ekitei_filter::{Disposition, SenderParameters, Verdict};

use crate::support::{World, begin, message, outcome};

const REJECT: &str = "_dmarc.author.test TXT \"v=DMARC1; p=reject\"\n";

#[tokio::test]
async fn actions_are_the_operators() {
    for (action, expected, noted) in [
        (FilterAction::Reject, "5.7.26", true),
        (FilterAction::Quarantine, "junk", true),
        (FilterAction::Tag, "accept", true),
        (FilterAction::Observe, "accept", false),
    ] {
        let world = World::with(REJECT, |config| config.filter.policy.dmarc_reject = action);
        let judgement = world.judge("b@sender.test", message("a@author.test")).await;
        let header = String::from_utf8(judgement.header.clone()).unwrap();
        assert_eq!(
            (outcome(&judgement), header.contains("dmarc-fail")),
            (expected, noted),
            "{action:?} {header}"
        );
    }
}

#[tokio::test]
async fn each_domain_of_ours_has_its_policy() {
    let lenient = FilterPolicy { dmarc_reject: FilterAction::Observe, ..FilterPolicy::default() };
    let world = World::with(REJECT, |config| {
        config.filter.domains = vec![DomainPolicy { domain: "lenient.test".to_owned(), policy: lenient }];
    });
    for (recipients, expected, junk_for) in [
        (vec!["a@here.test"], "5.7.26", vec![]),
        (vec!["a@Lenient.test"], "accept", vec![]),
        (vec!["a@lenient.test", "b@here.test"], "accept", vec!["here.test"]),
    ] {
        let mut session = world.session();
        begin(&mut session, "mail.sender.test", "b@sender.test", &recipients).await;
        let judgement = session.message(message("a@author.test").into()).await;
        assert_eq!(
            (outcome(&judgement), &judgement.junk_for),
            (expected, &junk_for.iter().map(|d| (*d).to_owned()).collect()),
            "{recipients:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_known_now_is_put_off_where_so_configured() {
    for (on_error, expected) in [(TemporaryError::Continue, "accept"), (TemporaryError::Tempfail, "4.4.3")] {
        let world = World::with(REJECT, |config| config.filter.authentication.on_temporary_error = on_error);
        world.dns.behave("_dmarc.author.test", Behaviour::ServFail);
        let judgement = world.judge("b@sender.test", message("a@author.test")).await;
        assert_eq!(outcome(&judgement), expected, "{}", judgement.results);
    }
}

#[tokio::test]
async fn a_message_without_author_is_what_the_policy_says() {
    for (action, expected) in [(FilterAction::Tag, "accept"), (FilterAction::Reject, "5.6.0")] {
        let world = World::with("", |config| config.filter.policy.no_author = action);
        for header in ["", "Subject: x\r\n", "From: nobody\r\n", "From: <>\r\n"] {
            let judgement = world.judge("b@sender.test", format!("{header}\r\nhello\r\n")).await;
            assert_eq!(outcome(&judgement), expected, "{header}");
            assert!(String::from_utf8(judgement.header).unwrap().contains("no-author"));
        }
    }
}

#[tokio::test]
async fn scores_send_mail_to_junk() {
    let world = World::with("", |config| {
        config.filter.policy.junk_score = 3;
    });
    let judgement = world.judge("b@stranger.test", message("a@nowhere.test")).await;
    assert_eq!(outcome(&judgement), "junk");
    assert!(judgement.is_junk_for("here.test"));
}

#[tokio::test]
async fn a_listed_client_can_still_write_to_the_postmaster() {
    let list =
        DnsList { zone: "bl.test".to_owned(), kind: DnsListKind::Address, score: 10, answers: Vec::new() };
    let zone = "1.2.0.192.bl.test A 127.0.0.2\n1.2.0.192.bl.test TXT \"see https://bl.test\"\n";
    let world = World::with(zone, |config| config.filter.dns_lists.lists = vec![list]);
    let mut session = world.session();
    session.hello("mail.sender.test").await;
    assert_eq!(session.sender("a@sender.test", SenderParameters::default()).await, Verdict::Continue);
    let verdict = session.recipient("bob@here.test", true, &[]).await;
    assert!(
        matches!(&verdict, Verdict::Refuse(refusal) if refusal.enhanced == "5.7.1" && refusal.text.contains("bl.test")),
        "{verdict:?}"
    );
    assert_eq!(session.recipient("Postmaster@here.test", true, &[]).await, Verdict::Continue);
    let judgement = session.message(message("a@sender.test").into()).await;
    assert_eq!(outcome(&judgement), "junk");
}

#[tokio::test]
async fn a_sender_that_nobody_knows_is_put_off_until_it_is_known() {
    let zone = "_dmarc.sender.test TXT \"v=DMARC1; p=none; rua=mailto:r@sender.test\"\n";
    let world = World::with(zone, |config| {
        config.filter.greylist.enabled = true;
        config.filter.on_error = FilterFailure::Pass;
    });
    let mut session = world.session();
    begin(&mut session, "mail.sender.test", "a@sender.test", &["bob@here.test"]).await;
    let judgement = session.message(message("a@sender.test").into()).await;
    assert!(
        matches!(&judgement.disposition, Disposition::Refuse(refusal) if refusal.code == 451),
        "{judgement:?}"
    );
    assert_eq!(world.reports.0.lock().unwrap().len(), 0, "it is reported when it has come in");
    let mut accepted = judgement;
    accepted.disposition = Disposition::Accept;
    session.accepted(&accepted).await;
    begin(&mut session, "mail.sender.test", "a@sender.test", &["carol@here.test"]).await;
    let judgement = session.message(message("a@sender.test").into()).await;
    assert_eq!(outcome(&judgement), "accept");
    assert_eq!(world.reports.0.lock().unwrap().len(), 1);
}
