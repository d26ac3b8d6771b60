//! How a certificate stands, for the status of its object, and when to look again.

use std::collections::BTreeSet;
use std::time::Duration;

use ekitei_operator_api::{CertificateStatus, RolloverStatus};
use ekitei_operator_certificates::KeyId;
use ekitei_operator_certificates::rollover::{Phase, Served};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Standing;
use super::forward::Round;
use super::kept::Kept;
use super::source::Source;

/// When to look again at what is under way.
pub(super) const SOON: Duration = Duration::from_secs(5);
/// And at a Secret that somebody else fills, in case no watch tells.
const LATER: Duration = Duration::from_secs(300);

impl Round<'_> {
    /// How the certificate stands after a step.
    pub(super) fn standing(
        &self,
        kept: &Kept,
        served: Served,
        tlsa: BTreeSet<KeyId>,
        wake: Option<Timestamp>,
    ) -> Standing {
        let rollover = &kept.state.rollover;
        let in_force = match served {
            Served::Certificate { key, .. } => Some(key),
            Served::Unknown | Served::Nothing => None,
        };
        let certificate = in_force.and_then(|key| kept.certificates.get(&key));
        let plan = in_force.and_then(|key| kept.state.plans.get(&key));
        let source = self.source;
        let ours = matches!(source, Source::Acme(_));
        let good = certificate.is_some_and(|own| own.is_valid(self.now) && own.covers(&self.wanted.hosts));
        let mut trouble = self.trouble.clone();
        if trouble.is_none() && !good && !matches!(source, Source::None) {
            trouble = Some(("CertificatePending", format!("the certificate is under way: {rollover}")));
        }
        let status = CertificateStatus {
            names: self.wanted.hosts.iter().map(ToString::to_string).collect(),
            source: source.name().to_owned(),
            secret: Some(self.wanted.name.clone()).filter(|_| !matches!(source, Source::None)),
            not_after: certificate.map(|own| Time(own.not_after())),
            renewal: plan.filter(|_| ours).map(|plan| Time(plan.renew_at)),
            fingerprint: certificate.map(|own| own.fingerprint()),
            deployed: good,
            rollover: rollover_status(kept, &tlsa),
            message: trouble.as_ref().map(|(_, message)| message.clone()),
        };
        Standing { status, tlsa, trouble, after: self.after(kept, wake) }
    }

    /// When to look again: what is under way soon, what is waited for at its time.
    fn after(&self, kept: &Kept, wake: Option<Timestamp>) -> Option<Duration> {
        let mut times: Vec<Duration> = wake.map(|time| self.context.clock.until(time)).into_iter().collect();
        if self.soon {
            times.push(SOON);
        }
        if let Source::Acme(_) = self.source {
            let plans = kept.state.plans.values().flat_map(|plan| [plan.renew_at, plan.ask_at]);
            let failures = kept.state.failure.iter().map(|failure| failure.until);
            let due = plans.chain(failures).filter(|time| *time > self.now);
            times.extend(due.map(|time| self.context.clock.until(time)));
        } else if !matches!(self.source, Source::None) {
            times.push(LATER);
        }
        // Names are looked at again before anything can go on.
        if matches!(
            kept.state.rollover.phase,
            Phase::NextPublished { shown_since: None, .. } | Phase::SwitchDue { .. }
        ) {
            times.push(SOON * 6);
        }
        times.into_iter().min().map(|wait| wait.max(Duration::from_secs(1)))
    }
}

/// How far the keys are, where their records are or were published.
fn rollover_status(kept: &Kept, tlsa: &BTreeSet<KeyId>) -> Option<RolloverStatus> {
    let rollover = &kept.state.rollover;
    rollover.published_ttl?;
    let (stage, since) = match &rollover.phase {
        Phase::Empty => ("Empty", None),
        Phase::First { .. } => ("First", None),
        Phase::Steady { .. } => ("Steady", None),
        Phase::NextPublished { shown_since, .. } => ("NextPublished", *shown_since),
        Phase::SwitchDue { .. } => ("SwitchDue", None),
        Phase::Switched { since, .. } => ("Switched", *since),
    };
    Some(RolloverStatus {
        stage: stage.to_owned(),
        since: since.map(Time),
        keys: tlsa.iter().map(ToString::to_string).collect(),
        state: Some(rollover.to_string()),
    })
}
