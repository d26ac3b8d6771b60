//! DMARC (RFC 9989): whether the author's domain stands behind a message, and what its owner asks for if not.

use futures_util::future::join_all;
use mail_auth::common::verify::VerifySignature as _;
use mail_auth::dkim::Signature;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::dmarc::{Alignment, Dmarc as Record, Policy, Report};
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DmarcOutput, DmarcResult, DnsError, Error, Parameters, SpfOutput,
};

use super::answers::Answers;
use super::dkim::Dkim;
use super::sender::Spf;
use super::{Outcome, authors};
use crate::PublishedPolicy;
use crate::spf::SpfResult;

/// What the owner of a domain asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    None,
    Quarantine,
    Reject,
}

impl Asked {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

impl From<Policy> for Asked {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Reject => Self::Reject,
            Policy::Quarantine => Self::Quarantine,
            Policy::None | Policy::Unspecified => Self::None,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dmarc {
    pub(crate) outcome: Outcome,
    /// Why, in a few words.
    pub(crate) reason: &'static str,
    /// The author's domain; empty if there is none, or more than one.
    pub(crate) domain: String,
    /// What the owner asks for; a level less in test mode.
    pub(crate) asked: Asked,
    /// Which mechanisms passed with an aligned identifier.
    pub(crate) dkim_aligned: bool,
    pub(crate) spf_aligned: bool,
    /// The record; with its domain, if it asks for reports.
    pub(crate) published: Option<PublishedPolicy>,
    /// From names several domains, and one of them has a policy.
    pub(crate) several_authors: bool,
    /// From names nobody, or is not there.
    pub(crate) no_author: bool,
}

impl Dmarc {
    /// Nothing was evaluated.
    pub(crate) fn none() -> Self {
        Self {
            outcome: Outcome::None,
            reason: "",
            domain: String::new(),
            asked: Asked::None,
            dkim_aligned: false,
            spf_aligned: false,
            published: None,
            several_authors: false,
            no_author: false,
        }
    }

    /// From names nobody.
    pub(crate) fn without_author() -> Self {
        Self { outcome: Outcome::PermError, reason: "From names no author", no_author: true, ..Self::none() }
    }
}

/// Evaluates the policy of the author's domain by what was answered of it. `spf` is the result that counts: that of MAIL, or of EHLO for the null reverse-path.
pub(crate) async fn evaluate(
    answers: &Answers<'_>,
    message: &mut AuthenticatedMessage<'_>,
    spf: Option<&Spf>,
    dkim: &[Dkim],
) -> Dmarc {
    let authors = authors::domains(message);
    match authors.as_slice() {
        [] => Dmarc::without_author(),
        [domain] => {
            // In the form in which it is looked up: with a dot at its end, no record would be found.
            message.from = vec![format!("x@{domain}")];
            let evaluation = evaluate_one(answers, message, spf, dkim);
            match tokio::time::timeout_at(answers.end(), evaluation).await {
                Ok(output) => located(answers, read(&output, domain)).await,
                Err(_) => Dmarc {
                    outcome: Outcome::TempError,
                    reason: "no answer in time",
                    domain: domain.clone(),
                    ..Dmarc::none()
                },
            }
        }
        several => {
            let policy = any_policy(answers, several).await;
            Dmarc {
                outcome: if policy.is_none() { Outcome::TempError } else { Outcome::PermError },
                reason: "From names several domains",
                several_authors: policy == Some(true),
                ..Dmarc::none()
            }
        }
    }
}

async fn evaluate_one(
    answers: &Answers<'_>,
    message: &AuthenticatedMessage<'_>,
    spf: Option<&Spf>,
    dkim: &[Dkim],
) -> DmarcOutput {
    let signature =
        |dkim: &Dkim| Signature { d: dkim.domain.clone(), s: dkim.selector.clone(), ..Signature::default() };
    let signatures: Vec<(Outcome, Signature)> =
        dkim.iter().map(|dkim| (dkim.outcome, signature(dkim))).collect();
    let outputs: Vec<DkimOutput<'_>> = signatures
        .iter()
        .filter(|(_, signature)| !signature.domain().is_empty())
        .filter_map(|(outcome, signature)| match outcome {
            Outcome::Pass => Some(DkimOutput::pass().with_signature(signature)),
            Outcome::TempError => Some(DkimOutput::temp_err(temporary()).with_signature(signature)),
            _ => None,
        })
        .collect();
    let domain = spf.map_or("", |spf| spf.domain.as_str());
    let result = match spf.map(|spf| spf.result) {
        Some(SpfResult::Pass) => mail_auth::SpfResult::Pass,
        Some(SpfResult::TempError) => mail_auth::SpfResult::TempError,
        _ => mail_auth::SpfResult::None,
    };
    let spf_output = SpfOutput::new(domain.to_owned()).with_result(result);
    let parameters = Parameters::new(DmarcParameters::new(message, &outputs, domain, &spf_output));
    answers.authenticator().verify_dmarc(parameters.with_txt_cache(answers)).await
}

fn temporary() -> Error {
    Error::Dns(DnsError::Resolver(String::new()))
}

fn read(output: &DmarcOutput, domain: &str) -> Dmarc {
    let (outcome, reason) = match output.result() {
        DmarcResult::Pass => (Outcome::Pass, ""),
        DmarcResult::Fail(_) => (Outcome::Fail, ""),
        DmarcResult::TempError(_) => (Outcome::TempError, "a lookup failed"),
        DmarcResult::PermError(_) => (Outcome::PermError, "the record is malformed"),
        DmarcResult::None => (Outcome::None, ""),
    };
    Dmarc {
        outcome,
        reason,
        domain: domain.to_owned(),
        asked: output.policy().into(),
        dkim_aligned: *output.dkim_result() == DmarcResult::Pass,
        spf_aligned: *output.spf_result() == DmarcResult::Pass,
        published: output.dmarc_record().map(published),
        ..Dmarc::none()
    }
}

fn published(record: &Record) -> PublishedPolicy {
    PublishedPolicy {
        domain: String::new(),
        p: Asked::from(record.p).name(),
        sp: Asked::from(record.sp).name(),
        np: Asked::from(record.np).name(),
        strict_dkim: record.adkim == Alignment::Strict,
        strict_spf: record.aspf == Alignment::Strict,
        testing: record.t,
        failure_options: match record.fo {
            Report::All => "0",
            Report::Any => "1",
            Report::Dkim => "d",
            Report::Spf => "s",
            Report::DkimSpf => "d:s",
        },
        rua: record
            .rua
            .iter()
            .map(|uri| (uri.uri.clone(), u64::try_from(uri.max_size).unwrap_or(u64::MAX)))
            .collect(),
    }
}

/// Whether one of several authors' domains has a policy that asks for something; so it is taken to be where there are too many to ask them
/// all. `None` if it is not known.
async fn any_policy(answers: &Answers<'_>, domains: &[String]) -> Option<bool> {
    if domains.len() >= authors::MAX_DOMAINS {
        return Some(true);
    }
    let asks = async |domain: &String| {
        let message = AuthenticatedMessage { from: vec![format!("x@{domain}")], ..Default::default() };
        let evaluation = evaluate_one(answers, &message, None, &[]);
        let output = tokio::time::timeout_at(answers.end(), evaluation).await.ok()?;
        let has_policy = output.dmarc_record().is_some() && Asked::from(output.policy()) != Asked::None;
        (!matches!(output.result(), DmarcResult::TempError(_))).then_some(has_policy)
    };
    let policies = join_all(domains.iter().map(asks)).await;
    if policies.contains(&Some(true)) {
        return Some(true);
    }
    (!policies.contains(&None)).then_some(false)
}

/// With the domain of the policy, where its owner wants to be told of it.
async fn located(answers: &Answers<'_>, mut dmarc: Dmarc) -> Dmarc {
    if let Some(published) = dmarc.published.as_mut().filter(|published| !published.rua.is_empty()) {
        published.domain = policy_domain(answers, &dmarc.domain, published).await;
    }
    dmarc
}

/// Where the record of a domain was found: at the domain itself, or the highest name above it that has the same one.
async fn policy_domain(answers: &Answers<'_>, domain: &str, policy: &PublishedPolicy) -> String {
    let search = async {
        let mut place = domain.to_owned();
        let mut name = domain;
        let mut first = true;
        loop {
            let at = format!("_dmarc.{name}.");
            let record = answers.authenticator().txt_lookup::<Record>(at, Some(answers)).await;
            if record.is_ok_and(|record| published(&record) == *policy) {
                name.clone_into(&mut place);
                if first {
                    break;
                }
            }
            first = false;
            // The walk of RFC 9989 §4.10 does not ask between the name itself and its last seven labels.
            let labels = name.split('.').count();
            match name.splitn(if labels > 8 { labels - 6 } else { 2 }, '.').last() {
                Some(parent) if parent != name => name = parent,
                _ => break,
            }
        }
        place
    };
    tokio::time::timeout_at(answers.end(), search).await.unwrap_or_else(|_| domain.to_owned())
}
