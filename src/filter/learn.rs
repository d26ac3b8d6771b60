//! Teaching rspamd what users call spam, and what they say is none.
//!
//! What a user's command has to say is put into a queue at once and taught later, one message after the other: a command never waits for it, and
//! what does not fit into the queue is not taught.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use ekitei_config::{Live, RspamdLearning};
use hyper::StatusCode;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

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

impl Teacher {
    async fn run(self, mut lessons: UnboundedReceiver<(Lesson, Loading)>) {
        while let Some((lesson, message)) = lessons.recv().await {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let config = self.live.load();
            let learning = &config.filter.scanners.rspamd.learning;
            let teaching = timeout(learning.timeout.get(), self.teach(learning, lesson, message)).await;
            let outcome = teaching.unwrap_or(Err(ScanError::Timeout)).unwrap_or_else(|error| {
                self.metrics.failure(NAME, &error);
                "failed"
            });
            self.metrics.lessons.with(&[lesson.label(), outcome]).inc();
        }
    }

    /// Teaches one message; the outcome's name in metrics.
    async fn teach(
        &self,
        config: &RspamdLearning,
        lesson: Lesson,
        message: Loading,
    ) -> Result<&'static str, ScanError> {
        let Some(message) = message.await else { return Ok("gone") };
        let mut last = ScanError::Timeout;
        for controller in &config.controllers {
            let mut request = rspamd::post(lesson.path());
            if let Some(password) = &config.password {
                request = rspamd::header(request, "Password", password.expose());
            }
            let request = rspamd::finish(request, message.clone())?;
            let bounds =
                Bounds { connect: config.connect_timeout.get(), answer: config.max_answer_size.get() };
            match self.http.send(controller, bounds, request).await {
                Ok((StatusCode::OK, _)) => return Ok("learned"),
                Ok((StatusCode::ALREADY_REPORTED, _)) => return Ok("known"),
                Ok((_, body)) if memchr::memmem::find(&body, ALREADY_LEARNED).is_some() => {
                    return Ok("known");
                }
                Ok((status, body)) => last = refused(status, &body),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ScanError {
    let text: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
    ScanError::Refused(format!("it answered {}: {text}", status.as_u16()))
}
