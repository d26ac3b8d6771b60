//! Which of the operator's processes works: the one that holds a Lease.
//!
//! The lease is written with the `resourceVersion` that was read, so of two that want it one wins. Whether somebody else's lease has run out is
//! measured on our own monotonic clock from when we saw it change last, so clocks that differ do no harm. The holder believes in its
//! lease for less time than others do, from before the request that renewed it was sent: [`Leadership::check`] before each burst of writes is a fence.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;

use crate::error::{Error, Optional as _, Result};

/// Whether this process leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Until when it may write.
    until: Arc<Mutex<Option<Instant>>>,
    leads: watch::Sender<bool>,
    /// The UID of the lease.
    lease: Arc<Mutex<String>>,
}

impl Leadership {
    /// Nobody leads yet.
    pub fn none() -> Self {
        Self { until: Arc::default(), leads: watch::Sender::new(false), lease: Arc::default() }
    }

    /// For tests and for single commands: this process always leads.
    pub fn always() -> Self {
        let century = Instant::now().checked_add(Duration::from_secs(100 * 365 * 86_400));
        Self { until: Arc::new(Mutex::new(century)), leads: watch::Sender::new(true), lease: Arc::default() }
    }

    /// Whether this process may write now.
    ///
    /// # Errors
    /// [`Error::NotLeader`].
    pub fn check(&self) -> Result<()> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| Instant::now() < until) { Ok(()) } else { Err(Error::NotLeader) }
    }

    /// Waits until this process leads, or does not.
    pub async fn wait(&self, leads: bool) {
        // The sender is in `self`, so the channel is open.
        let _ = self.leads.subscribe().wait_for(|now| *now == leads).await;
    }

    /// Whether this process led when it was last looked at.
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Who leads, among all operators of all clusters: the UID of the lease. It stays over restarts, and no two operators have the same.
    pub fn holder(&self) -> String {
        format!("operator/{}", self.lease.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        self.leads.send_if_modified(|leads| std::mem::replace(leads, until.is_some()) != until.is_some());
    }

    fn expired(&self) -> bool {
        self.check().is_err()
    }
}

/// One that wants to lead.
pub struct Candidate {
    leases: Api<Lease>,
    lease: String,
    identity: String,
    duration: Duration,
    leadership: Leadership,
    /// The lease as it was last read, and when it was first seen so.
    seen: Option<(Lease, Instant)>,
}

impl Candidate {
    /// Wants the lease `lease` in `namespace`, which is good for `duration`.
    pub fn new(
        client: Client,
        namespace: &str,
        lease: &str,
        identity: String,
        duration: Duration,
        leadership: Leadership,
    ) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, lease: lease.to_owned(), identity, duration, leadership, seen: None }
    }

    /// Takes the lease when it can be had, and renews it; without end.
    pub async fn run(&mut self) {
        loop {
            let asked = Instant::now();
            match self.attempt(asked).await {
                Ok(true) => {
                    if !self.leadership.leads() {
                        tracing::info!(identity = self.identity, lease = self.lease, "leads");
                    }
                    // The others wait for the whole duration from when they saw this renewal, which is later.
                    self.leadership.set(Some(asked + self.duration.mul_f64(0.8)));
                }
                Ok(false) => self.lose("another process has the lease"),
                Err(error) => {
                    tracing::warn!(%error, lease = self.lease, "the lease cannot be had now");
                    if self.leadership.leads() && self.leadership.expired() {
                        self.lose("the lease could not be renewed in time");
                    }
                }
            }
            let pause = if self.leadership.leads() { self.duration / 5 } else { self.duration / 4 };
            tokio::time::sleep(pause).await;
        }
    }

    /// Gives the lease back, so that another process need not wait until it runs out.
    pub async fn release(&mut self) {
        let led = self.leadership.leads();
        self.leadership.set(None);
        let Some((mut lease, _)) = self.seen.take().filter(|_| led) else { return };
        if lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) != Some(&self.identity) {
            return;
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match self.leases.replace(&self.lease, &PostParams::default(), &lease).await {
            Ok(_) => tracing::info!(lease = self.lease, "gave the lease back"),
            Err(error) => {
                tracing::warn!(%error, lease = self.lease, "the lease was not given back; it runs out")
            }
        }
    }

    fn lose(&self, why: &str) {
        if self.leadership.leads() {
            tracing::warn!(identity = self.identity, lease = self.lease, why, "leads no more");
        }
        self.leadership.set(None);
    }

    /// Whether the lease is ours now.
    async fn attempt(&mut self, now: Instant) -> Result<bool> {
        // A holder that is slow must not wait for an answer beyond the end of its lease.
        let patience = self.duration / 3;
        let late = |_| Error::outside("KubernetesUnavailable", "the API server is slow");
        tokio::time::timeout(patience, self.take(now)).await.map_err(late)?
    }

    async fn take(&mut self, now: Instant) -> Result<bool> {
        let Some(present) = self.leases.get_opt(&self.lease).await? else {
            let new = Lease {
                metadata: ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            let made = self.leases.create(&PostParams::default(), &new).await;
            return self.written(made, now);
        };
        let since = match &self.seen {
            Some((seen, since)) if seen.resource_version() == present.resource_version() => *since,
            _ => now,
        };
        self.seen = Some((present.clone(), since));
        if !may_take(present.spec.as_ref(), &self.identity, now.duration_since(since)) {
            return Ok(false);
        }
        let spec = self.spec(present.spec.as_ref());
        let wanted = Lease { spec: Some(spec), ..present };
        let written = self.leases.replace(&self.lease, &PostParams::default(), &wanted).await;
        self.written(written, now)
    }

    fn written(&mut self, written: kube::Result<Lease>, now: Instant) -> Result<bool> {
        match written {
            Ok(lease) => {
                let uid = lease.uid().unwrap_or_default();
                *self.leadership.lease.lock().unwrap_or_else(PoisonError::into_inner) = uid;
                self.seen = Some((lease, now));
                Ok(true)
            }
            // Another one was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error).optional().map(|_: Option<Lease>| false),
        }
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = before.is_some_and(|before| before.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|before| before.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            renew_time: Some(now.clone()),
            acquire_time: before
                .filter(|_| ours)
                .and_then(|before| before.acquire_time.clone())
                .or(Some(now)),
            lease_transitions: Some(transitions.saturating_add(i32::from(!ours && before.is_some()))),
            ..before.cloned().unwrap_or_default()
        }
    }
}

/// Whether `identity` may take a lease that has been as it is for `unchanged`.
fn may_take(spec: Option<&LeaseSpec>, identity: &str, unchanged: Duration) -> bool {
    let Some(spec) = spec else { return true };
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) if holder == identity => true,
        Some(_) => {
            let good_for = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            unchanged >= Duration::from_secs(good_for.unwrap_or(15))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_run_out_by_our_own_clock() {
        let short = Duration::from_secs(14);
        assert!(may_take(None, "a", Duration::ZERO));
        assert!(may_take(Some(&held_by("")), "a", Duration::ZERO), "it was given back");
        assert!(may_take(Some(&held_by("a")), "a", short));
        assert!(!may_take(Some(&held_by("b")), "a", short));
        assert!(may_take(Some(&held_by("b")), "a", Duration::from_secs(15)));
    }

    #[tokio::test]
    async fn writing_needs_a_lease_that_has_not_run_out() {
        let leadership = Leadership::none();
        assert!(leadership.check().is_err());
        leadership.set(Some(Instant::now() + Duration::from_secs(60)));
        assert!(leadership.check().is_ok());
        leadership.wait(true).await;
        leadership.set(Some(Instant::now()));
        assert!(leadership.check().is_err(), "it has run out though nobody has noticed yet");
        leadership.set(None);
        leadership.wait(false).await;
        assert!(!leadership.leads());
    }
}
