//! Kubernetes events: what the operator did and what it could not do, said once and not at every attempt.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// The same event is not said again within this time.
const QUIET: Duration = Duration::from_secs(3600);
/// More events than this are not remembered.
const REMEMBERED: usize = 10_000;

/// What was said of which object: UID, reason, note.
type Said = (String, &'static str, String);

/// Writes events.
pub struct Events {
    client: Client,
    reporter: Reporter,
    said: Mutex<HashMap<Said, Instant>>,
}

impl Events {
    /// As this process of the operator.
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter {
            controller: ekitei_operator_api::FIELD_MANAGER.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self { client, reporter, said: Mutex::default() }
    }

    /// That something was done.
    pub async fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &'static str, note: &str) {
        self.publish(object, EventType::Normal, reason, note).await;
    }

    /// That something is not as it should be.
    pub async fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &'static str, note: &str) {
        self.publish(object, EventType::Warning, reason, note).await;
    }

    async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        type_: EventType,
        reason: &'static str,
        note: &str,
    ) {
        let note = shorten(note);
        let uid = object.meta().uid.clone().unwrap_or_default();
        if !self.is_news((uid, reason, note.clone())) {
            return;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // A recorder folds events of one reason together whatever they say; ours are told apart by what they say, so each has a new one.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
            tracing::debug!(%error, reason, "an event was not written");
        }
    }

    fn is_news(&self, what: Said) -> bool {
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&what).is_some_and(|at| now.duration_since(*at) < QUIET) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.retain(|_, at| now.duration_since(*at) < QUIET);
        }
        if said.len() < REMEMBERED {
            said.insert(what, now);
        }
        true
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("reporter", &self.reporter).finish_non_exhaustive()
    }
}

/// At most what the API server takes (1024 octets).
fn shorten(note: &str) -> String {
    const LONGEST: usize = 1000;
    if note.len() <= LONGEST {
        return note.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|at| note.is_char_boundary(*at)).unwrap_or_default();
    format!("{}...", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_end_at_a_character() {
        assert_eq!(shorten("short"), "short");
        let long = "é".repeat(800);
        let shortened = shorten(&long);
        assert!(shortened.len() <= 1003 && shortened.ends_with("é..."));
    }
}
