//! Which domain's usage an account counts for.
//!
//! The counters of a domain are added to by the transactions that change those of its accounts, so the sum of the accounts and the domain differ
//! at no version. Adding conflicts with nobody, and the counters of a domain are spread over [`rows::DOMAIN_SHARDS`] rows of each kind: no row is
//! written by every delivery to a large domain.
//!
//! An account begins to count with the transaction that creates its mailboxes, else with the first that changes what it holds, or when [`MailStore::count_all`] comes to it: that
//! transaction adds what the account already holds. From then on a row says so, for as long as there is anything of the account. What is
//! known from that row is remembered, since an account never changes its domain, so a delivery does not read it again.

use std::sync::Arc;

use ekitei_directory::{Directory, Domain, PageRequest};
use ekitei_kv::Transaction;
use futures_util::future::try_join_all;
use quick_cache::sync::Cache;

use super::{Inner, MailStore, quota};
use crate::rows::{self, UsageCounter};
use crate::types::AccountId;
use crate::{Error, Result};

/// Accounts whose domain is remembered.
const REMEMBERED: usize = 100_000;
/// Accounts that begin to count in one transaction.
const BATCH: usize = 100;

/// How usage is counted for domains.
#[derive(Clone)]
pub struct DomainCounting {
    /// Knows the domains of accounts.
    pub directory: Directory,
    /// Whether accounts may begin to count: every process that writes to the store counts for domains.
    pub is_active: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The domains of accounts, as far as this process needs to know.
pub(crate) struct Domains {
    counting: Option<DomainCounting>,
    /// From rows that were read.
    known: Cache<AccountId, Domain>,
}

/// That an account counts for a domain.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) domain: Domain,
    /// What the account already holds, if it begins to count with this transaction.
    pub(crate) brought: Option<[i64; 2]>,
}

impl Domains {
    pub(super) fn new(counting: Option<DomainCounting>) -> Self {
        Self { counting, known: Cache::new(REMEMBERED) }
    }

    /// To be called by whoever finds an account that was deleted begin anew.
    pub(crate) fn forget(&self, account: AccountId) {
        self.known.remove(&account);
    }

    /// The domain that the account counts for; one that does not yet begins to, if `may_begin`. To be called before the transaction changes the
    /// account's counters.
    pub(crate) async fn membership(
        &self,
        transaction: &Transaction,
        account: AccountId,
        may_begin: bool,
    ) -> Result<Option<Membership>> {
        if let Some(domain) = self.known.get(&account) {
            return Ok(Some(Membership { domain, brought: None }));
        }
        if let Some(row) = transaction.get(&rows::counted_domain(account)).await? {
            let domain = rows::decode_domain(&row)?;
            self.known.insert(account, domain.clone());
            return Ok(Some(Membership { domain, brought: None }));
        }
        let Some(domain) = self.domain_to_join(account, may_begin).await? else { return Ok(None) };
        // With a conflict: what another adds meanwhile must be brought along.
        let held = UsageCounter::ALL.map(|counter| async move {
            let value = transaction.get(&rows::usage(account, counter)).await?;
            Ok::<_, Error>(ekitei_kv::decode_counter(value.as_deref()))
        });
        let held = try_join_all(held).await?;
        transaction.set(&rows::counted_domain(account), domain.as_ascii().as_bytes());
        transaction.set(&rows::domain_member(&domain, account), b"");
        Ok(Some(Membership { domain, brought: Some([held[0], held[1]]) }))
    }

    /// The domain of an account, whether it counts for it or not; `None` for an account that is gone, and where nothing counts for domains.
    ///
    /// # Errors
    /// When the directory does not answer.
    pub(super) async fn domain_of(&self, account: AccountId) -> Result<Option<Domain>> {
        let Some(counting) = &self.counting else { return Ok(None) };
        if let Some(domain) = self.known.get(&account) {
            return Ok(Some(domain));
        }
        match counting.directory.account(account).await {
            Ok(found) => Ok(Some(found.address.domain().clone())),
            Err(ekitei_directory::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn domain_to_join(&self, account: AccountId, may_begin: bool) -> Result<Option<Domain>> {
        let Some(counting) = self.counting.as_ref().filter(|counting| may_begin && (counting.is_active)())
        else {
            return Ok(None);
        };
        match counting.directory.account(account).await {
            Ok(found) => Ok(Some(found.address.domain().clone())),
            // It is being deleted, and its mail with it.
            Err(ekitei_directory::Error::NotFound { .. }) => Ok(None),
            Err(error) => {
                tracing::debug!(%error, %account, "an account begins to count for its domain later");
                Ok(None)
            }
        }
    }
}

fn unavailable(error: ekitei_directory::Error) -> Error {
    Error::Store(ekitei_kv::Error::Unavailable(error.to_string()))
}

/// Adds to what a domain holds.
pub(crate) fn add(transaction: &Transaction, domain: &Domain, account: AccountId, usage: [i64; 2]) {
    for counter in UsageCounter::ALL {
        if usage[counter as usize] != 0 {
            transaction.add(&rows::domain_counter(domain, account, counter), usage[counter as usize]);
        }
    }
}

impl MailStore {
    /// Lets all accounts count for their domains that do not yet: those that an earlier release made, and whose mail has not changed since. Once it was
    /// done, there is nothing to do any more. For a timer.
    ///
    /// # Errors
    /// When the store or the directory fails; what is left waits for the next time.
    pub async fn count_all(&self) -> Result<()> {
        let inner = &self.inner;
        let Some(counting) = inner.domains.counting.as_ref().filter(|counting| (counting.is_active)()) else {
            return Ok(());
        };
        let done = |transaction: Transaction| async move { transaction.get(&rows::all_counted()).await };
        if inner.database.read(done).await?.is_some() {
            return Ok(());
        }
        let mut page = PageRequest { after: None, limit: BATCH };
        loop {
            let found = counting.directory.list_accounts(None, &page).await.map_err(unavailable)?;
            let accounts: &Vec<AccountId> = &found.items.iter().map(|account| account.id).collect();
            self.count(accounts).await?;
            if found.next.is_none() {
                break;
            }
            page.after = found.next;
        }
        let done = |transaction: Transaction| async move {
            transaction.set(&rows::all_counted(), b"");
            Ok(())
        };
        inner.database.transact(done).await
    }
}

impl MailStore {
    /// Lets these accounts count for their domains.
    pub(super) async fn count(&self, accounts: &[AccountId]) -> Result<()> {
        let inner = &self.inner;
        let join = |transaction: Transaction| async move { inner.join(&transaction, accounts).await };
        inner.database.transact(join).await
    }
}

impl Inner {
    /// Lets accounts count for their domains that do not yet.
    async fn join(&self, transaction: &Transaction, accounts: &[AccountId]) -> Result<()> {
        for &account in accounts {
            let membership = self.domains.membership(transaction, account, true).await?;
            if let Some(Membership { domain, brought: Some(brought) }) = membership {
                add(transaction, &domain, account, brought);
            }
        }
        Ok(())
    }

    /// Takes an account out of its domain, whose mail is gone: what its counters still say, if anything, and the rows that say that it counts.
    pub(super) async fn leave(&self, transaction: &Transaction, account: AccountId) -> Result<()> {
        if let Some(row) = transaction.get(&rows::counted_domain(account)).await? {
            let domain = rows::decode_domain(&row)?;
            let left = quota::account_usage(transaction, account).await?;
            add(transaction, &domain, account, left.map(|counter| -counter));
            transaction.clear(&rows::domain_member(&domain, account));
            transaction.clear(&rows::counted_domain(account));
        }
        self.domains.forget(account);
        Ok(())
    }
}
