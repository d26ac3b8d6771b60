//! Before the login: greeting, capabilities, STARTTLS, LOGIN, AUTHENTICATE, and the limits that anyone meets.

use std::sync::Arc;
use std::time::Duration;

use ekitei_net::{Handler, Refusal};

use crate::support::{PASSWORD, World, connection};

/// `alice@example.test` and the password, as PLAIN has them.
const PLAIN: &str = "AGFsaWNlQGV4YW1wbGUudGVzdABjb3JyZWN0IGhvcnNl";

#[tokio::test]
async fn capabilities_follow_the_state() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client
        .dialogue(
            "CAPABILITY",
            &["CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ ID ENABLE SASL-IR AUTH=PLAIN AUTH=LOGIN"],
            "OK ",
        )
        .await;
    let answer = client.command(&format!("LOGIN alice@example.test {PASSWORD:?}")).await;
    assert!(
        answer.tagged.starts_with("OK [CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ ID ENABLE IDLE "),
        "{answer:?}"
    );
    let list = client.ok("CAPABILITY").await;
    for name in ["MOVE", "UIDPLUS", "SEARCHRES", "APPENDLIMIT=52428800", "UTF8=ACCEPT", "QUOTA=RES-STORAGE"] {
        assert!(list[0].split(' ').any(|word| word == name), "{name} in {list:?}");
    }
}

#[tokio::test]
async fn without_tls_passwords_are_refused_before_they_are_looked_at() {
    let world = World::with(|config| config.imap.allow_insecure_auth = false).await;
    let mut client = world.connect().await;
    let list = client.ok("CAPABILITY").await;
    assert!(list[0].ends_with(" LOGINDISABLED"), "{list:?}");
    client.fails("LOGIN alice@example.test x", "NO [PRIVACYREQUIRED] ").await;
    client.fails(&format!("AUTHENTICATE PLAIN {PLAIN}"), "NO [PRIVACYREQUIRED] ").await;
    client.fails("STARTTLS", "NO [UNAVAILABLE] ").await;
}

#[tokio::test]
async fn login_takes_every_form_of_string() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client.fails("LOGIN alice@example.test wrong", "NO [AUTHENTICATIONFAILED] ").await;
    client.fails("LOGIN nobody@example.test wrong", "NO [AUTHENTICATIONFAILED] ").await;
    client.send("x LOGIN {18}\r\n").await;
    assert_eq!(client.response().await, "+ OK");
    client.send("alice@example.test {13+}\r\ncorrect horse\r\n").await;
    assert!(client.finish("x").await.tagged.starts_with("OK [CAPABILITY "));
    client.fails("LOGIN alice@example.test x", "BAD [CLIENTBUG] You have logged in already").await;
}

#[tokio::test]
async fn authenticate_plain_and_login_with_and_without_initial_response() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client.ok(&format!("AUTHENTICATE PLAIN {PLAIN}")).await;

    let mut client = world.connect().await;
    client.send("a AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(client.response().await, "+ ");
    client.send(format!("{PLAIN}\r\n")).await;
    assert!(client.finish("a").await.tagged.starts_with("OK "));

    let mut client = world.connect().await;
    client.send("a AUTHENTICATE LOGIN\r\n").await;
    assert_eq!(client.response().await, "+ VXNlciBOYW1lAA==");
    client.send("YWxpY2VAZXhhbXBsZS50ZXN0\r\n").await;
    assert_eq!(client.response().await, "+ UGFzc3dvcmQA");
    client.send("Y29ycmVjdCBob3JzZQ==\r\n").await;
    assert!(client.finish("a").await.tagged.starts_with("OK "));
}

#[tokio::test]
async fn an_exchange_can_be_cancelled_and_garbage_is_refused() {
    let world = World::with(|config| config.imap.max_auth_failures = 9).await;
    let mut client = world.connect().await;
    for (line, reply) in [
        ("*", "BAD "),
        ("!!!", "BAD "),
        ("AAAA", "BAD "),
        // Another identity, and a wrong password.
        ("Ym9iAGFsaWNlQGV4YW1wbGUudGVzdABjb3JyZWN0IGhvcnNl", "NO [AUTHORIZATIONFAILED] "),
        ("AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==", "NO [AUTHENTICATIONFAILED] "),
    ] {
        let tag = client.begin("AUTHENTICATE PLAIN").await;
        assert_eq!(client.response().await, "+ ");
        client.send(format!("{line}\r\n")).await;
        let answer = client.finish(&tag).await;
        assert!(answer.tagged.starts_with(reply), "{line}: {answer:?}");
    }
    client.fails("AUTHENTICATE CRAM-MD5", "NO [CANNOT] ").await;
    client.ok("NOOP").await;
}

#[tokio::test]
async fn failed_logins_and_bad_commands_have_an_end() {
    let world = World::with(|config| config.imap.max_errors = 3).await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        client.fails("LOGIN alice@example.test wrong", "NO [AUTHENTICATIONFAILED] ").await;
    }
    client.ends_with("* BYE Too many failed logins").await;

    let mut client = world.connect().await;
    client.fails("XYZZY", "BAD ").await;
    client.fails("FETCH 1 FLAGS", "BAD [CLIENTBUG] Log in first").await;
    client.fails("SELECT", "BAD ").await;
    client.ends_with("* BYE [CLIENTBUG] Too many bad commands").await;
}

#[tokio::test]
async fn an_account_has_so_many_connections() {
    let world = World::with(|config| config.imap.max_connections_per_account = 1).await;
    let first = world.login("alice").await;
    let mut second = world.connect().await;
    let login = format!("LOGIN alice@example.test {PASSWORD:?}");
    second.fails(&login, "NO [LIMIT] ").await;
    drop(first);
    // The first session ends when it sees that its client is gone.
    for _ in 0..100 {
        if second.command(&login).await.tagged.starts_with("OK ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place is not given back");
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client
        .send(format!("a NOOP\r\nb LOGIN alice@example.test {PASSWORD:?}\r\nc SELECT INBOX\r\nd LOGOUT\r\n"))
        .await;
    for tag in ["a", "b", "c"] {
        assert!(client.finish(tag).await.tagged.starts_with("OK "));
    }
    let last = client.finish("d").await;
    assert_eq!(last.untagged, ["BYE Goodbye"]);
    assert!(last.tagged.starts_with("OK "));
    client.closed().await;
}

#[tokio::test]
async fn id_and_noop_are_possible_in_every_state() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let id = client.ok("ID (\"name\" \"test\" \"version\" NIL)").await;
    assert!(id[0].starts_with("ID (\"name\" \"Ekitei\" \"version\" "), "{id:?}");
    client.dialogue("NOOP", &[], "OK ").await;
    client.fails("ENABLE IMAP4rev2", "BAD [CLIENTBUG] ").await;
}

#[tokio::test]
async fn a_bad_line_does_not_cost_the_session_and_carries_its_tag() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.fails("STATUS INBOX (FROBS)", "BAD ").await;
    client.send("\r\n").await;
    assert!(client.response().await.starts_with("* BAD "));
    client.ok("NOOP").await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_sooner_before_the_login() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let start = tokio::time::Instant::now();
    // The client's own patience must not run out first.
    let world_time = async { client.ends_with("* BYE You took too long to log in").await };
    tokio::select! {
        () = world_time => {}
        () = tokio::time::sleep(Duration::from_secs(600)) => panic!("still there"),
    }
    assert!(start.elapsed() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_talks_and_never_logs_in_is_given_up_too() {
    let world = World::new().await;
    let mut client = world.connect().await;
    for _ in 0..6 {
        client.ok("NOOP").await;
        tokio::time::sleep(Duration::from_secs(45)).await;
    }
    client.ok("NOOP").await;
    client.ends_with("* BYE You took too long to log in").await;
}

#[tokio::test]
async fn shutdown_says_bye_between_commands() {
    let world = World::new().await;
    let mut client = world.select("alice").await;
    world.shutdown.begin();
    client.ends_with("* BYE [UNAVAILABLE] The server is stopping").await;
}

/// Thousands of clients do nothing at once.
#[tokio::test]
async fn a_session_that_waits_is_small() {
    let world = World::new().await;
    let (_ours, theirs) = tokio::io::duplex(1);
    let session = Arc::clone(&world.server).handle(connection(theirs));
    let size = std::mem::size_of_val(&session);
    assert!(size <= 4096, "{size} octets");
}

#[tokio::test]
async fn refusals_speak_imap() {
    let world = World::new().await;
    for reason in [
        Refusal::Global,
        Refusal::Listener,
        Refusal::Address,
        Refusal::Rate,
        Refusal::Banned,
        Refusal::Blocked,
        Refusal::ShuttingDown,
    ] {
        let line = String::from_utf8_lossy(&world.server.refusal(reason)).into_owned();
        assert!(line.starts_with("* BYE [") && line.ends_with("\r\n"), "{line:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_address_is_a_wrong_user() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client.fails("LOGIN alice x", "NO [AUTHENTICATIONFAILED] ").await;
    client.fails("LOGIN \"\" \"\"", "NO [AUTHENTICATIONFAILED] ").await;
}
