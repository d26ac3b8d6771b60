//! Whose turn it is to write to a zone: one round at a time in this process, and among operators the one that has the zone's lock in the store.
//!
//! The lock is renewed for as long as the round takes. Its holder believes in it for less time than the store does, from before the request that renewed it was
//! sent; when it cannot be renewed, or somebody else has had it in between, nothing more is written in this round.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_api::{Client, ClientError, NewLock, ProblemCode};
use ekitei_operator_dns::provider::{Capabilities, Zone};
use ekitei_operator_dns::{Change, Key, Name, Provider, ProviderError, RecordSet};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::error::Result;

/// How long a lock is taken for, in seconds.
pub(super) const LOCK_SECONDS: u64 = 120;

/// One round at a time in each zone, within this process.
#[derive(Debug, Default)]
pub struct Zones(Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>);

impl Zones {
    pub(super) async fn enter(&self, zone: &Name) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            zones.retain(|name, mutex| name == zone || Arc::strong_count(mutex) > 1);
            Arc::clone(zones.entry(zone.clone()).or_default())
        };
        mutex.lock_owned().await
    }
}

/// A zone's lock in the store, for one round.
pub(super) struct Lock<'a> {
    service: &'a Client,
    name: String,
    wanted: NewLock,
    /// Rises when the lock is taken anew: then another may have had it in between.
    token: u64,
    standing: Mutex<Standing>,
}

/// How the lock is, as far as its holder knows.
#[derive(Clone, Debug)]
enum Standing {
    /// It is ours until then.
    Held(Instant),
    /// Somebody else has it, or has had it.
    Lost(String),
}

impl<'a> Lock<'a> {
    /// The lock of a zone, or who has it.
    ///
    /// # Errors
    /// The service's.
    pub(super) async fn take(
        service: &'a Client,
        zone: &Name,
        wanted: NewLock,
    ) -> Result<Result<Self, String>> {
        let name = format!("dns:{zone}");
        let asked = Instant::now();
        match service.put_lock(&name, &wanted).await {
            Ok(lock) => {
                let standing = Mutex::new(Standing::Held(asked + believed(&wanted)));
                Ok(Ok(Self { service, name, wanted, token: lock.token, standing }))
            }
            Err(ClientError::Problem(problem)) if problem.code == ProblemCode::InUse => {
                Ok(Err(problem.detail))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Does something while the lock is renewed.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let (work, renewals) = (std::pin::pin!(work), std::pin::pin!(self.renew_for_ever()));
        match select(work, renewals).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn renew_for_ever(&self) -> Infallible {
        loop {
            tokio::time::sleep(Duration::from_secs(self.wanted.seconds) / 4).await;
            let asked = Instant::now();
            match self.service.put_lock(&self.name, &self.wanted).await {
                Ok(lock) if lock.token == self.token => {
                    self.stand(Standing::Held(asked + believed(&self.wanted)))
                }
                Ok(_) => self.stand(Standing::Lost("another operator had it in between".to_owned())),
                Err(ClientError::Problem(problem)) if problem.code == ProblemCode::InUse => {
                    self.stand(Standing::Lost(problem.detail));
                }
                Err(error) => tracing::debug!(%error, lock = self.name, "the lock was not renewed"),
            }
        }
    }

    /// What was lost stays lost.
    fn stand(&self, new: Standing) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*standing, Standing::Held(_)) {
            *standing = new;
        }
    }

    /// Why the lock is not ours any more, if it is not.
    pub(super) fn lost(&self) -> Option<String> {
        match &*self.standing.lock().unwrap_or_else(PoisonError::into_inner) {
            Standing::Held(until) if Instant::now() < *until => None,
            Standing::Held(_) => Some("the lock could not be renewed in time".to_owned()),
            Standing::Lost(why) => Some(why.clone()),
        }
    }

    /// Gives the lock back, so that others need not wait until it runs out.
    pub(super) async fn give_back(self) {
        if let Err(error) = self.service.delete_lock(&self.name, &self.wanted.holder).await {
            tracing::debug!(%error, lock = self.name, "the lock was not given back; it runs out");
        }
    }
}

impl fmt::Debug for Lock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("name", &self.name)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

/// How long a lock is believed to be ours.
fn believed(lock: &NewLock) -> Duration {
    Duration::from_secs(lock.seconds).mul_f64(0.8)
}

/// A provider that is written to only while a lock is held.
#[derive(Debug)]
pub(super) struct Guarded<'a> {
    pub(super) inner: &'a dyn Provider,
    pub(super) lock: &'a Lock<'a>,
}

impl Guarded<'_> {
    fn check(&self) -> Result<(), ProviderError> {
        let lost = |why: String| ProviderError::Unavailable(format!("the lock of the zone was lost: {why}"));
        self.lock.lost().map_or(Ok(()), |why| Err(lost(why)))
    }
}

impl Provider for Guarded<'_> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn takes(&self, set: &RecordSet) -> bool {
        self.inner.takes(set)
    }

    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone, ProviderError>> {
        self.inner.zone(name)
    }

    fn get<'a>(
        &'a self,
        zone: &'a Zone,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<RecordSet>, ProviderError>> {
        self.inner.get(zone, key)
    }

    fn apply<'a>(
        &'a self,
        zone: &'a Zone,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        async move {
            // What is not done at once takes as long as there are changes.
            let at_once = if self.inner.capabilities().atomic { changes.len().max(1) } else { 1 };
            for some in changes.chunks(at_once) {
                self.check()?;
                self.inner.apply(zone, some).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::publish::testing::{Fake, Locks, change};

    /// A lock for so short a time that its renewals are seen.
    async fn lock(service: &Client) -> Lock<'_> {
        let wanted = NewLock { holder: "us".to_owned(), seconds: 2 };
        Lock::take(service, &"a.test".parse().unwrap(), wanted).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_lock_is_renewed_for_as_long_as_the_round_takes() {
        let locks = Locks::start().await;
        let service = locks.client();
        let lock = lock(&service).await;
        lock.during(tokio::time::sleep(Duration::from_millis(2500))).await;
        assert_eq!(lock.lost(), None, "it was for two seconds");
        assert!(locks.taken() >= 4, "{}", locks.taken());
        lock.give_back().await;
        assert_eq!(locks.holder(), None);
    }

    #[tokio::test]
    async fn nothing_is_written_any_more_when_the_lock_is_lost() {
        let locks = Locks::start().await;
        let service = locks.client();
        let lock = lock(&service).await;
        // It takes as long as three renewals, and somebody else has the lock after the first change.
        let taken = locks.clone();
        let inner =
            Fake::new(&["a.test"]).slow(Duration::from_millis(700)).after(move || taken.give_to("them"));
        let changes = ["1.a.test", "2.a.test", "3.a.test"].map(change);
        let provider = Guarded { inner: &inner, lock: &lock };
        let zone = Zone { name: "a.test".parse().unwrap(), id: None };
        let lost = lock.during(provider.apply(&zone, &changes)).await.unwrap_err();
        assert!(lost.is_temporary() && lost.to_string().contains("them"), "{lost}");
        assert_eq!(inner.names(), ["1.a.test", "2.a.test"], "one was under way");
        assert!(lock.lost().unwrap().contains("them"));
    }

    #[tokio::test]
    async fn a_lock_that_cannot_be_renewed_is_believed_in_for_less_time_than_it_lasts() {
        let locks = Locks::start().await;
        let service = locks.client();
        let lock = lock(&service).await;
        locks.fail();
        lock.during(tokio::time::sleep(Duration::from_millis(1650))).await;
        assert!(lock.lost().unwrap().contains("in time"));
    }

    #[tokio::test]
    async fn a_lock_that_another_had_in_between_is_lost() {
        let locks = Locks::start().await;
        let service = locks.client();
        let lock = lock(&service).await;
        locks.give_to("them");
        locks.release();
        lock.during(tokio::time::sleep(Duration::from_millis(700))).await;
        assert!(lock.lost().unwrap().contains("in between"));
    }
}
