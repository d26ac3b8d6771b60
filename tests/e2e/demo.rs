//! What a newcomer sees: `make run` prints commands, and they do what it says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::server::free_port;
use crate::support::sink::Sink;
use crate::support::{Program, require, wait_until};

/// A demo that runs until it is dropped.
struct Demo {
    child: Child,
    output: PathBuf,
}

impl Demo {
    /// Starts `ekitei demo` on the data directory, as `make run` does.
    fn start(home: &Path) -> Self {
        Self::start_with(home, None)
    }

    /// The same, with a smart host for mail to other domains.
    fn start_with(home: &Path, smart_host: Option<&str>) -> Self {
        let output = home.join("output");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ekitei"));
        command.env_remove("EKITEI_DEMO_SMARTHOST");
        if let Some(smart_host) = smart_host {
            command.env("EKITEI_DEMO_SMARTHOST", smart_host);
        }
        let child = command
            .args(["demo", "--data", "data"])
            .current_dir(home)
            .env_remove("EKITEI_DEMO_PASSWORD")
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(home.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, output }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Waits until it has said how to use it.
    fn instructions(&mut self) -> String {
        wait_until("the instructions", Duration::from_secs(60), || self.text().contains("Administer:"));
        // They are written at once, but not read so.
        std::thread::sleep(Duration::from_millis(100));
        self.text()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives the demo other ports than the ones of its first configuration, which somebody may be using here.
fn move_ports(config: &Path) {
    let mut text = fs::read_to_string(config).unwrap();
    for port in [2525, 5870, 4650, 1430, 9930, 1100, 9950, 2424, 8080] {
        let (old, new) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", free_port()));
        assert!(text.contains(&old), "{old} in {text}");
        text = text.replace(&old, &new);
    }
    fs::write(config, text).unwrap();
}

/// The commands in the instructions, with what they are said to do.
fn commands(instructions: &str) -> Vec<(&str, &str)> {
    let paragraphs = instructions.split("\n\n").map(|paragraph| paragraph.trim_start_matches('\n'));
    let titled = paragraphs.filter_map(|paragraph| paragraph.split_once(":\n"));
    titled.filter(|(title, _)| !title.starts_with(' ') && !title.contains('\n')).collect()
}

#[test]
fn the_printed_commands_send_and_read_a_mail() {
    require!("swaks", "curl", "openssl", "bash");
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("data/ekitei.yaml");
    let first = Demo::start(home.path());
    wait_until("a configuration", Duration::from_secs(60), || config.is_file());
    drop(first);
    move_ports(&config);

    let mut demo = Demo::start(home.path());
    let instructions = demo.instructions();
    let run = |command: &str| {
        Program::new("bash", home.path()).args("-euo pipefail -c").arg(command).run().success()
    };
    let commands = commands(&instructions);
    assert!(commands.len() >= 6, "{instructions}");
    let mut read = String::new();
    for (_, command) in &commands {
        read += &run(command).stdout;
    }
    for expected in ["It works.", "At noon?", "MESSAGES 1", "alice@example.test", "bob@example.test"] {
        assert!(read.contains(expected), "{expected} in\n{read}");
    }

    // Tomorrow's demo has the same passwords and yesterday's mail.
    drop(demo);
    let mut again = Demo::start(home.path());
    assert_eq!(again.instructions(), instructions);
    let (_, reading) = commands.iter().find(|(title, _)| title.contains("List what alice got")).unwrap();
    assert!(run(reading).stdout.contains("It works."));
}

/// A demo with its own ports, and a smart host if one is given.
fn demo_with_smart_host(home: &Path, smart_host: Option<&str>) -> (Demo, String) {
    let config = home.join("data/ekitei.yaml");
    let first = Demo::start(home);
    wait_until("a configuration", Duration::from_secs(60), || config.is_file());
    drop(first);
    move_ports(&config);
    let mut demo = Demo::start_with(home, smart_host);
    let instructions = demo.instructions();
    (demo, instructions)
}

/// What is printed of writing to somebody elsewhere: the commands that send, and the one that shows the queue.
fn elsewhere(instructions: &str) -> (&str, &str) {
    let commands = commands(instructions);
    let (_, both) = commands.iter().find(|(title, _)| title.contains("somebody elsewhere")).unwrap();
    both.trim_end().rsplit_once('\n').unwrap()
}

fn bash(home: &Path, command: &str) -> String {
    Program::new("bash", home).args("-euo pipefail -c").arg(command).run().success().stdout
}

#[test]
fn mail_for_others_waits_and_the_queue_says_why() {
    require!("swaks", "bash");
    let home = tempfile::tempdir().unwrap();
    let (_demo, instructions) = demo_with_smart_host(home.path(), None);
    let (send, show) = elsewhere(&instructions);
    bash(home.path(), send);
    assert!(bash(home.path(), show).contains("elsewhere.example"));
    wait_until("the reason", Duration::from_secs(30), || bash(home.path(), show).contains("no smart host"));
}

#[test]
fn mail_for_others_goes_to_the_smart_host_that_was_named() {
    require!("swaks", "bash", "smtp-sink");
    let home = tempfile::tempdir().unwrap();
    let sink = Sink::start("");
    let smart_host = format!("127.0.0.1:{}", sink.port);
    let (_demo, instructions) = demo_with_smart_host(home.path(), Some(&smart_host));
    let (send, show) = elsewhere(&instructions);
    bash(home.path(), send);
    let [caught] = &sink.wait_for(1, Duration::from_secs(30))[..] else { panic!("{:?}", sink.caught()) };
    assert!(caught.mail.starts_with("<alice@example.test>"), "{caught:?}");
    assert!(caught.recipients[0].starts_with("<someone@elsewhere.example>"), "{caught:?}");
    wait_until("an empty queue", Duration::from_secs(30), || {
        !bash(home.path(), show).contains("elsewhere.example")
    });
}
