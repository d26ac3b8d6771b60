//! Chance, drawn from the seed of a run: one stream for each purpose, so that a purpose more does not change the others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One stream of chance.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    /// The stream of a seed for a purpose.
    pub fn new(seed: u64, purpose: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, purpose).hash(&mut hasher);
        Self(StdRng::seed_from_u64(hasher.finish()))
    }

    /// `true` in `share` of all cases.
    pub fn chance(&mut self, share: f64) -> bool {
        self.0.random_bool(share.clamp(0.0, 1.0))
    }

    /// From 0 to 1.
    pub fn share(&mut self) -> f64 {
        self.0.random()
    }

    /// One of `0..end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end.max(1))
    }

    /// One of `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0.random_range(from..=to.max(from))
    }

    /// A time from `from` to `to`, in whole milliseconds.
    pub fn time(&mut self, from: Duration, to: Duration) -> Duration {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.between(millis(from), millis(to)))
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }

    /// Some of them in their order, at most `most`.
    pub fn some<T: Clone>(&mut self, all: &[T], most: usize) -> Vec<T> {
        let wanted = self.below(most + 1).min(all.len());
        let mut places: Vec<usize> = (0..wanted).map(|_| self.below(all.len())).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|at| all[at].clone()).collect()
    }
}
