//! One round of a certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekitei_api::NewCertificate;
use ekitei_operator_certificates::renewal::{Freshness, Plan};
use ekitei_operator_certificates::rollover::{Action, Observation, Phase, Served};
use ekitei_operator_certificates::{Key, KeyId};
use k8s_openapi::jiff::Timestamp;

use super::kept::{Failure, Kept};
use super::orders::{self, Failed, Look};
use super::source::{Authority, Source};
use super::tls_secret::Pair;
use super::{Standing, Wanted, accounts, cert_manager, look, tls_secret};
use crate::context::Context;
use crate::error::{Error, Optional as _, Result};
use crate::fail;

/// In one round at most so many steps are made.
const MOST_STEPS: usize = 8;
/// After the first failed order; twice as long after each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(300);
/// The longest pause after failed orders.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// The reason of a failure that another account helps against.
const UNKNOWN_ACCOUNT: &str = "ACMEAccountUnknown";

/// Something that is in the way: a reason in CamelCase, and what to tell people.
pub(super) type Trouble = (&'static str, String);

/// Brings the certificate of an object forward as far as it goes now, and says how it stands.
///
/// # Errors
/// Those after which nothing is known or may be done: the Kubernetes API's (a conflict if another round wrote meanwhile),
/// `SecretInvalid`, `SecretNotOurs`, and of what the spec names. What an authority or the service says is in
/// [`Standing::trouble`].
pub async fn advance(context: &Context, wanted: &Wanted<'_>) -> Result<Standing> {
    let source = Source::find(context, wanted).await?;
    let mut left = MOST_STEPS;
    loop {
        left -= 1;
        // What is done for a certificate is much; it has a place of its own, besides the stack of who wants it.
        let (mut standing, again) = Box::pin(step(context, wanted, &source)).await?;
        if !again {
            return Ok(standing);
        }
        if left == 0 {
            standing.after = Some(super::stand::SOON);
            return Ok(standing);
        }
    }
}

/// One step; whether another may follow at once.
async fn step(context: &Context, wanted: &Wanted<'_>, source: &Source) -> Result<(Standing, bool)> {
    let orders = &context.certificates.orders;
    // Before the Secret is read: an order that has ended writes nothing into it any more.
    let order = orders.look(wanted);
    let has_ended = matches!(order, Look::Ended { .. });
    let mut kept = Kept::load(context, wanted).await?;
    let now = context.clock.now();
    let mut round = Round { context, wanted, source, now, trouble: None, again: false, soon: false };
    let given = round.collect(&mut kept, order).await?;
    let (served, silence) = look::served(wanted.service, &wanted.stored_as, &kept).await;
    round.note(silence.map(|message| ("ServiceUnavailable", message)));
    if matches!((source, served), (Source::None, Served::Nothing)) && !kept.exists() {
        return Ok((round.standing(&kept, served, BTreeSet::new(), None), false));
    }

    let seen = round.observe(&kept, served, given);
    let step = kept.state.rollover.advance(&seen, &wanted.timing);
    round.follow(&mut kept, step.state);
    kept.save(context, wanted).await?;
    if has_ended {
        orders.forget(wanted);
    }
    fail::point("certificate.state")?;

    let mut tlsa = BTreeSet::new();
    let mut actions = step.actions;
    // An order notes its challenges in the Secret, so what this round keeps in it goes first.
    actions.sort_by_key(|action| matches!(action, Action::Issue(_)));
    for action in actions {
        match action {
            Action::Publish(keys) => tlsa = keys,
            Action::PrepareKey => round.prepare(&mut kept).await?,
            Action::Issue(key) => round.issue(&mut kept, key).await?,
            Action::Deploy(key) => round.deploy(&kept, key).await,
            Action::Discard(key) => {
                kept.remove_key(key);
                kept.save(context, wanted).await?;
            }
        }
        fail::point("certificate.action")?;
    }
    let waits = round.waits_for_names(&kept);
    round.note(waits);
    Ok((round.standing(&kept, served, tlsa, step.wake), round.again))
}

/// What one round knows.
pub(super) struct Round<'a> {
    pub(super) context: &'a Context,
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) now: Timestamp,
    pub(super) source: &'a Source,
    pub(super) trouble: Option<Trouble>,
    /// Whether there is more to do at once.
    pub(super) again: bool,
    /// Whether something is under way that will end soon.
    pub(super) soon: bool,
}

impl Round<'_> {
    fn note(&mut self, trouble: Option<Trouble>) {
        if let Some(trouble) = trouble {
            self.trouble.get_or_insert(trouble);
        }
    }

    /// Takes in what came since the last round: a pair that somebody else gave (its key is returned), or what an order came to.
    async fn collect(&mut self, kept: &mut Kept, order: Look) -> Result<Option<KeyId>> {
        let (client, namespace) = (&self.context.client, &self.wanted.namespace);
        match self.source {
            Source::None => Ok(None),
            Source::Secret(name) => {
                let pair = tls_secret::read(client, namespace, name).await?;
                if pair.is_none() {
                    let message = format!("there is no certificate in Secret {namespace}/{name}");
                    self.note(Some(("SecretMissing", message)));
                }
                Ok(pair.and_then(|pair| self.take(pair, kept)))
            }
            Source::CertManager(issuer) => {
                let object = cert_manager::apply(self.context, self.wanted, issuer).await?;
                let said = cert_manager::trouble(&object);
                let pair =
                    tls_secret::read(client, namespace, &cert_manager::secret_name(self.wanted)).await?;
                // A renewal that is under way is no trouble while there is a certificate.
                if pair.as_ref().is_none_or(|pair| !pair.certificate.is_valid(self.now)) {
                    self.note(said.map(|said| ("CertificateNotIssued", said)));
                }
                Ok(pair.and_then(|pair| self.take(pair, kept)))
            }
            Source::Acme(authority) => {
                self.take_order(authority, kept, order).await?;
                self.ask_for_advice(authority, kept).await;
                Ok(None)
            }
        }
    }

    /// Takes a pair of somebody else's in, if it is for the names.
    fn take(&mut self, pair: Pair, kept: &mut Kept) -> Option<KeyId> {
        let missing = pair.certificate.missing(&self.wanted.hosts);
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.iter().map(|host| host.as_str()).collect();
            let message = format!("the certificate in the Secret is not for {}", missing.join(", "));
            self.note(Some(("CertificateNamesMissing", message)));
            return None;
        }
        // The service chooses certificates by name: with names of others, the object's would be given for their hosts.
        let is_trusted = self.wanted.namespace == self.context.namespace();
        let foreign = pair.certificate.foreign(&self.wanted.hosts, &self.wanted.domain);
        if !is_trusted && !foreign.is_empty() {
            let message = format!("the certificate in the Secret is also for {}", foreign.join(", "));
            self.note(Some(("CertificateNamesForeign", message)));
            return None;
        }
        let id = pair.key.id();
        if !kept.keys.contains_key(&id) {
            kept.add_key(pair.key, self.now);
        }
        let newer =
            kept.certificates.get(&id).is_none_or(|own| own.fingerprint() != pair.certificate.fingerprint());
        if newer {
            kept.state.plans.insert(id, Plan::new(&pair.certificate, None, self.now));
            kept.certificates.insert(id, pair.certificate);
        }
        kept.state.candidate = Some(id).filter(|id| !kept.state.rollover.keys().contains(id));
        Some(id)
    }

    /// Takes in what an order came to, and removes what a process left that died during one.
    async fn take_order(&mut self, authority: &Authority, kept: &mut Kept, order: Look) -> Result<()> {
        match order {
            Look::Running => self.soon = true,
            Look::None if kept.challenges.is_empty() => {}
            Look::None => {
                if let Err(error) = orders::clean_up(self.context, self.wanted, kept).await {
                    self.note(Some((error.reason(), error.to_string())));
                }
                // Each record that is gone was noted in the Secret.
                *kept = Kept::load(self.context, self.wanted).await?;
            }
            Look::Ended { key, result: Ok(certificate), .. } => {
                kept.state.failure = None;
                // The key may have been discarded meanwhile.
                if kept.keys.contains_key(&key) {
                    let mut plan = Plan::new(&certificate, None, self.now);
                    plan.ask_at = self.now;
                    kept.state.plans.insert(key, plan);
                    kept.certificates.insert(key, *certificate);
                }
                fail::point("certificate.issued")?;
            }
            Look::Ended { of, result: Err(failed), .. } => {
                self.fail_order(authority, kept, of, failed).await?
            }
        }
        Ok(())
    }

    async fn fail_order(
        &self,
        authority: &Authority,
        kept: &mut Kept,
        of: String,
        failed: Failed,
    ) -> Result<()> {
        if failed.reason == UNKNOWN_ACCOUNT {
            accounts::forget(self.context, authority).await?;
        }
        let failures = kept.state.failure.as_ref().map_or(0, |failure| failure.failures) + 1;
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(16).saturating_sub(1)).min(LONGEST_PAUSE);
        let pause = if failed.needs_a_person { LONGEST_PAUSE.min(pause.saturating_mul(2)) } else { pause };
        let pause = failed.after.map_or(pause, |after| after.max(pause.min(FIRST_PAUSE)));
        // Another account is made at once, but not again and again.
        let pause = if failed.reason == UNKNOWN_ACCOUNT && failures == 1 { Duration::ZERO } else { pause };
        let until = self.now.checked_add(pause).unwrap_or(Timestamp::MAX);
        tracing::warn!(
            secret = self.wanted.name,
            reason = failed.reason,
            message = failed.message,
            "an order failed"
        );
        kept.state.failure =
            Some(Failure { reason: failed.reason.to_owned(), message: failed.message, until, failures, of });
        Ok(())
    }

    /// Asks the authority when to renew the current certificate, where it is time to ask. What it says is kept; that it cannot be
    /// asked is no trouble.
    async fn ask_for_advice(&self, authority: &Authority, kept: &mut Kept) {
        let Some(current) = kept.state.rollover.current() else { return };
        let Some(certificate) = kept.certificates.get(&current).cloned() else { return };
        let plan = kept.state.plans.entry(current).or_insert_with(|| Plan::new(&certificate, None, self.now));
        if !plan.is_to_be_asked(self.now) {
            return;
        }
        let advice = match accounts::open(self.context, authority).await {
            Ok(account) => account.advice(&certificate).await.map_err(accounts::acme),
            Err(error) => Err(error),
        };
        match advice {
            Ok(advice) => plan.update(&certificate, advice, self.now),
            Err(error) => {
                tracing::debug!(%error, "the authority gives no renewal information");
                plan.update(&certificate, None, self.now);
            }
        }
    }

    fn freshness(&self, kept: &Kept, key: KeyId) -> Option<Freshness> {
        let certificate = kept.certificates.get(&key).filter(|own| own.covers(&self.wanted.hosts))?;
        let stands =
            match kept.state.plans.get(&key).filter(|plan| plan.certificate == certificate.fingerprint()) {
                Some(plan) => plan.freshness(self.now),
                None => Plan::new(certificate, None, self.now).freshness(self.now),
            };
        // When somebody else renews, nothing is due for us.
        let ours = matches!(self.source, Source::Acme(_));
        Some(if ours || stands == Freshness::Expired { stands } else { Freshness::Fresh })
    }

    fn observe(&self, kept: &Kept, served: Served, given: Option<KeyId>) -> Observation {
        let fresh = |key: &KeyId| Some((*key, self.freshness(kept, *key)?));
        let certificates: BTreeMap<KeyId, Freshness> = kept.certificates.keys().filter_map(fresh).collect();
        let current = kept.state.rollover.current();
        let rotation_due = match self.source {
            Source::None => false,
            Source::Secret(_) | Source::CertManager(_) => given.is_some() && given != current,
            Source::Acme(_) => self.is_key_due(kept),
        };
        Observation {
            now: self.now,
            tlsa: self.tlsa(),
            served,
            keys: kept.key_ids(),
            candidate: kept.state.candidate.filter(|key| kept.keys.contains_key(key)),
            certificates,
            rotation_due,
            shown: self.wanted.shown.clone(),
        }
    }

    /// The TTL that TLSA records will have, if there are to be any: a provider may raise it.
    fn tlsa(&self) -> Option<u64> {
        let shortest = self.wanted.dns.map_or(0, |open| open.provider.capabilities().min_ttl);
        self.wanted.tlsa.map(|ttl| ttl.max(shortest.into()))
    }

    /// Whether a key of ours is to be followed by another.
    fn is_key_due(&self, kept: &Kept) -> bool {
        let Some(current) = kept.state.rollover.current() else { return false };
        let asked = self.wanted.rotate.is_some() && self.wanted.rotate != kept.state.rotated;
        let other_kind = kept.keys.get(&current).is_some_and(|key| !key.is(self.wanted.key_type));
        let lead = self.tlsa().map_or(Duration::ZERO, |ttl| {
            self.wanted.timing.lead(kept.state.rollover.published_ttl.unwrap_or(ttl).max(ttl))
        });
        let old = kept.state.plans.get(&current).is_some_and(|plan| {
            let since = kept.state.since.get(&current).copied().unwrap_or(self.now);
            plan.key_is_due(since, self.wanted.key_age, lead, self.now)
        });
        asked || other_kind || old
    }

    /// Takes the new state in, and what goes with it.
    fn follow(&mut self, kept: &mut Kept, state: ekitei_operator_certificates::rollover::Rollover) {
        let was_steady = matches!(kept.state.rollover.phase, Phase::Steady { .. });
        let is_steady = matches!(state.phase, Phase::Steady { .. });
        // The request is followed when another key is on its way. A new object's first key is no other.
        if (was_steady && !is_steady)
            || (kept.state.rollover.current().is_none() && state.current().is_some())
        {
            kept.state.rotated.clone_from(&self.wanted.rotate);
        }
        self.again |= kept.state.rollover.phase != state.phase;
        kept.state.candidate = kept.state.candidate.filter(|key| !state.keys().contains(key));
        kept.state.rollover = state;
    }

    /// Makes the next key, where it is ours to make.
    async fn prepare(&mut self, kept: &mut Kept) -> Result<()> {
        if !matches!(self.source, Source::Acme(_)) {
            return Ok(());
        }
        let key = Key::generate(self.wanted.key_type).map_err(|error| Error::outside("KeyNotMade", error))?;
        kept.state.candidate = Some(key.id());
        kept.add_key(key, self.now);
        kept.save(self.context, self.wanted).await?;
        self.again = true;
        Ok(())
    }

    /// Sees to it that there is an order, unless one has just failed.
    async fn issue(&mut self, kept: &mut Kept, key: KeyId) -> Result<()> {
        let Source::Acme(authority) = self.source else {
            if kept.certificates.contains_key(&key) {
                let message = "the certificate in the Secret has ended, and nobody renewed it".to_owned();
                self.note(Some(("CertificateExpired", message)));
            }
            return Ok(());
        };
        let of = orders::description(&self.wanted.hosts, authority);
        let failed =
            kept.state.failure.as_ref().filter(|failure| failure.of == of && failure.until > self.now);
        if let Some(failure) = failed {
            let message = format!("{}; the next try is after {}", failure.message, failure.until);
            self.note(Some((known_reason(&failure.reason), message)));
            return Ok(());
        }
        if !matches!(self.context.certificates.orders.look(self.wanted), Look::None) {
            self.soon = true;
            return Ok(());
        }
        self.context.leadership.check()?;
        match orders::place(self.context, self.wanted, authority, kept, key).await {
            Ok(true) => self.again = true,
            Ok(false) => self.soon = true,
            // What an authority says is not asked for again at once.
            Err(error) if error.reason().starts_with("ACME") => {
                self.fail_order(authority, kept, of, Failed::from(error)).await?;
                kept.save(self.context, self.wanted).await?;
                self.again = true;
            }
            Err(error) => {
                // Who looks for the DNS again, or has to change the spec, brings another round about.
                self.soon = self.wanted.dns.is_some();
                self.note(Some((error.reason(), error.to_string())));
            }
        }
        Ok(())
    }

    /// A change of keys goes no further while nobody can look at the names.
    fn waits_for_names(&self, kept: &Kept) -> Option<Trouble> {
        let rollover = &kept.state.rollover;
        let is_under_way = matches!(rollover.phase, Phase::NextPublished { .. } | Phase::SwitchDue { .. });
        let waits = is_under_way && rollover.published_ttl.is_some() && self.wanted.shown.is_none();
        waits.then(|| {
            let why = self.wanted.dns_trouble.unwrap_or("a name server does not answer");
            (orders::DNS_AWAY, format!("{rollover}; it waits until the names can be looked at again: {why}"))
        })
    }

    /// Gives the service a certificate; that it has it, it says itself in the next step.
    async fn deploy(&mut self, kept: &Kept, key: KeyId) {
        let (Some(certificate), Some(own)) = (kept.certificates.get(&key), kept.keys.get(&key)) else {
            return;
        };
        if let Err(error) = self.context.leadership.check() {
            self.note(Some((error.reason(), error.to_string())));
            return;
        }
        let new = NewCertificate { certificate: certificate.pem().to_owned(), key: own.pem().to_owned() };
        match self.wanted.service.put_certificate(&self.wanted.stored_as, &new, None).await {
            Ok(_) => {
                tracing::info!(
                    name = self.wanted.stored_as,
                    key = key.short(),
                    "the service has a new certificate"
                );
                self.again = true;
                self.leave_former_name(kept).await;
            }
            Err(error) => {
                let error = Error::from(error);
                self.note(Some((error.reason(), error.to_string())));
            }
        }
    }

    /// Takes the certificate away that the service has under the name of former versions, if it is of a key of this object.
    async fn leave_former_name(&self, kept: &Kept) {
        let (service, former) = (self.wanted.service, &self.wanted.stored_before);
        let Ok(Some(found)) = service.certificate(former).await.optional() else { return };
        let is_ours = found.spki_sha256.parse::<KeyId>().is_ok_and(|key| kept.keys.contains_key(&key));
        if is_ours && let Err(error) = service.delete_certificate(former).await {
            tracing::warn!(name = former, %error, "a certificate that has another name now was not removed");
        }
    }
}

/// The reason of a kept failure, which is one of ours.
fn known_reason(reason: &str) -> &'static str {
    const REASONS: [&str; 13] = [
        "ACMEServerUnavailable",
        "ACMERateLimited",
        UNKNOWN_ACCOUNT,
        "ACMEAccountRefused",
        "ACMEOrderRefused",
        "ACMEValidationFailed",
        "ChallengeNotVisible",
        "ChallengeNotPublished",
        "ACMEServerSlow",
        "ACMEBadAnswer",
        "ACMEBadConfiguration",
        "DNSMissing",
        "OrderAborted",
    ];
    REASONS.into_iter().find(|known| *known == reason).unwrap_or("OrderFailed")
}
