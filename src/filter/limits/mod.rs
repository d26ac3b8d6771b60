//! How much clients and users may do, over all processes, and who is not let in.
//!
//! [`Limits`] is one object for the whole process: servers ask it at connecting (it is a [`Gate`](ekitei_net::Gate)), at MAIL and RCPT,
//! and at logins, and tell it what clients do wrong. None of these questions costs a transaction: counts are kept in memory and shared
//! every second ([`counters`] has how, and how far they can be off), bans are in memory and followed with a watch.
//!
//! What a client does wrong counts points towards a ban. With too many within a window the client is banned at once in this process, and
//! a moment later in all of them. Bans and counts survive the end of a process.

mod ban_store;
mod bans;
pub(crate) mod counters;
mod gate;
mod logins;
mod maintenance;
mod metrics;
pub(crate) mod rows;
mod sharing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_config::{Bans, Cidr, Config, Live};
use ekitei_directory::AccountId;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, Error};
use ekitei_telemetry::Registry;
use tokio::sync::Notify;

pub use ban_store::BanError;
use ban_store::{BanStore, Terms};
pub use bans::Ban;
use counters::{Counters, Counting, Key, Kind, Subject, Window};
use logins::Logins;
use metrics::Metrics;
use sharing::Sharing;

/// The longest reason of a ban, in octets.
const REASON: usize = 500;
/// How long a client waits for the store's answer to a question of limits; without one it passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// Bans that wait to be written; more are dropped, and made when the client goes on.
const MAX_DUE: usize = 10_000;

/// Something that a client did wrong; each counts points towards a ban (`filter.limits.bans.points`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A login with a wrong name or password.
    LoginFailed,
    /// A recipient that nobody has.
    UnknownRecipient,
    /// A recipient elsewhere, without a login.
    RelayAttempt,
    /// A command that is none, or at the wrong time.
    BadCommand,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::LoginFailed => "login_failed",
            Self::UnknownRecipient => "unknown_recipient",
            Self::RelayAttempt => "relay_attempt",
            Self::BadCommand => "bad_command",
        }
    }

    /// The reason of the ban that it leads to.
    fn reason(self) -> &'static str {
        match self {
            Self::LoginFailed => "failed logins",
            Self::UnknownRecipient => "unknown recipients",
            Self::RelayAttempt => "attempts to relay",
            Self::BadCommand => "bad commands",
        }
    }

    fn points(self, bans: &Bans) -> u32 {
        match self {
            Self::LoginFailed => bans.points.login_failed,
            Self::UnknownRecipient => bans.points.unknown_recipient,
            Self::RelayAttempt => bans.points.relay_attempt,
            Self::BadCommand => bans.points.bad_command,
        }
    }
}

/// Rates and bans. Clones share everything.
#[derive(Clone)]
pub struct Limits {
    inner: Arc<Inner>,
}

struct Inner {
    live: Live,
    database: Database,
    clock: SharedClock,
    counters: Counters,
    sharing: Sharing,
    bans: BanStore,
    logins: Logins,
    /// Bans that this process has made and the store does not have yet, with their reasons.
    due: Mutex<HashMap<Cidr, &'static str>>,
    /// Woken when the others should hear of something soon.
    wake: Notify,
    metrics: Metrics,
}

impl Limits {
    /// Nothing counted yet. Limits hold without anything else; await [`Limits::load`] to know the
    /// bans, and spawn [`Limits::run`] to share all of it with other processes.
    pub fn new(live: Live, database: Database, clock: SharedClock, registry: &Registry) -> Self {
        let inner = Inner {
            live,
            counters: Counters::default(),
            sharing: Sharing::new(database.clone(), Arc::clone(&clock)),
            bans: BanStore::new(database.clone(), Arc::clone(&clock)),
            logins: Logins::default(),
            due: Mutex::default(),
            wake: Notify::new(),
            metrics: Metrics::new(registry),
            database,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes notice of something that `client` did wrong. Those in trusted or exempt networks may do anything.
    pub fn event(&self, client: IpAddr, event: Event) {
        let inner = &self.inner;
        inner.metrics.events.with(&[event.name()]).inc();
        let config = inner.live.load();
        let bans = &config.filter.limits.bans;
        let points = event.points(bans);
        if !bans.enabled || points == 0 || is_exempt(&config, client) {
            return;
        }
        let window = points_window(bans);
        for (network, threshold) in [(narrow(client), bans.threshold), (wide(client), bans.network_threshold)]
        {
            if threshold == 0 {
                continue;
            }
            let how = inner.counting(&config, window, threshold, true);
            let key = Key { kind: Kind::Points, subject: Subject::Network(network) };
            // Points up to one less than the threshold are within.
            let counted = inner.counters.count(key, points.into(), &Counting { limit: how.limit - 1, ..how });
            if !counted.within {
                inner.ban_soon(network, event.reason(), &config);
            } else if counted.urgent {
                inner.wake.notify_one();
            }
        }
    }

    /// Counts a message from `client` towards the rates of its address (`smtp.messagesPerAddressPerMinute`) and its network; `false` when it is one too
    /// many.
    pub fn message_from(&self, client: IpAddr) -> bool {
        let config = self.inner.live.load();
        let limits = [
            ("messages_address", narrow(client), config.smtp.messages_per_address_per_minute),
            ("messages_network", wide(client), config.filter.limits.messages_per_network_per_minute),
        ];
        limits.into_iter().all(|(name, network, per_minute)| {
            let key = Key { kind: Kind::Messages, subject: Subject::Network(network) };
            let within = self.inner.allow(&config, key, Window::MINUTE, per_minute);
            self.inner.metrics.decided(name, within)
        })
    }

    /// Counts a message of `account`; `false` when it is one too many for this minute (`smtp.submission.messagesPerAccountPerMinute`).
    pub async fn message_of(&self, account: AccountId) -> bool {
        let config = self.inner.live.load();
        let per_minute = config.smtp.submission.messages_per_account_per_minute;
        let key = Key { kind: Kind::Messages, subject: Subject::Account(account) };
        let within = self.inner.ask_and_allow(&config, key, Window::MINUTE, per_minute).await;
        self.inner.metrics.decided("messages_account", within)
    }

    /// Counts a recipient of a message of `account`; `false` when it is one too many for this day
    /// (`smtp.submission.recipientsPerAccountPerDay`).
    pub async fn recipient_of(&self, account: AccountId) -> bool {
        let config = self.inner.live.load();
        let per_day = config.smtp.submission.recipients_per_account_per_day;
        let key = Key { kind: Kind::Recipients, subject: Subject::Account(account) };
        let within = self.inner.ask_and_allow(&config, key, Window::DAY, per_day).await;
        self.inner.metrics.decided("recipients_account", within)
    }

    /// The ban that keeps `client` out, if there is one.
    pub fn banned(&self, client: IpAddr) -> Option<Arc<Ban>> {
        let config = self.inner.live.load();
        let bans = &config.filter.limits.bans;
        let spared = !bans.enabled || is_exempt(&config, client);
        self.inner.bans.table.find(client, self.inner.clock.now(), |ban| ban.manual || !spared)
    }

    /// Bans a network by hand, for `length` or without an end, in place of any ban that it has.
    ///
    /// # Errors
    /// [`BanError`]: a whole address family, a reason that is too long or not one line, too many bans, or the store.
    pub async fn add_ban(
        &self,
        network: Cidr,
        reason: &str,
        length: Option<Duration>,
    ) -> Result<Ban, BanError> {
        if network.is_everything() {
            return Err(BanError::Invalid(format!("{network} is everyone")));
        }
        if reason.len() > REASON || reason.contains(char::is_control) {
            return Err(BanError::Invalid(format!("the reason must be one line of at most {REASON} octets")));
        }
        if length.is_some_and(|length| length.as_secs() == 0) {
            return Err(BanError::Invalid("a ban lasts at least a second".to_owned()));
        }
        let (bans, config) = (&self.inner.bans, self.inner.live.load());
        if bans.table.get(network).is_none() && bans.is_full(&config) {
            return Err(BanError::Full(bans.table.len()));
        }
        let ban = bans.put(network, reason, length).await?;
        self.inner.metrics.bans_made.with(&["manual"]).inc();
        tracing::info!(%network, reason, ?length, "banned by hand");
        Ok(ban)
    }

    /// Ends a ban. What the network did before is forgotten.
    ///
    /// # Errors
    /// [`BanError`].
    pub async fn remove_ban(&self, network: Cidr) -> Result<(), BanError> {
        self.inner.bans.remove(network).await?;
        self.inner.forgive(network);
        tracing::info!(%network, "no longer banned");
        Ok(())
    }

    /// Up to `limit` bans that count now, in the order of their networks' names, after the one with the name `after`.
    ///
    /// # Errors
    /// [`BanError::Unavailable`].
    pub async fn list_bans(&self, after: Option<&str>, limit: usize) -> Result<Vec<Ban>, BanError> {
        Ok(self.inner.bans.list(after, limit).await?)
    }
}

impl Inner {
    fn counting(&self, config: &Config, window: Window, limit: u32, beyond: bool) -> Counting {
        let max_keys = usize::try_from(config.filter.limits.max_keys).unwrap_or(usize::MAX);
        Counting { window, limit: limit.into(), beyond, max_keys, now: self.clock.now() }
    }

    /// Counts one event, unless it is over the limit; 0 is none.
    fn allow(&self, config: &Config, key: Key, window: Window, limit: u32) -> bool {
        if limit == 0 {
            return true;
        }
        let counted = self.counters.count(key, 1, &self.counting(config, window, limit, false));
        if counted.urgent {
            self.wake.notify_one();
        }
        counted.within
    }

    /// The same, for a counter that is asked of the store when that was not for the time of a synchronisation, so that a process that starts, or that
    /// the account comes to again, knows what happened at the others. A store that is away stops nobody.
    async fn ask_and_allow(&self, config: &Config, key: Key, window: Window, limit: u32) -> bool {
        if limit != 0 {
            let how = self.counting(config, window, limit, false);
            let interval = config.filter.limits.sync_interval.get();
            if let Err(error) = patiently(self.sharing.ask(&self.counters, key, &how, interval)).await {
                tracing::warn!(%error, "a rate is counted without what other processes counted");
            }
        }
        self.allow(config, key, window, limit)
    }

    /// Bans a network here at once, and lets it be written.
    fn ban_soon(&self, network: Cidr, reason: &'static str, config: &Config) {
        let now = self.clock.now();
        if self.bans.table.get(network).is_some_and(|ban| ban.is_active(now)) {
            return;
        }
        if self.bans.is_full(config) {
            self.metrics.bans_dropped.inc();
            return;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() < MAX_DUE {
            due.insert(network, reason);
            drop(due);
            let until = Some(now + config.filter.limits.bans.first.get());
            let (reason, manual, created) = (reason.to_owned(), false, now);
            self.bans.table.insert(Ban { network, reason, manual, created, until, times: 1 });
            self.wake.notify_one();
        }
    }

    /// Forgets the points of a network.
    fn forgive(&self, network: Cidr) {
        self.counters.forget(Key { kind: Kind::Points, subject: Subject::Network(network) });
    }
}

/// Waits for an answer of the store, but not for long.
pub(crate) async fn patiently<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Unavailable("no answer in time".to_owned());
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

impl BanStore {
    fn is_full(&self, config: &Config) -> bool {
        self.table.len() >= usize::try_from(config.filter.limits.bans.max_bans).unwrap_or(usize::MAX)
    }
}

fn terms(bans: &Bans) -> Terms {
    Terms { first: bans.first.get(), longest: bans.longest.get(), memory: bans.memory.get() }
}

fn points_window(bans: &Bans) -> Window {
    Window { length: bans.window.get(), sliding: true }
}

/// What counts as one client: a host commonly owns a whole IPv6 /64.
fn narrow(client: IpAddr) -> Cidr {
    Cidr::around(client, if client.to_canonical().is_ipv4() { 32 } else { 64 })
}

/// What commonly belongs to one owner.
fn wide(client: IpAddr) -> Cidr {
    Cidr::around(client, if client.to_canonical().is_ipv4() { 24 } else { 48 })
}

/// Whether a client is never banned for what it does.
fn is_exempt(config: &Config, client: IpAddr) -> bool {
    let exempt = config.filter.limits.bans.exempt.iter().chain(&config.smtp.trusted_networks);
    exempt.into_iter().any(|network| network.contains(client))
}
