//! A simulation of the service and DNS around the rules.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ekitei_operator_api::Duration as Length;

use super::*;

const HOUR: i64 = 3600;

/// The service, the records, and the status between two looks.
#[derive(Default)]
struct World {
    keys: Vec<ServiceKey>,
    status: Vec<DkimKeyStatus>,
    records: BTreeMap<String, Visibility>,
    made: usize,
    now: i64,
    /// What was signed with, at each hour.
    history: Vec<Vec<String>>,
}

fn spec() -> Dkim {
    Dkim {
        algorithms: vec![DkimAlgorithm::Rsa],
        rotation: Length::hours(100),
        keep_retired: Length::hours(24),
    }
}

impl World {
    fn time(&self) -> Time {
        Time(Timestamp::from_second(self.now).unwrap())
    }

    /// One reconciliation; new records are at once as `shown` says.
    fn look(&mut self, spec: &Dkim, shown: Visibility) -> Decision {
        for algorithm in missing(spec, &self.keys, &self.status, self.time().0) {
            self.made += 1;
            let selector = format!("k{}", self.made);
            self.keys.push(ServiceKey { selector, algorithm, signs: false, retired: false, ours: true });
        }
        for key in &self.keys {
            self.records.insert(key.selector.clone(), shown);
        }
        let records = self.records.clone();
        let visibility = |selector: &str| records.get(selector).copied().unwrap_or(Visibility::Absent);
        let decision =
            decide(spec, &self.keys, &self.status, visibility, Duration::from_secs(600), &self.time());
        for action in &decision.actions {
            match action {
                Action::Activate(selector) => {
                    let all = self.records.get(selector) == Some(&Visibility::Everywhere);
                    assert!(all, "{selector} signs before every server shows it");
                    self.key(selector).signs = true;
                }
                Action::Retire(selector) => {
                    let key = self.key(selector);
                    (key.signs, key.retired) = (false, true);
                }
                Action::Remove(selector) => self.keys.retain(|key| key.selector != *selector),
            }
        }
        self.status.clone_from(&decision.keys);
        let signing = self.keys.iter().filter(|key| key.signs).map(|key| key.selector.clone());
        self.history.push(signing.collect());
        decision
    }

    fn key(&mut self, selector: &str) -> &mut ServiceKey {
        self.keys.iter_mut().find(|key| key.selector == selector).unwrap()
    }

    fn stages(&self) -> Vec<(String, DkimStage)> {
        self.status.iter().map(|key| (key.selector.clone(), key.stage)).collect()
    }
}

fn stage(selector: &str, stage: DkimStage) -> (String, DkimStage) {
    (selector.to_owned(), stage)
}

#[test]
fn a_key_signs_when_every_server_has_it_and_caches_have_forgotten_its_absence() {
    let mut world = World::default();
    world.look(&spec(), Visibility::Absent);
    assert_eq!(world.stages(), [stage("k1", DkimStage::Pending)]);
    world.look(&spec(), Visibility::Published);
    assert_eq!(world.stages(), [stage("k1", DkimStage::Published)]);
    let waits = world.look(&spec(), Visibility::Everywhere);
    assert_eq!(waits.actions, []);
    assert_eq!(waits.wake.unwrap().as_second(), 600, "it says when to look again");
    world.now = 599;
    assert_eq!(world.look(&spec(), Visibility::Everywhere).actions, []);
    world.now = 600;
    let acts = world.look(&spec(), Visibility::Everywhere);
    assert_eq!(acts.actions, [Action::Activate("k1".to_owned())]);
    assert_eq!(world.stages(), [stage("k1", DkimStage::Active)]);
}

#[test]
fn a_record_that_vanishes_before_the_key_signs_begins_the_wait_anew() {
    let mut world = World::default();
    world.look(&spec(), Visibility::Everywhere);
    world.now = 500;
    world.look(&spec(), Visibility::Published);
    world.now = 700;
    assert_eq!(world.look(&spec(), Visibility::Everywhere).wake.unwrap().as_second(), 1300);
    world.now = 1000;
    let unknown = world.look(&spec(), Visibility::Unknown);
    assert_eq!(
        unknown.wake.unwrap().as_second(),
        1300,
        "that nobody could look says nothing about the record"
    );
}

#[test]
fn rotation_leaves_no_hour_without_a_key_and_keeps_records_of_old_ones() {
    let mut world = World::default();
    for hour in 0..400 {
        world.now = hour * HOUR;
        world.look(&spec(), Visibility::Everywhere);
    }
    assert!(world.history.iter().skip(2).all(|signing| signing.len() == 1), "one key signs at every hour");
    let mut order: Vec<String> = world.history.iter().flatten().cloned().collect();
    order.dedup();
    assert_eq!(order, ["k1", "k2", "k3", "k4"], "every hundred hours there is another one");
    assert_eq!(world.stages().len(), 1, "old ones are gone: {:?}", world.stages());
}

#[test]
fn a_retired_key_stays_as_long_as_mail_may_be_under_way() {
    let mut world = World::default();
    for hour in 0..103 {
        world.now = hour * HOUR;
        world.look(&spec(), Visibility::Everywhere);
    }
    assert_eq!(world.stages(), [stage("k1", DkimStage::Retiring), stage("k2", DkimStage::Active)]);
    world.now = 126 * HOUR;
    let gone = world.look(&spec(), Visibility::Everywhere);
    assert_eq!(gone.actions, [Action::Remove("k1".to_owned())]);
}

#[test]
fn an_algorithm_that_is_not_wanted_ceases_only_when_another_signs() {
    let mut world = World::default();
    world.look(&spec(), Visibility::Everywhere);
    world.now = HOUR;
    world.look(&spec(), Visibility::Everywhere);
    let other = Dkim { algorithms: vec![DkimAlgorithm::Ed25519], ..spec() };
    world.look(&other, Visibility::Everywhere);
    assert_eq!(world.stages(), [stage("k1", DkimStage::Active), stage("k2", DkimStage::Published)]);
    world.now = 2 * HOUR;
    let acts = world.look(&other, Visibility::Everywhere);
    assert_eq!(acts.actions, [Action::Activate("k2".to_owned()), Action::Retire("k1".to_owned())]);
}

#[test]
fn keys_that_the_service_looks_after_are_left_to_it_until_ours_sign() {
    let mut world = World::default();
    world.keys.push(ServiceKey {
        selector: "old".to_owned(),
        algorithm: DkimAlgorithm::Rsa,
        signs: true,
        retired: false,
        ours: false,
    });
    world.look(&spec(), Visibility::Everywhere);
    assert_eq!(world.stages(), [stage("old", DkimStage::Active)]);
}

#[test]
fn what_is_missing_is_said() {
    let mut world = World::default();
    world.look(&spec(), Visibility::Absent);
    assert_eq!(readiness(&spec(), &world.status).unwrap_err().0, "WaitingForRecord");
    world.look(&spec(), Visibility::Published);
    assert_eq!(readiness(&spec(), &world.status).unwrap_err().0, "WaitingForServers");
    world.look(&spec(), Visibility::Everywhere);
    assert_eq!(readiness(&spec(), &world.status).unwrap_err().0, "WaitingForCaches");
    world.now = HOUR;
    world.look(&spec(), Visibility::Everywhere);
    assert_eq!(readiness(&spec(), &world.status).unwrap(), "signs with k1");
}
