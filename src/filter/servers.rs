//! The servers of one scanner, and which of them is asked first.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekitei_config::Endpoint;
use tokio::time::Instant;

/// For so long a server that gave no answer is asked last: one that takes connections and says nothing would cost each message all its time.
const PAUSE: Duration = Duration::from_secs(60);

/// Servers that are asked one after the other, as configured; those that gave no answer a moment ago come last.
#[derive(Debug)]
pub(crate) struct Servers {
    all: Vec<Endpoint>,
    /// When each failed, if it did not answer since.
    failed: Mutex<Vec<Option<Instant>>>,
}

impl Servers {
    pub(crate) fn new(all: Vec<Endpoint>) -> Self {
        let failed = Mutex::new(vec![None; all.len()]);
        Self { all, failed }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The servers in the order in which they are asked now, each as its turn comes.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = Asked<'_>> {
        let now = Instant::now();
        let paused = |at: &Option<Instant>| at.is_some_and(|at| now.duration_since(at) < PAUSE);
        let paused: Vec<bool> = self.failed().iter().map(paused).collect();
        let mut places: Vec<usize> = (0..self.all.len()).collect();
        places.sort_by_key(|&place| paused[place]);
        places.into_iter().map(|place| Asked { servers: self, place, answered: false })
    }

    fn failed(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server whose turn it is. It failed unless it is said to have answered, also where nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    servers: &'a Servers,
    place: usize,
    answered: bool,
}

impl Asked<'_> {
    /// Where it is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.servers.all[self.place]
    }

    /// It answered.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.servers.failed()[self.place] = (!self.answered).then(Instant::now);
    }
}
