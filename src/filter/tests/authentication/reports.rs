//! What the owner of a domain is told.

use ekitei_filter::{EvaluatedDisposition, OverrideReason, SpfScope};

use crate::support::{Key, World, message};

#[tokio::test]
async fn each_message_is_reported_as_rfc_9990_has_it() {
    let key = Key::new("spammer.test");
    let zone = "_dmarc.author.test TXT \"v=DMARC1; p=reject; sp=quarantine; adkim=s; fo=1; rua=mailto:r@author.test!10m\"\n";
    let world = World::new(&format!("{zone}{}", key.record()));
    world.judge("x@sender.test", key.sign(&message("a@News.author.test"))).await;
    let reports = world.reports.0.lock().unwrap();
    let [outcome] = reports.as_slice() else { panic!("{reports:?}") };
    assert_eq!(
        (outcome.source.to_string().as_str(), outcome.header_from.as_str()),
        ("192.0.2.1", "news.author.test")
    );
    assert_eq!(outcome.envelope_from.as_deref(), Some("sender.test"));
    assert_eq!(outcome.envelope_to.as_deref(), Some("here.test"));
    assert_eq!(outcome.policy.domain, "author.test");
    assert_eq!(
        (outcome.policy.p, outcome.policy.sp, outcome.policy.np),
        ("reject", "quarantine", "quarantine")
    );
    assert!(outcome.policy.strict_dkim && !outcome.policy.strict_spf && !outcome.policy.testing);
    assert_eq!(outcome.policy.failure_options, "1");
    assert_eq!(outcome.policy.rua, [("r@author.test".to_owned(), 10 << 20)]);
    assert_eq!(outcome.disposition, EvaluatedDisposition::Quarantine);
    assert!(!outcome.aligned.dkim && !outcome.aligned.spf && outcome.reasons.is_empty());
    assert_eq!(
        (outcome.dkim[0].domain.as_str(), outcome.dkim[0].selector.as_str(), outcome.dkim[0].result),
        ("spammer.test", "s1", "pass")
    );
    let spf = outcome.spf.as_ref().unwrap();
    assert_eq!((spf.domain.as_str(), spf.scope, spf.result), ("sender.test", SpfScope::MailFrom, "pass"));
}

#[tokio::test]
async fn test_mode_is_a_reason_and_no_rua_is_no_report() {
    let world = World::new(
        "_dmarc.author.test TXT \"v=DMARC1; p=quarantine; t=y; rua=mailto:r@author.test\"\n\
         _dmarc.silent.test TXT \"v=DMARC1; p=reject\"\n",
    );
    world.judge("x@sender.test", message("a@silent.test")).await;
    world.judge("x@sender.test", message("a@author.test")).await;
    let reports = world.reports.0.lock().unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].disposition, EvaluatedDisposition::None);
    assert_eq!(reports[0].reasons[0].reason, OverrideReason::PolicyTestMode);
    assert_eq!(reports[0].policy.p, "quarantine");
}
