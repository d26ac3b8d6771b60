//! MailAccounts: users of the service, their passwords, and what is changed elsewhere.

use std::process::Command;
use std::time::Duration;

use ekitei_api::{Account, AccountPatch};
use ekitei_kubernetes_tests::wait_until;
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, ZONE};

/// A scene with an accepted domain, whose records nobody publishes.
pub(crate) async fn scene() -> Option<Scene> {
    let scene = Scene::start().await?;
    let server = scene.knot.address().to_string();
    scene.apply("DNSProvider", "by-hand", &json!({"manual": {}, "verification": {"servers": [server]}}));
    scene.apply("MailRegion", "tokyo", &json!({"host": "mx.tokyo.example.test", "addresses": ["192.0.2.5"]}));
    scene.apply(
        "MailDomain",
        "example",
        &json!({"domain": ZONE, "homeRegion": "tokyo", "regions": [{"name": "tokyo"}], "dns": {"provider": {"name": "by-hand"}},
            "certificate": {"issuer": "None"}}),
    );
    Some(scene)
}

fn spec(name: &str, more: Value) -> Value {
    let mut spec = json!({"address": format!("{name}@{ZONE}")});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn with_password(more: Value) -> Value {
    let mut spec = spec("alice", more);
    spec["password"] = json!({"secretRef": {"name": "alice", "key": "password"}});
    spec
}

fn logs_in(scene: &Scene, password: &str) -> bool {
    logs_in_as(scene, "alice", password)
}

/// Whether somebody can log in: over IMAP, as mail programs do.
pub(crate) fn logs_in_as(scene: &Scene, name: &str, password: &str) -> bool {
    let user = format!("{name}@{ZONE}:{password}");
    let url = format!("imaps://127.0.0.1:{}/", scene.service.imaps);
    let output =
        Command::new("curl").args(["-s", "-k", "--max-time", "10", "--user", &user, &url]).output().unwrap();
    output.status.success()
}

async fn found(scene: &Scene, name: &str) -> Account {
    scene.service.api().account(&format!("{name}@{ZONE}")).await.unwrap()
}

#[tokio::test]
async fn an_account_is_what_its_object_says_and_changes_elsewhere_are_shown() {
    let Some(scene) = scene().await else { return };
    scene.apply(
        "MailAccount",
        "alice",
        &with_password(
            json!({"displayName": "Alice", "quota": "5Gi", "aliases": [format!("A.Liddell@{ZONE}")],
        "forwarding": {"addresses": ["alice@elsewhere.test"], "keepCopy": true}, "deletionPolicy": "Delete"}),
        ),
    );
    scene.wait_for("ma/alice", "Ready", "False", "SecretMissing");
    scene.cluster.secret(&scene.namespace, "alice", &[("password", "correct horse battery\n")]).await;
    scene.wait_for("ma/alice", "Ready", "True", "Ready");
    scene.wait_for("ma/alice", "InSync", "True", "InSync");
    let account = found(&scene, "alice").await;
    assert_eq!((account.display_name.as_str(), account.quota), ("Alice", Some(5 << 30)));
    assert!(account.forwarding.as_ref().unwrap().keep_copy);
    let alias = scene.service.api().alias(&format!("a.liddell@{ZONE}")).await.unwrap();
    assert_eq!(alias.targets, [format!("alice@{ZONE}")].into());
    assert!(logs_in(&scene, "correct horse battery") && !logs_in(&scene, "something else"));
    assert!(!scene.kubectl(&["get", "ma/alice", "-o", "yaml"]).contains("horse"));

    passwords(&scene).await;
    drift(&scene).await;
    deleted_elsewhere(&scene).await;
    scene.kubectl(&["delete", "ma/alice"]);
    assert!(
        scene.service.api().account(&format!("alice@{ZONE}")).await.is_err(),
        "its policy was to delete it"
    );
    assert!(scene.service.api().alias(&format!("a.liddell@{ZONE}")).await.is_err());
}

/// A new password in the Secret is set, and only that: a touched Secret does not undo what the user changed.
async fn passwords(scene: &Scene) {
    scene.cluster.secret(&scene.namespace, "alice", &[("password", "a newer password")]).await;
    wait_until("the new password", SOON, || logs_in(scene, "a newer password"));
    assert!(!logs_in(scene, "correct horse battery"));
    let own = AccountPatch { password: Some(Some("my own password".to_owned())), ..AccountPatch::default() };
    scene.service.api().update_account(&format!("alice@{ZONE}"), &own, None).await.unwrap();
    scene.kubectl(&["label", "secret/alice", "team=post"]);
    scene.operator.wait_for_looks("MailAccount");
    assert!(logs_in(scene, "my own password"));
    // A hash of `hashed password` by `openssl passwd -6`.
    let hash = Command::new("openssl").args(["passwd", "-6", "hashed password"]).output().unwrap();
    let hash = format!("{{SHA512-CRYPT}}{}", String::from_utf8(hash.stdout).unwrap().trim());
    scene.cluster.secret(&scene.namespace, "alice", &[("password", &hash)]).await;
    wait_until("the password of the hash", SOON, || logs_in(scene, "hashed password"));
}

/// What was changed elsewhere is shown and left alone, until the object says something else.
async fn drift(scene: &Scene) {
    let patch = AccountPatch { quota: Some(Some(1 << 30)), ..AccountPatch::default() };
    scene.service.api().update_account(&format!("alice@{ZONE}"), &patch, None).await.unwrap();
    let message = scene.wait_for("ma/alice", "InSync", "False", "ChangedElsewhere");
    assert!(message.contains("quota") && message.contains("5Gi") && message.contains("1Gi"), "{message}");
    let drift = scene.object("ma/alice")["status"]["drift"].clone();
    assert_eq!(drift, json!([{"field": "quota", "wanted": "5Gi", "found": "1Gi"}]));
    scene.operator.wait_for_looks("MailAccount");
    assert_eq!(found(scene, "alice").await.quota, Some(1 << 30), "it is not fought over");
    scene.apply("MailAccount", "alice", &with_password(json!({"quota": "7Gi", "deletionPolicy": "Delete"})));
    wait_until("what the object says anew", SOON, || {
        scene.object("ma/alice")["status"]["applied"] == json!({"enabled": "true", "quota": "7Gi"})
    });
    scene.wait_for("ma/alice", "InSync", "True", "InSync");
    let account = found(scene, "alice").await;
    assert_eq!((account.quota, account.display_name.as_str(), account.forwarding), (Some(7 << 30), "", None));
    assert!(
        scene.service.api().alias(&format!("a.liddell@{ZONE}")).await.is_err(),
        "it is not in the object any more"
    );
}

/// An account that was deleted elsewhere is made anew, with its password.
async fn deleted_elsewhere(scene: &Scene) {
    let before = found(scene, "alice").await.id;
    scene.service.api().delete_account(&format!("alice@{ZONE}")).await.unwrap();
    wait_until("the account to be back", SOON, || {
        scene.object("ma/alice")["status"]["accountId"].as_u64().is_some_and(|id| id != before)
    });
    wait_until("its password", SOON, || logs_in(scene, "hashed password"));
}

#[tokio::test]
async fn an_address_belongs_to_the_oldest_object_of_a_namespace_that_has_the_domain() {
    let Some(scene) = scene().await else { return };
    let others = scene.cluster.namespace("others").await;
    scene.apply_in(&others, "MailAccount", "mallory", &spec("mallory", json!({})));
    scene.apply("MailAccount", "first", &spec("info", json!({"quota": "1Gi"})));
    scene.wait_for("ma/first", "Ready", "True", "Ready");
    // Times of creation are in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.apply("MailAccount", "second", &spec("Info", json!({"quota": "2Gi"})));
    let message = scene.wait_for("ma/second", "Accepted", "False", "AddressConflict");
    assert!(message.contains("/first"), "{message}");
    assert_eq!(found(&scene, "info").await.quota, Some(1 << 30));
    let refused = scene.object_in(&others, "ma/mallory");
    assert_eq!(crate::scene::condition(&refused, "Accepted").unwrap()["reason"], "DomainNotManaged");
    assert!(scene.service.api().account(&format!("mallory@{ZONE}")).await.is_err());

    let id = found(&scene, "info").await.id;
    scene.kubectl(&["delete", "ma/first"]);
    scene.kubectl(&["annotate", "ma/second", "looked=again"]);
    scene.wait_for("ma/second", "Ready", "True", "Ready");
    let account = found(&scene, "info").await;
    assert_eq!((account.id, account.quota), (id, Some(2 << 30)), "it was retained, and is adopted as it is");
}

#[tokio::test]
async fn a_service_that_is_away_delays_and_loses_nothing() {
    let Some(mut scene) = scene().await else { return };
    scene.apply("MailAccount", "early", &spec("early", json!({})));
    scene.wait_for("ma/early", "Ready", "True", "Ready");
    scene.service.stop();
    scene.apply("MailAccount", "bob", &spec("bob", json!({"deletionPolicy": "Delete"})));
    scene.wait_for("ma/bob", "Ready", "False", "ServiceUnavailable");
    scene.service.run();
    scene.wait_for("ma/bob", "Ready", "True", "Ready");
    scene.service.stop();
    scene.kubectl(&["delete", "ma/bob", "--wait=false"]);
    scene.wait_for("ma/bob", "Ready", "False", "DeletionFailed");
    scene.service.run();
    scene.wait_gone("ma/bob");
    assert!(scene.service.api().account(&format!("bob@{ZONE}")).await.is_err());
}
