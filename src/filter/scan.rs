//! The programs that scan messages, as the pipeline sees them: what they are told, and what they say.
//!
//! [`Scanners`] is made once. [`Scanners::milters`] gives the milters' side of one connection, to be asked at each step;
//! [`Scanners::scan`] asks clamd and rspamd about a message that is complete. A scanner that does not answer never loses mail: its
//! `onFailure` says whether the message goes on, or is refused for now or for good.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_config::{Config, Live, ScannerFailure};
use ekitei_telemetry::{CounterFamily, HistogramFamily, Registry, SECONDS};

use crate::clamd::Clamd;
use crate::learn::Learner;
use crate::milter::{Chain, Milled};
use crate::rspamd::Rspamd;
use crate::{Client, Disposition, Refusal};

/// What scanners are told of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address, and what it may do.
    pub client: Client,
    /// Its port; 0 if it is not known.
    pub port: u16,
    /// The name of its address, if that name leads back to the address.
    pub name: Option<String>,
    /// What it called itself in EHLO or HELO; empty before.
    pub hello: String,
    /// Who logged in.
    pub login: Option<Login>,
    /// The TLS of the connection.
    pub tls: Option<TlsSession>,
    /// The name of this host.
    pub hostname: String,
}

/// A login that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name that the client gave.
    pub name: String,
    /// The SASL mechanism, such as `PLAIN`.
    pub mechanism: String,
}

/// What TLS was negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// `TLSv1.3` and the like.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
}

/// Who a message is from and for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The id of the transaction.
    pub id: String,
    /// The reverse-path without its brackets; empty for the null reverse-path.
    pub sender: String,
    /// The forward-paths that were accepted, without their brackets.
    pub recipients: Vec<String>,
}

/// What clamd and rspamd say of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// What becomes of it.
    pub disposition: Disposition,
    /// The message with what rspamd changed in its header; `None` if nothing.
    pub message: Option<Bytes>,
}

impl Scanned {
    /// Nothing is said against it, and nothing is changed.
    pub(crate) fn accept() -> Self {
        Self { disposition: Disposition::Accept, message: None }
    }
}

/// Why a scanner has no opinion. It is never the message's fault: the scanner, or the way to it, is broken or overloaded.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// No connection.
    #[error("{endpoint} cannot be reached: {reason}")]
    Connect {
        /// The scanner.
        endpoint: String,
        /// Why not.
        reason: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    /// It took longer than configured.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than configured.
    #[error("the answer is larger than the {limit} octets that are allowed")]
    TooLarge {
        /// The limit, in octets.
        limit: u64,
    },
    /// The answer is against the protocol.
    #[error("the answer makes no sense: {0}")]
    Nonsense(String),
    /// The scanner says that it cannot.
    #[error("the scanner cannot: {0}")]
    Refused(String),
}

impl ScanError {
    /// The name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::Nonsense(_) => "nonsense",
            Self::Refused(_) => "refused",
        }
    }
}

/// What is counted of every scanner.
#[derive(Clone, Debug)]
pub(crate) struct ScanMetrics {
    verdicts: CounterFamily,
    failures: CounterFamily,
    seconds: HistogramFamily,
    /// Lessons of rspamd, by kind and outcome.
    pub(crate) lessons: CounterFamily,
    /// Lessons that are taught again, by kind.
    pub(crate) lesson_retries: CounterFamily,
}

impl ScanMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            verdicts: registry.counters(
                "filter_scans_total",
                "Messages that a scanner was asked about, by what it said.",
                &["scanner", "verdict"],
            ),
            failures: registry.counters(
                "filter_scan_failures_total",
                "Times that a scanner gave no answer, by why.",
                &["scanner", "reason"],
            ),
            seconds: registry.histograms(
                "filter_scan_seconds",
                "Time that a scanner took for a message, answers and failures alike.",
                &["scanner"],
                SECONDS,
            ),
            lessons: registry.counters(
                "filter_lessons_total",
                "Messages that users said are spam or not, by what rspamd made of it.",
                &["lesson", "outcome"],
            ),
            lesson_retries: registry.counters(
                "filter_lesson_retries_total",
                "Times that a lesson failed for a reason that may pass, and is taught again.",
                &["lesson"],
            ),
        }
    }

    /// Counts what a scanner said.
    pub(crate) fn verdict(&self, scanner: &str, verdict: &str) {
        self.verdicts.with(&[scanner, verdict]).inc();
    }

    /// Counts how long a scanner took for a message.
    pub(crate) fn cost(&self, scanner: &str, time: Duration) {
        self.seconds.with(&[scanner]).observe(time.as_secs_f64());
    }

    /// Counts and logs that a scanner gave no answer.
    pub(crate) fn failure(&self, scanner: &str, error: &ScanError) {
        self.failures.with(&[scanner, error.label()]).inc();
        tracing::warn!(scanner, %error, "a scanner gave no answer");
    }
}

/// The disposition of a message whose scanner failed.
pub(crate) fn on_failure(policy: ScannerFailure) -> Disposition {
    match refusal_on_failure(policy) {
        None => Disposition::Accept,
        Some(refusal) => Disposition::Refuse(refusal),
    }
}

/// The reply to a step whose scanner failed; `None` if it goes on.
pub(crate) fn refusal_on_failure(policy: ScannerFailure) -> Option<Refusal> {
    match policy {
        ScannerFailure::Accept => None,
        ScannerFailure::Tempfail => {
            Some(Refusal::new(451, "4.7.1", "The message cannot be checked now, try again later"))
        }
        ScannerFailure::Reject => Some(Refusal::new(550, "5.7.1", "The message cannot be checked")),
    }
}

/// How much a disposition outweighs another.
fn weight(disposition: &Disposition) -> u8 {
    match disposition {
        Disposition::Accept => 0,
        Disposition::Junk => 1,
        Disposition::Discard => 2,
        Disposition::Refuse(refusal) if refusal.is_temporary() => 3,
        Disposition::Refuse(_) => 4,
    }
}

/// The stricter of two dispositions; the first one if they are alike.
pub fn stricter(first: Disposition, second: Disposition) -> Disposition {
    if weight(&second) > weight(&first) { second } else { first }
}

/// All scanners as configured. Clones share them.
#[derive(Clone)]
pub struct Scanners {
    shared: Arc<Shared>,
}

struct Shared {
    live: Live,
    metrics: ScanMetrics,
    /// The scanners of the configuration that was in force when they were last used.
    current: Mutex<Option<(Arc<Config>, Arc<Set>)>>,
}

/// The scanners of one configuration, with the connections they keep.
struct Set {
    clamd: Clamd,
    rspamd: Rspamd,
}

impl Scanners {
    /// The scanners that `filter.scanners` names. A change of the configuration takes effect with the next message, for milters with the next
    /// connection.
    pub fn new(live: Live, registry: &Registry) -> Self {
        let metrics = ScanMetrics::new(registry);
        Self { shared: Arc::new(Shared { live, metrics, current: Mutex::default() }) }
    }

    /// The milters' side of a connection that begins.
    pub fn milters(&self) -> Chain {
        let config = self.shared.live.load();
        Chain::new(&config.filter.scanners.milters, &self.shared.metrics)
    }

    /// Starts the task that teaches rspamd what users say of their mail. To be called once, within the runtime.
    pub fn learner(&self) -> Learner {
        Learner::start(self.shared.live.clone(), self.shared.metrics.clone())
    }

    /// Asks clamd and rspamd about a message, at the same time. `message` is what would be stored, lines ending in CRLF.
    pub async fn scan(&self, peer: &Peer, envelope: &Envelope, message: &Bytes) -> Scanned {
        let set = self.set();
        let (virus, spam) =
            tokio::join!(set.clamd.scan(peer, message), set.rspamd.scan(peer, envelope, message));
        Scanned { disposition: stricter(virus, spam.disposition), message: spam.message }
    }

    /// Asks milters, clamd and rspamd about a message that a user submits, once it is complete; those that are not asked about submissions are left
    /// out. The milters' connections end with it.
    pub async fn submission(&self, peer: &Peer, envelope: &Envelope, message: &Bytes) -> Milled {
        let config = self.shared.live.load();
        let asked = config.filter.scanners.milters.iter().filter(|milter| milter.submissions);
        let mut chain = Chain::new(asked, &self.shared.metrics);
        let mut milled = chain.whole(peer, envelope, message).await;
        chain.quit().await;
        if matches!(milled.disposition, Disposition::Refuse(_) | Disposition::Discard) {
            return milled;
        }
        let scanned = self.scan(peer, envelope, milled.message.as_ref().unwrap_or(message)).await;
        milled.disposition = stricter(milled.disposition, scanned.disposition);
        milled.message = scanned.message.or(milled.message);
        milled
    }

    fn set(&self) -> Arc<Set> {
        let config = self.shared.live.load();
        let mut current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((of, set)) if Arc::ptr_eq(of, &config) => Arc::clone(set),
            _ => {
                let scanners = &config.filter.scanners;
                let set = Arc::new(Set {
                    clamd: Clamd::new(scanners.clamd.clone(), self.shared.metrics.clone()),
                    rspamd: Rspamd::new(scanners.rspamd.clone(), self.shared.metrics.clone()),
                });
                *current = Some((config, Arc::clone(&set)));
                set
            }
        }
    }
}
