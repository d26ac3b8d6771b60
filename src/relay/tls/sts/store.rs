//! Where MTA-STS policies are remembered beyond the process that fetched them.

use futures_util::future::{BoxFuture, ready};
use serde::{Deserialize, Serialize};

/// A policy as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPolicy {
    /// The id in the TXT record then.
    pub id: String,
    /// The text.
    pub text: String,
    /// When, in seconds since the epoch.
    pub fetched: u64,
}

/// Remembers policies. A policy protects only who already knows it (RFC 8461 §10.2), so one that outlives the process is worth keeping; a store that fails
/// costs a fetch, nothing more.
pub trait PolicyStore: Send + Sync {
    /// The policy of a domain, if there is one.
    fn load<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Option<StoredPolicy>>;

    /// Remembers the policy of a domain.
    fn save<'a>(&'a self, domain: &'a str, policy: &'a StoredPolicy) -> BoxFuture<'a, ()>;
}

/// Remembers nothing: policies live as long as the process.
pub struct InProcess;

impl PolicyStore for InProcess {
    fn load<'a>(&'a self, _domain: &'a str) -> BoxFuture<'a, Option<StoredPolicy>> {
        Box::pin(ready(None))
    }

    fn save<'a>(&'a self, _domain: &'a str, _policy: &'a StoredPolicy) -> BoxFuture<'a, ()> {
        Box::pin(ready(()))
    }
}
