//! The mail service in the way: it is away, does not let the operator in, or fails; and what it has that is somebody else's.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use ekitei_api::NewAlias;
use ekitei_kubernetes_tests::{free_port, wait_until};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, ZONE};

const HOST: &str = "mx.tokyo.example.test";

fn domain() -> Value {
    json!({"domain": ZONE, "homeRegion": "tokyo", "regions": [{"name": "tokyo"}], "dns": {"provider": {"name": "by-hand"}},
        "certificate": {"issuer": "None"}})
}

/// Publishes nothing, so that the domain is not ready for another reason, too.
fn provide(scene: &Scene) {
    let server = scene.knot.address().to_string();
    scene.apply("DNSProvider", "by-hand", &json!({"manual": {}, "verification": {"servers": [server]}}));
    scene.apply("MailRegion", "tokyo", &json!({"host": HOST, "addresses": ["192.0.2.5"]}));
}

/// Something that answers every request with a fault of its own, as a service with a bug would.
fn faulty() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"title": "Internal Server Error", "status": 500, "detail": "a fault", "code": "internal"}"#;
            let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/problem+json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    url
}

#[tokio::test]
async fn ready_says_whether_the_service_is_away_or_refuses_or_fails() {
    let Some(mut scene) = Scene::start().await else { return };
    provide(&scene);
    scene.cluster.secret(&scene.namespace, "right", &[("token", scene.service.token())]).await;
    scene.cluster.secret(&scene.namespace, "wrong", &[("token", "this is not it")]).await;
    let at = |url: &str, secret: &str| {
        let service = json!({"url": url, "tokenRef": {"name": secret, "key": "token"}});
        scene.apply(
            "MailRegion",
            "tokyo",
            &json!({"host": HOST, "addresses": ["192.0.2.5"], "service": service}),
        );
    };
    at(&format!("http://127.0.0.1:{}", free_port()), "right");
    scene.apply("MailDomain", "example", &domain());
    scene.wait_for("md/example", "Ready", "False", "ServiceUnavailable");
    at(&scene.service.url(), "wrong");
    scene.wait_for("md/example", "Ready", "False", "ServiceUnauthorized");
    at(&faulty(), "right");
    let message = scene.wait_for("md/example", "Ready", "False", "ServiceFailed");
    assert!(message.contains("a fault"), "{message}");
    at(&scene.service.url(), "right");
    scene.wait_for("md/example", "Ready", "False", "RecordsNotPublished");

    // One that worked, and does not any more.
    scene.service.stop();
    scene.wait_for("md/example", "Ready", "False", "ServiceUnavailable");
    scene.wait_for("md/example", "Degraded", "True", "ServiceUnavailable");
    scene.service.run();
    scene.wait_for("md/example", "Ready", "False", "RecordsNotPublished");
}

#[tokio::test]
async fn an_alias_that_somebody_else_has_is_left_alone_and_told() {
    let Some(scene) = Scene::start().await else { return };
    provide(&scene);
    scene.apply("MailDomain", "example", &domain());
    scene.wait_for("md/example", "Accepted", "True", "Accepted");
    let address = format!("sales@{ZONE}");
    let theirs = NewAlias { address: address.clone(), targets: ["them@elsewhere.test".to_owned()].into() };
    scene.service.api().create_alias(&theirs).await.unwrap();

    let mut more = domain();
    more["aliases"] = json!([
        {"localPart": "sales", "targets": ["us@elsewhere.test"]}, {"localPart": "info", "targets": ["us@elsewhere.test"]},
    ]);
    scene.apply("MailDomain", "example", &more);

    wait_until("the event", SOON, || scene.notes("AliasTaken").iter().any(|note| note.contains(&address)));
    let found = scene.service.api().alias(&address).await.unwrap();
    assert_eq!(found.targets, ["them@elsewhere.test".to_owned()].into());
    wait_until("the alias that is ours", SOON, || {
        scene.object("md/example")["status"]["aliases"] == json!([format!("info@{ZONE}")])
    });
    scene.apply("MailDomain", "example", &domain());
    wait_until("ours to be removed", SOON, || scene.object("md/example")["status"]["aliases"].is_null());
    assert!(scene.service.api().alias(&address).await.is_ok(), "and theirs stays");
}

#[tokio::test]
async fn a_password_that_the_object_does_not_name_any_more_is_the_users_own() {
    let Some(scene) = Scene::start().await else { return };
    provide(&scene);
    scene.apply("MailDomain", "example", &domain());
    scene.cluster.secret(&scene.namespace, "alice", &[("password", "correct horse battery")]).await;
    let address = format!("alice@{ZONE}");
    let password = json!({"secretRef": {"name": "alice", "key": "password"}});
    scene.apply("MailAccount", "alice", &json!({"address": address, "password": password}));
    scene.wait_for("ma/alice", "Ready", "True", "Ready");
    assert!(logs_in(&scene, &address, "correct horse battery"));

    scene.apply("MailAccount", "alice", &json!({"address": address}));

    wait_until("the event", SOON, || !scene.notes("PasswordReleased").is_empty());
    scene.wait_for("ma/alice", "Ready", "True", "Ready");
    assert!(
        logs_in(&scene, &address, "correct horse battery"),
        "nobody is locked out by a line that was removed"
    );
    scene.cluster.secret(&scene.namespace, "alice", &[("password", "battery staple")]).await;
    scene.operator.wait_for_looks("MailAccount");
    assert!(
        logs_in(&scene, &address, "correct horse battery") && !logs_in(&scene, &address, "battery staple")
    );
}

/// Whether somebody can log in: over IMAP, as mail programs do.
fn logs_in(scene: &Scene, user: &str, password: &str) -> bool {
    let url = format!("imaps://127.0.0.1:{}/", scene.service.imaps);
    let user = format!("{user}:{password}");
    let output =
        Command::new("curl").args(["-s", "-k", "--max-time", "10", "--user", &user, &url]).output().unwrap();
    output.status.success()
}
