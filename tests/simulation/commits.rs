//! Commits that end badly while there is trouble.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ekitei_kv::{CommitFault, Faults};

use crate::dice::Dice;
use crate::plan::CommitRates;
use crate::trace::Trace;

/// Faults of a seed, while there is trouble.
pub struct TroubledCommits {
    trouble: Arc<AtomicBool>,
    rates: CommitRates,
    dice: Mutex<Dice>,
    trace: Trace,
}

impl TroubledCommits {
    /// Faults at these rates, while `trouble` is set.
    pub fn new(trouble: Arc<AtomicBool>, rates: CommitRates, dice: Dice, trace: Trace) -> Self {
        Self { trouble, rates, dice: Mutex::new(dice), trace }
    }
}

impl Faults for TroubledCommits {
    fn commit(&self) -> Option<CommitFault> {
        if !self.trouble.load(Ordering::SeqCst) {
            return None;
        }
        let share = self.dice.lock().unwrap_or_else(PoisonError::into_inner).share();
        let CommitRates { conflict, applied, not_applied } = self.rates;
        let fault = match share {
            share if share < conflict => CommitFault::Conflict,
            share if share < conflict + applied => CommitFault::UnknownApplied,
            share if share < conflict + applied + not_applied => CommitFault::UnknownNotApplied,
            _ => return None,
        };
        self.trace.note("kv", format_args!("{fault:?}"));
        Some(fault)
    }
}
