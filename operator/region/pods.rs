//! How the pods of a region are, from the status of their Deployment. Pure.

use ekitei_operator_api::{ConditionStatus, Draft};
use k8s_openapi::api::apps::v1::Deployment;

/// Counts of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// How many there should be.
    pub desired: i32,
    /// How many there are.
    pub there: i32,
    /// How many take mail.
    pub ready: i32,
    /// How many are of the newest configuration.
    pub updated: i32,
    /// Whether the counts are of the Deployment as it was written last.
    pub current: bool,
}

impl Pods {
    /// What a Deployment says.
    pub fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.as_ref();
        let count = |count: Option<i32>| count.unwrap_or_default();
        let observed = status.and_then(|status| status.observed_generation);
        Self {
            desired: count(deployment.spec.as_ref().and_then(|spec| spec.replicas)),
            there: count(status.and_then(|status| status.replicas)),
            ready: count(status.and_then(|status| status.ready_replicas)),
            updated: count(status.and_then(|status| status.updated_replicas)),
            current: observed >= deployment.metadata.generation,
        }
    }

    /// Whether the region takes mail: one pod is enough.
    pub fn take_mail(&self) -> bool {
        self.ready > 0
    }

    /// The condition `PodsReady`, which is true while the region takes mail; its reason says whether all pods are there. `trouble` is what the Deployment says about pods that do not come.
    pub fn condition(&self, trouble: Option<String>) -> Draft {
        let Self { desired, ready, updated, .. } = self;
        let counts = format!("{ready} of {desired} pods are ready");
        let with_trouble = |text: String| match &trouble {
            Some(trouble) => format!("{text}: {trouble}"),
            None => text,
        };
        let (reason, message) = if *desired == 0 {
            ("ScaledToZero", "the region has no pods, since spec.replicas is 0".to_owned())
        } else if *ready == 0 {
            ("NoPodReady", with_trouble(counts))
        } else if ready < desired {
            ("PodsStarting", with_trouble(counts))
        } else if !self.current || updated < desired {
            (
                "PodsUpdating",
                with_trouble(format!("{updated} of {desired} pods have the newest configuration")),
            )
        } else {
            ("PodsReady", counts)
        };
        let status = ConditionStatus::from(self.take_mail() && *desired > 0);
        Draft { type_: "PodsReady", status, reason, message }
    }
}

/// Why pods do not come, as the Deployment says it: no progress in time, or pods that may not be made.
pub fn trouble(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let bad = conditions.iter().find(|condition| {
        matches!(
            (condition.type_.as_str(), condition.status.as_str()),
            ("Progressing", "False") | ("ReplicaFailure", "True")
        )
    })?;
    Some(bad.message.clone().or_else(|| bad.reason.clone()).unwrap_or_else(|| bad.type_.clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn condition(replicas: i32, ready: i32, updated: i32, observed: i64) -> (bool, &'static str, String) {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"generation": 3},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"replicas": ready, "readyReplicas": ready, "updatedReplicas": updated, "observedGeneration": observed},
        }))
        .unwrap();
        let draft = Pods::of(&deployment).condition(trouble(&deployment));
        (draft.status == ConditionStatus::True, draft.reason, draft.message)
    }

    #[test]
    fn a_region_is_complete_with_all_pods_of_the_newest_configuration() {
        assert_eq!(condition(2, 2, 2, 3), (true, "PodsReady", "2 of 2 pods are ready".to_owned()));
        assert_eq!(condition(2, 2, 1, 3).1, "PodsUpdating");
        assert_eq!(condition(2, 2, 2, 2).1, "PodsUpdating", "the counts are of an older Deployment");
    }

    #[test]
    fn one_pod_takes_mail_and_none_takes_none() {
        assert_eq!(condition(5, 1, 5, 3), (true, "PodsStarting", "1 of 5 pods are ready".to_owned()));
        assert_eq!(condition(5, 0, 5, 3), (false, "NoPodReady", "0 of 5 pods are ready".to_owned()));
        let ending = condition(0, 1, 0, 3);
        assert_eq!((ending.0, ending.1), (false, "ScaledToZero"), "the last one is about to end");
    }

    #[test]
    fn the_message_says_why_pods_do_not_come() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"generation": 1},
            "spec": {"replicas": 1, "selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "conditions": [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"},
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota exceeded"},
            ]},
        }))
        .unwrap();
        let draft = Pods::of(&deployment).condition(trouble(&deployment));
        assert_eq!(draft.message, "0 of 1 pods are ready: quota exceeded");
    }
}
