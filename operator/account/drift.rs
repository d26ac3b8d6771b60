//! What to do about each field of an account: a comparison of three, as `kubectl apply` makes it.
//!
//! | what the object says | what the operator set last | what the service has | then |
//! |---|---|---|---|
//! | nothing | nothing | anything | it is not ours |
//! | anything | the same | the same | it is in sync |
//! | anything | the same | another | it was changed elsewhere: drift is shown, and left alone |
//! | anything | another, or nothing | anything | the object was changed: it is written |
//! | nothing | something | what was set | the object says no more: the default is written |
//! | nothing | something | another | it was changed elsewhere since: it is theirs now |

use std::collections::{BTreeMap, BTreeSet};

use ekitei_operator_api::AccountDrift;

/// Fields and their values in words; those that are compared with one another are in the same words.
pub type Fields = BTreeMap<String, String>;

/// What follows from a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Fields to be written as the object says.
    pub write: BTreeSet<String>,
    /// Fields to be set back to their defaults, since the object does not name them any more.
    pub reset: BTreeSet<String>,
    /// Fields that were changed elsewhere.
    pub drift: Vec<AccountDrift>,
    /// What is to be remembered as set, once all of this is done.
    pub applied: Fields,
}

impl Comparison {
    /// Whether there is nothing to be written.
    pub fn is_settled(&self) -> bool {
        self.write.is_empty() && self.reset.is_empty()
    }
}

/// Compares what the object says, what was set last, and what the service has.
pub fn compare(wanted: &Fields, applied: &Fields, found: &Fields) -> Comparison {
    let mut comparison = Comparison::default();
    let names: BTreeSet<&String> = wanted.keys().chain(applied.keys()).collect();
    for name in names {
        let set = applied.get(name);
        let has = found.get(name);
        let Some(wants) = wanted.get(name) else {
            if set == has {
                comparison.reset.insert(name.clone());
            }
            continue;
        };
        comparison.applied.insert(name.clone(), wants.clone());
        if has == Some(wants) {
            continue;
        }
        if set == Some(wants) {
            comparison.drift.push(AccountDrift {
                field: name.clone(),
                wanted: wants.clone(),
                found: has.cloned().unwrap_or_else(|| "none".to_owned()),
            });
        } else {
            comparison.write.insert(name.clone());
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Option<&str>) -> Fields {
        value.map(|value| ("quota".to_owned(), value.to_owned())).into_iter().collect()
    }

    /// What becomes of one field: `write`, `reset`, `drift` or nothing, and what is remembered.
    fn outcome(
        wanted: Option<&str>,
        applied: Option<&str>,
        found: Option<&str>,
    ) -> (&'static str, Option<String>) {
        let comparison = compare(&fields(wanted), &fields(applied), &fields(found));
        let what = match &comparison {
            Comparison { write, .. } if write.contains("quota") => "write",
            Comparison { reset, .. } if reset.contains("quota") => "reset",
            Comparison { drift, .. } if !drift.is_empty() => "drift",
            _ => "nothing",
        };
        (what, comparison.applied.get("quota").cloned())
    }

    #[test]
    fn every_combination_of_the_three_is_decided() {
        let some = |value: &str| Some(value.to_owned());
        let table = [
            // What the object says, what was set last, what the service has.
            (None, None, None, "nothing", None),
            (None, None, Some("1Gi"), "nothing", None),
            (Some("1Gi"), None, Some("1Gi"), "nothing", some("1Gi")),
            (Some("1Gi"), None, None, "write", some("1Gi")),
            (Some("1Gi"), None, Some("2Gi"), "write", some("1Gi")),
            (Some("1Gi"), Some("1Gi"), Some("1Gi"), "nothing", some("1Gi")),
            (Some("1Gi"), Some("1Gi"), Some("2Gi"), "drift", some("1Gi")),
            (Some("1Gi"), Some("1Gi"), None, "drift", some("1Gi")),
            (Some("3Gi"), Some("1Gi"), Some("1Gi"), "write", some("3Gi")),
            (Some("3Gi"), Some("1Gi"), Some("2Gi"), "write", some("3Gi")),
            (Some("2Gi"), Some("1Gi"), Some("2Gi"), "nothing", some("2Gi")),
            (None, Some("1Gi"), Some("1Gi"), "reset", None),
            (None, Some("1Gi"), Some("2Gi"), "nothing", None),
            (None, Some("1Gi"), None, "nothing", None),
        ];
        for (wanted, applied, found, what, remembered) in table {
            assert_eq!(
                outcome(wanted, applied, found),
                (what, remembered),
                "{wanted:?} {applied:?} {found:?}"
            );
        }
    }

    #[test]
    fn drift_says_what_both_have_and_lasts_until_one_of_them_gives_in() {
        let comparison = compare(&fields(Some("1Gi")), &fields(Some("1Gi")), &fields(Some("2Gi")));
        let drift =
            AccountDrift { field: "quota".to_owned(), wanted: "1Gi".to_owned(), found: "2Gi".to_owned() };
        assert_eq!(comparison.drift, [drift]);
        assert!(comparison.is_settled(), "it is not fought over");
        let again = compare(&fields(Some("1Gi")), &comparison.applied, &fields(Some("2Gi")));
        assert_eq!(again, comparison, "looking again changes nothing");
        let given_in = compare(&fields(Some("2Gi")), &comparison.applied, &fields(Some("2Gi")));
        assert!(given_in.drift.is_empty());
    }
}
