//! What is due in the life of keys: new keys that sign, old ones that go, new ones by schedule, and another encryption key.
//!
//! Keys with [`Activation::Manual`] are their maker's: they are only stored anew, and what is made and activated here never takes their place.
//!
//! Every step checks in its transaction that it is still due, so that two processes that do the same do no harm; a lease only saves the work.

use std::collections::BTreeMap;

use ekitei_directory::Domain;
use ekitei_kv::lease::Leases;

use crate::error::{Error, Result};
use crate::lifecycle::{Wanted, activate};
use crate::model::{Activation, KeyInfo, Stage};
use crate::record::KeyRecord;
use crate::rows::{self, NamedRow};
use crate::signing::Signing;

/// The group of the lease; its only name.
const LEASE: &str = "signing keys";

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Keys that began to sign.
    pub activated: usize,
    /// Keys that were made by schedule.
    pub created: usize,
    /// Keys that were removed.
    pub removed: usize,
    /// Keys that are stored under another encryption key now.
    pub resealed: usize,
    /// Domains where something failed; the log says what. The next round tries again.
    pub failed: usize,
}

impl Signing {
    /// Does what is due every `signing.maintenanceInterval`, in one process of the cluster at a time; runs until it is dropped.
    pub async fn maintain_forever(&self, leases: &Leases) {
        let mut lease = leases.join(LEASE, [LEASE.to_owned()]);
        loop {
            if lease.held().iter().any(|lease| lease.holds()) {
                match self.maintain().await {
                    Ok(done) => tracing::debug!(?done, "signing keys were looked after"),
                    Err(error) => {
                        tracing::warn!(%error, "signing keys cannot be looked after; the next round tries again")
                    }
                }
                tokio::time::sleep(self.inner.live.load().signing.maintenance_interval.get()).await;
            } else {
                // Who looks after the keys now shows them.
                self.inner.metrics.show(&BTreeMap::new(), 0);
                lease.changed().await;
            }
        }
    }

    /// Does what is due now.
    ///
    /// # Errors
    /// `Store`: the keys cannot be listed.
    pub async fn maintain(&self) -> Result<Maintained> {
        let mut domains: BTreeMap<Domain, Vec<NamedRow>> = BTreeMap::new();
        self.inner
            .db
            .scan(rows::keys_of(None), |page| {
                for row in &page {
                    let named = rows::named(row)?;
                    domains.entry(named.domain.clone()).or_default().push(named);
                }
                Ok::<_, Error>(())
            })
            .await?;
        self.inner.metrics.show(&domains, self.now());
        let mut done = Maintained::default();
        for (domain, keys) in domains {
            if let Err(error) = self.maintain_domain(&domain, keys, &mut done).await {
                tracing::warn!(%domain, %error, "the signing keys of a domain cannot be looked after");
                done.failed += 1;
            }
        }
        Ok(done)
    }

    async fn maintain_domain(
        &self,
        domain: &Domain,
        mut keys: Vec<NamedRow>,
        done: &mut Maintained,
    ) -> Result<()> {
        // The latest first, so that an older one that is due as well does not sign in between.
        keys.sort_by_key(|named| std::cmp::Reverse(named.row.created));
        done.created += self.rotate_if_due(domain, &keys).await?.len();
        for named in &keys {
            if self.inner.vault.is_outdated(&named.row.private) {
                self.reseal(domain, &named.selector).await?;
                done.resealed += 1;
            }
            if self.is_activation_due(named).await && self.activate_published(domain, &named.selector).await?
            {
                tracing::info!(%domain, selector = named.selector, "a new key signs");
                done.activated += 1;
            }
            if self.is_over(named) {
                self.remove(domain, &named.selector, false).await?;
                tracing::info!(%domain, selector = named.selector, "a retired key is removed");
                done.removed += 1;
            }
        }
        Ok(())
    }

    fn is_over(&self, named: &NamedRow) -> bool {
        let keep = self.inner.live.load().signing.keep_retired.get().as_secs();
        !named.row.manual && named.row.is_over(self.now(), keep)
    }

    /// Makes new keys for a domain whose keys are old enough, unless new ones wait already, or somebody else sees to its keys.
    async fn rotate_if_due(&self, domain: &Domain, keys: &[NamedRow]) -> Result<Vec<KeyInfo>> {
        let period = self.inner.live.load().signing.rotation.get().as_secs();
        let now = self.now();
        let is_due = move |keys: &[NamedRow]| {
            let newest = keys.iter().map(|named| named.row.created).max().unwrap_or(now);
            let signs = keys.iter().any(|named| named.row.stage == Stage::Signing);
            let waits = keys.iter().any(|named| named.row.stage == Stage::Published);
            let theirs = keys.iter().any(|named| named.row.manual && named.row.stage != Stage::Retired);
            period > 0 && !theirs && signs && !waits && newest + period <= now
        };
        if !is_due(keys) || !self.inner.directory.is_local_domain(domain).await? {
            return Ok(Vec::new());
        }
        let wanted = Wanted {
            algorithms: self.configured_algorithms(),
            selector: None,
            now: false,
            activation: Activation::Automatic,
        };
        let made = self.store_new(domain, wanted, is_due).await?;
        for key in &made {
            tracing::info!(%domain, record = key.record.name, "a new key was made by schedule; publish its record");
        }
        Ok(made)
    }

    /// Whether a key was published long enough, and where that is asked for, can be seen.
    async fn is_activation_due(&self, named: &NamedRow) -> bool {
        let config = self.inner.live.load();
        let given = &config.signing;
        let row = &named.row;
        let waits = row.stage == Stage::Published && !row.manual;
        if !waits || row.created + given.activate_after.get().as_secs() > self.now() {
            return false;
        }
        if !given.require_published {
            return true;
        }
        let record = KeyRecord::new(&named.domain, &named.selector, row.algorithm, &row.public);
        let Some(resolver) = &self.inner.resolver else { return false };
        match resolver.txt(&record.name).await {
            Ok(answer) => answer.value.iter().any(|text| record.is_published_by(text)),
            Err(error) => {
                tracing::info!(name = record.name, %error, "a new key does not sign yet: its record is not seen");
                false
            }
        }
    }

    /// Lets a published key sign; false if somebody did something else with it meanwhile, or a key signs that is not ours to retire.
    async fn activate_published(&self, domain: &Domain, selector: &str) -> Result<bool> {
        self.change(|tx| async move {
            let mut present = rows::of_domain(&tx, domain).await?;
            let is_it = |named: &NamedRow| named.selector == selector;
            let waiting = present.iter().find(|named| is_it(named) && named.row.stage == Stage::Published);
            let Some(algorithm) = waiting.map(|named| named.row.algorithm) else { return Ok(false) };
            if present.iter().any(|named| named.row.signs_for_its_maker(algorithm)) {
                return Ok(false);
            }
            present.retain(|named| !named.row.manual);
            activate(&tx, &mut present, self.now(), is_it)?;
            Ok(true)
        })
        .await
    }

    /// Stores a key anew, under the encryption key in force.
    async fn reseal(&self, domain: &Domain, selector: &str) -> Result<()> {
        let vault = &self.inner.vault;
        self.change(|tx| async move {
            let Some(mut row) = rows::find(&tx, domain, selector).await? else { return Ok(()) };
            let binding = rows::binding(domain, selector);
            if vault.is_outdated(&row.private) {
                row.private = vault.seal(&vault.open_sealed(&row.private, &binding)?, &binding)?;
                rows::put(&tx, domain, selector, &row)?;
            }
            Ok(())
        })
        .await
    }
}
