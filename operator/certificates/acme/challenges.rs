//! DNS-01: what the caller does in the DNS for the authority to see (RFC 8555 §8.4).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use tokio::runtime::Handle;

/// A chain of aliases may be this long.
const MOST_ALIASES: usize = 8;

/// A TXT record, one value of possibly several at its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxtRecord {
    /// Where it is to be written, aliases followed, without the last dot.
    pub name: String,
    /// Its one string, 43 characters.
    pub value: String,
}

/// Why a challenge could not be answered. The fault is with the caller's names or with what writes them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Whoever writes records could not, for now.
    #[error("{detail}")]
    Unavailable {
        /// What happened.
        detail: String,
        /// When to try again, if that is known.
        after: Option<Duration>,
    },
    /// Records of this name cannot be written until somebody changes something: no provider for its zone, a wrong key.
    #[error("{0}")]
    Refused(String),
    /// A name server does not show the record in time.
    #[error("{0}")]
    NotVisible(String),
}

/// What a method of [`Challenges`] gives.
pub type ChallengeFuture<'a, T> = BoxFuture<'a, Result<T, ChallengeError>>;

/// Writes the records that an authority asks for. All methods may be repeated.
pub trait Challenges: Send + Sync {
    /// Where the CNAME record at `name` leads, or `None` if there is none: `_acme-challenge` names may be aliases into a
    /// zone that is easier to write. To be asked of authoritative servers. Names are without the last dot.
    fn alias<'a>(&'a self, name: &'a str) -> ChallengeFuture<'a, Option<String>>;

    /// Adds the record beside others of its name (two names of one order may have the same: `example.org` and
    /// `*.example.org`).
    fn present<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()>;

    /// Returns when every authoritative name server shows the record. The time is limited by the caller of this
    /// ([`super::Patience::visible`]).
    fn wait_until_visible<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()>;

    /// Removes the record, and no other of its name. Also called for records whose `present` failed.
    fn clean_up<'a>(&'a self, record: &'a TxtRecord) -> ChallengeFuture<'a, ()>;
}

/// Follows aliases from `name` to where a record is to be written.
///
/// # Errors
/// Those of [`Challenges::alias`]; [`ChallengeError::Refused`] for a circle, or more than eight aliases.
pub async fn follow(challenges: &dyn Challenges, name: &str) -> Result<String, ChallengeError> {
    let normal = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let mut at = normal(name);
    let mut seen = vec![at.clone()];
    while let Some(target) = challenges.alias(&at).await? {
        at = normal(&target);
        if seen.contains(&at) || seen.len() > MOST_ALIASES {
            return Err(ChallengeError::Refused(format!(
                "{name} is an alias that leads nowhere: {}",
                seen.join(" -> ")
            )));
        }
        seen.push(at.clone());
    }
    Ok(at)
}

/// Records that were written, and are removed in the end: by [`Presented::clean_up`], or when this is dropped because
/// the order was given up.
pub(super) struct Presented {
    challenges: Arc<dyn Challenges>,
    records: Vec<TxtRecord>,
}

impl Presented {
    pub(super) fn new(challenges: Arc<dyn Challenges>) -> Self {
        Self { challenges, records: Vec::new() }
    }

    /// Writes a record. It is removed later even if this fails: a write whose answer was lost may have been done.
    pub(super) async fn present(&mut self, record: TxtRecord) -> Result<(), ChallengeError> {
        self.records.push(record.clone());
        self.challenges.present(&record).await
    }

    /// Waits until all name servers show all records.
    pub(super) async fn wait_until_visible(&self, limit: Duration) -> Result<(), ChallengeError> {
        let all = try_join_all(self.records.iter().map(|record| self.challenges.wait_until_visible(record)));
        match tokio::time::timeout(limit, all).await {
            Ok(result) => result.map(|_| ()),
            Err(_) => Err(ChallengeError::NotVisible(format!(
                "not all name servers show {} after {} seconds",
                self.records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>().join(", "),
                limit.as_secs()
            ))),
        }
    }

    /// Removes all records. A failure is logged and no more: what the order came to is worth more than that.
    pub(super) async fn clean_up(mut self) {
        remove(&self.challenges, std::mem::take(&mut self.records)).await;
    }
}

impl Drop for Presented {
    fn drop(&mut self) {
        let records = std::mem::take(&mut self.records);
        if let (false, Ok(runtime)) = (records.is_empty(), Handle::try_current()) {
            let challenges = Arc::clone(&self.challenges);
            runtime.spawn(async move { remove(&challenges, records).await });
        }
    }
}

async fn remove(challenges: &Arc<dyn Challenges>, records: Vec<TxtRecord>) {
    for record in records {
        if let Err(error) = challenges.clean_up(&record).await {
            tracing::warn!(name = record.name, %error, "the TXT record of a challenge could not be removed");
        }
    }
}
