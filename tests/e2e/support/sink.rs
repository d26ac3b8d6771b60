//! Postfix's smtp-sink: a server that takes what it is told to take, and writes it down.

use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::server::free_port;
use super::wait_until;

/// A running smtp-sink.
pub struct Sink {
    /// Where it takes mail.
    pub port: u16,
    dir: TempDir,
    child: Child,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Caught {
    /// What followed MAIL, as `<alice@example.test> SIZE=400`.
    pub mail: String,
    /// What followed each RCPT.
    pub recipients: Vec<String>,
    /// The message, from the Received field of the sink on, with lines that end in CRLF.
    pub message: Vec<u8>,
}

impl Sink {
    /// Starts one with these options.
    pub fn start(options: &str) -> Self {
        Self::start_at(free_port(), options)
    }

    /// Starts one on a port that was known before.
    pub fn start_at(port: u16, options: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-sink-").tempdir().unwrap();
        let caught = dir.path().join("caught");
        fs::create_dir(&caught).unwrap();
        let mut command = Command::new("smtp-sink");
        // Started by root, it wants to be somebody else.
        if Command::new("chown").arg("nobody").arg(dir.path()).arg(&caught).output().unwrap().status.success()
        {
            command.args(["-u", "nobody"]);
        }
        let child = command
            .args(["-c", "-d", "caught/"])
            .args(options.split_whitespace())
            .args([&format!("127.0.0.1:{port}"), "500"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(File::create(dir.path().join("counters")).unwrap())
            .stderr(File::create(dir.path().join("errors")).unwrap())
            .spawn()
            .unwrap();
        let sink = Self { port, dir, child };
        wait_until("smtp-sink to listen", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        sink
    }

    /// The smart host that this is, for a configuration.
    pub fn smart_host(&self) -> String {
        format!("{{host: 127.0.0.1, port: {}}}", self.port)
    }

    /// How many messages it has taken.
    pub fn count(&self) -> usize {
        let counters = fs::read_to_string(self.dir.path().join("counters")).unwrap_or_default();
        let last = counters.rsplit("mesg=").find_map(|text| text.trim_end().parse().ok());
        last.unwrap_or(0)
    }

    /// Waits until it has taken `count` messages, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Caught> {
        wait_until(&format!("{count} messages at smtp-sink"), limit, || self.count() >= count);
        self.caught()
    }

    /// What it has taken.
    pub fn caught(&self) -> Vec<Caught> {
        let entries = fs::read_dir(self.dir.path().join("caught")).unwrap();
        // A file is there, and empty, from the beginning of a transaction.
        let files = entries.map(|entry| fs::read(entry.unwrap().path()).unwrap());
        files.filter(|file| !file.is_empty()).map(|file| Caught::read(&file)).collect()
    }
}

impl Caught {
    fn read(file: &[u8]) -> Self {
        let mut caught = Self { mail: String::new(), recipients: Vec::new(), message: Vec::new() };
        let mut rest = file;
        while let Some(end) = rest.iter().position(|&octet| octet == b'\n') {
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            match line.split_once(": ") {
                Some(("X-Mail-Args", value)) => caught.mail = value.to_owned(),
                Some(("X-Rcpt-Args", value)) => caught.recipients.push(value.to_owned()),
                Some((name, _)) if name.starts_with("X-Client-") || name == "X-Helo-Args" => {}
                _ => break,
            }
            rest = &rest[end + 1..];
        }
        // It adds a line end.
        let message = rest.strip_suffix(b"\n").unwrap_or(rest);
        caught.message = super::mail::with_crlf(message);
        caught
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let errors = fs::read_to_string(self.dir.path().join("errors")).unwrap_or_default();
            eprintln!("smtp-sink had {} messages, and said: {errors}", self.count());
        }
    }
}
