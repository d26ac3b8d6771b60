//! Logins: failures lead to bans of addresses, and close accounts that are being guessed at to strangers.
//!
//! An address that fails too often is banned like any that does wrong. That does not help against thousands of addresses that each try
//! once, so failures are also counted by login name. With too many of them, only addresses from which its user has logged in before may try; a
//! user who travels has to wait, and one at home does not notice.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekitei_config::Cidr;
use ekitei_directory::{AuthContext, AuthError, Authenticated, Directory};
use ekitei_kv::{Error, Transaction};
use quick_cache::sync::Cache;

use super::counters::{Key, Kind, Subject, Window};
use super::rows::{self, Period};
use super::{Event, Limits, narrow, patiently};

/// The time over which failures of an account count.
const WINDOW: Window = Window { length: Duration::from_secs(3600), sliding: true };
/// How long an address stays familiar to an account, at least.
const FAMILIAR: Duration = Duration::from_secs(30 * 86_400);
/// Familiar addresses and failed logins that a process remembers.
const REMEMBERED: usize = 20_000;
/// Familiar addresses that wait to be written; more are written at their next login.
const MAX_WAITING: usize = 5_000;
/// Rows in one transaction.
const BATCH: usize = 500;

type Digest = [u8; 16];

/// What a process remembers of logins.
pub(crate) struct Logins {
    /// Where a login came from, and when that was last written.
    familiar: Cache<(Digest, Cidr), Period>,
    /// What is to be written.
    waiting: Mutex<Vec<(Digest, Cidr, Period)>>,
    /// Digests of failed logins with their passwords and addresses: a program with an old password repeats itself, and guesses nothing.
    failed: Cache<Digest, ()>,
    /// Random, so that the digests in memory cannot be compared with a list of passwords made elsewhere.
    key: [u8; 32],
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            familiar: Cache::new(REMEMBERED),
            waiting: Mutex::default(),
            failed: Cache::new(REMEMBERED),
            key: rand::random(),
        }
    }
}

impl Limits {
    /// [`Directory::authenticate`], with limits: refuses clients that are banned, and strangers to an account with too many failures, as
    /// [`AuthError::Limited`]; counts what fails.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(
        &self,
        directory: &Directory,
        login: &str,
        password: &str,
        context: AuthContext,
    ) -> Result<Authenticated, AuthError> {
        let name = digest(login);
        if !self.may_try(name, context.peer).await {
            return Err(AuthError::Limited);
        }
        let result = directory.authenticate(login, password, context).await;
        match (&result, context.peer) {
            (Ok(_), Some(peer)) => self.logged_in(name, peer),
            (Err(AuthError::InvalidCredentials), peer) => self.login_failed(name, password, peer),
            _ => {}
        }
        result
    }

    async fn may_try(&self, name: Digest, peer: Option<IpAddr>) -> bool {
        let (inner, config) = (&self.inner, self.inner.live.load());
        if peer.is_some_and(|peer| self.banned(peer).is_some()) {
            return inner.metrics.decided("login_banned", false);
        }
        let limit = config.filter.limits.login_failures_per_account_per_hour;
        let key = Key { kind: Kind::LoginFailures, subject: Subject::Login(name) };
        if limit == 0 || !inner.counters.is_over(key, &inner.counting(&config, WINDOW, limit, true)) {
            return inner.metrics.decided("login_failures", true);
        }
        let familiar = match peer {
            Some(peer) => self.is_familiar(name, narrow(peer)).await,
            None => false,
        };
        inner.metrics.decided("login_failures", familiar)
    }

    /// Whether the user of this name logged in from there. If the store is away, nobody is kept from their mail.
    async fn is_familiar(&self, name: Digest, network: Cidr) -> bool {
        if self.inner.logins.familiar.get(&(name, network)).is_some() {
            return true;
        }
        let period = Period::at(self.inner.clock.now(), FAMILIAR);
        let keys = &[period, period.before()].map(|period| rows::familiar(period, &hex(name), network));
        let found = self.inner.database.read(|tx| async move {
            for key in keys {
                if tx.get_snapshot(key).await?.is_some() {
                    return Ok(true);
                }
            }
            Ok::<_, Error>(false)
        });
        patiently(found).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "it cannot be seen whether a login comes from a familiar address");
            true
        })
    }

    fn login_failed(&self, name: Digest, password: &str, peer: Option<IpAddr>) {
        let (inner, config) = (&self.inner, self.inner.live.load());
        if inner.logins.is_repeated(name, password, peer) {
            return;
        }
        let limit = config.filter.limits.login_failures_per_account_per_hour;
        if limit != 0 {
            let key = Key { kind: Kind::LoginFailures, subject: Subject::Login(name) };
            let counted = inner.counters.count(key, 1, &inner.counting(&config, WINDOW, limit, true));
            if counted.urgent {
                inner.wake.notify_one();
            }
        }
        if let Some(peer) = peer {
            self.event(peer, Event::LoginFailed);
        }
    }

    fn logged_in(&self, name: Digest, peer: IpAddr) {
        let (logins, network) = (&self.inner.logins, narrow(peer));
        let period = Period::at(self.inner.clock.now(), FAMILIAR);
        if logins.familiar.get(&(name, network)) == Some(period) {
            return;
        }
        let mut waiting = logins.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            waiting.push((name, network, period));
            logins.familiar.insert((name, network), period);
        }
    }

    /// Writes what became familiar. A repetition writes the same.
    pub(super) async fn write_familiar(&self) -> Result<(), Error> {
        let logins = &self.inner.logins;
        loop {
            let batch: Vec<_> = {
                let mut waiting = logins.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let rest = waiting.len().saturating_sub(BATCH);
                waiting.split_off(rest)
            };
            if batch.is_empty() {
                return Ok(());
            }
            let rows = &batch;
            let written = self.inner.database.transact(|tx: Transaction| async move {
                for (name, network, period) in rows {
                    tx.set(&rows::familiar(*period, &hex(*name), *network), b"");
                }
                Ok::<_, Error>(())
            });
            if let Err(error) = written.await {
                logins.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
                return Err(error);
            }
        }
    }
}

impl Logins {
    /// Whether this very login failed before; remembers it.
    fn is_repeated(&self, name: Digest, password: &str, peer: Option<IpAddr>) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&name);
        hasher.update(peer.map(narrow).map(|network| network.to_string()).unwrap_or_default().as_bytes());
        hasher.update(&[0]);
        hasher.update(password.as_bytes());
        let digest = shorten(&hasher.finalize());
        let is_known = self.failed.get(&digest).is_some();
        self.failed.insert(digest, ());
        is_known
    }
}

/// A login name without regard to its case, in a size that does not depend on the client.
fn digest(login: &str) -> Digest {
    shorten(&blake3::hash(login.to_lowercase().as_bytes()))
}

fn shorten(hash: &blake3::Hash) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.as_bytes()[..16]);
    digest
}

fn hex(digest: Digest) -> String {
    format!("{:032x}", u128::from_be_bytes(digest))
}
