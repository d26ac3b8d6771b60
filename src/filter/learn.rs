//! Teaching rspamd what users call spam, and what they say is none.
//!
//! What a user's command has to say is put into a queue at once and taught later, one message after the other: a command never waits for it, and
//! what does not fit into the queue is not taught. A lesson that fails for a reason that may pass is taught again, before the next one, so that
//! what a user said last of a message is what stays.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ekitei_config::{Live, RspamdLearning};
use hyper::StatusCode;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::http::{Bounds, HttpClient};
use crate::rspamd;
use crate::scan::{ScanError, ScanMetrics};

/// The name in logs and metrics.
const NAME: &str = "rspamd-learning";
/// What rspamd says of a message that was taught before: with status 208, before version 3.5 with 404.
const ALREADY_LEARNED: &[u8] = b"already learned";

/// What a user says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It is spam.
    Spam,
    /// It is none.
    Ham,
}

impl Lesson {
    /// The name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Spam => "spam",
            Self::Ham => "ham",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Spam => "/learnspam",
            Self::Ham => "/learnham",
        }
    }
}

/// Reads a message when its turn comes; `None` if it is not there any more.
pub type Loading = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// Who is told what users say of their mail.
pub trait Learn: Send + Sync {
    /// How many messages of one command are worth telling; 0 if nothing is learned.
    fn limit(&self) -> usize;

    /// Takes note of a lesson, at once. `size` is that of the message in octets.
    fn offer(&self, lesson: Lesson, size: u64, message: Loading);
}

/// Teaches rspamd. Clones share the queue.
#[derive(Clone)]
pub struct Learner {
    live: Live,
    metrics: ScanMetrics,
    queue: UnboundedSender<(Lesson, Loading)>,
    /// How many are in the queue.
    waiting: Arc<AtomicU32>,
}

impl Learner {
    /// Starts the task that teaches; it ends with the last clone.
    pub(crate) fn start(live: Live, metrics: ScanMetrics) -> Self {
        let (queue, lessons) = unbounded_channel();
        let waiting = Arc::new(AtomicU32::new(0));
        let teacher = Teacher {
            live: live.clone(),
            metrics: metrics.clone(),
            http: HttpClient::default(),
            waiting: Arc::clone(&waiting),
        };
        tokio::spawn(teacher.run(lessons));
        Self { live, metrics, queue, waiting }
    }
}

impl Learn for Learner {
    fn limit(&self) -> usize {
        let config = self.live.load();
        let learning = &config.filter.scanners.rspamd.learning;
        if learning.controllers.is_empty() {
            return 0;
        }
        usize::try_from(learning.max_messages_per_command).unwrap_or(usize::MAX)
    }

    fn offer(&self, lesson: Lesson, size: u64, message: Loading) {
        let config = self.live.load();
        let learning = &config.filter.scanners.rspamd.learning;
        if size > learning.max_message_size.get() {
            self.metrics.lessons.with(&[lesson.label(), "too large"]).inc();
            return;
        }
        let place = |waiting| (waiting < learning.queue).then_some(waiting + 1);
        let taken = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place);
        if taken.is_err() || self.queue.send((lesson, message)).is_err() {
            self.metrics.lessons.with(&[lesson.label(), "dropped"]).inc();
        }
    }
}

/// The task that teaches.
struct Teacher {
    live: Live,
    metrics: ScanMetrics,
    http: HttpClient,
    waiting: Arc<AtomicU32>,
}

/// A controller's answer, read.
enum Answer {
    /// It learned the message.
    Learned,
    /// It had learned it before.
    Known,
}

/// Why no controller learned a message.
struct Failure {
    error: ScanError,
    /// Whether it may be another time.
    may_pass: bool,
}

impl Teacher {
    async fn run(self, mut lessons: UnboundedReceiver<(Lesson, Loading)>) {
        while let Some((lesson, message)) = lessons.recv().await {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let outcome = match self.load(message).await {
                Ok(Some(message)) => self.teach(lesson, &message).await,
                Ok(None) => "gone",
                Err(error) => {
                    self.metrics.failure(NAME, &error);
                    "failed"
                }
            };
            self.metrics.lessons.with(&[lesson.label(), outcome]).inc();
        }
    }

    async fn load(&self, message: Loading) -> Result<Option<Bytes>, ScanError> {
        let patience = self.live.load().filter.scanners.rspamd.learning.timeout.get();
        timeout(patience, message).await.map_err(|_| ScanError::Timeout)
    }

    /// Teaches one message, as often as is configured; the outcome's name in metrics.
    async fn teach(&self, lesson: Lesson, message: &Bytes) -> &'static str {
        let mut made = 0;
        let mut pause = Duration::ZERO;
        // Whether a controller may have learned it and said otherwise, or nothing: rspamd answers with an error when its files are locked
        // at the very end.
        let mut unsettled = false;
        loop {
            let config = self.live.load();
            let learning = &config.filter.scanners.rspamd.learning;
            made += 1;
            let attempt = self.ask(learning, lesson, message, &mut unsettled);
            let failure = match timeout(learning.timeout.get(), attempt).await {
                Ok(Ok(Answer::Known)) if !unsettled => return "known",
                Ok(Ok(_)) => return "learned",
                Ok(Err(failure)) => failure,
                Err(_) => {
                    unsettled = true;
                    Failure { error: ScanError::Timeout, may_pass: true }
                }
            };
            self.metrics.failure(NAME, &failure.error);
            if !failure.may_pass || made >= learning.attempts {
                return "failed";
            }
            self.metrics.lesson_retries.with(&[lesson.label()]).inc();
            let longest = learning.max_retry_delay.get();
            pause = if made == 1 { learning.retry_delay.get() } else { pause.saturating_mul(2) }.min(longest);
            sleep(pause).await;
        }
    }

    /// Asks the controllers, one after the other, until one has learned the message. `unsettled` becomes true when one may have that did not say so.
    async fn ask(
        &self,
        config: &RspamdLearning,
        lesson: Lesson,
        message: &Bytes,
        unsettled: &mut bool,
    ) -> Result<Answer, Failure> {
        let mut last = Failure { error: ScanError::Timeout, may_pass: false };
        for controller in &config.controllers {
            let mut request = rspamd::post(lesson.path());
            if let Some(password) = &config.password {
                request = rspamd::header(request, "Password", password.expose());
            }
            let request = rspamd::finish(request, message.clone())
                .map_err(|error| Failure { error, may_pass: false })?;
            let bounds =
                Bounds { connect: config.connect_timeout.get(), answer: config.max_answer_size.get() };
            let failure = match self.http.send(controller, bounds, request).await {
                Ok((StatusCode::OK, _)) => return Ok(Answer::Learned),
                Ok((StatusCode::ALREADY_REPORTED, _)) => return Ok(Answer::Known),
                Ok((_, body)) if memchr::memmem::find(&body, ALREADY_LEARNED).is_some() => {
                    return Ok(Answer::Known);
                }
                Ok((status, body)) => Failure { error: refused(status, &body), may_pass: !is_final(status) },
                Err(error) => Failure { error, may_pass: true },
            };
            *unsettled |= failure.may_pass && !matches!(failure.error, ScanError::Connect { .. });
            // Another time is worth it if it is for any of them.
            last = Failure { may_pass: failure.may_pass || last.may_pass, ..failure };
        }
        Err(last)
    }
}

/// Whether a refusal is of the message or of us, so that the same will be said again: a wrong password (401, 403), a message that is too large
/// (413) or has not enough words (204). Everything else may pass: rspamd has 404 and 400, too, for what went wrong within it.
fn is_final(status: StatusCode) -> bool {
    let of_us = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::PAYLOAD_TOO_LARGE];
    status.is_success() || of_us.contains(&status)
}

fn refused(status: StatusCode, body: &[u8]) -> ScanError {
    let text: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
    ScanError::Refused(format!("it answered {}: {text}", status.as_u16()))
}
