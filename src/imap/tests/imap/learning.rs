//! What users say of their mail: which commands are lessons, and that no command waits for those who learn.

use std::sync::{Arc, Mutex};

use ekitei_config::{Config, Live};
use ekitei_filter::learn::{Learn, Lesson, Loading};
use ekitei_imap::{Server, ServerContext};
use ekitei_kv::clock::ManualClock;
use ekitei_net::Tls;
use ekitei_telemetry::Registry;

use crate::support::{Client, NOW, World, message};

/// Notes what it is told, and reads messages only when the test says so.
#[derive(Default)]
struct Pupil {
    lessons: Mutex<Vec<(Lesson, u64, Loading)>>,
}

/// How many messages of a command it takes.
const LIMIT: usize = 3;

impl Learn for Pupil {
    fn limit(&self) -> usize {
        LIMIT
    }

    fn offer(&self, lesson: Lesson, size: u64, message: Loading) {
        self.lessons.lock().unwrap().push((lesson, size, message));
    }
}

impl Pupil {
    /// What it was told since the last time, each message by its subject.
    async fn learned(&self) -> Vec<(Lesson, String)> {
        let lessons = std::mem::take(&mut *self.lessons.lock().unwrap());
        let mut learned = Vec::new();
        for (lesson, size, message) in lessons {
            let message = message.await.map_or_else(
                || "gone".to_owned(),
                |message| {
                    assert_eq!(message.len() as u64, size);
                    let text = String::from_utf8(message.to_vec()).unwrap();
                    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
                    subject.unwrap().to_owned()
                },
            );
            learned.push((lesson, message));
        }
        learned
    }
}

/// Alice with messages 1 to 5 in INBOX, selected, on a server that teaches.
async fn school() -> (World, Arc<Pupil>, Client) {
    let mut world = World::new().await;
    let pupil = Arc::new(Pupil::default());
    let mut config = Config { hostname: "mail.example.test".into(), ..Config::default() };
    config.imap.allow_insecure_auth = true;
    let context = ServerContext {
        live: Live::new(config),
        tls: Tls::none(),
        shutdown: world.shutdown.clone(),
        directory: world.directory.clone(),
        limits: world.limits.clone(),
        mailstore: world.mailstore.clone(),
        clock: ManualClock::new(NOW),
        registry: Registry::new(),
    };
    world.server = Arc::new(Server::teaching(context, pupil.clone()));
    let messages: Vec<String> = (1..=5).map(|n| message(&n.to_string())).collect();
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let client = world.select("alice").await;
    (world, pupil, client)
}

fn spam(subject: &str) -> (Lesson, String) {
    (Lesson::Spam, subject.to_owned())
}

fn ham(subject: &str) -> (Lesson, String) {
    (Lesson::Ham, subject.to_owned())
}

#[tokio::test]
async fn moves_into_and_out_of_junk_are_lessons() {
    let (_world, pupil, mut client) = school().await;
    client.ok("MOVE 1:2 Junk").await;
    assert_eq!(pupil.learned().await, [spam("1"), spam("2")]);
    client.ok("UID COPY 3 Junk").await;
    assert_eq!(pupil.learned().await, [spam("3")]);
    client.ok("SELECT Junk").await;
    client.ok("UID MOVE 1 INBOX").await;
    client.ok("COPY 1 Archive").await;
    assert_eq!(pupil.learned().await, [ham("1"), ham("2")]);
}

#[tokio::test]
async fn moves_that_say_nothing_of_spam_are_none() {
    let (_world, pupil, mut client) = school().await;
    client.ok("MOVE 1 Archive").await;
    client.ok("COPY 1 Trash").await;
    client.ok("MOVE 1 Junk").await;
    pupil.learned().await;
    client.ok("SELECT Junk").await;
    client.ok("COPY 1 Junk").await;
    client.ok("MOVE 1 Trash").await;
    client.fails("MOVE 1 Nowhere", "NO [TRYCREATE]").await;
    client.ok("UID MOVE 99 INBOX").await;
    assert_eq!(pupil.learned().await, []);
}

#[tokio::test]
async fn keywords_are_lessons_when_they_are_set() {
    let (_world, pupil, mut client) = school().await;
    client.ok("STORE 1 +FLAGS ($Junk)").await;
    client.ok("STORE 2 +FLAGS.SILENT ($notjunk \\Seen)").await;
    assert_eq!(pupil.learned().await, [spam("1"), ham("2")]);
    client.ok("STORE 1 -FLAGS ($Junk)").await;
    client.ok("STORE 3 +FLAGS ($Junk $NotJunk)").await;
    client.ok("STORE 3 +FLAGS (\\Flagged)").await;
    assert_eq!(pupil.learned().await, []);
}

#[tokio::test]
async fn messages_that_are_appended_to_junk_are_spam_and_keywords_say_more() {
    let (_world, pupil, mut client) = school().await;
    for (target, text) in [("Junk", "a"), ("INBOX ($Junk)", "b"), ("Junk ($NotJunk)", "c"), ("INBOX", "d")] {
        let text = message(text);
        client.ok(&format!("APPEND {target} {{{}+}}\r\n{text}", text.len())).await;
    }
    assert_eq!(pupil.learned().await, [spam("a"), spam("b"), ham("c")]);
}

#[tokio::test]
async fn a_command_teaches_so_many_messages_and_those_that_are_gone_are_not_read() {
    let (_world, pupil, mut client) = school().await;
    client.ok("MOVE 1:5 Junk").await;
    client.ok("SELECT Junk").await;
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    let learned = pupil.learned().await;
    assert_eq!(learned.len(), LIMIT);
    assert_eq!(learned[1..], [spam("2"), spam("3")]);
}
