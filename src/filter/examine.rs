//! All that is looked at in a message: signatures, the ARC chain, the author's policy.

use bytes::Bytes;
use ekitei_config::Authentication;
use mail_auth::{AuthenticatedMessage, MessageAuthenticator};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use crate::auth::Outcome;
use crate::auth::arc::{self, Arc};
use crate::auth::authors;
use crate::auth::dkim::{self, Dkim};
use crate::auth::dmarc::{self, Dmarc};
use crate::auth::related;
use crate::auth::sender::Spf;
use crate::metrics::Metrics;
use crate::spf::SpfResult;

/// Messages from this size on are hashed where that keeps nobody waiting.
const LARGE: usize = 1 << 20;

/// What was found in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) dkim: Vec<Dkim>,
    pub(crate) arc: Arc,
    pub(crate) dmarc: Dmarc,
    /// The author's domain, if there is one and only one.
    pub(crate) author: Option<String>,
}

impl Findings {
    /// Nothing was looked at.
    pub(crate) fn none() -> Self {
        Self { dkim: Vec::new(), arc: Arc::none(), dmarc: Dmarc::none(), author: None }
    }

    /// Domains that the message was shown to be of: SPF passed for them, or the signature of one that is the author's, or related to it.
    pub(crate) fn shown(&self, spf: Option<&Spf>) -> Vec<String> {
        let spf = spf.filter(|spf| spf.result == SpfResult::Pass).map(|spf| &spf.domain);
        let author = self.author.as_deref();
        let good = self.dkim.iter().filter(|dkim| dkim.outcome == Outcome::Pass).map(|dkim| &dkim.domain);
        let signed = good.filter(|domain| author.is_some_and(|author| related(domain, author)));
        let mut shown: Vec<String> = spf.into_iter().chain(signed).cloned().collect();
        shown.dedup();
        shown
    }
}

/// Looks at a message. `spf` is the result that counts for DMARC.
pub(crate) async fn examine(
    authenticator: &MessageAuthenticator,
    message: &Bytes,
    spf: Option<&Spf>,
    settings: &Authentication,
    metrics: &Metrics,
) -> Findings {
    let mut findings = Findings::none();
    let Some(mut parsed) = parse(message) else {
        if settings.dmarc {
            findings.dmarc = Dmarc::without_author();
        }
        return findings;
    };
    let authors = authors::domains(&parsed);
    findings.author = match authors.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    };
    let author = findings.author.as_deref();
    // Each check has its own time: keys that a sender lets us wait for must not keep us from the author's policy.
    let deadline = || Instant::now() + settings.time_limit.get();
    if settings.dkim {
        let timer = metrics.start();
        findings.dkim = dkim::verify(authenticator, &mut parsed, author, settings, deadline()).await;
        timer.finish(metrics, "dkim", best(&findings.dkim));
    }
    let has_chain = !parsed.as_headers.is_empty() || !parsed.ams_headers.is_empty() || parsed.has_arc_errors;
    if settings.arc && has_chain {
        let timer = metrics.start();
        findings.arc = arc::verify(authenticator, &parsed, author, settings, deadline()).await;
        timer.finish(metrics, "arc", findings.arc.outcome.name());
    }
    if settings.dmarc {
        let timer = metrics.start();
        findings.dmarc = dmarc::evaluate(authenticator, &mut parsed, spf, &findings.dkim, deadline()).await;
        timer.finish(metrics, "dmarc", findings.dmarc.outcome.name());
    }
    findings
}

/// Reads the header and hashes the body, which takes a while if it is large.
fn parse(message: &Bytes) -> Option<AuthenticatedMessage<'_>> {
    let blocks = message.len() >= LARGE
        && Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if blocks {
        tokio::task::block_in_place(|| AuthenticatedMessage::parse(message))
    } else {
        AuthenticatedMessage::parse(message)
    }
}

/// The result that says most.
fn best(dkim: &[Dkim]) -> &'static str {
    let passed = dkim.iter().find(|dkim| dkim.outcome == Outcome::Pass);
    passed.or(dkim.first()).map_or(Outcome::None, |dkim| dkim.outcome).name()
}
