//! One watch on the store per account, whatever the number of sessions that wait for it.
//!
//! Watches are memory of the store's servers (FoundationDB keeps about 100 MB of them on each), shared by all processes. So a process has at most
//! [`Settings::max_watches`](crate::Settings::max_watches) of them. Accounts beyond that, and those whose watch the store refused, are looked at all together every
//! [`Settings::watch_poll_interval`](crate::Settings::watch_poll_interval): their changes are seen a little later, and cost a read of one small row each time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_kv::{Database, Transaction};
use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::rows;
use crate::types::AccountId;

/// How long an account whose watch was refused is polled before another watch is tried.
const RETRY: Duration = Duration::from_secs(30);
/// Accounts that are looked at in one transaction.
const POLLED_TOGETHER: usize = 500;

/// How the accounts are followed that sessions of this process wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFigures {
    /// Accounts with a watch.
    pub watched: usize,
    /// Accounts that are looked at from time to time, for want of a watch.
    pub polled: usize,
    /// Watches that the store refused or took back, since the start.
    pub failed: u64,
}

/// The accounts that somebody watches.
pub(crate) struct Watches {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    max_watches: usize,
    poll_interval: Duration,
    /// Held briefly, and never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// All accounts, watched or polled.
    accounts: HashMap<AccountId, watch::Sender<u64>>,
    watched: usize,
    polled: BTreeMap<AccountId, Polled>,
    /// There is a task that looks at `polled`.
    polling: bool,
    failed: u64,
}

/// An account without a watch.
struct Polled {
    sender: watch::Sender<u64>,
    /// What its row said last; `None` before the first look.
    last: Option<Option<Bytes>>,
    /// When a watch is tried again.
    retry: Instant,
}

impl Watches {
    pub(crate) fn new(database: Database, max_watches: usize, poll_interval: Duration) -> Self {
        let state = Mutex::default();
        Self { inner: Arc::new(Inner { database, max_watches, poll_interval, state }) }
    }

    /// A receiver that wakes at every change of the account from now on.
    pub(crate) fn subscribe(&self, account: AccountId) -> watch::Receiver<u64> {
        let mut state = self.inner.lock();
        if let Some(sender) = state.accounts.get(&account) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        state.accounts.insert(account, sender.clone());
        self.inner.begin(&mut state, account, sender);
        receiver
    }

    pub(crate) fn figures(&self) -> WatchFigures {
        let state = self.inner.lock();
        WatchFigures { watched: state.watched, polled: state.polled.len(), failed: state.failed }
    }
}

/// Why an account is watched no more.
enum End {
    /// Nobody listens.
    Unwanted,
    /// The store refused.
    Failed,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches an account, or looks at it from time to time if there are watches enough.
    fn begin(self: &Arc<Self>, state: &mut State, account: AccountId, sender: watch::Sender<u64>) {
        if state.watched < self.max_watches {
            state.watched += 1;
            tokio::spawn(Arc::clone(self).follow(account, sender));
        } else {
            self.poll(state, account, sender, Instant::now());
        }
    }

    fn poll(
        self: &Arc<Self>,
        state: &mut State,
        account: AccountId,
        sender: watch::Sender<u64>,
        retry: Instant,
    ) {
        state.polled.insert(account, Polled { sender, last: None, retry });
        if !std::mem::replace(&mut state.polling, true) {
            tokio::spawn(Arc::clone(self).poll_all());
        }
    }

    /// Watches an account until nobody listens, or the store refuses.
    async fn follow(self: Arc<Self>, account: AccountId, sender: watch::Sender<u64>) {
        loop {
            let end = self.follow_once(account, &sender).await;
            let mut state = self.lock();
            // Under the lock, so that nobody subscribes just now.
            if sender.receiver_count() == 0 {
                state.watched -= 1;
                state.accounts.remove(&account);
                return;
            }
            if matches!(end, Some(End::Failed)) {
                state.watched -= 1;
                state.failed += 1;
                return self.poll(&mut state, account, sender, Instant::now() + RETRY);
            }
        }
    }

    /// Waits for the next change; `None` when there was one.
    async fn follow_once(&self, account: AccountId, sender: &watch::Sender<u64>) -> Option<End> {
        let set = self
            .database
            .transact(|transaction: Transaction| async move {
                Ok::<_, ekitei_kv::Error>(transaction.watch(&rows::latest_change(account)))
            })
            .await;
        // The watch counts from here on; what happened before it was set must not be missed.
        sender.send_modify(|changes| *changes += 1);
        let changed = async {
            match set {
                Ok(watch) => watch.changed().await,
                Err(error) => Err(error),
            }
        };
        // Biased, so that a simulation repeats itself.
        tokio::select! {
            biased;
            changed = changed => match changed {
                Ok(()) => None,
                Err(error) => {
                    tracing::debug!(%error, %account, "a watch ended");
                    Some(End::Failed)
                }
            },
            () = sender.closed() => Some(End::Unwanted),
        }
    }

    /// Looks at all accounts without a watch until there are none.
    async fn poll_all(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.poll_interval).await;
            let accounts = {
                let mut state = self.lock();
                self.sort_out(&mut state);
                if state.polled.is_empty() {
                    state.polling = false;
                    return;
                }
                state.polled.keys().copied().collect::<Vec<_>>()
            };
            for accounts in accounts.chunks(POLLED_TOGETHER) {
                match self.look_at(accounts).await {
                    Ok(rows) => self.tell(accounts, rows),
                    Err(error) => tracing::debug!(%error, "accounts cannot be looked at"),
                }
            }
        }
    }

    /// Forgets polled accounts that nobody listens to, and watches those for which there is a watch again.
    fn sort_out(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        let unwanted = |polled: &Polled| polled.sender.receiver_count() == 0;
        let gone = state.polled.extract_if(.., |_, polled| unwanted(polled)).map(|(account, _)| account);
        for account in gone.collect::<Vec<_>>() {
            state.accounts.remove(&account);
        }
        let room = self.max_watches.saturating_sub(state.watched);
        let due = state.polled.extract_if(.., |_, polled| polled.retry <= now).take(room);
        for (account, polled) in due.collect::<Vec<_>>() {
            self.begin(state, account, polled.sender);
        }
    }

    async fn look_at(&self, accounts: &[AccountId]) -> Result<Vec<Option<Bytes>>, ekitei_kv::Error> {
        self.database
            .read(|transaction: Transaction| async move {
                let keys: Vec<Vec<u8>> =
                    accounts.iter().map(|account| rows::latest_change(*account)).collect();
                try_join_all(keys.iter().map(|key| transaction.get_snapshot(key))).await
            })
            .await
    }

    /// Wakes those whose accounts changed since the last look; at the first one everybody, since nobody looked before.
    fn tell(&self, accounts: &[AccountId], rows: Vec<Option<Bytes>>) {
        let mut state = self.lock();
        for (account, row) in accounts.iter().zip(rows) {
            let Some(polled) = state.polled.get_mut(account) else { continue };
            if polled.last.as_ref() != Some(&row) {
                polled.last = Some(row);
                polled.sender.send_modify(|changes| *changes += 1);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use ekitei_kv::{Error, Link, LinkFuture};

    use super::*;

    const POLL: Duration = Duration::from_secs(1);

    async fn change(database: &Database, account: AccountId) {
        let change = |transaction: Transaction| async move {
            transaction.set_versionstamped_value(&rows::latest_change(account), &[0; 10], 0);
            Ok::<_, Error>(())
        };
        database.transact(change).await.unwrap();
    }

    /// Waits until all that is known was told.
    async fn settle(receiver: &mut watch::Receiver<u64>) {
        tokio::time::sleep(2 * POLL).await;
        receiver.mark_unchanged();
    }

    #[tokio::test(start_paused = true)]
    async fn all_sessions_of_an_account_share_a_watch_and_it_ends_with_them() {
        let database = Database::in_memory();
        let watches = Watches::new(database.clone(), 10, POLL);
        let account = AccountId::new(1);
        let mut receivers: Vec<_> = (0..100).map(|_| watches.subscribe(account)).collect();
        assert_eq!(watches.figures(), WatchFigures { watched: 1, ..WatchFigures::default() });
        settle(&mut receivers[7]).await;
        let began = Instant::now();
        change(&database, account).await;
        receivers[7].changed().await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(100));
        drop(receivers);
        tokio::time::sleep(POLL).await;
        assert_eq!(watches.figures(), WatchFigures::default());
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_beyond_the_watches_are_polled_until_there_is_one() {
        let database = Database::in_memory();
        let watches = Watches::new(database.clone(), 1, POLL);
        let first = watches.subscribe(AccountId::new(1));
        let mut second = watches.subscribe(AccountId::new(2));
        assert_eq!(watches.figures(), WatchFigures { watched: 1, polled: 1, failed: 0 });
        settle(&mut second).await;
        change(&database, AccountId::new(1)).await;
        tokio::time::sleep(2 * POLL).await;
        assert!(!second.has_changed().unwrap(), "nothing happened there");
        change(&database, AccountId::new(2)).await;
        tokio::time::timeout(2 * POLL, second.changed()).await.unwrap().unwrap();
        drop(first);
        tokio::time::sleep(2 * POLL).await;
        assert_eq!(watches.figures(), WatchFigures { watched: 1, polled: 0, failed: 0 });
        second.mark_unchanged();
        change(&database, AccountId::new(2)).await;
        tokio::time::timeout(POLL / 10, second.changed()).await.unwrap().unwrap();
    }

    /// A link that is cut.
    #[derive(Default)]
    struct Cut(AtomicBool);

    impl Link for Cut {
        fn pass(&self) -> LinkFuture<'_> {
            Box::pin(async move {
                if self.0.load(Ordering::SeqCst) { Err(Error::Unavailable("cut".into())) } else { Ok(()) }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_whose_watch_was_refused_is_polled_for_a_while() {
        let link = Arc::new(Cut::default());
        let database = Database::in_memory();
        link.0.store(true, Ordering::SeqCst);
        let watches = Watches::new(database.behind(link.clone()), 10, POLL);
        let account = AccountId::new(1);
        let mut receiver = watches.subscribe(account);
        settle(&mut receiver).await;
        assert_eq!(watches.figures(), WatchFigures { watched: 0, polled: 1, failed: 1 });
        link.0.store(false, Ordering::SeqCst);
        settle(&mut receiver).await;
        change(&database, account).await;
        tokio::time::timeout(2 * POLL, receiver.changed()).await.unwrap().unwrap();
        tokio::time::sleep(RETRY + 2 * POLL).await;
        assert_eq!(watches.figures(), WatchFigures { watched: 1, polled: 0, failed: 1 });
    }
}
