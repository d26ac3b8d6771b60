//! Work from time to time that one process of the cluster does for all: sweeping, trimming, collecting.
//!
//! Each job is a name in one group of leases, so that the jobs are shared among the processes. A job goes on at once in another process when
//! its process gives it back, and within the time of a lease and two thirds when it dies. All jobs are such that two processes at it do no harm: a process
//! that was paused may be in the middle of one when another has taken it up. So a lease saves work here, and guards nothing.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use ekitei_kv::lease::{Lease, LeaseSet, Leases};
use ekitei_telemetry::{CounterFamily, HistogramFamily, Registry, SECONDS};

/// The group of the leases.
const GROUP: &str = "jobs";
/// What rounds are counted as.
const DONE: &str = "done";
const FAILED: &str = "failed";
/// How often a process looks whether it has a lease in spite of what it heard.
const LOOK: Duration = Duration::from_secs(5);

/// What a round of a job ends with. The error is only shown: the next round goes on.
pub type Outcome = Result<(), Box<dyn fmt::Display + Send>>;

/// The outcome of work that may fail.
///
/// # Errors
/// What it failed with.
pub fn outcome<T, E: fmt::Display + Send + 'static>(result: Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(Box::new(error)),
    }
}

/// The jobs of a process: cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    leases: Leases,
    rounds: CounterFamily,
    seconds: HistogramFamily,
}

impl Jobs {
    /// The jobs that these leases are for.
    pub fn new(leases: Leases, registry: &Registry) -> Self {
        // Not `job`: targets of Prometheus have that label.
        let (labels, name) = (&["name", "outcome"], "job_rounds_total");
        Self {
            leases,
            rounds: registry.counters(
                name,
                "Rounds of background jobs that this process did for all.",
                labels,
            ),
            seconds: registry.histograms(
                "job_seconds",
                "Time of a round of a background job.",
                &["name"],
                SECONDS,
            ),
        }
    }

    /// Does `work` every `interval`, while this process has the lease of the job; runs until it is dropped. A round is cut off where it is when the lease
    /// is lost. `name` stays for ever, since other releases must know it.
    pub async fn run<I, W, F>(&self, name: &'static str, interval: I, work: W)
    where
        I: Fn() -> Duration,
        W: Fn() -> F,
        F: Future<Output = Outcome>,
    {
        // From 0, so that the first failure is seen as an increase.
        for outcome in [DONE, FAILED] {
            self.rounds.with(&[name, outcome]);
        }
        let mut leases = self.leases.join(GROUP, [name.to_owned()]);
        loop {
            let lease = held(&mut leases, name).await;
            tracing::debug!(job = name, token = lease.token(), "this process does a job now");
            let wanted_back = tokio::select! {
                () = self.repeat(&lease, name, &interval, &work) => true,
                () = until_over(&mut leases, &lease) => false,
            };
            if wanted_back && let Err(error) = self.leases.release(&lease).await {
                tracing::debug!(job = name, %error, "a job cannot be handed over yet");
            }
        }
    }

    /// Does rounds until the lease is wanted back, and the round at hand has ended.
    async fn repeat<F: Future<Output = Outcome>>(
        &self,
        lease: &Lease,
        name: &'static str,
        interval: &impl Fn() -> Duration,
        work: &impl Fn() -> F,
    ) {
        while !lease.is_wanted_back() {
            let began = tokio::time::Instant::now();
            let outcome = match work().await {
                Ok(()) => DONE,
                Err(error) => {
                    tracing::warn!(job = name, %error, "a background job was interrupted; it goes on in its next round");
                    FAILED
                }
            };
            self.rounds.with(&[name, outcome]).inc();
            self.seconds.with(&[name]).observe(began.elapsed().as_secs_f64());
            let next = tokio::time::Instant::now() + interval();
            while tokio::time::Instant::now() < next && !lease.is_wanted_back() {
                tokio::time::sleep_until(next.min(tokio::time::Instant::now() + LOOK)).await;
            }
        }
    }
}

/// Waits until this process has the lease of a job.
async fn held(leases: &mut LeaseSet, name: &str) -> Lease {
    loop {
        if let Some(lease) = leases.held().into_iter().find(|lease| lease.name() == name && lease.holds()) {
            return lease;
        }
        let _ = tokio::time::timeout(LOOK, leases.changed()).await;
    }
}

/// Waits until the lease is another's, or may be.
async fn until_over(leases: &mut LeaseSet, lease: &Lease) {
    while lease.holds() {
        let _ = tokio::time::timeout(LOOK, leases.changed()).await;
    }
}
