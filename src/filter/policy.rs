//! What follows from what was found out: pure rules, for the policy of each recipient's domain.

use ekitei_config::{Config, FilterAction, FilterPolicy, TemporaryError};

use crate::auth::Outcome;
use crate::auth::arc::Arc;
use crate::auth::dkim::Dkim;
use crate::auth::dmarc::{Asked, Dmarc};
use crate::auth::hello::Fault;
use crate::auth::iprev::Iprev;
use crate::auth::sender::Spf;
use crate::dnsbl::Listings;
use crate::spf::SpfResult;
use crate::{Disposition, EvaluatedDisposition, OverrideReason, PolicyOverride, Refusal};

/// All that is known of a message and of who brings it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) iprev: Option<&'a Iprev>,
    pub(crate) hello: &'a [Fault],
    /// The result of SPF that counts: that of MAIL, or of EHLO for the null reverse-path.
    pub(crate) spf: Option<&'a Spf>,
    pub(crate) dkim: &'a [Dkim],
    pub(crate) arc: &'a Arc,
    pub(crate) dmarc: &'a Dmarc,
    pub(crate) listings: &'a Listings,
}

/// What a policy makes of the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) disposition: Disposition,
    /// What is noted in the message.
    pub(crate) notes: Vec<String>,
    pub(crate) score: i32,
    /// What DMARC made of it, for reports.
    pub(crate) dmarc: EvaluatedDisposition,
}

impl Evidence<'_> {
    /// Whether the author's domain stands behind the message, or someone who is trusted saw that it did.
    fn vouched(&self) -> bool {
        self.dmarc.outcome == Outcome::Pass || self.arc.vouched.is_some()
    }

    fn spf_result(&self) -> SpfResult {
        self.spf.map_or(SpfResult::None, |spf| spf.result)
    }

    fn dkim_failed(&self) -> bool {
        let broken =
            |dkim: &Dkim| matches!(dkim.outcome, Outcome::Fail | Outcome::PermError | Outcome::Policy);
        !self.dkim.is_empty() && self.dkim.iter().all(broken)
    }

    fn iprev_failed(&self) -> bool {
        self.iprev.is_some_and(|iprev| matches!(iprev.outcome, Outcome::Fail | Outcome::PermError))
    }

    /// What is wrong, with what the policy makes of it and what the client is told.
    fn findings(&self, policy: &FilterPolicy) -> Vec<(&'static str, FilterAction, i32, Refusal)> {
        let scores = &policy.scores;
        let mut findings = Vec::new();
        if self.dmarc.outcome == Outcome::Fail && self.arc.vouched.is_none() {
            let action = match self.dmarc.asked {
                Asked::Reject => policy.dmarc_reject,
                Asked::Quarantine => policy.dmarc_quarantine,
                Asked::None => FilterAction::Observe,
            };
            let text = format!(
                "{} does not stand behind this message: neither SPF nor DKIM passed for it (DMARC)",
                self.dmarc.domain
            );
            findings.push(("dmarc-fail", action, scores.dmarc_fail, Refusal::new(550, "5.7.26", text)));
        }
        if self.dmarc.several_authors {
            let text = "From names authors in several domains, one of which uses DMARC";
            let refusal = Refusal::new(550, "5.7.1", text);
            findings.push(("several-authors", policy.several_authors, 0, refusal));
        }
        if self.dmarc.no_author {
            let refusal = Refusal::new(550, "5.6.0", "The message has no valid From field");
            findings.push(("no-author", policy.no_author, 0, refusal));
        }
        if let Some(spf) = self.spf.filter(|_| !self.vouched()) {
            let text = match &spf.explanation {
                Some(explanation) => format!("SPF: {} says: {explanation}", spf.domain),
                None => format!("SPF: {} does not send mail from your address", spf.domain),
            };
            let refusal = Refusal::new(550, "5.7.23", text);
            match spf.result {
                SpfResult::Fail => findings.push(("spf-fail", policy.spf_fail, scores.spf_fail, refusal)),
                SpfResult::SoftFail => {
                    findings.push(("spf-softfail", FilterAction::Observe, scores.spf_soft_fail, refusal));
                }
                _ => {}
            }
        }
        if self.dkim_failed() {
            let refusal = Refusal::new(550, "5.7.20", "No DKIM signature of this message is good");
            findings.push(("dkim-fail", policy.dkim_fail, scores.dkim_fail, refusal));
        }
        if self.iprev_failed() {
            let refusal = Refusal::new(550, "5.7.25", "Your address has no name that leads back to it");
            findings.push(("iprev-fail", policy.iprev_fail, scores.iprev_fail, refusal));
        }
        findings
    }
}

/// What the policy of some recipients makes of a message.
pub(crate) fn decide(config: &Config, policy: &FilterPolicy, evidence: &Evidence<'_>) -> Decision {
    let mut action = FilterAction::Observe;
    let mut refusal = None;
    let mut notes = Vec::new();
    let mut score = evidence.listings.score();
    for (name, wanted, counts, reply) in evidence.findings(policy) {
        score = score.saturating_add(counts);
        if wanted != FilterAction::Observe {
            notes.push(name.to_owned());
        }
        if severity(wanted) > severity(action) {
            action = wanted;
        }
        if wanted == FilterAction::Reject {
            refusal.get_or_insert(reply);
        }
    }
    if evidence.dmarc.outcome == Outcome::Pass {
        score = score.saturating_add(policy.scores.dmarc_pass);
    }
    for fault in evidence.hello {
        score = score.saturating_add(policy.scores.hello);
        notes.push(fault.name().to_owned());
    }
    notes.extend(evidence.listings.entries.iter().map(|entry| format!("listed={}", entry.zone)));
    let reaches = |limit: u32| limit != 0 && score >= i32::try_from(limit).unwrap_or(i32::MAX);
    let disposition = if let Some(refusal) = refusal {
        Disposition::Refuse(refusal)
    } else if reaches(policy.reject_score) {
        Disposition::Refuse(Refusal::new(550, "5.7.1", "The message looks like spam"))
    } else if action == FilterAction::Quarantine
        || reaches(policy.junk_score)
        || is_listed_as_junk(config, evidence.listings)
    {
        Disposition::Junk
    } else {
        Disposition::Accept
    };
    Decision { disposition, notes, score, dmarc: evaluated(policy, evidence) }
}

fn is_listed_as_junk(config: &Config, listings: &Listings) -> bool {
    let limit = config.filter.dns_lists.junk_score;
    limit != 0 && listings.score() >= i32::try_from(limit).unwrap_or(i32::MAX)
}

const fn severity(action: FilterAction) -> u8 {
    match action {
        FilterAction::Observe => 0,
        FilterAction::Tag => 1,
        FilterAction::Quarantine => 2,
        FilterAction::Reject => 3,
    }
}

/// What was done because of DMARC alone.
fn evaluated(policy: &FilterPolicy, evidence: &Evidence<'_>) -> EvaluatedDisposition {
    let action = match (evidence.dmarc.outcome, evidence.dmarc.asked) {
        (Outcome::Pass, _) => return EvaluatedDisposition::Pass,
        (Outcome::Fail, _) if evidence.arc.vouched.is_some() => return EvaluatedDisposition::None,
        (Outcome::Fail, Asked::Reject) => policy.dmarc_reject,
        (Outcome::Fail, Asked::Quarantine) => policy.dmarc_quarantine,
        _ => return EvaluatedDisposition::None,
    };
    match action {
        FilterAction::Reject => EvaluatedDisposition::Reject,
        FilterAction::Quarantine => EvaluatedDisposition::Quarantine,
        FilterAction::Observe | FilterAction::Tag => EvaluatedDisposition::None,
    }
}

/// Why what was done is not what the owner's record asks for.
pub(crate) fn overrides(evidence: &Evidence<'_>, done: EvaluatedDisposition) -> Vec<PolicyOverride> {
    let mut reasons = Vec::new();
    if evidence.dmarc.outcome != Outcome::Fail {
        return reasons;
    }
    let reason = |reason, comment: String| PolicyOverride { reason, comment };
    if evidence.dmarc.published.as_ref().is_some_and(|policy| policy.testing && policy.p != "none") {
        reasons.push(reason(OverrideReason::PolicyTestMode, String::new()));
    }
    if let Some(vouched) = &evidence.arc.vouched {
        let comment = format!("arc=pass as[{}].d={}", vouched.instance, vouched.sealer);
        reasons.push(reason(OverrideReason::TrustedForwarder, comment));
    } else if done.name() != evidence.dmarc.asked.name() {
        reasons.push(reason(OverrideReason::LocalPolicy, String::new()));
    }
    reasons
}

/// Whether the client has to come again, since what is not known now could decide.
pub(crate) fn undecided(config: &Config, evidence: &Evidence<'_>) -> Option<Refusal> {
    let settings = &config.filter.authentication;
    if settings.on_temporary_error == TemporaryError::Continue || evidence.vouched() {
        return None;
    }
    if evidence.dmarc.outcome == Outcome::TempError {
        return Some(Refusal::new(
            451,
            "4.4.3",
            "DNS does not answer for the domain of From, try again later",
        ));
    }
    let spf_matters = config.filter.policy.spf_fail == FilterAction::Reject;
    (spf_matters && evidence.spf_result() == SpfResult::TempError)
        .then(|| Refusal::new(451, "4.7.24", "SPF cannot be checked now, try again later"))
}

/// The policy for mail to a domain.
pub(crate) fn of_domain<'c>(config: &'c Config, domain: &str) -> &'c FilterPolicy {
    let filter = &config.filter;
    let own = filter.domains.iter().find(|own| own.domain.eq_ignore_ascii_case(domain));
    own.map_or(&filter.policy, |own| &own.policy)
}

/// What becomes of a message for several domains: it is refused only if all refuse it, and where only some do, it is junk there.
pub(crate) fn together(decisions: Vec<(String, Disposition)>) -> (Disposition, Vec<String>) {
    let harsh = |disposition: &Disposition| !matches!(disposition, Disposition::Accept);
    let refused = |disposition: &Disposition| matches!(disposition, Disposition::Refuse(_));
    if !decisions.is_empty() && decisions.iter().all(|(_, disposition)| refused(disposition)) {
        let first = decisions.into_iter().next().map(|(_, disposition)| disposition);
        return (first.unwrap_or(Disposition::Accept), Vec::new());
    }
    if !decisions.is_empty() && decisions.iter().all(|(_, disposition)| harsh(disposition)) {
        return (Disposition::Junk, Vec::new());
    }
    let junk_for = decisions.into_iter().filter(|(_, disposition)| harsh(disposition));
    (Disposition::Accept, junk_for.map(|(domain, _)| domain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpfScope;

    fn dmarc(outcome: Outcome, asked: Asked) -> Dmarc {
        Dmarc { outcome, asked, domain: "a.test".to_owned(), ..Dmarc::none() }
    }

    fn spf(result: SpfResult) -> Spf {
        Spf { scope: SpfScope::MailFrom, domain: "b.test".to_owned(), result, explanation: None }
    }

    fn decided(policy: &FilterPolicy, spf: &Spf, dmarc: &Dmarc, arc: &Arc) -> Decision {
        let listings = Listings::default();
        let evidence =
            Evidence { iprev: None, hello: &[], spf: Some(spf), dkim: &[], arc, dmarc, listings: &listings };
        decide(&Config::default(), policy, &evidence)
    }

    fn code(disposition: &Disposition) -> &str {
        match disposition {
            Disposition::Refuse(refusal) => &refusal.enhanced,
            Disposition::Junk => "junk",
            Disposition::Accept => "accept",
            Disposition::Discard => "discard",
        }
    }

    #[test]
    fn a_failure_of_dmarc_is_treated_as_the_owner_asks() {
        let (policy, spf, arc) = (FilterPolicy::default(), spf(SpfResult::None), Arc::none());
        for (outcome, asked, expected, told) in [
            (Outcome::Fail, Asked::Reject, "5.7.26", EvaluatedDisposition::Reject),
            (Outcome::Fail, Asked::Quarantine, "junk", EvaluatedDisposition::Quarantine),
            (Outcome::Fail, Asked::None, "accept", EvaluatedDisposition::None),
            (Outcome::Pass, Asked::Reject, "accept", EvaluatedDisposition::Pass),
            (Outcome::TempError, Asked::None, "accept", EvaluatedDisposition::None),
        ] {
            let decision = decided(&policy, &spf, &dmarc(outcome, asked), &arc);
            assert_eq!(
                (code(&decision.disposition), decision.dmarc),
                (expected, told),
                "{outcome:?} {asked:?}"
            );
        }
    }

    #[test]
    fn a_trusted_seal_overrides_the_owner() {
        let vouched = crate::auth::arc::Vouched { sealer: "list.test".to_owned(), instance: 1 };
        let arc = Arc { outcome: Outcome::Pass, vouched: Some(vouched), ..Arc::none() };
        let (dmarc, spf) = (dmarc(Outcome::Fail, Asked::Reject), spf(SpfResult::Fail));
        let decision = decided(&FilterPolicy::default(), &spf, &dmarc, &arc);
        assert_eq!(decision.disposition, Disposition::Accept);
        let listings = Listings::default();
        let evidence = Evidence {
            iprev: None,
            hello: &[],
            spf: Some(&spf),
            dkim: &[],
            arc: &arc,
            dmarc: &dmarc,
            listings: &listings,
        };
        let reasons = overrides(&evidence, decision.dmarc);
        assert_eq!(reasons.len(), 1);
        assert_eq!(
            (reasons[0].reason, reasons[0].comment.as_str()),
            (OverrideReason::TrustedForwarder, "arc=pass as[1].d=list.test")
        );
    }

    #[test]
    fn spf_counts_only_where_dmarc_did_not_pass() {
        let policy = FilterPolicy { spf_fail: FilterAction::Reject, ..FilterPolicy::default() };
        let failed = spf(SpfResult::Fail);
        let strict = decided(&policy, &failed, &Dmarc::none(), &Arc::none());
        assert_eq!((code(&strict.disposition), strict.score), ("5.7.23", 3));
        let passed = decided(&policy, &failed, &dmarc(Outcome::Pass, Asked::Reject), &Arc::none());
        assert_eq!((code(&passed.disposition), passed.score), ("accept", -1));
    }

    #[test]
    fn scores_add_up() {
        let mut policy = FilterPolicy { junk_score: 5, ..FilterPolicy::default() };
        let (spf, dmarc) = (spf(SpfResult::Fail), dmarc(Outcome::Fail, Asked::None));
        let junk = decided(&policy, &spf, &dmarc, &Arc::none());
        assert_eq!((code(&junk.disposition), junk.score), ("junk", 5));
        policy.reject_score = 5;
        assert_eq!(code(&decided(&policy, &spf, &dmarc, &Arc::none()).disposition), "5.7.1");
        (policy.junk_score, policy.reject_score) = (0, 0);
        assert_eq!(code(&decided(&policy, &spf, &dmarc, &Arc::none()).disposition), "accept");
    }

    #[test]
    fn nobody_loses_mail_through_the_policy_of_another() {
        let refuse = || Disposition::Refuse(Refusal::new(550, "5.7.26", "no"));
        let of = |name: &str, disposition: Disposition| (name.to_owned(), disposition);
        assert_eq!(together(vec![]), (Disposition::Accept, vec![]));
        assert_eq!(together(vec![of("a", refuse()), of("b", refuse())]).0, refuse());
        assert_eq!(
            together(vec![of("a", refuse()), of("b", Disposition::Junk)]),
            (Disposition::Junk, vec![])
        );
        assert_eq!(
            together(vec![of("a", refuse()), of("b", Disposition::Accept)]),
            (Disposition::Accept, vec!["a".to_owned()])
        );
    }
}
