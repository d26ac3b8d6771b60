//! One SMTP connection, step by step.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use ekitei_config::{Config, FilterFailure};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::auth::hello::{self, Hello};
use crate::auth::iprev::{self, Iprev};
use crate::auth::sender::{self, Circumstances, Spf};
use crate::auth::{Outcome, a_labels};
use crate::dnsbl::Listings;
use crate::filter::Shared;
use crate::greylist::{Attempt, Greyness};
use crate::milter::Chain;
use crate::policy;
use crate::results::without_forged;
use crate::scan::{Peer, TlsSession};
use crate::spf::SpfResult;
use crate::{Client, Disposition, Judgement, Refusal, Verdict};

mod judge;
mod later;

use later::Later;

/// What MAIL said besides the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderParameters {
    /// The id of the transaction, for logs and milters.
    pub transaction: String,
    /// The parameters as milters are told of them, such as `SIZE=1000`.
    pub parameters: Vec<String>,
}

/// The filter's side of one connection. Each step is called when the server itself has nothing against it. For clients that are not
/// judged it is empty, and each step says at once to go on.
pub struct Session(Option<Box<Inner>>);

pub(crate) struct Inner {
    shared: Arc<Shared>,
    /// The configuration as it was when the client connected.
    config: Arc<Config>,
    peer: Peer,
    /// Where the client is says something: it is not on this host.
    from_outside: bool,
    milters: Chain,
    /// The milters were told of the connection.
    introduced: bool,
    iprev: Option<Iprev>,
    /// The same while it is looked for.
    looking_back: Option<Later<Iprev>>,
    hello: Hello,
    transaction: Transaction,
    /// Domains that the last message was shown to be of.
    shown: Vec<String>,
}

/// What is known since MAIL.
#[derive(Debug, Default)]
struct Transaction {
    id: String,
    /// Without brackets; empty for the null reverse-path.
    reverse_path: String,
    spf_helo: Option<Spf>,
    spf_mail: Option<Spf>,
    /// SPF of both while it is looked for.
    checking_spf: Option<Later<(Option<Spf>, Option<Spf>)>>,
    listings: Listings,
    recipients: Vec<String>,
    /// What greylisting would have answered, had it not waited for signatures.
    deferred: Option<Refusal>,
}

impl Transaction {
    /// The result of SPF that counts: that of MAIL, or of EHLO for the null reverse-path (RFC 7208 §2.4).
    fn spf(&self) -> Option<&Spf> {
        if self.reverse_path.is_empty() { self.spf_helo.as_ref() } else { self.spf_mail.as_ref() }
    }
}

/// A temporary refusal for a filter that failed.
fn failed() -> Refusal {
    Refusal::new(451, "4.7.0", "The message cannot be checked now, try again later")
}

impl Session {
    /// One that judges nothing.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn new(shared: Arc<Shared>, config: Arc<Config>, client: Client, port: u16) -> Self {
        let from_outside = !client.address.to_canonical().is_loopback() || config.filter.check_loopback;
        let peer = Peer {
            client,
            port,
            name: None,
            hello: String::new(),
            login: None,
            tls: None,
            hostname: config.hostname.clone(),
        };
        let milters = shared.scanners.milters();
        Self(Some(Box::new(Inner {
            shared,
            config,
            peer,
            from_outside,
            milters,
            introduced: false,
            iprev: None,
            looking_back: None,
            hello: Hello::default(),
            transaction: Transaction::default(),
            shown: Vec::new(),
        })))
    }

    /// The connection has TLS from now on; the client has to say EHLO again.
    pub fn secured(&mut self, tls: TlsSession) {
        if let Some(inner) = &mut self.0 {
            inner.peer.client.tls = true;
            inner.peer.tls = Some(tls);
            inner.peer.hello.clear();
            inner.hello = Hello::default();
            inner.reset();
        }
    }

    /// At EHLO and HELO. What was known of a transaction is forgotten. A name that is refused is as if it had not been given.
    pub async fn hello(&mut self, name: &str) -> Verdict {
        let Some(inner) = &mut self.0 else { return Verdict::Continue };
        let verdict = inner.hello(name).await;
        inner.shared.metrics.verdict("hello", &verdict);
        verdict
    }

    /// At MAIL; `reverse_path` is without brackets, and empty for the null reverse-path.
    pub async fn sender(&mut self, reverse_path: &str, parameters: SenderParameters) -> Verdict {
        let Some(inner) = &mut self.0 else { return Verdict::Continue };
        let asked = AssertUnwindSafe(inner.sender(reverse_path, parameters)).catch_unwind().await;
        let verdict = asked.unwrap_or_else(|_| match inner.failure() {
            Some(refusal) => Verdict::Refuse(refusal),
            None => Verdict::Continue,
        });
        inner.shared.metrics.verdict("sender", &verdict);
        verdict
    }

    /// At RCPT, after the directory said what it is: `local`, or to be relayed. `parameters` are as milters are told of them.
    pub async fn recipient(&mut self, address: &str, local: bool, parameters: &[String]) -> Verdict {
        let Some(inner) = &mut self.0 else { return Verdict::Continue };
        let verdict = inner.recipient(address, local, parameters).await;
        inner.shared.metrics.verdict("recipient", &verdict);
        verdict
    }

    /// At the end of the message: its octets as received, without our trace fields.
    pub async fn message(&mut self, message: Bytes) -> Judgement {
        let Some(inner) = &mut self.0 else { return Judgement::accept() };
        let judged = AssertUnwindSafe(inner.judge(&message)).catch_unwind().await;
        let judgement = judged.unwrap_or_else(|_| {
            tracing::error!(transaction = %inner.transaction.id, "the filter failed");
            inner.unjudged(&message)
        });
        inner.shared.metrics.disposition(&judgement.disposition);
        inner.reset();
        judgement
    }

    /// After the message was stored: its sender is known from now on, unless it is spam.
    pub async fn accepted(&mut self, judgement: &Judgement) {
        let Some(inner) = &mut self.0 else { return };
        let shown = std::mem::take(&mut inner.shown);
        if judgement.disposition == Disposition::Accept {
            for domain in shown {
                inner.shared.greylist.accepted(&domain).await;
            }
        }
    }

    /// At RSET, and whenever a transaction ends without a message.
    pub fn reset(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.reset();
        }
    }

    /// When the connection ends.
    pub async fn quit(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.milters.quit().await;
        }
    }
}

impl Inner {
    /// Whether it is checked whose mail this is.
    fn authenticates(&self) -> bool {
        self.from_outside && self.config.filter.authentication.enabled
    }

    fn client(&self) -> IpAddr {
        self.peer.client.address.to_canonical()
    }

    fn reset(&mut self) {
        self.transaction = Transaction::default();
        self.milters.reset();
    }

    /// What a client is told when the filter itself fails; `None` to go on.
    fn failure(&self) -> Option<Refusal> {
        (self.config.filter.on_error == FilterFailure::Tempfail).then(failed)
    }

    /// A message of which nothing is known but that nobody may write in our name.
    fn unjudged(&self, message: &Bytes) -> Judgement {
        let message = without_forged(message, self.config.authserv_id()).map(Bytes::from);
        let disposition = self.failure().map_or(Disposition::Accept, Disposition::Refuse);
        Judgement { disposition, message, ..Judgement::accept() }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.filter.authentication.time_limit.get()
    }

    async fn hello(&mut self, name: &str) -> Verdict {
        self.reset();
        self.look_back();
        let hello = match self.from_outside {
            true => {
                let (dns, checks) = (&self.shared.context.dns, &self.config.filter.hello);
                let (client, deadline) = (self.client(), self.deadline());
                hello::check(dns, name, client, &self.config.hostname, checks, deadline).await
            }
            false => Hello::default(),
        };
        if let Some((fault, refusal)) = &hello.refusal {
            tracing::info!(fault = fault.name(), "the name in EHLO is refused");
            return Verdict::Refuse(refusal.clone());
        }
        name.clone_into(&mut self.peer.hello);
        self.hello = hello;
        if !self.milters.is_empty() {
            // They are told of it.
            self.learn_name().await;
        }
        if !self.introduced {
            self.introduced = true;
            let verdict = self.milters.connect(&self.peer).await;
            if verdict != Verdict::Continue {
                return verdict;
            }
        }
        self.milters.hello(&self.peer).await
    }

    async fn sender(&mut self, reverse_path: &str, parameters: SenderParameters) -> Verdict {
        self.reset();
        self.transaction.id = parameters.transaction;
        reverse_path.clone_into(&mut self.transaction.reverse_path);
        self.transaction.checking_spf = self.check_spf(reverse_path);
        self.transaction.listings = self.check_lists(reverse_path).await;
        self.milters.sender(&self.peer, &self.transaction.id, reverse_path, &parameters.parameters).await
    }

    /// Begins to look for the name of the client, once for a connection.
    fn look_back(&mut self) {
        let wanted = self.authenticates() && self.config.filter.authentication.iprev;
        if !wanted || self.iprev.is_some() || self.looking_back.is_some() {
            return;
        }
        let (shared, client, deadline) = (Arc::clone(&self.shared), self.client(), self.deadline());
        self.looking_back = Some(Later::begin(async move {
            let timer = shared.metrics.start();
            let iprev = iprev::check(&shared.context.dns, client, deadline).await;
            timer.finish(&shared.metrics, "iprev", iprev.outcome.name());
            iprev
        }));
    }

    /// Waits for the name of the client.
    async fn learn_name(&mut self) {
        if let Some(looking) = self.looking_back.take() {
            let iprev = looking.found().await;
            self.peer.name = iprev.verified_name().map(str::to_owned);
            self.iprev = Some(iprev);
        }
    }

    /// Begins SPF of the name in EHLO and of the reverse-path. Nothing is answered by it before the message, unless it may save from greylisting.
    fn check_spf(&self, reverse_path: &str) -> Option<Later<(Option<Spf>, Option<Spf>)>> {
        let settings = &self.config.filter.authentication;
        if !self.authenticates() || !settings.spf {
            return None;
        }
        let (shared, config) = (Arc::clone(&self.shared), Arc::clone(&self.config));
        let (client, helo, path) = (self.client(), self.peer.hello.clone(), reverse_path.to_owned());
        let (now, deadline) = (shared.context.clock.now().as_secs(), self.deadline());
        Some(Later::begin(async move {
            let circumstances = Circumstances {
                client,
                helo: &helo,
                receiver: &config.hostname,
                now,
                max_void_lookups: config.filter.authentication.max_void_lookups,
                deadline,
            };
            let (dns, metrics) = (&shared.context.dns, &shared.metrics);
            let timer = metrics.start();
            let mail = async {
                match path.as_str() {
                    "" => None,
                    path => Some(sender::check_mail(dns, circumstances, path).await),
                }
            };
            let (helo, mail) = tokio::join!(sender::check_hello(dns, circumstances), mail);
            let result = mail.as_ref().or(helo.as_ref()).map_or(SpfResult::None, |spf| spf.result);
            timer.finish(metrics, "spf", result.name());
            (helo, mail)
        }))
    }

    /// Waits for SPF.
    async fn learn_spf(&mut self) {
        if let Some(checking) = self.transaction.checking_spf.take() {
            (self.transaction.spf_helo, self.transaction.spf_mail) = checking.found().await;
        }
    }

    /// Waits for what was begun with EHLO and MAIL: both run since then.
    async fn catch_up(&mut self) {
        self.learn_name().await;
        self.learn_spf().await;
    }

    /// What DNS lists say of the client, of its name and of the sender's domain.
    async fn check_lists(&self, reverse_path: &str) -> Listings {
        if !self.from_outside {
            return Listings::default();
        }
        let lists = &self.shared.lists;
        let domain = async {
            match reverse_path.rsplit_once('@') {
                Some((_, domain)) => lists.domain(&a_labels(domain)).await,
                None => Listings::default(),
            }
        };
        let name = async {
            match self.peer.hello.as_str() {
                name if hello::is_host_name(name) => lists.domain(name).await,
                _ => Listings::default(),
            }
        };
        let (mut listings, domain, name) = tokio::join!(lists.address(self.client()), domain, name);
        listings.merge(domain);
        listings.merge(name);
        listings
    }

    async fn recipient(&mut self, address: &str, local: bool, parameters: &[String]) -> Verdict {
        // Who is listed must be able to ask why.
        let helps = local && is_for_help(address);
        let limit = self.config.filter.dns_lists.reject_score;
        if !helps && let Some(refusal) = self.transaction.listings.refusal(limit) {
            tracing::info!(score = self.transaction.listings.score(), "refused for DNS lists");
            return Verdict::Refuse(refusal);
        }
        if local
            && !helps
            && let Some(refusal) = self.greylisted(address).await
        {
            if !self.config.filter.greylist.known_senders_pass {
                return Verdict::Refuse(refusal);
            }
            self.transaction.deferred.get_or_insert(refusal);
        }
        let verdict = self.milters.recipient(address, parameters).await;
        if verdict == Verdict::Continue {
            self.transaction.recipients.push(address.to_owned());
        }
        verdict
    }

    async fn greylisted(&mut self, recipient: &str) -> Option<Refusal> {
        if !self.from_outside || !self.config.filter.greylist.enabled {
            return None;
        }
        self.learn_spf().await;
        let passed = self.transaction.spf().filter(|spf| spf.result == SpfResult::Pass);
        let attempt = Attempt {
            client: self.client(),
            sender: &self.transaction.reverse_path,
            recipient,
            spf_domain: passed.map(|spf| spf.domain.as_str()),
        };
        match self.shared.greylist.check(attempt).await {
            Greyness::Pass => None,
            Greyness::Defer(refusal) => Some(refusal),
        }
    }
}

/// Whether an address is one that everyone must be able to write to (RFC 2142, RFC 5321 §4.5.1).
fn is_for_help(address: &str) -> bool {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
    local.eq_ignore_ascii_case("postmaster") || local.eq_ignore_ascii_case("abuse")
}
