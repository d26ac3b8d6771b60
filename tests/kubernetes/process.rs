//! Processes that end with the test, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that runs until it is dropped. It also ends when the process of the tests does: what watches it waits for the end of a pipe from there.
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

/// Runs `"$@"` until standard input ends; a line there is the name of a signal for it.
const WATCH: &str = r#"exec 3<&0
"$@" </dev/null 3<&- & child=$!
(while read -r signal; do kill -"$signal" $child; done; kill -KILL $child) <&3 2>/dev/null & reader=$!
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
kill $reader 2>/dev/null
exit $status"#;

impl Process {
    /// Starts a program, with its output in `<dir>/<name>.log`.
    pub fn start(name: &str, dir: &Path, program: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = File::options().append(true).create(true).open(&log).unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", WATCH, "watch"]).arg(program);
        prepare(&mut command);
        command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
        // What ends the tests from a terminal ends them only, and they end it.
        command.process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), log, child }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal by its name, such as `TERM`, `STOP` or `KILL`.
    pub fn signal(&mut self, name: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{name}").unwrap();
    }

    /// Kills it, as a failing machine would.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end, and waits; its exit code.
    pub fn stop(mut self, limit: Duration) -> Option<i32> {
        self.signal("TERM");
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{} did not end in {limit:?}:\n{}", self.name, tail(&self.log()));
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- the end of the log of {}:\n{}", self.name, tail(&self.log()));
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

/// Waits until something holds.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A port that nobody listens on, and that nobody is given who asks for any: between the two, connections of tests beside this one could take it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 101 % u32::from(COUNT)).unwrap();
    let mut ports = std::iter::repeat_with(|| {
        FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT
    });
    let is_free = |port: &u16| {
        TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok()
    };
    ports.by_ref().take(usize::from(COUNT)).find(is_free).unwrap()
}

/// A program of `make kubernetes-tools`, or one on the path.
pub fn tool(name: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let cache = set("EKITEI_CACHE").or_else(|| Some(caches()?.join("ekitei")));
    let given = set("KUBEBUILDER_ASSETS");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = given
        .into_iter()
        .chain(cache.map(|cache| cache.join("kubernetes/bin")))
        .chain(std::env::split_paths(&path))
        .chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// Whether all of these programs are here; if not, the running test is reported as skipped.
pub fn installed(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| tool(name).is_none()).collect();
    if !missing.is_empty() {
        skip(&format!("not installed: {} (make kubernetes-tools)", missing.join(", ")));
    }
    missing.is_empty()
}

/// Puts the running test into the skip report (`$EKITEI_SKIP_REPORT`, printed at the end of `make test`).
pub fn skip(reason: &str) {
    let line = format!("SKIPPED kubernetes {}: {reason}\n", thread::current().name().unwrap_or("unnamed"));
    eprint!("{line}");
    if let Some(report) = std::env::var_os("EKITEI_SKIP_REPORT") {
        let mut file = OpenOptions::new().append(true).create(true).open(report).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// One of our own programs, built beside the tests.
///
/// # Panics
/// It is not built: `cargo build --bins` does that, and `make test` before the tests.
pub fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let file = tests.ancestors().nth(2).unwrap().join(name);
    assert!(file.is_file(), "{} is not there: run `cargo build --workspace --bins` first", file.display());
    file
}
