//! Conditions: what is true of an object, since when, and why.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be known now.
    Unknown,
}

impl ConditionStatus {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A condition to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its type, such as `DNSVerified`.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word for programs (CamelCase).
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// The conditions of an object.
pub trait Conditions {
    /// The condition of a type.
    fn find(&self, type_: &str) -> Option<&Condition>;

    /// Whether a condition is `True`.
    fn holds(&self, type_: &str) -> bool {
        self.find(type_).is_some_and(|condition| condition.status == "True")
    }

    /// Sets a condition as observed at a generation of the object. The time of its transition is `now` only if its status changed.
    fn set(&mut self, draft: Draft, generation: Option<i64>, now: Timestamp);
}

impl Conditions for Vec<Condition> {
    fn find(&self, type_: &str) -> Option<&Condition> {
        self.iter().find(|condition| condition.type_ == type_)
    }

    fn set(&mut self, draft: Draft, generation: Option<i64>, now: Timestamp) {
        let status = draft.status.as_str();
        let since = match self.find(draft.type_) {
            Some(before) if before.status == status => before.last_transition_time.clone(),
            _ => Time(now),
        };
        let condition = Condition {
            type_: draft.type_.to_owned(),
            status: status.to_owned(),
            reason: draft.reason.to_owned(),
            message: draft.message,
            observed_generation: generation,
            last_transition_time: since,
        };
        match self.iter_mut().find(|before| before.type_ == draft.type_) {
            Some(before) => *before = condition,
            None => self.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(status: ConditionStatus, reason: &'static str) -> Draft {
        Draft { type_: "Ready", status, reason, message: String::new() }
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change_of_status() {
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        let mut conditions = Vec::new();
        conditions.set(draft(ConditionStatus::False, "Waiting"), Some(1), at(10));
        conditions.set(draft(ConditionStatus::False, "StillWaiting"), Some(2), at(20));
        assert_eq!(conditions.find("Ready").map(|found| found.last_transition_time.0), Some(at(10)));
        assert_eq!(conditions.find("Ready").and_then(|found| found.observed_generation), Some(2));
        conditions.set(draft(ConditionStatus::True, "Done"), Some(2), at(30));
        assert!(conditions.holds("Ready"));
        assert_eq!((conditions.len(), conditions[0].last_transition_time.0), (1, at(30)));
    }
}
