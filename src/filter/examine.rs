//! All that is looked at in a message: signatures, the ARC chain, the author's policy.

use bytes::Bytes;
use ekitei_config::Authentication;
use mail_auth::AuthenticatedMessage;
use mail_auth::common::headers::Header;
use mail_auth::dkim::Signature;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::auth::answers::{Answers, Names};
use crate::auth::arc::{self, Arc};
use crate::auth::authors;
use crate::auth::dkim::{self, Dkim};
use crate::auth::dmarc::{self, Dmarc};
use crate::auth::sender::Spf;
use crate::auth::{Outcome, a_labels, related};
use crate::metrics::{Metrics, Running};
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

/// A message as far as it can be read without asking anybody.
pub(crate) struct Examination<'x> {
    /// `None` for what is no message.
    parsed: Option<AuthenticatedMessage<'x>>,
    authors: Vec<String>,
    signatures: Vec<Header<'x, Signature>>,
    running: Running,
}

impl<'x> Examination<'x> {
    /// Reads a message.
    pub(crate) fn begin(message: &'x Bytes, settings: &Authentication, metrics: &Metrics) -> Self {
        let running = metrics.start();
        let mut parsed = parse(message);
        let authors = parsed.as_ref().map(authors::domains).unwrap_or_default();
        let signatures = match &mut parsed {
            Some(parsed) if settings.dkim => dkim::select(parsed, only(&authors), settings),
            _ => Vec::new(),
        };
        Self { parsed, authors, signatures, running }
    }

    /// The author's domain, if there is one and only one.
    pub(crate) fn author(&self) -> Option<&str> {
        only(&self.authors)
    }

    /// What DNS has to be asked. `identity` is the domain that SPF is about.
    pub(crate) fn names(&self, settings: &Authentication, identity: Option<&str>) -> Names {
        let mut names = Names::default();
        let Some(parsed) = &self.parsed else { return names };
        names.keys.extend(dkim::keys(&self.signatures, settings));
        if settings.arc && arc::is_there(parsed) {
            names.keys.extend(arc::keys(parsed, settings));
        }
        if settings.dmarc && self.authors.len() < authors::MAX_DOMAINS {
            names.policies.extend(self.authors.iter().cloned());
            // Where another identity may have the same organizational domain, it is found by a walk from there.
            let signers = self.signatures.iter().map(|header| a_labels(&header.header.d));
            let others = signers.chain(identity.map(a_labels));
            names
                .policies
                .extend(others.filter(|domain| self.author().is_some_and(|a| are_close(domain, a))));
        }
        names
    }

    /// Looks at the message by what was answered. `spf` is the result that counts for DMARC.
    pub(crate) async fn finish(
        self,
        answers: &Answers<'_>,
        spf: Option<&Spf>,
        settings: &Authentication,
        metrics: &Metrics,
    ) -> Findings {
        let Self { parsed, authors, signatures, running } = self;
        let mut findings = Findings::none();
        let Some(mut parsed) = parsed else {
            if settings.dmarc {
                findings.dmarc = Dmarc::without_author();
            }
            return findings;
        };
        findings.author = only(&authors).map(str::to_owned);
        if settings.dkim {
            findings.dkim = dkim::verify(answers, &mut parsed, signatures, settings).await;
            running.finish(metrics, "dkim", best(&findings.dkim));
        }
        if settings.arc && arc::is_there(&parsed) {
            findings.arc = arc::verify(answers, &parsed, only(&authors), settings).await;
            running.finish(metrics, "arc", findings.arc.outcome.name());
        }
        if settings.dmarc {
            findings.dmarc = dmarc::evaluate(answers, &mut parsed, spf, &findings.dkim).await;
            running.finish(metrics, "dmarc", findings.dmarc.outcome.name());
        }
        findings
    }
}

/// The only one of some domains.
fn only(domains: &[String]) -> Option<&str> {
    match domains {
        [only] => Some(only),
        _ => None,
    }
}

/// Whether two domains may well have the same organizational domain: their last two labels are the same.
fn are_close(one: &str, other: &str) -> bool {
    let end = |domain: &'_ str| domain.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
    one[end(one)..].eq_ignore_ascii_case(&other[end(other)..])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_close_that_share_their_last_labels() {
        assert!(are_close("a.example.org", "example.org") && are_close("a.b.test", "c.B.test"));
        assert!(!are_close("example.org", "example.net") && !are_close("org", "example.org"));
    }
}
