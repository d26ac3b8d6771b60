//! Figures that one transaction changes, written once at its end: each addition is a row of the store's log.

use std::collections::BTreeMap;

use ekitei_kv::Transaction;

use crate::rows::{self, Count, Total};

/// What is to be added to the figures.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    totals: BTreeMap<Total, i64>,
    counts: BTreeMap<(String, Count), i64>,
}

impl Tally {
    pub(crate) fn total(&mut self, total: Total, delta: i64) {
        *self.totals.entry(total).or_default() += delta;
    }

    pub(crate) fn count(&mut self, destination: &str, count: Count, delta: i64) {
        *self.counts.entry((destination.to_owned(), count)).or_default() += delta;
    }

    pub(crate) fn write(self, transaction: &Transaction) {
        for (total, delta) in self.totals.into_iter().filter(|(_, delta)| *delta != 0) {
            transaction.add(&rows::total(total), delta);
        }
        for ((destination, count), delta) in self.counts.into_iter().filter(|(_, delta)| *delta != 0) {
            transaction.add(&rows::count(&destination, count), delta);
        }
    }
}
