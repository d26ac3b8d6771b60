//! Greylisting (RFC 6647): mail of senders that nobody knows is put off once.
//!
//! What is told apart are combinations of the client's network (IPv4: /24, IPv6: /64, since large senders try again from a neighbour), the
//! sender and the recipient. The first attempt writes when it was; one that comes after `delay` and within `retryWindow` passes, and so does
//! everything alike for `lifetime` after the last mail. A network from which enough combinations passed need not show it again.
//!
//! All of it is rows in the store, shared by all processes; see [`rows`](crate::limits::rows) for how they expire. What passes commonly is
//! remembered in memory, so that it costs nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Cidr, Greylist as Settings, Live};
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, Error, KeyValue, RangeOptions, Result, Transaction, decode_counter};
use ekitei_telemetry::{CounterFamily, Registry};
use quick_cache::sync::Cache;

use crate::Refusal;
use crate::limits::patiently;
use crate::limits::rows::{self, Combination, Period};

/// The longest sender or recipient that is told apart from others, in octets (RFC 5321 §4.5.3.1).
const ADDRESS: usize = 320;
/// How long a process relies on its memory before it asks the store again, and lets the store know that somebody is still there.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// One recipient of one mail.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The client; the caller skips trusted and authenticated ones.
    pub client: IpAddr,
    /// The reverse-path; empty for the null one.
    pub sender: &'a str,
    /// The forward-path.
    pub recipient: &'a str,
    /// The domain that SPF passed for, if it did: known ones pass at once.
    pub spf_domain: Option<&'a str>,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greyness {
    /// It may come in.
    Pass,
    /// It has to come again. Refuse the recipient with this, or keep it until the message is there and ask [`Greylist::known_sender`] for
    /// the domains of its aligned signatures.
    Defer(Refusal),
}

/// A combination that the greylist knows, for the administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreylistEntry {
    /// The client's network.
    pub network: Cidr,
    /// The sender, in lower case; empty for the null reverse-path.
    pub sender: String,
    /// The recipient, in lower case.
    pub recipient: String,
    /// Whether it may come in; else its first attempt was put off.
    pub passed: bool,
    /// When it was put off, or was seen last (within an hour or so), as the time since the Unix epoch.
    pub at: Duration,
}

/// A page of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GreylistPage {
    /// The combinations.
    pub entries: Vec<GreylistEntry>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Why something is known, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// By the configuration.
    Listed,
    /// Enough has passed from its network.
    Network,
    /// The combination has passed before.
    Combination,
    /// It has come again in time.
    Retried,
    /// SPF shows a domain whose mail was accepted before.
    KnownSender,
    /// Its first attempt, or the first for a long time.
    First,
    /// It has come again too soon.
    Early,
    /// The store failed.
    Failed,
}

impl Decision {
    fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Network => "known_network",
            Self::Combination => "known",
            Self::Retried => "retried",
            Self::KnownSender => "known_sender",
            Self::First => "first",
            Self::Early => "early",
            Self::Failed => "failed",
        }
    }
}

/// What a process remembers as known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Known {
    Network(Cidr),
    Combination(Combination),
    Domain(String),
}

/// The greylist. Clones share everything.
#[derive(Clone)]
pub struct Greylist {
    inner: Arc<Inner>,
}

struct Inner {
    live: Live,
    database: Database,
    clock: SharedClock,
    /// Until when this process need not ask.
    known: Cache<Known, Duration>,
    /// By result.
    decisions: CounterFamily,
}

/// The periods in which rows are written and looked up.
#[derive(Clone, Copy)]
struct Periods {
    put_off: Period,
    passed: Period,
    domain: Period,
}

impl Greylist {
    /// The greylist in `database`.
    pub fn new(live: Live, database: Database, clock: SharedClock, registry: &Registry) -> Self {
        let entries = usize::try_from(live.load().filter.greylist.cache_entries).unwrap_or(usize::MAX);
        let decisions = registry.counters(
            "greylist_decisions_total",
            "Recipients that greylisting let pass (listed, known_network, known, retried, known_sender, failed) or put off (first, early).",
            &["result"],
        );
        Self { inner: Arc::new(Inner { live, database, clock, known: Cache::new(entries), decisions }) }
    }

    /// Whether an attempt may pass now. Passes when greylisting is off, and when the store fails.
    pub async fn check(&self, attempt: Attempt<'_>) -> Greyness {
        let config = self.inner.live.load();
        let settings = &config.filter.greylist;
        if !settings.enabled {
            return Greyness::Pass;
        }
        let decision = patiently(self.decide(&attempt, settings)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a mail passes that could not be looked up in the greylist");
            Decision::Failed
        });
        self.inner.decisions.with(&[decision.name()]).inc();
        tracing::debug!(?attempt, ?decision, "greylist");
        match decision {
            Decision::First | Decision::Early => Greyness::Defer(put_off(settings.delay.get())),
            _ => Greyness::Pass,
        }
    }

    /// Whether mail that SPF or an aligned DKIM signature showed to be of `domain` was accepted before: then what [`Greylist::check`] put off may
    /// pass. No domain is known when greylisting is off.
    pub async fn known_sender(&self, domain: &str) -> bool {
        let config = self.inner.live.load();
        let settings = &config.filter.greylist;
        if !settings.enabled || !settings.known_senders_pass {
            return false;
        }
        let known = patiently(self.is_known_domain(domain, settings)).await;
        let known = known.unwrap_or_else(|error| {
            tracing::warn!(%error, "a sender could not be looked up in the greylist");
            false
        });
        if known {
            self.inner.decisions.with(&[Decision::KnownSender.name()]).inc();
        }
        known
    }

    /// Remembers that mail of `domain`, shown to be so by SPF or an aligned signature, was accepted. To be called after the message was accepted and
    /// was no spam.
    pub async fn accepted(&self, domain: &str) {
        let config = self.inner.live.load();
        let settings = &config.filter.greylist;
        if !settings.enabled || !settings.known_senders_pass || domain.len() > ADDRESS {
            return;
        }
        let known = Known::Domain(domain.to_ascii_lowercase());
        if self.remembers(&known) {
            return;
        }
        let key = &rows::known_domain(self.periods(settings).domain, &domain.to_ascii_lowercase());
        let written = self.inner.database.transact(|tx: Transaction| async move {
            tx.set(key, b"");
            Ok::<_, Error>(())
        });
        match patiently(written).await {
            Ok(()) => self.remember(known),
            Err(error) => tracing::warn!(%error, "a sender is not remembered in the greylist"),
        }
    }

    async fn decide(&self, attempt: &Attempt<'_>, settings: &Settings) -> Result<Decision> {
        let combination = combination(attempt);
        if is_listed(attempt, settings) {
            return Ok(Decision::Listed);
        }
        if settings.network_after > 0 && self.remembers(&Known::Network(combination.network)) {
            return Ok(Decision::Network);
        }
        let known = Known::Combination(combination.clone());
        if self.remembers(&known) {
            return Ok(Decision::Combination);
        }
        if let Some(domain) = attempt.spf_domain.filter(|_| settings.known_senders_pass)
            && self.is_known_domain(domain, settings).await?
        {
            return Ok(Decision::KnownSender);
        }
        let decision = self.look_up(&combination, settings).await?;
        match decision {
            Decision::Network => self.remember(Known::Network(combination.network)),
            Decision::Combination | Decision::Retried => self.remember(known),
            _ => {}
        }
        Ok(decision)
    }

    /// Decides by the rows, and writes what follows. A repetition of an attempt whose commit is unknown finds what it wrote: then a first attempt is too
    /// early, which comes to the same, and one that passed has passed.
    async fn look_up(&self, combination: &Combination, settings: &Settings) -> Result<Decision> {
        let (now, periods) = (self.inner.clock.now(), self.periods(settings));
        let (delay, window) = (settings.delay.get(), settings.retry_window.get());
        self.inner
            .database
            .transact(|tx: Transaction| async move {
                let passed_from = counts(&tx, periods.passed, combination.network).await?;
                if settings.network_after > 0
                    && passed_from.0 + passed_from.1 >= settings.network_after.into()
                {
                    keep_network(&tx, periods.passed, combination.network, passed_from);
                    return Ok(Decision::Network);
                }
                let passed = newest(&tx, periods.passed, |period| rows::passed(period, combination)).await?;
                if passed.is_some_and(|at| now < at + settings.lifetime.get()) {
                    note_passed(&tx, periods.passed, combination, now);
                    return Ok(Decision::Combination);
                }
                let first = newest(&tx, periods.put_off, |period| rows::put_off(period, combination)).await?;
                match first.filter(|first| now < *first + window) {
                    None => {
                        tx.set(&rows::put_off(periods.put_off, combination), &rows::encode_seconds(now));
                        Ok(Decision::First)
                    }
                    Some(first) if now < first + delay => Ok(Decision::Early),
                    Some(_) => {
                        note_passed(&tx, periods.passed, combination, now);
                        tx.add(&rows::passed_from(periods.passed, combination.network), 1);
                        for period in [periods.put_off, periods.put_off.before()] {
                            tx.clear(&rows::put_off(period, combination));
                        }
                        Ok::<_, Error>(Decision::Retried)
                    }
                }
            })
            .await
    }

    /// Whether a domain is known; lets the store know that it still is.
    async fn is_known_domain(&self, domain: &str, settings: &Settings) -> Result<bool> {
        let domain = &domain.to_ascii_lowercase();
        if domain.len() > ADDRESS {
            return Ok(false);
        }
        let known = Known::Domain(domain.clone());
        if self.remembers(&known) {
            return Ok(true);
        }
        let period = self.periods(settings).domain;
        let found = self.inner.database.read(|tx| async move {
            for period in [period, period.before()] {
                if tx.get_snapshot(&rows::known_domain(period, domain)).await?.is_some() {
                    return Ok::<_, Error>(true);
                }
            }
            Ok(false)
        });
        found.await
    }

    fn periods(&self, settings: &Settings) -> Periods {
        let now = self.inner.clock.now();
        Periods {
            put_off: Period::at(now, settings.retry_window.get()),
            passed: Period::at(now, settings.lifetime.get()),
            domain: Period::at(now, settings.known_sender_lifetime.get()),
        }
    }

    fn remembers(&self, known: &Known) -> bool {
        self.inner.known.get(known).is_some_and(|until| self.inner.clock.now() < until)
    }

    fn remember(&self, known: Known) {
        self.inner.known.insert(known, self.inner.clock.now() + REMEMBERED);
    }
}

/// The administrator's view.
impl Greylist {
    /// Up to `limit` combinations, after the page that ended with `after`: those that passed, or those that were put off.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, passed: bool, after: Option<&str>, limit: usize) -> Result<GreylistPage> {
        let mut range = rows::combinations(passed);
        if let Some(after) = after.and_then(from_hex).filter(|after| range.contains(after)) {
            range.start = [&after[..], &[0]].concat();
        }
        let range = &range;
        let options = RangeOptions { limit: limit.max(1), reverse: false, snapshot: true };
        let rows =
            self.inner.database.read(|tx| async move { tx.get_range(range.clone(), options).await }).await?;
        let mut page = GreylistPage::default();
        for row in &rows {
            let Combination { network, sender, recipient } = rows::combination_of(&row.key)?;
            let at = Duration::from_secs(rows::decode_seconds(&row.value).unwrap_or_default());
            page.entries.push(GreylistEntry { network, sender, recipient, passed, at });
        }
        page.next = rows.last().filter(|_| rows.len() == options.limit).map(|row| to_hex(&row.key));
        Ok(page)
    }

    /// Forgets everything about a client's network; how many combinations that was. Other processes may remember for up to an hour what passed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove(&self, client: IpAddr) -> Result<usize> {
        let network = network(client);
        let config = self.inner.live.load();
        let periods = self.periods(&config.filter.greylist);
        let passed = [periods.passed, periods.passed.before()];
        let put_off = [periods.put_off, periods.put_off.before()];
        let mut ranges = put_off.map(|period| rows::combinations_of(false, period, network)).to_vec();
        ranges.extend(passed.map(|period| rows::combinations_of(true, period, network)));
        let mut removed = 0;
        for range in &ranges {
            let count = |page: Vec<KeyValue>| {
                removed += page.len();
                Ok::<_, Error>(())
            };
            self.inner.database.scan(range.clone(), count).await?;
        }
        let ranges = &ranges;
        let cleared = self.inner.database.transact(|tx: Transaction| async move {
            ranges.iter().for_each(|range| tx.clear_range(range.clone()));
            passed.iter().for_each(|period| tx.clear(&rows::passed_from(*period, network)));
            Ok::<_, Error>(())
        });
        cleared.await?;
        self.inner.known.clear();
        Ok(removed)
    }
}

/// What is told apart: addresses without regard to case, and tags of senders without what changes with each mail.
fn combination(attempt: &Attempt<'_>) -> Combination {
    let cut = |text: &str| {
        let text = text.to_lowercase();
        text.char_indices()
            .take_while(|(at, c)| at + c.len_utf8() <= ADDRESS)
            .map(|(_, c)| c)
            .collect::<String>()
    };
    Combination {
        network: network(attempt.client),
        sender: without_tag(&cut(attempt.sender)),
        recipient: cut(attempt.recipient),
    }
}

fn network(client: IpAddr) -> Cidr {
    Cidr::around(client, if client.to_canonical().is_ipv4() { 24 } else { 64 })
}

/// A sender as one mailing list or program has it for all its mails: without what follows a plus sign, and with `#` for each number, which is where variable
/// envelope return paths and bounce addresses differ.
fn without_tag(sender: &str) -> String {
    let Some((local, domain)) = untagged(sender) else { return sender.to_owned() };
    let mut plain = String::with_capacity(sender.len());
    for c in local.chars() {
        match c {
            '0'..='9' if plain.ends_with('#') => {}
            '0'..='9' => plain.push('#'),
            other => plain.push(other),
        }
    }
    format!("{plain}@{domain}")
}

/// Local part and domain of an address, without what follows a plus sign; `None` for what is no address.
fn untagged(address: &str) -> Option<(&str, &str)> {
    let (local, domain) = address.rsplit_once('@')?;
    Some((local.split_once('+').map_or(local, |(user, _)| user), domain))
}

/// Whether the configuration lets it pass.
fn is_listed(attempt: &Attempt<'_>, settings: &Settings) -> bool {
    let address_or_domain = |entries: &[String], address: &str| {
        entries.iter().any(|entry| is_or_is_below(&entry.to_lowercase(), address))
    };
    settings.networks.iter().any(|network| network.contains(attempt.client))
        || address_or_domain(&settings.senders, &attempt.sender.to_lowercase())
        || address_or_domain(&settings.recipients, &attempt.recipient.to_lowercase())
}

/// Whether an entry of a list is the address, or a domain that the address is in or below.
fn is_or_is_below(entry: &str, address: &str) -> bool {
    if entry.contains('@') {
        return untagged(entry) == untagged(address);
    }
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    let entry = entry.trim_start_matches('.');
    !entry.is_empty() && domain.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `451 4.7.1`, with when to come again.
fn put_off(delay: Duration) -> Refusal {
    let minutes = delay.as_secs().div_ceil(60).max(1);
    let text = format!("Greylisted, since we do not know you yet; please try again in {minutes} minutes");
    Refusal::new(451, "4.7.1", text)
}

/// The later of the times in the rows of this period and the one before.
async fn newest(
    tx: &Transaction,
    period: Period,
    key: impl Fn(Period) -> Vec<u8>,
) -> Result<Option<Duration>> {
    for period in [period, period.before()] {
        if let Some(at) = tx.get(&key(period)).await?.as_deref().and_then(rows::decode_seconds) {
            return Ok(Some(Duration::from_secs(at)));
        }
    }
    Ok(None)
}

/// Writes that a combination passed, in place of what an earlier period has of it.
fn note_passed(tx: &Transaction, period: Period, combination: &Combination, now: Duration) {
    tx.set(&rows::passed(period, combination), &rows::encode_seconds(now));
    tx.clear(&rows::passed(period.before(), combination));
}

/// How many combinations passed from a network, in this period and in the one before. Without conflicts, since one more or less decides nothing.
async fn counts(tx: &Transaction, period: Period, network: Cidr) -> Result<(i64, i64)> {
    let count = async |period| {
        let value = tx.get_snapshot(&rows::passed_from(period, network)).await?;
        Ok::<_, Error>(decode_counter(value.as_deref()))
    };
    Ok((count(period).await?, count(period.before()).await?))
}

/// Carries what passed from a network over into this period, once.
fn keep_network(tx: &Transaction, period: Period, network: Cidr, (current, before): (i64, i64)) {
    if before > 0 {
        tx.set(&rows::passed_from(period, network), &(current + before).to_le_bytes());
        tx.clear(&rows::passed_from(period.before(), network));
    }
}

fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
#[path = "greylist_tests.rs"]
mod tests;
