//! What happened in a run, in order: read when it fails, and compared to prove that a seed repeats itself.

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The trace of a run: cheap to clone.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Lines>>);

struct Lines {
    began: Instant,
    lines: Vec<String>,
    hasher: DefaultHasher,
}

impl Trace {
    /// A trace that begins now. Must be called within the runtime of the run.
    pub fn begin() -> Self {
        let lines = Lines { began: Instant::now(), lines: Vec::new(), hasher: DefaultHasher::new() };
        Self(Arc::new(Mutex::new(lines)))
    }

    /// Notes what somebody did, with the time.
    pub fn note(&self, who: impl fmt::Display, what: fmt::Arguments<'_>) {
        let mut lines = self.lock();
        let at = lines.began.elapsed();
        let mut line = format!("{:>4}.{:03} {who:<6} ", at.as_secs(), at.subsec_millis());
        // Writing into memory cannot fail.
        let _ = line.write_fmt(what);
        lines.hasher.write(line.as_bytes());
        lines.lines.push(line);
    }

    /// Stands for all that happened.
    pub fn hash(&self) -> u64 {
        self.lock().hasher.finish()
    }

    /// Everything so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
