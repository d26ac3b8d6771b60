//! Counting again what counters say: of mailboxes, of accounts, of domains.
//!
//! Every transaction that changes what is counted changes the counters too, so the difference between the two is the same at every version: none,
//! unless rows were damaged. So it is found at one version, with reads that make nobody wait, and repaired later by adding it, whatever was
//! delivered in between. What a repair must not race is another repair, or that the mailbox is deleted: it conflicts with those, and with nothing
//! else.
//!
//! | counters of | are compared with |
//! |---|---|
//! | a mailbox | its index rows |
//! | an account | the counters of its mailboxes |
//! | a domain | the counters of its accounts |

mod mailbox;

use ekitei_directory::Domain;
use ekitei_kv::{RangeOptions, Transaction};
use futures_util::{StreamExt, TryStreamExt};

use super::{Inner, MailStore, quota};
use crate::mutation::OperationId;
use crate::rows::{self, Counter, UsageCounter};
use crate::types::{AccountId, MailboxId, MailboxName};
use crate::{Error, Result};

/// How often a recount begins again because another one repaired the same counters.
const ATTEMPTS: usize = 5;
/// Accounts whose counters are read at a time: all of a shard must be read within the five seconds that a transaction has.
const ACCOUNTS: usize = 1_000;

/// Read without a conflict.
const SNAPSHOT: RangeOptions = RangeOptions { limit: 0, reverse: false, snapshot: true };

/// What a recount does about what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Only says it.
    No,
    /// Sets it right.
    Yes,
}

/// A counter that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it counts in.
    pub place: CountedPlace,
    /// What it counts.
    pub what: Counted,
    /// What the counter said.
    pub counter: i64,
    /// What there was, at that moment.
    pub actual: i64,
}

/// Where a counter belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountedPlace {
    /// A mailbox.
    Mailbox(MailboxId, MailboxName),
    /// The account.
    Account,
    /// The domain.
    Domain,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Messages.
    Messages,
    /// Messages without `\Seen`.
    Unseen,
    /// Messages with `\Deleted`.
    Deleted,
    /// Octets of all messages.
    Octets,
}

impl Counted {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Unseen => "unseen",
            Self::Deleted => "deleted",
            Self::Octets => "octets",
        }
    }

    fn of(counter: Counter) -> Self {
        match counter {
            Counter::Messages => Self::Messages,
            Counter::Unseen => Self::Unseen,
            Counter::Deleted => Self::Deleted,
            Counter::Bytes => Self::Octets,
        }
    }

    fn of_usage(counter: UsageCounter) -> Self {
        match counter {
            UsageCounter::Messages => Self::Messages,
            UsageCounter::Bytes => Self::Octets,
        }
    }
}

/// Counters and what they should say, read at one version.
struct Compared<const N: usize> {
    counters: [i64; N],
    actual: [i64; N],
    /// The latest repair until then.
    repaired: Option<bytes::Bytes>,
}

impl<const N: usize> Compared<N> {
    fn differ(&self) -> bool {
        self.counters != self.actual
    }
}

impl MailStore {
    /// Counts all that an account has again: what is wrong, mailbox by mailbox, and then in the account itself.
    ///
    /// An account may be in use meanwhile. One that does not count for its domain yet begins to, where that is repaired.
    ///
    /// # Errors
    /// When the store fails; [`Error::Limit`] when the account changes faster than it can be read.
    pub async fn recount(&self, account: AccountId, repair: Repair) -> Result<Vec<Difference>> {
        let inner = &self.inner;
        let mut found = Vec::new();
        let mailboxes = inner
            .database
            .read(|transaction: Transaction| async move {
                super::transaction::mailbox_rows(&transaction, account).await
            })
            .await?;
        for (id, row) in mailboxes {
            let name = MailboxName::new(&row.name).map_err(|_| Error::Corrupt("a mailbox name"))?;
            let Some(compared) = inner.recount_mailbox(account, id, repair).await? else { continue };
            let kinds = Counter::ALL.map(Counted::of);
            found.extend(differences(&CountedPlace::Mailbox(id, name), kinds, &compared));
        }
        let compared = inner.recount_account(account, repair).await?;
        found.extend(differences(
            &CountedPlace::Account,
            UsageCounter::ALL.map(Counted::of_usage),
            &compared,
        ));
        if repair == Repair::Yes {
            self.count(&[account]).await?;
        }
        Ok(found)
    }

    /// Counts again what all accounts of a domain hold together, going by what each of them says: those are to be counted before. Differences are
    /// those of its [shards](rows::DOMAIN_SHARDS).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recount_domain(&self, domain: &Domain, repair: Repair) -> Result<Vec<Difference>> {
        let mut found = Vec::new();
        for shard in 0..rows::DOMAIN_SHARDS {
            let compared = self.inner.recount_shard(domain, shard, repair).await?;
            let kinds = UsageCounter::ALL.map(Counted::of_usage);
            found.extend(differences(&CountedPlace::Domain, kinds, &compared));
        }
        Ok(found)
    }
}

fn differences<const N: usize>(
    place: &CountedPlace,
    kinds: [Counted; N],
    compared: &Compared<N>,
) -> Vec<Difference> {
    let values = compared.counters.into_iter().zip(compared.actual);
    let found = kinds.into_iter().zip(values).filter(|(_, (counter, actual))| counter != actual);
    found
        .map(|(what, (counter, actual))| Difference { place: place.clone(), what, counter, actual })
        .collect()
}

impl Inner {
    async fn recount_account(&self, account: AccountId, repair: Repair) -> Result<Compared<2>> {
        for _ in 0..ATTEMPTS {
            let read = |transaction: Transaction| async move {
                let counters = quota::account_usage(&transaction, account).await?;
                let of_mailboxes: [i64; 4] =
                    quota::sum(&transaction, rows::all_counters(account), SNAPSHOT).await?;
                let mut actual = [0; 2];
                actual[UsageCounter::Bytes as usize] = of_mailboxes[Counter::Bytes as usize];
                actual[UsageCounter::Messages as usize] = of_mailboxes[Counter::Messages as usize];
                let repaired = transaction.get_snapshot(&rows::recount(account)).await?;
                Ok::<_, Error>(Compared { counters, actual, repaired })
            };
            let compared = self.database.read(read).await?;
            let keys = UsageCounter::ALL.map(|counter| rows::usage(account, counter));
            let done = self.repair(repair, &compared, &rows::recount(account), &keys, None).await?;
            if done {
                return Ok(compared);
            }
        }
        Err(Error::Limit("others count the account again and again"))
    }

    async fn recount_shard(&self, domain: &Domain, shard: u64, repair: Repair) -> Result<Compared<2>> {
        for _ in 0..ATTEMPTS {
            let read = |transaction: Transaction| async move {
                let counters = quota::sum(&transaction, rows::domain_shard(domain, shard), SNAPSHOT).await?;
                let members = transaction.get_range(rows::domain_members(domain, shard), SNAPSHOT).await?;
                let mut actual = [0; 2];
                let transaction = &transaction;
                let usages = members.iter().map(|row| async move {
                    quota::account_usage(transaction, rows::member_of(&row.key)?).await
                });
                let usages: Vec<_> = usages.collect();
                let mut usages = futures_util::stream::iter(usages).buffer_unordered(ACCOUNTS);
                while let Some(usage) = usages.try_next().await? {
                    actual.iter_mut().zip(usage).for_each(|(sum, held)| *sum += held);
                }
                let repaired = transaction.get_snapshot(&rows::domain_recount(domain)).await?;
                Ok::<_, Error>(Compared { counters, actual, repaired })
            };
            let compared = self.database.read(read).await?;
            let keys = UsageCounter::ALL.map(|counter| rows::domain_shard_counter(domain, shard, counter));
            let done = self.repair(repair, &compared, &rows::domain_recount(domain), &keys, None).await?;
            if done {
                return Ok(compared);
            }
        }
        Err(Error::Limit("others count the domain again and again"))
    }

    /// Adds what is missing to the counters at `keys`, unless somebody repaired since they were read, as the row `repaired` says: then `false`. Without
    /// the row `owner` there is nothing to repair any more.
    async fn repair<const N: usize>(
        &self,
        repair: Repair,
        compared: &Compared<N>,
        repaired: &[u8],
        keys: &[Vec<u8>; N],
        owner: Option<&[u8]>,
    ) -> Result<bool> {
        if repair == Repair::No || !compared.differ() {
            return Ok(true);
        }
        let operation: OperationId = self.operation();
        self.database
            .transact(|transaction: Transaction| async move {
                let latest = transaction.get(repaired).await?;
                if latest.as_deref() == Some(&operation[..]) {
                    return Ok(true); // this repair, by an attempt whose result was unknown
                }
                if latest != compared.repaired {
                    return Ok(false);
                }
                if let Some(owner) = owner
                    && transaction.get(owner).await?.is_none()
                {
                    return Ok(true);
                }
                for (key, (counter, actual)) in
                    keys.iter().zip(compared.counters.iter().zip(&compared.actual))
                {
                    if counter != actual {
                        transaction.add(key, actual - counter);
                    }
                }
                transaction.set(repaired, &operation);
                Ok::<_, Error>(true)
            })
            .await
    }
}
