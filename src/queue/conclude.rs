//! What follows from an attempt: the state of each recipient, when the entry is tried again, what the sender is told, and what it says of the
//! destination. Pure: nothing is read or written here.

use std::time::Duration;

use ekitei_relay::{DeliverBy, Envelope, Failure, FailureKind, Notify, Recipient, RecipientOutcome, Status};

use crate::dsn::{Action, Told};
use crate::model::{EntryRow, RecipientState, Schedule};
use crate::schedule::{Decision, DelayReason, Expiry, Facts, RetrySchedule};
use crate::settlement::Next;
use crate::spool::Loaded;
use crate::transport::Handled;

/// The time is over (RFC 3463 §3.5).
const EXPIRED: Status = Status(5, 4, 7);

/// What is known when an attempt ends.
pub(crate) struct Attempt<'a> {
    /// The entry as it was when the attempt began.
    pub(crate) loaded: &'a Loaded,
    /// What became of recipients that waited, with their places among all recipients.
    pub(crate) handled: Vec<(usize, Handled)>,
    /// Whether anything was tried; an entry whose destination is left alone is only put off.
    pub(crate) tried: bool,
    /// When its destination may be tried again, at the earliest (since the epoch).
    pub(crate) not_before: Duration,
    /// Now, since the epoch.
    pub(crate) now: Duration,
    /// A number from 0 to 1 that varies the wait.
    pub(crate) variation: f64,
}

/// What follows.
#[derive(Debug)]
pub(crate) struct Conclusion {
    /// The states of all recipients.
    pub(crate) recipients: Vec<RecipientState>,
    /// What happens next.
    pub(crate) next: Next,
    /// Whether the sender knows of the delay now.
    pub(crate) delay_notified: bool,
    /// What the sender wants to be told.
    pub(crate) told: Vec<Told>,
    /// All that failed for good, whatever the sender wants to be told of it.
    pub(crate) failed: Vec<Told>,
}

impl Conclusion {
    /// What follows while nobody can be told: who has the message has it, which nobody hears of; all others wait, at least until `again` if nothing else
    /// is waited for.
    pub(crate) fn untold(&self, entry: &EntryRow, again: Duration) -> Self {
        let states =
            self.recipients.iter().zip(&entry.recipients).map(|(state, row)| match (state, &row.state) {
                (RecipientState::Failed { failure, .. }, RecipientState::Waiting { .. }) => {
                    RecipientState::Waiting { last: Some(failure.clone()) }
                }
                (state, _) => state.clone(),
            });
        let recipients: Vec<RecipientState> = states.collect();
        let waits = recipients.iter().any(|state| matches!(state, RecipientState::Waiting { .. }));
        Self {
            recipients,
            next: if self.next == Next::Remove && waits { Next::At(again) } else { self.next },
            delay_notified: entry.delay_notified,
            told: Vec::new(),
            failed: Vec::new(),
        }
    }
}

impl Attempt<'_> {
    /// What follows from the attempt.
    pub(crate) fn conclude(self, schedule: &RetrySchedule) -> Conclusion {
        let entry = &self.loaded.entry;
        let mut conclusion = Conclusion {
            recipients: entry.recipients.iter().map(|row| row.state.clone()).collect(),
            next: Next::Remove,
            delay_notified: entry.delay_notified,
            told: Vec::new(),
            failed: Vec::new(),
        };
        let mut deferred = Vec::new();
        for (place, handled) in &self.handled {
            match handled.outcome.clone() {
                RecipientOutcome::Sent { remote, reply, notifies } => {
                    let success = (!notifies).then_some(handled.success);
                    self.sent(&mut conclusion, *place, remote, reply, success);
                }
                RecipientOutcome::Failed(failure) => {
                    let status = failure.status;
                    self.failed(&mut conclusion, *place, failure, status);
                }
                RecipientOutcome::Deferred(failure) => deferred.push((*place, failure)),
            }
        }
        if !deferred.is_empty() {
            self.wait(&mut conclusion, schedule, deferred);
        }
        conclusion
    }

    fn recipient(&self, place: usize) -> &Recipient {
        &self.loaded.entry.recipients[place].recipient
    }

    fn sent(
        &self,
        conclusion: &mut Conclusion,
        place: usize,
        remote: String,
        reply: String,
        success: Option<Action>,
    ) {
        let recipient = self.recipient(place);
        if let Some(action) = success.filter(|action| action.is_wanted(recipient.notify)) {
            conclusion.told.push(Told {
                recipient: recipient.clone(),
                action,
                status: Status(2, 0, 0),
                failure: None,
                remote: Some(remote.clone()),
                reply: Some(reply.clone()),
                last_attempt: Some(self.now),
                will_retry_until: None,
            });
        }
        conclusion.recipients[place] = RecipientState::Sent { remote, reply, at: self.now };
    }

    /// `status` is what the sender is told; the failure may be that of the last attempt of many.
    fn failed(&self, conclusion: &mut Conclusion, place: usize, failure: Failure, status: Status) {
        let recipient = self.recipient(place);
        let told = Told {
            recipient: recipient.clone(),
            action: Action::Failed,
            status: Status(5, status.1, status.2),
            failure: Some(failure.clone()),
            remote: None,
            reply: None,
            last_attempt: Some(self.now),
            will_retry_until: None,
        };
        if Action::Failed.is_wanted(recipient.notify) {
            conclusion.told.push(told.clone());
        }
        conclusion.failed.push(told);
        conclusion.recipients[place] =
            RecipientState::Failed { failure: Failure { status, ..failure }, at: self.now };
    }

    /// Those that were not delivered now wait, or are given up.
    fn wait(&self, conclusion: &mut Conclusion, schedule: &RetrySchedule, deferred: Vec<(usize, Failure)>) {
        let (entry, message) = (&self.loaded.entry, &self.loaded.message);
        let attempts = if self.tried {
            entry.attempts.saturating_add(1)
        } else {
            schedule.attempts_until(self.now.saturating_sub(message.received)).max(entry.attempts)
        };
        let deliver_by = message.envelope.deliver_by;
        let decision = schedule.next(&Facts {
            received: message.received,
            now: self.now,
            attempts,
            deliver_by,
            priority: message.envelope.priority,
            delay_told: entry.delay_notified,
            deadline_told: deliver_by.is_some_and(|by| knows_deadline(entry, by)),
            variation: self.variation,
        });
        match decision {
            Decision::GiveUp(Expiry::Lifetime | Expiry::Deadline) => {
                for (place, failure) in deferred {
                    self.failed(conclusion, place, failure, EXPIRED);
                }
            }
            Decision::Retry { due, notice } => {
                let end = schedule.until(message.received, deliver_by);
                // A block of its destination does not keep it from being told of its deadline.
                let deadline = deliver_by.map(|by| Duration::from_secs(by.deadline));
                let latest = deadline
                    .filter(|&deadline| deadline > self.now)
                    .map_or(end, |deadline| deadline.min(end));
                conclusion.next = Next::At(due.max(self.not_before.min(latest)));
                conclusion.delay_notified |= notice.is_some();
                for (place, failure) in deferred {
                    let recipient = self.recipient(place);
                    if notice.is_some_and(|reason| is_told_of_delay(reason, recipient.notify)) {
                        conclusion.told.push(Told {
                            recipient: recipient.clone(),
                            action: Action::Delayed,
                            status: Status(4, failure.status.1, failure.status.2),
                            failure: Some(failure.clone()),
                            remote: None,
                            reply: None,
                            last_attempt: self.tried.then_some(self.now).or(entry.last_attempt),
                            will_retry_until: Some(end),
                        });
                    }
                    conclusion.recipients[place] = RecipientState::Waiting { last: Some(failure) };
                }
            }
        }
    }
}

/// Whether the sender of an entry was told that its deadline has passed. No wait that begins before the deadline ends after it
/// ([`RetrySchedule::next`]); so an entry that waited for longer, or was tried after it, was told with that.
fn knows_deadline(entry: &EntryRow, by: DeliverBy) -> bool {
    let deadline = Duration::from_secs(by.deadline);
    let waited_beyond = matches!(entry.schedule, Schedule::At(due) if due > deadline);
    waited_beyond || entry.last_attempt.is_some_and(|ended| ended >= deadline)
}

/// With mode `N` of BY everybody is told who does not forbid it (RFC 2852 §4.1.4).
fn is_told_of_delay(reason: DelayReason, notify: Option<Notify>) -> bool {
    match reason {
        DelayReason::Waiting => Action::Delayed.is_wanted(notify),
        DelayReason::Deadline => notify != Some(Notify::NEVER),
    }
}

/// What an attempt says of its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A server of the destination answered.
    Answered,
    /// The destination as a whole cannot be reached now.
    Unreachable(Failure),
    /// Nothing: it did not come to that, or failed for a reason of the message.
    Nothing,
}

impl Signal {
    /// What the outcomes of one shipment say.
    pub(crate) fn of(envelope: &Envelope, handled: &[(usize, Handled)]) -> Self {
        let mut unreachable = None;
        for (_, handled) in handled {
            match &handled.outcome {
                RecipientOutcome::Sent { .. } => return Self::Answered,
                RecipientOutcome::Deferred(failure) | RecipientOutcome::Failed(failure) => match failure.kind
                {
                    FailureKind::Sender | FailureKind::Recipient | FailureKind::Message => {
                        return Self::Answered;
                    }
                    // Only this message wants more of TLS than others do (RFC 8689).
                    FailureKind::Tls if envelope.require_tls => {}
                    FailureKind::Fenced => {}
                    FailureKind::Dns
                    | FailureKind::Connection
                    | FailureKind::Tls
                    | FailureKind::Host
                    | FailureKind::Protocol => {
                        if matches!(handled.outcome, RecipientOutcome::Deferred(_)) {
                            unreachable.get_or_insert(failure);
                        }
                    }
                },
            }
        }
        unreachable.map_or(Self::Nothing, |failure| Self::Unreachable(failure.clone()))
    }
}

/// The failure of recipients that an administrator returns to their sender; it keeps what was known.
pub(crate) fn returned_by_administrator(last: Option<&Failure>) -> Failure {
    let before = last.map(|last| format!("; before that: {}", last.text)).unwrap_or_default();
    Failure {
        kind: FailureKind::Host,
        status: Status(5, 0, 0),
        code: None,
        text: format!("returned by an administrator{before}"),
        remote: None,
    }
}

/// The failure of recipients whose deadline (RFC 2852) passed before another attempt.
pub(crate) fn past_deadline(last: Option<&Failure>) -> Failure {
    let before = last.map(|last| format!("; the last attempt: {}", last.text)).unwrap_or_default();
    Failure {
        kind: FailureKind::Host,
        status: EXPIRED,
        code: None,
        text: format!("not delivered by the time that the sender set{before}"),
        remote: None,
    }
}

/// A failure of our own that may pass: the message stays as it is.
pub(crate) fn trouble_here(text: &str) -> Failure {
    Failure {
        kind: FailureKind::Message,
        // RFC 3463 §3.4: other or undefined mail system status.
        status: Status(4, 3, 0),
        code: None,
        text: text.to_owned(),
        remote: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_blob::BodyId;

    use super::*;
    use crate::model::{EntryId, MessageRow, Origin, QueueId, RecipientRow};

    const RECEIVED: Duration = Duration::from_secs(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn loaded(notifies: &[Option<Notify>]) -> Loaded {
        let row = |(n, notify): (usize, &Option<Notify>)| RecipientRow {
            recipient: Recipient { address: format!("r{n}@a.example"), notify: *notify, original: None },
            state: RecipientState::Waiting { last: None },
        };
        Loaded {
            id: EntryId { message: QueueId([1; 16]), number: 0 },
            message: MessageRow {
                envelope: Envelope { reverse_path: Some("s@b.example".into()), ..Envelope::default() },
                received: RECEIVED,
                size: 100,
                header: Vec::new(),
                account: None,
                origin: Origin::Submission,
                body: BodyId::from_bytes([0; 16]),
                entries: 1,
            },
            entry: EntryRow {
                destination: "a.example".into(),
                turn: 0,
                revision: 0,
                schedule: Schedule::Fresh,
                attempts: 0,
                last_attempt: None,
                bounce: false,
                delay_notified: false,
                recipients: notifies.iter().enumerate().map(row).collect(),
            },
            suppressed: Vec::new(),
        }
    }

    fn failure(kind: FailureKind, code: u16, status: (u8, u16, u16)) -> Failure {
        let status = Status(status.0, status.1, status.2);
        Failure { kind, status, code: Some(code), text: "no".into(), remote: Some("mx.a.example".into()) }
    }

    fn deferred() -> Handled {
        Handled::relayed(RecipientOutcome::Deferred(failure(FailureKind::Recipient, 450, (4, 2, 0))))
    }

    fn failed() -> Handled {
        Handled::relayed(RecipientOutcome::Failed(failure(FailureKind::Recipient, 550, (5, 1, 1))))
    }

    fn sent(notifies: bool) -> Handled {
        let (remote, reply) = ("mx.a.example [192.0.2.1]".to_owned(), "250 Ok".to_owned());
        Handled::relayed(RecipientOutcome::Sent { remote, reply, notifies })
    }

    fn conclude(loaded: &Loaded, handled: Vec<Handled>, after: Duration) -> Conclusion {
        let hours = [2 * MINUTE, 60 * MINUTE].to_vec();
        Attempt {
            loaded,
            handled: handled.into_iter().enumerate().collect(),
            tried: true,
            not_before: Duration::ZERO,
            now: RECEIVED + after,
            variation: 0.5,
        }
        .conclude(&RetrySchedule::new(hours, 48 * 60 * MINUTE, 4 * 60 * MINUTE))
    }

    fn actions(told: &[Told]) -> Vec<Action> {
        told.iter().map(|told| told.action).collect()
    }

    #[test]
    fn while_nobody_can_be_told_nobody_fails_and_who_has_the_message_keeps_it() {
        let loaded = loaded(&[None, None]);
        let again = RECEIVED + 2 * MINUTE;
        let untold = conclude(&loaded, vec![sent(false), failed()], MINUTE).untold(&loaded.entry, again);
        assert!(matches!(untold.recipients[0], RecipientState::Sent { .. }));
        assert!(matches!(untold.recipients[1], RecipientState::Waiting { last: Some(_) }));
        assert_eq!(untold.next, Next::At(again));
        let late = conclude(&loaded, vec![sent(false), deferred()], 5 * 60 * MINUTE);
        assert!(late.delay_notified);
        let untold = late.untold(&loaded.entry, again);
        assert_eq!((untold.next, untold.delay_notified), (late.next, false), "it is told of the next time");
        let gone = conclude(&loaded, vec![sent(false), sent(false)], MINUTE).untold(&loaded.entry, again);
        assert_eq!(gone.next, Next::Remove);
    }

    #[test]
    fn recipients_go_different_ways_and_the_rest_waits() {
        let success = Some(Notify { success: true, failure: false, delay: false });
        let loaded = loaded(&[success, success, None, None]);
        let end = conclude(&loaded, vec![sent(false), sent(true), failed(), deferred()], MINUTE);
        assert_eq!(end.next, Next::At(RECEIVED + 3 * MINUTE));
        assert!(matches!(end.recipients[0], RecipientState::Sent { .. }));
        assert!(matches!(end.recipients[2], RecipientState::Failed { .. }));
        assert!(matches!(end.recipients[3], RecipientState::Waiting { last: Some(_) }));
        assert_eq!(
            actions(&end.told),
            [Action::Relayed, Action::Failed],
            "the other server tells of the second"
        );
    }

    #[test]
    fn the_end_of_the_lifetime_is_a_failure_of_its_own_with_the_last_reply() {
        let loaded = loaded(&[None, Some(Notify::NEVER)]);
        let end = conclude(&loaded, vec![deferred(), deferred()], 48 * 60 * MINUTE);
        assert_eq!(end.next, Next::Remove);
        assert_eq!((end.told.len(), end.failed.len()), (1, 2));
        assert_eq!(end.told[0].status, EXPIRED);
        assert_eq!(end.told[0].failure.as_ref().unwrap().code, Some(450));
    }

    #[test]
    fn a_delay_is_told_once_and_only_to_those_who_want_to_know() {
        let mut loaded = loaded(&[None, Some(Notify { success: false, failure: true, delay: false })]);
        let end = conclude(&loaded, vec![deferred(), deferred()], 5 * 60 * MINUTE);
        assert_eq!(actions(&end.told), [Action::Delayed]);
        assert_eq!(end.told[0].will_retry_until, Some(RECEIVED + 48 * 60 * MINUTE));
        assert!(end.delay_notified);
        loaded.entry.delay_notified = true;
        assert!(conclude(&loaded, vec![deferred(), deferred()], 6 * 60 * MINUTE).told.is_empty());
    }

    #[test]
    fn a_deadline_with_mode_n_is_told_even_without_notify_delay() {
        let mut loaded =
            loaded(&[Some(Notify { success: false, failure: true, delay: false }), Some(Notify::NEVER)]);
        let deadline = (RECEIVED + MINUTE).as_secs();
        loaded.message.envelope.deliver_by = Some(DeliverBy { deadline, or_return: false });
        let end = conclude(&loaded, vec![deferred(), deferred()], 2 * MINUTE);
        assert_eq!(actions(&end.told), [Action::Delayed]);
    }

    #[test]
    fn a_deadline_is_told_once_whether_or_not_a_delay_was_told_before() {
        let mut loaded = loaded(&[None]);
        let deadline = RECEIVED + 6 * 60 * MINUTE;
        loaded.message.envelope.deliver_by =
            Some(DeliverBy { deadline: deadline.as_secs(), or_return: false });
        let mut told = Vec::new();
        let mut at = RECEIVED + MINUTE;
        while at < deadline + 3 * 60 * MINUTE {
            let end = conclude(&loaded, vec![deferred()], at - RECEIVED);
            told.extend(end.told.iter().map(|_| at));
            let Next::At(due) = end.next else { panic!("it is not given up") };
            loaded.entry.schedule = Schedule::At(due);
            loaded.entry.last_attempt = Some(at);
            loaded.entry.attempts += 1;
            loaded.entry.delay_notified = end.delay_notified;
            at = due;
        }
        assert_eq!(
            (told.len(), told.last()),
            (2, Some(&deadline)),
            "of the delay, and at the deadline: {told:?}"
        );
    }

    #[test]
    fn what_was_not_tried_waits_for_its_destination_and_no_longer_than_it_lives() {
        let loaded = loaded(&[None]);
        let put_off = |not_before, after| {
            Attempt {
                loaded: &loaded,
                handled: vec![(0, deferred())],
                tried: false,
                not_before: RECEIVED + not_before,
                now: RECEIVED + after,
                variation: 0.5,
            }
            .conclude(&RetrySchedule::new(vec![2 * MINUTE, 60 * MINUTE], 48 * 60 * MINUTE, Duration::ZERO))
            .next
        };
        assert_eq!(put_off(30 * MINUTE, MINUTE), Next::At(RECEIVED + 30 * MINUTE));
        assert_eq!(
            put_off(31 * MINUTE, 30 * MINUTE),
            Next::At(RECEIVED + 90 * MINUTE),
            "as if it had been tried"
        );
        assert_eq!(put_off(99 * 60 * MINUTE, MINUTE), Next::At(RECEIVED + 48 * 60 * MINUTE));
    }

    #[test]
    fn only_what_concerns_all_mail_for_a_destination_speaks_against_it() {
        let envelope = Envelope::default();
        let of = |envelope: &Envelope, outcome| Signal::of(envelope, &[(0, Handled::relayed(outcome))]);
        let down = failure(FailureKind::Connection, 0, (4, 4, 1));
        assert_eq!(of(&envelope, RecipientOutcome::Deferred(down.clone())), Signal::Unreachable(down));
        assert_eq!(of(&envelope, deferred().outcome), Signal::Answered);
        let tls = RecipientOutcome::Deferred(failure(FailureKind::Tls, 0, (4, 7, 10)));
        assert!(matches!(of(&envelope, tls.clone()), Signal::Unreachable(_)));
        let require_tls = Envelope { require_tls: true, ..Envelope::default() };
        assert_eq!(of(&require_tls, tls), Signal::Nothing);
        let fenced = RecipientOutcome::Deferred(failure(FailureKind::Fenced, 0, (4, 0, 0)));
        assert_eq!(of(&envelope, fenced), Signal::Nothing);
    }
}
