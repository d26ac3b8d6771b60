//! One watch on the store per account, whatever the number of sessions that wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_kv::{Database, Transaction};
use tokio::sync::watch;

use crate::rows;
use crate::types::AccountId;

/// How long to wait after a failed watch before the next.
const RETRY: Duration = Duration::from_secs(1);

/// The accounts that somebody watches.
pub(crate) struct Watches {
    database: Database,
    accounts: Arc<Mutex<HashMap<AccountId, watch::Sender<u64>>>>,
}

impl Watches {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, accounts: Arc::default() }
    }

    /// A receiver that wakes at every change of the account from now on.
    pub(crate) fn subscribe(&self, account: AccountId) -> watch::Receiver<u64> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = accounts.get(&account) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        accounts.insert(account, sender.clone());
        drop(accounts);
        tokio::spawn(follow(self.database.clone(), account, sender, Arc::clone(&self.accounts)));
        receiver
    }
}

/// Watches an account until nobody listens.
async fn follow(
    database: Database,
    account: AccountId,
    sender: watch::Sender<u64>,
    accounts: Arc<Mutex<HashMap<AccountId, watch::Sender<u64>>>>,
) {
    loop {
        let set = database
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
        tokio::select! {
            changed = changed => if let Err(error) = changed {
                tracing::debug!(%error, %account, "a watch ended");
                tokio::time::sleep(RETRY).await;
            },
            () = sender.closed() => {}
        }
        let mut accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.receiver_count() == 0 {
            accounts.remove(&account);
            return;
        }
    }
}
