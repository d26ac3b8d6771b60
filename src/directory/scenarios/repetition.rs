//! An operation whose commit happened, and was reported as unknown, is repeated: it must find its own work done.

use ekitei_kv::{CommitFault, FaultScript, MemoryOptions};

use super::*;
use crate::{AccountChange, DomainChange, Error, GroupChange, NewGroup};

/// The example, and the script of what happens to the commits that follow.
async fn unlucky() -> (Directory, Arc<FaultScript>) {
    let faults = Arc::new(FaultScript::default());
    let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
    let directory = directory_with(Database::in_memory_with(options).unwrap(), settings());
    fill(&directory).await;
    (directory, faults)
}

/// Runs an operation of which each commit is applied but reported as unknown, once.
macro_rules! repeated {
    ($faults:expr, $operation:expr) => {{
        $faults.commits([Some(CommitFault::UnknownApplied)]);
        $operation.await.unwrap()
    }};
}

#[tokio::test]
async fn nothing_collides_with_itself() {
    let (directory, faults) = unlucky().await;
    let other = domain("other.test");
    repeated!(faults, directory.create_domain(&other, NewDomain::default()));
    let change = DomainChange { quota: Some(Some(1)), ..DomainChange::default() };
    let seen = directory.domain(&other).await.unwrap().revision;
    repeated!(faults, directory.update_domain(&other, change, Some(seen)));

    let new = NewAccount {
        address: address("carol@other.test"),
        display_name: String::new(),
        password: None,
        quota: None,
        enabled: true,
        forwarding: None,
    };
    let carol = repeated!(faults, directory.create_account(new.clone()));
    assert_eq!(directory.account_by_address(&carol.address).await.unwrap(), carol);
    assert_eq!(carol.id, AccountId::new(3), "one number was used, not two");
    let change = AccountChange { quota: Some(Some(2)), ..AccountChange::default() };
    repeated!(faults, directory.update_account(carol.id, change, Some(carol.revision)));

    let (_, shown) = repeated!(faults, directory.create_app_password(carol.id, "phone"));
    assert!(directory.authenticate("carol@other.test", &shown, CONTEXT).await.is_ok());
    repeated!(faults, directory.delete_app_password(carol.id, "phone"));

    let (alias, group) = (address("alias@other.test"), address("group@other.test"));
    let targets = addresses(&["carol@other.test"]);
    let made = repeated!(faults, directory.create_alias(&alias, targets.clone()));
    repeated!(faults, directory.update_alias(&alias, addresses(&["bob@example.test"]), Some(made.revision)));
    repeated!(faults, directory.delete_alias(&alias));
    let new_group = NewGroup {
        address: group.clone(),
        display_name: String::new(),
        members_may_send: true,
        members: targets,
    };
    let made = repeated!(faults, directory.create_group(new_group));
    repeated!(faults, directory.update_group(&group, GroupChange::default(), Some(made.revision)));
    repeated!(faults, directory.add_member(&group, &address("bob@example.test")));
    repeated!(faults, directory.remove_member(&group, &address("bob@example.test")));
    repeated!(faults, directory.delete_group(&group));
    repeated!(faults, directory.delete_account(carol.id));
    repeated!(faults, directory.delete_domain(&other, false));
}

#[tokio::test]
async fn what_was_not_applied_is_done_by_the_repetition() {
    let (directory, faults) = unlucky().await;
    faults.commits([Some(CommitFault::UnknownNotApplied)]);
    directory.create_domain(&domain("other.test"), NewDomain::default()).await.unwrap();
    assert!(directory.is_local_domain(&domain("other.test")).await.unwrap());
    faults.commits([Some(CommitFault::UnknownNotApplied)]);
    directory.delete_domain(&domain("other.test"), false).await.unwrap();
    assert!(!directory.is_local_domain(&domain("other.test")).await.unwrap());
}

#[tokio::test]
async fn somebody_elses_object_is_still_a_collision() {
    let (directory, faults) = unlucky().await;
    faults.commits([Some(CommitFault::Conflict)]);
    let taken = directory.create_domain(&domain("example.test"), NewDomain::default()).await;
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
}
