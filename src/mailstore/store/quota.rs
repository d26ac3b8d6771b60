//! What accounts and domains hold, and whether more fits.

use ekitei_directory::{Domain, DomainQuota, Quota};
use ekitei_kv::{RangeOptions, Transaction, decode_counter};
use futures_util::future::try_join;

use super::{Inner, MailStore};
use crate::mutation::Mutation;
use crate::request::Usage;
use crate::rows::{self, UsageCounter};
use crate::types::AccountId;
use crate::{Error, Result};

impl MailStore {
    /// What an account holds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn usage(&self, account: AccountId) -> Result<Usage> {
        let read = |transaction: Transaction| async move { account_usage(&transaction, account).await };
        Ok(Usage::from(self.inner.database.read(read).await?))
    }

    /// What all accounts of a domain hold together.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn domain_usage(&self, domain: &Domain) -> Result<Usage> {
        let read = |transaction: Transaction| async move { domain_usage(&transaction, domain).await };
        Ok(Usage::from(self.inner.database.read(read).await?))
    }

    /// Octets that still fit into the account and its domain; `None` for no limit.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn room(&self, account: AccountId, quota: &Quota) -> Result<Option<u64>> {
        if *quota == Quota::default() {
            return Ok(None);
        }
        let read = |transaction: Transaction| async move {
            let of_account = async {
                let Some(limit) = quota.account else { return Ok::<_, Error>(None) };
                Ok(Some(left(limit, bytes_used(&transaction, account).await?)))
            };
            let of_domain = async {
                let Some(DomainQuota { domain, limit }) = &quota.domain else { return Ok(None) };
                Ok(Some(left(*limit, domain_bytes_used(&transaction, domain).await?)))
            };
            let (of_account, of_domain) = try_join(of_account, of_domain).await?;
            Ok::<_, Error>([of_account, of_domain].into_iter().flatten().min())
        };
        self.inner.database.read(read).await
    }
}

/// Octets below a limit.
fn left(limit: u64, used: i64) -> u64 {
    limit.saturating_sub(u64::try_from(used).unwrap_or(0))
}

impl Inner {
    /// Checks that what the mutation adds to an account fits into its quota, and its domain's.
    ///
    /// # Errors
    /// [`Error::OverQuota`].
    pub(crate) async fn check_quota(
        &self,
        transaction: &Transaction,
        account: AccountId,
        quota: Option<&Quota>,
        mutation: &Mutation,
    ) -> Result<()> {
        let gained = u64::try_from(mutation.bytes_gained(account)).unwrap_or(0);
        let Some(quota) = quota.filter(|_| gained > 0) else { return Ok(()) };
        if let Some(limit) = quota.account
            && gained > left(limit, bytes_used(transaction, account).await?)
        {
            return Err(Error::OverQuota);
        }
        if let Some(DomainQuota { domain, limit }) = &quota.domain
            && gained > left(*limit, domain_bytes_used(transaction, domain).await?)
        {
            return Err(Error::OverQuota);
        }
        Ok(())
    }
}

/// Octets an account holds, without a conflict on them: deliveries to it do not wait for each other, so that concurrent ones may pass
/// the quota by what is in flight.
pub(crate) async fn bytes_used(transaction: &Transaction, account: AccountId) -> Result<i64> {
    let value = transaction.get_snapshot(&rows::usage(account, UsageCounter::Bytes)).await?;
    Ok(decode_counter(value.as_deref()))
}

/// The same of all accounts of a domain.
pub(crate) async fn domain_bytes_used(transaction: &Transaction, domain: &Domain) -> Result<i64> {
    Ok(domain_usage(transaction, domain).await?[UsageCounter::Bytes as usize])
}

/// Octets and messages of an account, without a conflict.
pub(crate) async fn account_usage(transaction: &Transaction, account: AccountId) -> Result<[i64; 2]> {
    sum(transaction, rows::usages(account), RangeOptions { snapshot: true, ..RangeOptions::default() }).await
}

/// Octets and messages of a domain, without a conflict.
pub(crate) async fn domain_usage(transaction: &Transaction, domain: &Domain) -> Result<[i64; 2]> {
    let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
    sum(transaction, rows::domain_counters(domain), options).await
}

/// The sums of the counters of a range, whose keys end with which counter it is.
pub(crate) async fn sum<const N: usize>(
    transaction: &Transaction,
    range: std::ops::Range<Vec<u8>>,
    options: RangeOptions,
) -> Result<[i64; N]> {
    let mut sums = [0; N];
    for row in transaction.get_range(range, options).await? {
        let sum = sums.get_mut(rows::counter_of(&row.key)?).ok_or(Error::Corrupt("the key of a counter"))?;
        *sum += decode_counter(Some(&row.value));
    }
    Ok(sums)
}

impl From<[i64; 2]> for Usage {
    fn from(counters: [i64; 2]) -> Self {
        let held = |counter: UsageCounter| u64::try_from(counters[counter as usize]).unwrap_or(0);
        Self { bytes: held(UsageCounter::Bytes), messages: held(UsageCounter::Messages) }
    }
}
