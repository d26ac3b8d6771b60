//! A filter that fails loses nothing.

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::FilterFailure;
use ekitei_filter::{Disposition, SenderParameters, Verdict};
use ekitei_kv::clock::Clock;

use crate::support::{World, message};

/// A clock that is broken, and breaks who looks at it: at MAIL for SPF, and at the end of a message for reports.
struct Broken;

impl Clock for Broken {
    fn now(&self) -> Duration {
        panic!("the clock is broken, as the test wants it")
    }
}

const REPORTED: &str = "_dmarc.author.test TXT \"v=DMARC1; p=none; rua=mailto:r@author.test\"\n";

#[tokio::test]
async fn the_client_comes_again() {
    let world = World::with_clock(REPORTED, Arc::new(Broken), |config| {
        config.filter.on_error = FilterFailure::Tempfail;
    });
    let mut session = world.session();
    session.hello("mail.sender.test").await;
    let verdict = session.sender("a@sender.test", SenderParameters::default()).await;
    assert!(
        matches!(&verdict, Verdict::Refuse(refusal) if (refusal.code, refusal.enhanced.as_str()) == (451, "4.7.0"))
    );
    session.recipient("bob@here.test", true, &[]).await;
    let judgement = session.message(message("a@author.test").into()).await;
    assert!(
        matches!(&judgement.disposition, Disposition::Refuse(refusal) if refusal.code == 451),
        "{judgement:?}"
    );
}

#[tokio::test]
async fn or_the_message_is_taken_without_what_others_wrote_in_our_name() {
    let world = World::with_clock(REPORTED, Arc::new(Broken), |config| {
        config.filter.on_error = FilterFailure::Pass;
    });
    let mut session = world.session();
    session.hello("mail.sender.test").await;
    assert_eq!(session.sender("a@sender.test", SenderParameters::default()).await, Verdict::Continue);
    session.recipient("bob@here.test", true, &[]).await;
    let plain = message("a@author.test");
    let written = [b"Authentication-Results: mx.here.test; dmarc=pass\r\n".as_slice(), &plain].concat();
    let judgement = session.message(written.into()).await;
    assert_eq!((judgement.disposition, judgement.message), (Disposition::Accept, Some(plain.into())));
    assert_eq!(judgement.results, "", "nothing is told that was not found out");
}
