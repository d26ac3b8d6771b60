//! rspamd and clamd, each with a configuration and a directory of its own, without a network.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::server::{Server, free_port};
use super::wait_until;

/// How long a start may take.
const START: Duration = Duration::from_secs(60);

/// A program in the foreground, with its log.
struct Daemon {
    name: &'static str,
    child: Child,
    dir: TempDir,
}

impl Daemon {
    fn start(name: &'static str, dir: TempDir, command: &mut Command) -> Self {
        let output = File::create(dir.path().join("output")).unwrap();
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { name, child, dir }
    }

    fn wait_for(&mut self, address: SocketAddr) {
        wait_until(self.name, START, || {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "{} ended at its start: {}",
                self.name,
                self.log()
            );
            TcpStream::connect(address).is_ok()
        });
    }

    fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("output") + &read("log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Not SIGKILL: its own children would stay.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "The end of the log of {}:\n{}",
                self.name,
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

fn folder(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("ekitei-{name}-")).tempdir().unwrap()
}

/// A running rspamd: its built-in checks, its own fields, and Bayes in files. One process does all of it: two lock each other out of such files, for
/// ever if the other one is not asked anything any more.
pub struct Rspamd {
    /// The worker that scans and learns, for those who have the password.
    pub controller: SocketAddr,
    _daemon: Daemon,
}

/// The password of rspamd.
pub const PASSWORD: &str = "a-word-of-the-tests";

impl Rspamd {
    /// Starts it.
    pub fn start() -> Self {
        let dir = folder("rspamd");
        let controller = Server::address(free_port());
        fs::write(dir.path().join("tlds"), "test\ncom\n").unwrap();
        fs::write(dir.path().join("rspamd.conf"), configuration(dir.path(), controller)).unwrap();
        let conf = dir.path().join("rspamd.conf");
        // As root it would want to become another user.
        let mut daemon =
            Daemon::start("rspamd", dir, Command::new("rspamd").args(["--insecure", "-f", "-c"]).arg(conf));
        daemon.wait_for(controller);
        Self { controller, _daemon: daemon }
    }

    /// How many messages the controller says it learned.
    pub fn learned(&self) -> u64 {
        let statistics = self.statistics();
        let count = statistics.split("\"total_learns\":").nth(1);
        let digits = count.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(""));
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{statistics}"))
    }

    fn statistics(&self) -> String {
        let mut stream = TcpStream::connect(self.controller).unwrap();
        stream.set_read_timeout(Some(START)).unwrap();
        write!(stream, "GET /stat HTTP/1.0\r\nPassword: {PASSWORD}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"), "{answer}");
        answer
    }
}

fn configuration(dir: &Path, controller: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        r#"options {{
             pidfile = "{dir}/pid"; tempdir = "{dir}"; control_socket = "{dir}/control mode=0600";
             cache_file = "{dir}/symbols"; hs_cache_dir = "{dir}"; url_tld = "{dir}/tlds";
             filters = "regexp"; enable_test_patterns = true; local_addrs = [];
             dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
           }}
           logging {{ type = "file"; filename = "{dir}/log"; level = "info"; }}
           worker "controller" {{ bind_socket = "{controller}"; count = 1; secure_ip = [];
             password = "{PASSWORD}"; enable_password = "{PASSWORD}"; static_dir = "{dir}"; }}
           actions {{ reject = 15; rewrite_subject = 10; add_header = 6; greylist = 4; subject = "[SPAM] %s"; }}
           classifier "bayes" {{
             tokenizer {{ name = "osb"; }}
             backend = "sqlite3"; min_tokens = 3; min_learns = 1;
             cache {{ type = "sqlite3"; path = "{dir}/learned.sqlite"; }}
             statfile {{ symbol = "BAYES_HAM"; path = "{dir}/ham.sqlite"; spam = false; }}
             statfile {{ symbol = "BAYES_SPAM"; path = "{dir}/spam.sqlite"; spam = true; }}
           }}
           modules {{ path = "/usr/share/rspamd/plugins/milter_headers.lua"; }}
           milter_headers {{ use = ["x-spamd-bar"]; skip_local = false; }}
        "#
    )
}

/// What the signature of the tests finds.
pub const VIRUS: &str = "EKITEI-VIRUS-OF-THE-TESTS";
/// The name of what it finds; clamd adds that the signature is nobody's own.
pub const VIRUS_NAME: &str = "Ekitei.Test.UNOFFICIAL";

/// A running clamd that knows one virus.
pub struct Clamd {
    /// Where it listens.
    pub address: SocketAddr,
    daemon: Daemon,
}

impl Clamd {
    /// Starts it. It takes streams of 5 MB, and looks at 20 MB of what is in them.
    pub fn start() -> Self {
        let dir = folder("clamd");
        let port = free_port();
        let signature: String = VIRUS.bytes().map(|octet| format!("{octet:02x}")).collect();
        fs::create_dir(dir.path().join("db")).unwrap();
        fs::write(dir.path().join("db/test.ndb"), format!("Ekitei.Test:0:*:{signature}\n")).unwrap();
        let path = dir.path().display();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let configuration = format!(
            "DatabaseDirectory {path}/db\nTCPAddr 127.0.0.1\nTCPSocket {port}\nLocalSocket {path}/socket\nPidFile {path}/pid\n\
             LogFile {path}/log\nTemporaryDirectory {path}\nForeground yes\nMaxThreads 4\nUser {}\n\
             StreamMaxLength 5M\nMaxScanSize 20M\nMaxFileSize 10M\nMaxRecursion 10\nAlertExceedsMax yes\nDisableCache yes\n",
            String::from_utf8(user).unwrap().trim(),
        );
        fs::write(dir.path().join("clamd.conf"), configuration).unwrap();
        let conf = dir.path().join("clamd.conf");
        let address = Server::address(port);
        let mut daemon = Daemon::start("clamd", dir, Command::new("clamd").arg("-c").arg(conf));
        daemon.wait_for(address);
        Self { address, daemon }
    }

    /// Its socket in the file system, as an endpoint.
    pub fn socket(&self) -> String {
        format!("unix:{}", self.daemon.dir.path().join("socket").display())
    }
}
