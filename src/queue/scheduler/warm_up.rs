//! What warm-up schedules still allow today: taken from the cluster's count in portions, so that not each message is a transaction.

use std::collections::HashMap;
use std::time::Duration;

use ekitei_config::Queue;
use ekitei_relay::{Failure, FailureKind, Status};
use tokio::time::Instant;

use crate::destination::{self, Block};
use crate::quota;
use crate::spool::Spool;

const DAY: u64 = 86_400;
/// A day's messages are taken in about as many portions.
const PORTIONS: u64 = 50;

/// What this process may still send of today's messages, by schedule.
#[derive(Debug, Default)]
pub(crate) struct Allowances {
    by_schedule: HashMap<String, Allowance>,
}

#[derive(Debug, Default)]
struct Allowance {
    day: u64,
    left: u64,
    exhausted: bool,
    asking: bool,
}

/// Whether a message may go.
pub(crate) enum Taken {
    /// It may, and is counted.
    Yes,
    /// Not today.
    Exhausted(Exhausted),
    /// It has to be asked; `None` when somebody is asking.
    Ask(Option<Question>),
}

/// Today's messages are used up.
pub(crate) struct Exhausted {
    limit: u32,
    day: u64,
}

impl Exhausted {
    /// The block of a destination until the next day; `wall` is the time since the epoch.
    pub(crate) fn at(&self, now: Instant, wall: Duration) -> Block {
        let tomorrow = Duration::from_secs((self.day + 1) * DAY);
        let reason = Failure {
            kind: FailureKind::Host,
            // RFC 3463 §3.5: mail system congestion.
            status: Status(4, 4, 5),
            code: None,
            text: format!("the warm-up schedule allows {} messages today, and they are sent", self.limit),
            remote: None,
        };
        Block { since: now, until: now + tomorrow.saturating_sub(wall), reason }
    }
}

/// A question to the cluster's count.
pub(crate) struct Question {
    schedule: String,
    day: u64,
    limit: u32,
}

/// Its answer.
#[derive(Debug)]
pub(crate) struct Granted {
    schedule: String,
    day: u64,
    /// `None` when the store failed: ask again.
    messages: Option<u64>,
}

impl Question {
    pub(crate) async fn ask(self, spool: &Spool) -> Granted {
        let limit = u64::from(self.limit);
        let want = (limit / PORTIONS).max(1);
        let messages = quota::take(&spool.inner, &self.schedule, self.day, limit, want).await;
        let messages =
            messages.inspect_err(|error| tracing::warn!(%error, "a warm-up schedule cannot be counted"));
        Granted { schedule: self.schedule, day: self.day, messages: messages.ok() }
    }
}

impl Allowances {
    /// Takes one message of a schedule; `wall` is the time since the epoch.
    pub(crate) fn take(&mut self, config: &Queue, schedule: &str, wall: Duration) -> Taken {
        let configured = config.warm_up.iter().find(|warm_up| warm_up.name == schedule);
        let Some((day, limit)) = configured.and_then(|w| destination::warm_up_limit(w, wall)) else {
            return Taken::Yes;
        };
        let allowance = self.by_schedule.entry(schedule.to_owned()).or_default();
        if allowance.day != day {
            *allowance = Allowance { day, ..Allowance::default() };
        }
        if allowance.left > 0 {
            allowance.left -= 1;
            return Taken::Yes;
        }
        if allowance.exhausted {
            return Taken::Exhausted(Exhausted { limit, day });
        }
        let is_asking = std::mem::replace(&mut allowance.asking, true);
        Taken::Ask((!is_asking).then(|| Question { schedule: schedule.to_owned(), day, limit }))
    }

    /// Takes an answer.
    pub(crate) fn granted(&mut self, granted: Granted) {
        let allowance = self.by_schedule.get_mut(&granted.schedule);
        let Some(allowance) = allowance.filter(|allowance| allowance.day == granted.day) else { return };
        allowance.asking = false;
        match granted.messages {
            Some(0) => allowance.exhausted = true,
            Some(messages) => allowance.left += messages,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ekitei_config::QueueWarmUp;

    #[test]
    fn a_portion_is_used_before_another_is_asked_for_and_each_day_begins_anew() {
        let warm_up = QueueWarmUp {
            start: "2026-11-22".to_owned(),
            messages_per_day: vec![2, 4],
            ..QueueWarmUp::default()
        };
        let config = Queue { warm_up: vec![warm_up], ..Queue::default() };
        let today = Duration::from_secs(20_779 * DAY + 60);
        let mut allowances = Allowances::default();
        let ask = |allowances: &mut Allowances, messages| {
            let Taken::Ask(Some(question)) = allowances.take(&config, "default", today) else {
                panic!("no question")
            };
            assert!(
                matches!(allowances.take(&config, "default", today), Taken::Ask(None)),
                "one question at a time"
            );
            allowances.granted(Granted { schedule: question.schedule, day: question.day, messages });
        };
        ask(&mut allowances, None);
        ask(&mut allowances, Some(1));
        assert!(matches!(allowances.take(&config, "default", today), Taken::Yes));
        ask(&mut allowances, Some(0));
        let Taken::Exhausted(exhausted) = allowances.take(&config, "default", today) else {
            panic!("not exhausted")
        };
        let now = Instant::now();
        assert_eq!(exhausted.at(now, today).until - now, Duration::from_secs(DAY - 60));
        let tomorrow = today + Duration::from_secs(DAY);
        assert!(matches!(allowances.take(&config, "default", tomorrow), Taken::Ask(Some(_))));
        let after = today + Duration::from_secs(2 * DAY);
        assert!(matches!(allowances.take(&config, "default", after), Taken::Yes), "the schedule is over");
    }
}
