//! What is due in the life of data keys: new ones by schedule, and how many there are.

use std::collections::BTreeMap;

use ekitei_blob::DataKeys as _;
use ekitei_kv::lease::Leases;

use crate::error::Result;
use crate::keyring::Keyring;
use crate::model::KeyState;

/// The group of the lease; its only name.
const LEASE: &str = "data keys";

/// What a round found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Keys by state, before the round.
    pub states: BTreeMap<KeyState, u64>,
    /// Keys that were made by schedule.
    pub rotated: u64,
    /// Scopes that keep their keys, since no new one could be made; the log says why. The next round tries again.
    pub failed: u64,
}

impl Keyring {
    /// Counts keys every `encryption.maintenanceInterval`, and in one process of the cluster at a time makes those that are due; runs until it is
    /// dropped.
    pub async fn maintain_forever(&self, leases: &Leases) {
        let lease = leases.join(LEASE, [LEASE.to_owned()]);
        loop {
            let leads = lease.held().iter().any(|lease| lease.holds());
            match self.maintain(leads).await {
                Ok(done) => tracing::debug!(?done, leads, "data keys were looked after"),
                Err(error) => {
                    tracing::warn!(%error, "data keys cannot be looked after; the next round tries again")
                }
            }
            tokio::time::sleep(self.inner.live.load().encryption.maintenance_interval.get()).await;
        }
    }

    /// Counts keys; with `rotate`, makes those that are due.
    ///
    /// # Errors
    /// `Store`: the keys cannot be listed.
    pub async fn maintain(&self, rotate: bool) -> Result<Maintained> {
        let mut done = Maintained::default();
        let mut after = None;
        loop {
            let (page, more) = self.rows(after).await?;
            for (key, row) in page {
                after = Some(key);
                *done.states.entry(row.state()).or_default() += 1;
            }
            if !more {
                break;
            }
        }
        for state in KeyState::ALL {
            let count = done.states.get(&state).copied().unwrap_or_default();
            self.inner.states.with(&[state.name()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let config = self.inner.live.load();
        let (period, now) = (config.encryption.rotate_after.get().as_secs(), self.now());
        if rotate && period > 0 && self.is_enabled() {
            let replaced = self.replace(|row| row.created.saturating_add(period) <= now).await?;
            (done.rotated, done.failed) = (replaced.rotated, replaced.failed);
        }
        Ok(done)
    }
}
