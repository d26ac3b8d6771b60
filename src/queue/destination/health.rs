//! Whether a destination can be reached, and how many messages may be on their way to it at once.
//!
//! The window begins with one message and grows by one with each that the destination's server answered, so it doubles with each
//! round. When the destination fails as a whole it is *blocked* for a while, longer each time: one attempt finds out for all of its mail.

use std::time::Duration;

use ekitei_relay::{Failure, FailureKind};
use tokio::time::Instant;

/// A destination that is left alone.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Since when.
    pub(crate) since: Instant,
    /// Until when.
    pub(crate) until: Instant,
    /// Why: what its mail shows as its last failure.
    pub(crate) reason: Failure,
}

/// What is known of a destination.
#[derive(Debug)]
pub(crate) struct Health {
    window: usize,
    /// Failures of the whole destination since the last success.
    failures: usize,
    /// When the last attempt began that the destination answered.
    answered: Option<Instant>,
    block: Option<Block>,
}

impl Default for Health {
    fn default() -> Self {
        Self { window: 1, failures: 0, answered: None, block: None }
    }
}

impl Health {
    /// Messages that may be on their way at once.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// The block that is in force.
    pub(crate) fn blocked(&self, now: Instant) -> Option<&Block> {
        self.block.as_ref().filter(|block| now < block.until)
    }

    /// A server of the destination answered, whatever it thought of the message.
    pub(crate) fn answered(&mut self, began: Instant, concurrency: usize) {
        self.answered = self.answered.max(Some(began));
        self.failures = 0;
        self.block = None;
        self.window = (self.window + 1).min(concurrency);
    }

    /// An attempt that began at `began` failed for a reason that concerns all mail for the destination.
    pub(crate) fn failed(&mut self, began: Instant, now: Instant, failure: &Failure, backoff: &[Duration]) {
        self.window = (self.window / 2).max(1);
        // Others came through meanwhile: a server that has enough (421), or one of several that is down, is no reason to stop.
        let others_pass = self.answered.is_some_and(|answered| answered >= began)
            || failure.kind == FailureKind::Host && self.answered.is_some() && self.failures < 2;
        // Attempts that were on their way together find out the same thing together.
        let is_news = self.block.as_ref().is_none_or(|block| block.since <= began);
        if others_pass {
            self.failures += 1;
        } else if is_news {
            self.failures += 1;
            let step = (self.failures - 1).min(backoff.len().saturating_sub(1));
            let wait = backoff.get(step).copied().unwrap_or(Duration::from_secs(60));
            self.window = 1;
            self.block = Some(Block { since: now, until: now + wait, reason: failure.clone() });
        }
    }

    /// Leaves it alone until then, for a reason of ours.
    pub(crate) fn block(&mut self, block: Block) {
        self.block = Some(block);
    }

    /// Lets one attempt through: an administrator wants it. Not if one was let through just now.
    pub(crate) fn probe(&mut self, now: Instant) {
        const AGAIN: Duration = Duration::from_secs(5);
        if let Some(block) = self.block.as_mut().filter(|block| now.duration_since(block.since) >= AGAIN) {
            block.until = now;
        }
    }

    /// Whether it can be forgotten: nothing is known that matters any more.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.block.as_ref().is_none_or(|block| block.until + (block.until - block.since) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ekitei_relay::Status;

    const BACKOFF: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

    fn refused(kind: FailureKind) -> Failure {
        let remote = Some("mx.example [192.0.2.1]".to_owned());
        Failure { kind, status: Status(4, 4, 1), code: None, text: "connection refused".to_owned(), remote }
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_grows_with_success_up_to_the_limit() {
        let mut health = Health::default();
        for expected in [1, 2, 3, 4, 4] {
            assert_eq!(health.window(), expected);
            health.answered(Instant::now(), 4);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_cannot_be_reached_is_left_alone_longer_each_time() {
        let mut health = Health::default();
        for wait in [60, 300, 300] {
            let now = Instant::now();
            assert!(health.blocked(now).is_none());
            health.failed(now, now, &refused(FailureKind::Connection), &BACKOFF);
            assert_eq!(health.blocked(now).map(|block| block.until - now), Some(Duration::from_secs(wait)));
            tokio::time::advance(Duration::from_secs(wait)).await;
        }
        health.answered(Instant::now(), 4);
        tokio::time::advance(Duration::from_secs(1)).await;
        let now = Instant::now();
        health.failed(now, now, &refused(FailureKind::Connection), &BACKOFF);
        assert_eq!(health.blocked(now).map(|block| block.until - now), Some(BACKOFF[0]), "success forgives");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_together_count_once() {
        let mut health = Health::default();
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(30)).await;
        for _ in 0..5 {
            health.failed(began, Instant::now(), &refused(FailureKind::Connection), &BACKOFF);
        }
        let until = health.blocked(Instant::now()).map(|block| block.until - Instant::now());
        assert_eq!(until, Some(BACKOFF[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_beside_success_only_slows_down() {
        let mut health = Health::default();
        let began = Instant::now();
        for _ in 0..7 {
            health.answered(began, 20);
        }
        health.failed(began, Instant::now(), &refused(FailureKind::Connection), &BACKOFF);
        assert_eq!((health.window(), health.blocked(Instant::now()).is_none()), (4, true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_administrator_may_have_one_attempt_let_through() {
        let mut health = Health::default();
        health.failed(Instant::now(), Instant::now(), &refused(FailureKind::Connection), &BACKOFF);
        health.probe(Instant::now());
        assert!(health.blocked(Instant::now()).is_some(), "just tried");
        tokio::time::advance(Duration::from_secs(5)).await;
        health.probe(Instant::now());
        assert!(health.blocked(Instant::now()).is_none());
    }
}
