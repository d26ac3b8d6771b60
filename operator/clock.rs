//! What time it is, and how long to wait. Tests let it run faster.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// The variable that says how much faster the clock runs.
#[cfg(any(debug_assertions, feature = "testing"))]
const RATE: &str = "EKITEI_OPERATOR_CLOCK_RATE";

/// A clock. Clones show the same time.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// How many seconds pass on it in one of the world's.
    rate: f64,
}

impl Clock {
    /// The clock of this machine. Where tests are allowed to, `EKITEI_OPERATOR_CLOCK_RATE` makes it run faster.
    pub fn system() -> Self {
        #[cfg(any(debug_assertions, feature = "testing"))]
        if let Some(rate) = std::env::var(RATE).ok().and_then(|rate| rate.parse().ok()) {
            return Self::faster(rate);
        }
        Self { now: Arc::new(Timestamp::now), rate: 1.0 }
    }

    /// A clock that runs `rate` times as fast as the machine's, from `EKITEI_OPERATOR_CLOCK_EPOCH` (seconds since 1970) on, or from now. Processes
    /// with the same epoch and rate agree.
    #[cfg(any(debug_assertions, feature = "testing"))]
    fn faster(rate: f64) -> Self {
        let epoch = std::env::var("EKITEI_OPERATOR_CLOCK_EPOCH").ok().and_then(|epoch| epoch.parse().ok());
        let start =
            epoch.and_then(|second| Timestamp::from_second(second).ok()).unwrap_or_else(Timestamp::now);
        let now = move || {
            let passed = Timestamp::now().duration_since(start).as_secs_f64() * rate;
            start.checked_add(SignedDuration::from_secs_f64(passed)).unwrap_or(Timestamp::MAX)
        };
        Self { now: Arc::new(now), rate }
    }

    /// A clock that shows what `now` says.
    pub fn of(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), rate: 1.0 }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// The time as the API writes it: in whole seconds.
    pub fn time(&self) -> Time {
        let now = self.now();
        Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }

    /// How long ago that was; zero if it is to come.
    pub fn since(&self, time: &Time) -> Duration {
        Duration::try_from(self.now().duration_since(time.0)).unwrap_or_default()
    }

    /// How long it is until then; zero if it has passed.
    pub fn until(&self, time: Timestamp) -> Duration {
        Duration::try_from(time.duration_since(self.now())).unwrap_or_default()
    }

    /// How long to wait in the world until so much time has passed on the clock.
    pub fn wait(&self, duration: Duration) -> Duration {
        duration.div_f64(self.rate)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).field("rate", &self.rate).finish()
    }
}

/// `duration` after `time`.
pub fn after(time: &Time, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| time.0.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}
