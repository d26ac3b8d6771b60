//! MTA-STS (RFC 8461): policies found by TXT, fetched over HTTPS, kept as long as they say.

mod fetch;
pub mod policy;
mod store;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ekitei_dns::Resolver;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use fetch::FetchError;
pub(crate) use fetch::{Fetch, Https};
use policy::{Policy, record_id};
pub use store::{InProcess, PolicyStore, StoredPolicy};

/// Policies in memory, and their octets together.
const KNOWN: usize = 20_000;
const KNOWN_OCTETS: u64 = 32 << 20;
/// How long after a failed fetch the same policy is not fetched again (RFC 8461 §3.3 asks for at least five minutes).
const PAUSE: Duration = Duration::from_secs(300);
/// Domains whose fetch failed, of which that is remembered.
const FAILED: usize = 10_000;
/// A policy is looked at again when a day has passed, or half its life (RFC 8461 §10.2 advises to refresh daily).
const FRESH: u64 = 86_400;
/// How long it is believed that the store has no policy of a domain, which most have not.
const UNKNOWN: Duration = Duration::from_secs(600);
/// Domains that share a turn to fetch.
const TURNS: usize = 64;

/// What is known of the policy of a domain.
pub(crate) struct Found {
    /// The policy in force.
    pub(crate) policy: Option<Arc<Policy>>,
    /// Why there is none, or no newer one, although the domain says that there is.
    pub(crate) trouble: Option<FetchError>,
}

/// Finds and keeps policies.
pub(crate) struct Sts {
    dns: Resolver,
    fetch: Arc<dyn Fetch>,
    store: Arc<dyn PolicyStore>,
    clock: fn() -> SystemTime,
    known: Cache<String, Arc<Known>, Octets>,
    /// Domains whose policy is not in the store either: until when that is believed.
    unknown: Cache<String, Instant>,
    /// By domain and id: until when, and why.
    failed: Cache<(String, String), (Instant, FetchError)>,
    /// Many messages to one domain fetch its policy once.
    turns: Vec<Mutex<()>>,
}

/// A policy and where it comes from.
struct Known {
    stored: StoredPolicy,
    policy: Arc<Policy>,
}

/// Counts the octets of policies.
#[derive(Clone)]
struct Octets;

impl Weighter<String, Arc<Known>> for Octets {
    fn weight(&self, domain: &String, known: &Arc<Known>) -> u64 {
        // The lines and patterns are kept beside the text.
        (domain.len() + 3 * known.stored.text.len() + 256) as u64
    }
}

impl Known {
    fn read(stored: StoredPolicy) -> Result<Self, FetchError> {
        let policy = Arc::new(Policy::parse(&stored.text)?);
        Ok(Self { stored, policy })
    }

    fn is_valid(&self, now: u64) -> bool {
        now < self.stored.fetched.saturating_add(self.policy.max_age.as_secs())
    }

    fn is_fresh(&self, now: u64) -> bool {
        now < self.stored.fetched.saturating_add(FRESH.min(self.policy.max_age.as_secs() / 2))
    }
}

impl Sts {
    pub(crate) fn new(
        dns: Resolver,
        fetch: Arc<dyn Fetch>,
        store: Arc<dyn PolicyStore>,
        clock: fn() -> SystemTime,
    ) -> Self {
        Self {
            dns,
            fetch,
            store,
            clock,
            known: Cache::with_weighter(KNOWN, KNOWN_OCTETS, Octets),
            unknown: Cache::new(KNOWN),
            failed: Cache::new(FAILED),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// The policy of a domain: the one that is known, unless its TXT record speaks of another (RFC 8461 §5.1). A record that is missing or cannot be
    /// looked up takes nothing away: only a policy of mode `none` does.
    pub(crate) async fn find(&self, domain: &str) -> Found {
        let known = self.known(domain).await;
        let records = self.dns.txt(&format!("_mta-sts.{domain}")).await;
        let id = records.ok().and_then(|answer| record_id(&answer.value));
        match (known, id) {
            (known, None) => Found { policy: known.map(|known| Arc::clone(&known.policy)), trouble: None },
            (Some(known), Some(id)) if known.stored.id == id => {
                Found { policy: Some(Arc::clone(&known.policy)), trouble: None }
            }
            (known, Some(id)) => match self.renew(domain, id).await {
                Ok(policy) => Found { policy: Some(policy), trouble: None },
                Err(error) => {
                    Found { policy: known.map(|known| Arc::clone(&known.policy)), trouble: Some(error) }
                }
            },
        }
    }

    /// The policy that is kept, if it has not expired.
    async fn known(&self, domain: &str) -> Option<Arc<Known>> {
        let known = match self.known.get(domain) {
            Some(known) => known,
            None if self.unknown.get(domain).is_some_and(|until| Instant::now() < until) => return None,
            None => self.recall(domain).await?,
        };
        known.is_valid(self.now()).then_some(known)
    }

    /// The policy in the store.
    async fn recall(&self, domain: &str) -> Option<Arc<Known>> {
        let Some(known) = self.store.load(domain).await.and_then(|stored| Known::read(stored).ok()) else {
            self.unknown.insert(domain.to_owned(), Instant::now() + UNKNOWN);
            return None;
        };
        let known = Arc::new(known);
        self.known.insert(domain.to_owned(), Arc::clone(&known));
        Some(known)
    }

    /// Fetches the policy of this id, unless that failed a moment ago or somebody else just did.
    async fn renew(&self, domain: &str, id: String) -> Result<Arc<Policy>, FetchError> {
        let mut hasher = DefaultHasher::new();
        domain.hash(&mut hasher);
        let _turn =
            self.turns[usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default()].lock().await;
        if let Some(known) =
            self.known.get(domain).filter(|known| known.stored.id == id && known.is_valid(self.now()))
        {
            return Ok(Arc::clone(&known.policy));
        }
        self.fetch(domain, id).await
    }

    async fn fetch(&self, domain: &str, id: String) -> Result<Arc<Policy>, FetchError> {
        let key = (domain.to_owned(), id.clone());
        if let Some((until, error)) = self.failed.get(&key).filter(|(until, _)| Instant::now() < *until) {
            tracing::debug!(domain, until = ?until - Instant::now(), "the policy is not fetched again yet");
            return Err(error);
        }
        let text = self.fetch.fetch(domain).await;
        let known = text.and_then(|text| Known::read(StoredPolicy { id, text, fetched: self.now() }));
        match known {
            Ok(known) => {
                self.store.save(domain, &known.stored).await;
                let policy = Arc::clone(&known.policy);
                self.known.insert(domain.to_owned(), Arc::new(known));
                Ok(policy)
            }
            Err(error) => {
                tracing::info!(domain, %error, "no MTA-STS policy");
                self.failed.insert(key, (Instant::now() + PAUSE, error.clone()));
                Err(error)
            }
        }
    }

    /// Fetches anew what is no longer fresh, so that no policy expires while its server is down (RFC 8461 §10.2).
    pub(crate) async fn refresh(&self) {
        let now = self.now();
        let stale: Vec<(String, Arc<Known>)> =
            self.known.iter().filter(|(_, known)| known.is_valid(now) && !known.is_fresh(now)).collect();
        for (domain, known) in stale {
            let records = self.dns.txt(&format!("_mta-sts.{domain}")).await;
            // Without a record the policy may still be there (RFC 8461 §5.1).
            let id = records
                .ok()
                .and_then(|answer| record_id(&answer.value))
                .unwrap_or_else(|| known.stored.id.clone());
            let _ = self.fetch(&domain, id).await;
        }
    }

    fn now(&self) -> u64 {
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}
