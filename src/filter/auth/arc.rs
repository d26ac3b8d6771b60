//! ARC (RFC 8617): what hosts on the way say they found, each with a seal.
//!
//! A chain that is whole says nothing by itself: anyone may seal anything. It counts only as far back from its newest set as the sealers are
//! those that the configuration trusts.

use ekitei_config::Authentication;
use mail_auth::arc::Set;
use mail_auth::common::crypto::Algorithm;
use mail_auth::common::verify::VerifySignature as _;
use mail_auth::{ArcOutput, AuthenticatedMessage, Parameters};

use super::answers::Answers;
use super::dkim::outcome;
use super::{Outcome, a_labels};
use crate::results::{Reported, reported};

/// What is known of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arc {
    pub(crate) outcome: Outcome,
    /// Why, in a few words.
    pub(crate) reason: String,
    /// How many sets there are.
    pub(crate) sets: usize,
    /// A trusted sealer that saw DMARC pass.
    pub(crate) vouched: Option<Vouched>,
}

/// What a trusted sealer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// The sealer's domain.
    pub(crate) sealer: String,
    /// The instance of its set.
    pub(crate) instance: u32,
}

impl Arc {
    /// No chain was looked at.
    pub(crate) fn none() -> Self {
        Self { outcome: Outcome::None, reason: String::new(), sets: 0, vouched: None }
    }
}

/// How many sets there are.
fn sets(message: &AuthenticatedMessage<'_>) -> usize {
    message.as_headers.len().max(message.ams_headers.len()).max(message.aar_headers.len())
}

/// Whether there is a chain, whole or not.
pub(crate) fn is_there(message: &AuthenticatedMessage<'_>) -> bool {
    !message.as_headers.is_empty() || !message.ams_headers.is_empty() || message.has_arc_errors
}

/// Why a chain is not even verified.
fn unacceptable(message: &AuthenticatedMessage<'_>, settings: &Authentication) -> Option<&'static str> {
    let most = usize::try_from(settings.max_arc_sets).unwrap_or(usize::MAX);
    let most_fields = usize::try_from(settings.max_signed_fields).unwrap_or(usize::MAX);
    let seals = message.as_headers.iter().map(|seal| seal.header.a);
    let mut algorithms = message.ams_headers.iter().map(|signature| signature.header.a).chain(seals);
    if sets(message) > most {
        Some("the chain is too long")
    } else if algorithms.any(|algorithm| algorithm == Algorithm::RsaSha1) {
        // RFC 8301 §3.1: what holds for DKIM holds for its tags in a chain (RFC 8617 §4.1.2).
        Some("rsa-sha1 is not accepted")
    } else if message.ams_headers.iter().any(|header| header.header.h.len() > most_fields) {
        Some("too many signed fields")
    } else {
        None
    }
}

/// The names of the keys that a chain is verified with: those of all seals, and of the newest signature.
pub(crate) fn keys(message: &AuthenticatedMessage<'_>, settings: &Authentication) -> Vec<String> {
    if unacceptable(message, settings).is_some() {
        return Vec::new();
    }
    let seals = message.as_headers.iter().map(|seal| seal.header.domain_key());
    seals.chain(message.ams_headers.last().map(|signature| signature.header.domain_key())).collect()
}

/// Verifies the chain by what was answered of its keys; `author` is the domain of From.
pub(crate) async fn verify(
    answers: &Answers<'_>,
    message: &AuthenticatedMessage<'_>,
    author: Option<&str>,
    settings: &Authentication,
) -> Arc {
    let sets = sets(message);
    if let Some(reason) = unacceptable(message, settings) {
        return Arc { outcome: Outcome::Fail, reason: reason.to_owned(), sets, vouched: None };
    }
    let verified = answers.authenticator().verify_arc(Parameters::new(message).with_txt_cache(answers));
    let Ok(output) = tokio::time::timeout_at(answers.end(), verified).await else {
        return Arc {
            outcome: Outcome::TempError,
            reason: "no answer in time".to_owned(),
            sets,
            vouched: None,
        };
    };
    let (outcome, reason) = outcome(output.result());
    let vouched =
        if outcome == Outcome::Pass { vouched(&output, author, &settings.trusted_sealers) } else { None };
    Arc { outcome, reason, sets, vouched }
}

/// The oldest set up to which all sealers are trusted, and which saw the author pass DMARC.
fn vouched(output: &ArcOutput<'_>, author: Option<&str>, trusted: &[String]) -> Option<Vouched> {
    let is_trusted =
        |set: &&Set<'_>| trusted.iter().any(|domain| a_labels(domain) == a_labels(&set.seal.header.d));
    let believed = output.sets().iter().rev().take_while(is_trusted);
    let saw_pass = |set: &&Set<'_>| {
        let value = String::from_utf8_lossy(set.results.value);
        // The instance comes before what is as in Authentication-Results (RFC 8617 §4.1.1).
        let Some((_, results)) = value.split_once(';') else { return false };
        reported(results).is_some_and(|methods| methods.iter().any(|method| passed_dmarc(method, author)))
    };
    let set = believed.filter(saw_pass).last()?;
    Some(Vouched { sealer: a_labels(&set.seal.header.d), instance: set.seal.header.i })
}

/// Whether a sealer says that DMARC passed for this author; where it does not say for whom, it is for who was the author then.
fn passed_dmarc(method: &Reported, author: Option<&str>) -> bool {
    let same = |from: &str| author.is_some_and(|author| a_labels(from) == author);
    method.method == "dmarc"
        && method.result == "pass"
        && method.property("header.from").is_none_or(|from| same(from.rsplit('@').next().unwrap_or(from)))
}
