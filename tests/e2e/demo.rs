//! What a newcomer sees: `make run` prints commands, and they do what it says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::server::free_port;
use crate::support::{Program, require, wait_until};

/// A demo that runs until it is dropped.
struct Demo {
    child: Child,
    output: PathBuf,
}

impl Demo {
    /// Starts `ekitei demo` on the data directory, as `make run` does.
    fn start(home: &Path) -> Self {
        let output = home.join("output");
        let child = Command::new(env!("CARGO_BIN_EXE_ekitei"))
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
    for expected in
        ["It works.", "At noon?", "MESSAGES 1", "alice@example.test", "bob@example.test", "no smart host"]
    {
        assert!(read.contains(expected), "{expected} in\n{read}");
    }

    // Tomorrow's demo has the same passwords and yesterday's mail.
    drop(demo);
    let mut again = Demo::start(home.path());
    assert_eq!(again.instructions(), instructions);
    let (_, reading) = commands.iter().find(|(title, _)| title.contains("List what alice got")).unwrap();
    assert!(run(reading).stdout.contains("It works."));
}
