//! One session per mailbox: a lease row in the store, renewed while the session lives.
//!
//! Row: `(CLUSTER, "pop3", account)` -> the holder's random token (16 octets), then the end of the lease in
//! milliseconds since the epoch (u64, big endian). A session whose server died loses the mailbox when the lease ends; a
//! server that was paused finds another token and gives up. Clocks of servers may differ by less than two thirds of a
//! lease, the time between its last renewal and its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_directory::AccountId;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{Database, Error, Transaction};
use ekitei_mailstore::Fence;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often a lease is renewed within its length.
const RENEWALS: u32 = 3;

type Token = [u8; 16];

/// Gives out leases.
#[derive(Clone)]
pub(crate) struct Leases {
    database: Database,
    clock: SharedClock,
}

/// One mailbox held by one session. Dropping it gives the mailbox back.
pub(crate) struct Lease {
    holder: Arc<Holder>,
    renewal: JoinHandle<()>,
    lost: watch::Receiver<bool>,
    released: bool,
}

struct Holder {
    leases: Leases,
    account: AccountId,
    token: Token,
    length: Duration,
}

/// What a lease row says.
struct Row {
    token: Token,
    until: Duration,
}

impl Row {
    fn decode(value: &Bytes) -> Option<Self> {
        let (token, until) = value.split_first_chunk::<16>()?;
        let until = u64::from_be_bytes(until.try_into().ok()?);
        Some(Self { token: *token, until: Duration::from_millis(until) })
    }

    fn encode(&self) -> Vec<u8> {
        let until = u64::try_from(self.until.as_millis()).unwrap_or(u64::MAX);
        [self.token.as_slice(), &until.to_be_bytes()].concat()
    }
}

impl Leases {
    pub(crate) fn new(database: Database, clock: SharedClock) -> Self {
        Self { database, clock }
    }

    /// Takes the mailbox of `account` for `length`, renewed until the lease is dropped; `None` when another session
    /// has it.
    ///
    /// # Errors
    /// When the store fails: temporary.
    pub(crate) async fn acquire(&self, account: AccountId, length: Duration) -> Result<Option<Lease>, Error> {
        let holder = Arc::new(Holder { leases: self.clone(), account, token: rand::random(), length });
        if !holder.extend(true).await? {
            return Ok(None);
        }
        let (lost, observer) = watch::channel(false);
        let renewal = tokio::spawn(Arc::clone(&holder).keep(lost));
        Ok(Some(Lease { holder, renewal, lost: observer, released: false }))
    }
}

impl Holder {
    fn key(&self) -> Vec<u8> {
        keys::key(&(subspace::CLUSTER, "pop3", self.account.get()))
    }

    /// Writes the row with a new end; `false` when the mailbox is another's. `take`: also when nobody has it, or
    /// whoever had it let it end. A repetition finds its own token, so it changes nothing.
    async fn extend(&self, take: bool) -> Result<bool, Error> {
        let key = &self.key();
        self.leases
            .database
            .transact(|transaction: Transaction| async move {
                let now = self.leases.clock.now();
                let row = transaction.get(key).await?.as_ref().and_then(Row::decode);
                let ours = match &row {
                    Some(row) => row.token == self.token || (take && row.until <= now),
                    None => take,
                };
                if ours {
                    let row = Row { token: self.token, until: now + self.length };
                    transaction.set(key, &row.encode());
                }
                Ok(ours)
            })
            .await
    }

    /// Renews until the row is another's, or could not be renewed for so long that it may be.
    async fn keep(self: Arc<Self>, lost: watch::Sender<bool>) {
        let mut renewed = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(self.length / RENEWALS).await;
            match self.extend(false).await {
                Ok(true) => renewed = tokio::time::Instant::now(),
                Ok(false) => break,
                Err(error) if renewed.elapsed() < self.length => {
                    tracing::warn!(account = %self.account, %error, "a POP3 lease could not be renewed");
                }
                Err(_) => break,
            }
        }
        lost.send_replace(true);
    }

    async fn clear(&self) -> Result<(), Error> {
        let key = &self.key();
        self.leases
            .database
            .transact(|transaction: Transaction| async move {
                let row = transaction.get(key).await?.as_ref().and_then(Row::decode);
                if row.is_some_and(|row| row.token == self.token) {
                    transaction.clear(key);
                }
                Ok(())
            })
            .await
    }
}

impl Lease {
    /// Resolves when the mailbox is no longer this session's.
    pub(crate) async fn lost(&self) {
        // The renewing task sends before it ends, so an error means the same.
        let _ = self.lost.clone().wait_for(|lost| *lost).await;
    }

    /// Gives the mailbox back before the reply to QUIT, so that a client may come again at once.
    pub(crate) async fn release(mut self) {
        self.released = true;
        self.renewal.abort();
        if let Err(error) = self.holder.clear().await {
            tracing::warn!(account = %self.holder.account, %error, "a POP3 lease ends by itself");
        }
    }
}

/// A session that was paused may find that another has the mailbox now: what it then deletes is refused where it is committed, however late it is.
impl Fence for Lease {
    fn check<'a>(&'a self, transaction: &'a Transaction) -> BoxFuture<'a, Result<(), Error>> {
        let key = self.holder.key();
        Box::pin(async move {
            let row = transaction.get(&key).await?.as_ref().and_then(Row::decode);
            match row {
                Some(row) if row.token == self.holder.token => Ok(()),
                _ => Err(Error::Fenced),
            }
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if self.released {
            return;
        }
        let holder = Arc::clone(&self.holder);
        // Outside a runtime, as when the process ends, the lease ends by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = holder.clear().await {
                    tracing::warn!(account = %holder.account, %error, "a POP3 lease ends by itself");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_kv::clock::ManualClock;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(30);

    fn leases() -> (Leases, Arc<ManualClock>) {
        let clock = ManualClock::new(Duration::from_secs(1_000_000));
        (Leases::new(Database::in_memory(), clock.clone()), clock)
    }

    #[tokio::test]
    async fn one_session_has_a_mailbox_and_gives_it_back() {
        let (leases, _clock) = leases();
        let (alice, bob) = (AccountId::new(1), AccountId::new(2));
        let held = leases.acquire(alice, LENGTH).await.unwrap().unwrap();
        assert!(leases.acquire(alice, LENGTH).await.unwrap().is_none());
        assert!(leases.acquire(bob, LENGTH).await.unwrap().is_some(), "mailboxes are independent");
        held.release().await;
        let again = leases.acquire(alice, LENGTH).await.unwrap().unwrap();
        drop(again);
        // The row is cleared by a task of its own.
        while leases.acquire(alice, LENGTH).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_dead_servers_lease_ends_and_a_paused_one_finds_out() {
        let (leases, clock) = leases();
        let alice = AccountId::new(1);
        let paused = leases.acquire(alice, LENGTH).await.unwrap().unwrap();
        clock.advance(LENGTH - Duration::from_secs(1));
        assert!(leases.acquire(alice, LENGTH).await.unwrap().is_none());
        clock.advance(Duration::from_secs(1));
        let taken = leases.acquire(alice, LENGTH).await.unwrap().unwrap();
        assert!(!may_delete(&leases, &paused).await, "the paused session must not delete");
        paused.release().await;
        assert!(may_delete(&leases, &taken).await, "giving back what is another's changes nothing");
    }

    /// Commits something behind the fence of a session.
    async fn may_delete(leases: &Leases, lease: &Lease) -> bool {
        let delete = |transaction: Transaction| async move {
            lease.check(&transaction).await?;
            transaction.set(b"deleted", b"");
            Ok::<_, Error>(())
        };
        match leases.database.transact(delete).await {
            Ok(()) => true,
            Err(Error::Fenced) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_deletion_that_was_let_through_is_refused_if_the_mailbox_changes_hands_before_its_commit() {
        let (leases, clock) = leases();
        let alice = AccountId::new(1);
        let paused = leases.acquire(alice, LENGTH).await.unwrap().unwrap();
        let late = leases.database.begin();
        paused.check(&late).await.unwrap();
        late.set(b"deleted", b"");
        clock.advance(LENGTH);
        let _taken = leases.acquire(alice, LENGTH).await.unwrap().unwrap();
        assert!(matches!(late.commit().await, Err(Error::Conflict)));
        assert!(!may_delete(&leases, &paused).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_while_the_session_lives() {
        let (leases, clock) = leases();
        let alice = AccountId::new(1);
        let held = leases.acquire(alice, LENGTH).await.unwrap().unwrap();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(11)).await;
            clock.advance(Duration::from_secs(11));
            assert!(leases.acquire(alice, LENGTH).await.unwrap().is_none());
        }
        // Someone else's row: the next renewal notices.
        let key = held.holder.key();
        let other = Row { token: [9; 16], until: clock_end(&clock) };
        let put = |transaction: Transaction| {
            transaction.set(&key, &other.encode());
            async { Ok::<_, Error>(()) }
        };
        leases.database.transact(put).await.unwrap();
        held.lost().await;
    }

    fn clock_end(clock: &ManualClock) -> Duration {
        use ekitei_kv::clock::Clock;
        clock.now() + LENGTH
    }
}
