//! USER and PASS, SASL, and the lock of the mailbox.
#![allow(clippy::unwrap_used)]

use crate::support::{Fixture, PASSWORD, USER, base64, config};

#[tokio::test]
async fn user_and_pass_open_the_mailbox() {
    let fixture = Fixture::new().await;
    fixture.deliver("Subject: x\r\n\r\nbody\r\n").await;
    let mut client = fixture.connect().await;
    assert!(client.ask("PASS x").await.starts_with("-ERR "), "USER comes first");
    client.ask(&format!("USER {USER}")).await;
    assert_eq!(client.ask(&format!("PASS {PASSWORD}")).await, "+OK 1 messages, 20 octets");
    assert!(client.ask(&format!("USER {USER}")).await.starts_with("-ERR "), "once is enough");
}

#[tokio::test]
async fn a_wrong_password_says_so_needs_a_new_user_and_ends_the_session_in_the_end() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    for user in [USER, "nobody@example.test"] {
        client.ask(&format!("USER {user}")).await;
        let reply = client.ask("PASS wrong").await;
        assert_eq!(reply, "-ERR [AUTH] the user name or the password is wrong");
        let again = client.ask(&format!("PASS {PASSWORD}")).await;
        assert_eq!(again, "-ERR USER comes before PASS");
    }
    client.ask(&format!("USER {USER}")).await;
    client.send(b"PASS wrong\r\nNOOP\r\n").await;
    assert_eq!(
        client.rest().await,
        "-ERR [AUTH] the user name or the password is wrong\r\n",
        "the third is the last"
    );
}

#[tokio::test]
async fn sasl_plain_with_and_without_initial_response() {
    let fixture = Fixture::new().await;
    let response = base64(&format!("\0{USER}\0{PASSWORD}"));
    let mut client = fixture.connect().await;
    assert_eq!(client.ask_for_lines("AUTH").await, ["PLAIN", "LOGIN"]);
    assert!(client.ask(&format!("AUTH PLAIN {response}")).await.starts_with("+OK "));
    assert_eq!(client.ask("QUIT").await, "+OK bye");

    let mut client = fixture.connect().await;
    assert_eq!(client.ask("AUTH PLAIN").await, "+ ");
    assert!(client.ask(&response).await.starts_with("+OK "));
}

#[tokio::test]
async fn sasl_login() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    assert_eq!(client.ask("AUTH LOGIN").await, "+ VXNlcm5hbWU6");
    assert_eq!(client.ask(&base64(USER)).await, "+ UGFzc3dvcmQ6");
    assert!(client.ask(&base64(PASSWORD)).await.starts_with("+OK "));
}

#[tokio::test]
async fn sasl_says_what_is_wrong() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    assert_eq!(client.ask("AUTH PLAIN").await, "+ ");
    assert_eq!(client.ask("*").await, "-ERR [AUTH] the client gave up");
    assert_eq!(client.ask("AUTH PLAIN =").await, "-ERR [AUTH] the response is not what the mechanism wants");
    assert_eq!(client.ask("AUTH PLAIN ?").await, "-ERR [AUTH] the response is not base64");
    assert_eq!(client.ask("AUTH CRAM-MD5").await, "-ERR this SASL mechanism is not supported");
    let other = base64(&format!("bob@example.test\0{USER}\0{PASSWORD}"));
    assert!(client.ask(&format!("AUTH PLAIN {other}")).await.starts_with("-ERR [AUTH] "));
}

#[tokio::test]
async fn one_session_has_the_mailbox_until_it_ends() {
    let fixture = Fixture::new().await;
    let mut first = fixture.log_in().await;
    let mut second = fixture.connect().await;
    second.ask(&format!("USER {USER}")).await;
    let reply = second.ask(&format!("PASS {PASSWORD}")).await;
    assert_eq!(reply, "-ERR [IN-USE] another session has the mailbox");
    assert_eq!(first.ask("QUIT").await, "+OK bye");
    second.ask(&format!("USER {USER}")).await;
    assert!(
        second.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK "),
        "the same connection may try again"
    );
    drop(second);
    // A session that is cut off gives the mailbox back too, a moment later.
    for _ in 0..500 {
        let mut third = fixture.connect().await;
        third.ask(&format!("USER {USER}")).await;
        if third.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK ") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the mailbox stays locked");
}

#[tokio::test]
async fn too_many_bad_commands_end_the_session() {
    let mut config = config();
    config.pop3.max_errors = 3;
    let fixture = Fixture::with(config).await;
    let mut client = fixture.connect().await;
    assert_eq!(client.ask("HELO x").await, "-ERR this command is not known");
    assert_eq!(client.ask("RETR 1").await, "-ERR log in first");
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.rest().await, "-ERR there were too many bad commands\r\n");
}

#[tokio::test]
async fn a_line_that_is_too_long_is_skipped() {
    let mut config = config();
    config.pop3.max_line_length = ekitei_config::ByteSize::bytes(255);
    let fixture = Fixture::with(config).await;
    let mut client = fixture.connect().await;
    let mut long = vec![b'x'; 100_000];
    long.extend_from_slice(b"\r\nCAPA\r\n");
    client.send(&long).await;
    assert_eq!(client.line().await, "-ERR the line is too long");
    assert!(client.line().await.starts_with("+OK "), "what follows is a command again");
}
