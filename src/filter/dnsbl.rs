//! DNS lists (RFC 5782): who others say sends spam, or does not.
//!
//! All lists are asked at the same time, and within one time limit for all. A list that does not answer, or answers nonsense, counts as one that
//! does not list: mail is never lost to a list that is away. Some answers say that the list does not serve us ([`refuses`]), as lists do to
//! public resolvers; such a list is left alone for a while, and the log says so. Answers, also those that say that something is not listed, are kept in the
//! resolver's cache for as long as their TTL says.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use ekitei_config::{Cidr, DnsList, DnsListKind, Live};
use ekitei_dns::Resolver;
use ekitei_dns::lists::{refuses, reversed};
use ekitei_telemetry::{CounterFamily, Histogram, Registry, SECONDS};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::Refusal;

/// The longest text of a list that is repeated to a client, in octets.
const REASON: usize = 200;
/// The longest domain name (RFC 1035 §2.3.4), with room for the last dot.
const NAME: usize = 253;

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The zone of the list.
    pub zone: String,
    /// What is listed: the address, or the domain.
    pub subject: String,
    /// What it counts; negative for lists of those to be trusted.
    pub score: i32,
    /// What the list says about it, in printable ASCII; empty if nothing.
    pub reason: String,
}

/// What the lists say of a client and its domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listings {
    /// The entries, in the order of the configuration.
    pub entries: Vec<Listing>,
}

impl Listings {
    /// The sum of the scores.
    pub fn score(&self) -> i32 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.score))
    }

    /// Adds what lists say of something else about the same client or message. One list counts each subject once.
    pub fn merge(&mut self, other: Self) {
        for entry in other.entries {
            let same = |known: &Listing| known.zone == entry.zone && known.subject == entry.subject;
            if !self.entries.iter().any(same) {
                self.entries.push(entry);
            }
        }
    }

    /// Whether the score has reached a threshold of the configuration; 0 is never.
    pub fn reaches(&self, threshold: u32) -> bool {
        threshold != 0 && i64::from(self.score()) >= i64::from(threshold)
    }

    /// `550 5.7.1` with the words of the list that counts most, when the score reaches `reject_score` (`filter.dnsLists.rejectScore`).
    pub fn refusal(&self, reject_score: u32) -> Option<Refusal> {
        if !self.reaches(reject_score) {
            return None;
        }
        // Of those that count the same, the first.
        let worst = self.entries.iter().rev().max_by_key(|entry| entry.score)?;
        let Listing { zone, subject, reason, .. } = worst;
        let text = match reason.as_str() {
            "" => format!("{subject} is listed by {zone}"),
            reason => format!("{subject} is listed by {zone}: {reason}"),
        };
        Some(Refusal::new(550, "5.7.1", text))
    }
}

/// The lists of the configuration. Clones share everything.
#[derive(Clone)]
pub struct DnsLists {
    inner: Arc<Inner>,
}

struct Inner {
    live: Live,
    dns: Resolver,
    /// Lists that do not serve us, and until when they are left alone.
    paused: Mutex<HashMap<String, Instant>>,
    /// By zone and result.
    results: CounterFamily,
    seconds: Histogram,
}

/// What a list answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Listed(i32, String),
    NotListed,
    /// It does not serve us.
    Refused(Ipv4Addr),
    Failed,
}

impl Answer {
    fn name(&self) -> &'static str {
        match self {
            Self::Listed(..) => "listed",
            Self::NotListed => "not_listed",
            Self::Refused(_) => "refused",
            Self::Failed => "failed",
        }
    }
}

impl DnsLists {
    /// Lists are read from `live` for each question.
    pub fn new(live: Live, dns: &Resolver, registry: &Registry) -> Self {
        let inner = Inner {
            live,
            dns: dns.without_validation(),
            paused: Mutex::default(),
            results: registry.counters(
                "dns_list_results_total",
                "Answers of DNS lists: listed, not_listed, refused (they do not serve us), failed (they count as not listing).",
                &["zone", "result"],
            ),
            seconds: registry.histogram(
                "dns_list_seconds",
                "How long all lists together took to answer about one address or domain.",
                SECONDS,
            ),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What the lists of addresses say of a client.
    pub async fn address(&self, client: IpAddr) -> Listings {
        let client = client.to_canonical();
        self.ask(DnsListKind::Address, &client.to_string(), &reversed(client)).await
    }

    /// What the lists of domains say of a domain: of HELO, of the sender, of links. What is no domain is on no list.
    pub async fn domain(&self, domain: &str) -> Listings {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        let is_address = domain.starts_with('[') || domain.parse::<IpAddr>().is_ok();
        if is_address || !domain.contains('.') {
            return Listings::default();
        }
        self.ask(DnsListKind::Domain, &domain, &domain).await
    }

    /// Asks all lists of a kind about `label` in front of their zones.
    async fn ask(&self, kind: DnsListKind, subject: &str, label: &str) -> Listings {
        let config = self.inner.live.load();
        let lists = &config.filter.dns_lists;
        let wanted: Vec<&DnsList> = lists
            .lists
            .iter()
            .filter(|list| list.kind == kind && label.len() + 1 + list.zone.len() <= NAME)
            .filter(|list| !self.is_paused(&list.zone))
            .collect();
        if wanted.is_empty() {
            return Listings::default();
        }
        let started = Instant::now();
        let deadline = started + lists.timeout.get();
        let answers = join_all(wanted.iter().map(|list| async {
            let answer = tokio::time::timeout_at(deadline, self.inner.look_up(list, label));
            answer.await.unwrap_or(Answer::Failed)
        }));
        let mut listings = Listings::default();
        for (list, answer) in wanted.iter().zip(answers.await) {
            self.inner.results.with(&[&list.zone, answer.name()]).inc();
            match answer {
                Answer::Listed(score, reason) => {
                    let (zone, subject) = (list.zone.clone(), subject.to_owned());
                    listings.entries.push(Listing { zone, subject, score, reason });
                }
                Answer::Refused(code) => self.pause(&list.zone, code, started + lists.error_pause.get()),
                Answer::NotListed | Answer::Failed => {}
            }
        }
        self.inner.seconds.observe(started.elapsed().as_secs_f64());
        tracing::debug!(subject, score = listings.score(), lists = listings.entries.len(), "DNS lists");
        listings
    }

    fn is_paused(&self, zone: &str) -> bool {
        let paused = self.inner.paused.lock().unwrap_or_else(PoisonError::into_inner);
        paused.get(zone).is_some_and(|until| Instant::now() < *until)
    }

    fn pause(&self, zone: &str, code: Ipv4Addr, until: Instant) {
        tracing::warn!(
            zone, %code, "the DNS list does not answer our questions: ask it through a resolver of your own, and see its terms of use"
        );
        let mut paused = self.inner.paused.lock().unwrap_or_else(PoisonError::into_inner);
        // Zones come and go with the configuration.
        paused.retain(|_, until| Instant::now() < *until);
        paused.insert(zone.to_owned(), until);
    }
}

impl Inner {
    async fn look_up(&self, list: &DnsList, label: &str) -> Answer {
        let name = format!("{label}.{}", list.zone);
        let codes = match self.dns.ipv4(&name).await {
            Ok(answer) => answer.value,
            Err(error) if error.is_absent() => return Answer::NotListed,
            Err(error) => {
                tracing::debug!(zone = list.zone, %error, "a DNS list failed");
                return Answer::Failed;
            }
        };
        let answer = judge(list, &codes);
        let Answer::Listed(score, _) = answer else { return answer };
        // Without its words a listing counts all the same.
        let texts = self.dns.txt(&name).await.map(|answer| answer.value).unwrap_or_default();
        Answer::Listed(score, printable(texts.first().map_or("", String::as_str)))
    }
}

/// What the addresses of an answer mean.
fn judge(list: &DnsList, codes: &[Ipv4Addr]) -> Answer {
    // Unless the configuration knows better what this list means by it.
    if let Some(code) = codes.iter().find(|code| refuses(**code) && !list.names(**code)) {
        return Answer::Refused(*code);
    }
    // A zone that has lapsed, or a resolver that answers for every name, lists nobody (RFC 5782 §5).
    let mut codes = codes.iter().filter(|code| code.is_loopback()).peekable();
    if codes.peek().is_none() {
        return Answer::Failed;
    }
    let scores = codes.filter_map(|code| score(list, *code));
    // What is on a list for several reasons counts for the strongest.
    match scores.max_by_key(|score| score.unsigned_abs()) {
        Some(score) => Answer::Listed(score, String::new()),
        None => Answer::NotListed,
    }
}

/// What one address in an answer counts.
fn score(list: &DnsList, code: Ipv4Addr) -> Option<i32> {
    if list.answers.is_empty() {
        return Some(list.score);
    }
    let meant = |network: &Cidr| network.contains(IpAddr::V4(code));
    list.answers.iter().find(|answer| meant(&answer.address)).map(|answer| answer.score)
}

/// A text of a list as it may be repeated in a reply.
fn printable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~')).take(REASON).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use ekitei_config::{Config, DnsListAnswer};
    use ekitei_dns::testing::{Behaviour, TestDns};

    use super::*;

    const ZONE: &str = r#"
        7.2.0.192.bl.test A 127.0.0.2
        7.2.0.192.bl.test TXT "see https://bl.test/192.0.2.7"
        7.2.0.192.zen.test A 127.0.0.4
        7.2.0.192.zen.test A 127.0.0.11
        7.2.0.192.good.test A 127.0.0.3
        7.2.0.192.gone.test A 203.0.113.1
        7.2.0.192.deaf.test A 127.255.255.254
        7.2.0.192.uribl.test A 127.0.0.1
        7.2.0.192.white.test A 127.0.0.255
        1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test A 127.0.0.2
        spam.example.dbl.test A 127.0.1.2
    "#;

    fn list(zone: &str, score: i32) -> DnsList {
        DnsList { zone: zone.to_owned(), kind: DnsListKind::Address, score, answers: Vec::new() }
    }

    fn lists(dns: &TestDns, lists: Vec<DnsList>) -> (DnsLists, Registry) {
        let mut config = Config::default();
        config.filter.dns_lists.lists = lists;
        config.filter.dns_lists.timeout = ekitei_config::Duration::millis(300);
        let registry = Registry::new();
        (DnsLists::new(Live::new(config), &dns.resolver(), &registry), registry)
    }

    async fn about(lists: &DnsLists, client: &str) -> Vec<(String, i32)> {
        let found = lists.address(client.parse().unwrap()).await;
        found.entries.into_iter().map(|entry| (entry.zone, entry.score)).collect()
    }

    #[tokio::test]
    async fn what_is_listed_counts_with_the_words_of_the_list() {
        let dns = TestDns::start(ZONE);
        let (lists, _) = lists(&dns, vec![list("bl.test", 6), list("good.test", -2), list("none.test", 50)]);
        let found = lists.address("192.0.2.7".parse().unwrap()).await;
        assert_eq!((found.entries.len(), found.score()), (2, 4));
        assert_eq!(found.refusal(5), None);
        let refusal = found.refusal(4).unwrap();
        assert_eq!((refusal.code, refusal.enhanced.as_str()), (550, "5.7.1"));
        assert_eq!(refusal.text, "192.0.2.7 is listed by bl.test: see https://bl.test/192.0.2.7");
        assert_eq!(found.refusal(0), None, "0 is never");
        assert_eq!(about(&lists, "::ffff:192.0.2.7").await.len(), 2, "a mapped address is an IPv4 address");
        assert_eq!(about(&lists, "192.0.2.8").await, []);
        assert_eq!(about(&lists, "2001:db8::1").await, [("bl.test".to_owned(), 6)]);
    }

    #[tokio::test]
    async fn answers_have_scores_of_their_own() {
        let dns = TestDns::start(ZONE);
        let answers = [("127.0.0.2", 1), ("127.0.0.4/30", 7), ("127.0.0.8/29", 3)];
        let answers =
            answers.map(|(address, score)| DnsListAnswer { address: address.parse().unwrap(), score });
        let zen = DnsList { answers: answers.to_vec(), ..list("zen.test", 100) };
        let others = DnsList { answers: answers[2..].to_vec(), ..list("bl.test", 100) };
        let (lists, _) = lists(&dns, vec![zen, others]);
        assert_eq!(about(&lists, "192.0.2.7").await, [("zen.test".to_owned(), 7)], "the strongest counts");
    }

    #[tokio::test]
    async fn domains_are_asked_of_lists_of_domains_alone() {
        let dns = TestDns::start(ZONE);
        let domains = DnsList { kind: DnsListKind::Domain, ..list("dbl.test", 8) };
        let (lists, _) = lists(&dns, vec![list("bl.test", 6), domains]);
        assert_eq!(lists.domain("SPAM.example.").await.score(), 8);
        dns.queries();
        for name in ["ham.example", "localhost", "[192.0.2.7]", "192.0.2.7", &"x.".repeat(125), ""] {
            assert_eq!(lists.domain(name).await.score(), 0, "{name}");
        }
        let asked: Vec<String> = dns.queries().into_iter().map(|(name, _)| name).collect();
        assert_eq!(asked, ["ham.example.dbl.test"]);
    }

    #[tokio::test]
    async fn a_list_that_fails_lists_nobody_and_delays_nobody_for_long() {
        let dns = TestDns::start(ZONE);
        dns.behave("7.2.0.192.silent.test", Behaviour::Silent);
        dns.behave("7.2.0.192.broken.test", Behaviour::ServFail);
        dns.behave("7.2.0.192.garbage.test", Behaviour::Garbage);
        let broken = ["silent.test", "broken.test", "garbage.test", "gone.test"].map(|zone| list(zone, 100));
        let (lists, registry) = lists(&dns, [broken.to_vec(), vec![list("bl.test", 6)]].concat());
        let started = std::time::Instant::now();
        assert_eq!(about(&lists, "192.0.2.7").await, [("bl.test".to_owned(), 6)]);
        assert!(started.elapsed() < Duration::from_secs(2));
        for zone in ["silent.test", "broken.test", "garbage.test", "gone.test"] {
            let line = format!("ekitei_dns_list_results_total{{result=\"failed\",zone=\"{zone}\"}} 1");
            assert!(registry.render().contains(&line), "{line}");
        }
    }

    #[tokio::test]
    async fn answers_are_kept_for_their_ttl() {
        let dns = TestDns::start(
            "7.2.0.192.bl.test 300 A 127.0.0.2\n7.2.0.192.bl.test 300 TXT \"why\"\n. 300 SOA ns.test hostmaster.test 1 3600 600 86400 300",
        );
        let resolver = Resolver::new(&ekitei_config::Dns { cache_entries: 1000, ..dns.settings() }).unwrap();
        let mut config = Config::default();
        config.filter.dns_lists.lists = vec![list("bl.test", 6)];
        let lists = DnsLists::new(Live::new(config), &resolver, &Registry::new());
        for _ in 0..5 {
            assert_eq!(about(&lists, "192.0.2.7").await, [("bl.test".to_owned(), 6)]);
            assert_eq!(about(&lists, "192.0.2.8").await, []);
        }
        assert_eq!(dns.queries().len(), 3, "an address, its words, and an absence");
    }

    #[tokio::test]
    async fn a_list_that_does_not_serve_us_is_left_alone() {
        let dns = TestDns::start(ZONE);
        let (lists, registry) = lists(&dns, vec![list("deaf.test", 100)]);
        assert_eq!(about(&lists, "192.0.2.7").await, []);
        assert_eq!(about(&lists, "192.0.2.8").await, []);
        let asked = dns.queries();
        assert_eq!(asked.len(), 1, "{asked:?}");
        let line = "ekitei_dns_list_results_total{result=\"refused\",zone=\"deaf.test\"} 1";
        assert!(registry.render().contains(line));
    }

    #[tokio::test]
    async fn that_a_list_does_not_serve_us_is_no_entry_unless_the_configuration_says_so() {
        let dns = TestDns::start(ZONE);
        let own = DnsListAnswer { address: "127.0.0.1".parse().unwrap(), score: 3 };
        let (lists, _) = lists(&dns, vec![list("uribl.test", 100), list("white.test", -100)]);
        assert_eq!(about(&lists, "192.0.2.7").await, []);
        let all = DnsListAnswer { address: "127.0.0.0/24".parse().unwrap(), score: 50 };
        for (answers, expected) in [(vec![all], vec![]), (vec![own, all], vec![("uribl.test".to_owned(), 3)])]
        {
            let (lists, _) = self::lists(&dns, vec![DnsList { answers, ..list("uribl.test", 100) }]);
            assert_eq!(about(&lists, "192.0.2.7").await, expected);
        }
    }

    #[test]
    fn one_list_counts_a_subject_once() {
        let entry = |zone: &str, subject: &str| Listing {
            zone: zone.to_owned(),
            subject: subject.to_owned(),
            score: 3,
            reason: String::new(),
        };
        let mut all = Listings { entries: vec![entry("dbl.test", "a.test")] };
        all.merge(Listings { entries: vec![entry("dbl.test", "a.test"), entry("dbl.test", "b.test")] });
        assert_eq!(all.score(), 6);
        assert_eq!(printable("a\r\nb\u{e9}c"), "abc");
        let text = all.refusal(1).unwrap().text;
        assert_eq!(text, "a.test is listed by dbl.test");
    }
}
