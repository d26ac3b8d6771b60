//! A shipment under way: what is settled, and what is not.

use crate::Shipment;
use crate::content::Content;
use crate::outcome::{Failure, RecipientOutcome};

/// A shipment with the outcomes so far. What is settled stays settled, whatever becomes of the connection.
pub(crate) struct Work {
    pub(crate) shipment: Shipment,
    pub(crate) content: Content,
    outcomes: Vec<Option<RecipientOutcome>>,
}

impl Work {
    pub(crate) fn new(mut shipment: Shipment) -> Self {
        let content = Content::new(std::mem::take(&mut shipment.message));
        let outcomes = shipment.recipients.iter().map(|_| None).collect();
        Self { shipment, content, outcomes }
    }

    /// The recipients that are not settled, as places in the shipment's list.
    pub(crate) fn pending(&self) -> impl Iterator<Item = usize> {
        self.outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_none()).map(|(at, _)| at)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// Settles one recipient.
    pub(crate) fn settle(&mut self, at: usize, outcome: RecipientOutcome) {
        self.outcomes[at] = Some(outcome);
    }

    /// Settles one recipient that did not get it: for now or for ever, by the class of the status.
    pub(crate) fn fail(&mut self, at: usize, failure: Failure) {
        self.settle(at, failure.into_outcome());
    }

    /// Settles all that are left.
    pub(crate) fn fail_pending(&mut self, failure: &Failure) {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(failure.clone().into_outcome());
        }
    }

    /// The work is somebody else's: only what was sent before counts.
    pub(crate) fn fence(&mut self) {
        for outcome in &mut self.outcomes {
            if !matches!(outcome, Some(RecipientOutcome::Sent { .. })) {
                *outcome = Some(RecipientOutcome::Deferred(Failure::fenced()));
            }
        }
    }

    /// All outcomes, in the order of the recipients. Those that are left get `rest`.
    pub(crate) fn finish(mut self, rest: &Failure) -> Vec<RecipientOutcome> {
        self.fail_pending(rest);
        self.outcomes.into_iter().flatten().collect()
    }
}
