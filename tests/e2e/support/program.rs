//! Programs that nobody here wrote: whether they are here, and running them with a time limit.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The longest that a program may take before it is ended and the test fails.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether all of `programs` are on the path; if not, the running test is reported as skipped.
pub fn installed(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !on_path(program)).collect();
    if !missing.is_empty() {
        skip(&format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Puts the running test into the skip report (`$EKITEI_SKIP_REPORT`, printed at the end of `make test`).
pub fn skip(reason: &str) {
    let thread = thread::current();
    let line = format!("SKIPPED e2e {}: {reason}\n", thread.name().unwrap_or("unnamed"));
    eprint!("{line}");
    if let Some(report) = std::env::var_os("EKITEI_SKIP_REPORT") {
        let mut file = OpenOptions::new().append(true).create(true).open(report).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// A program about to run, away from this machine's own settings.
pub struct Program {
    name: String,
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    name: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output, as text where it is text.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Program {
    /// `name` with the home directory `home`, so that no configuration of the person who runs the tests counts.
    pub fn new(name: &str, home: &Path) -> Self {
        let mut command = Command::new(name);
        command
            .current_dir(home)
            .env("HOME", home)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME");
        Self { name: name.to_owned(), command, input: Vec::new(), limit: LIMIT }
    }

    /// A script of `tests/e2e/clients`, run by Python 3 with only its standard library.
    pub fn python(script: &str, home: &Path) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients").join(script);
        Self::new("python3", home).arg("-I").arg(path)
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments, split at white space.
    pub fn args(mut self, args: &str) -> Self {
        self.command.args(args.split_whitespace());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// How long it may run, if that is not [`LIMIT`].
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// What the program reads from standard input.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Finished {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut stdin = child.stdin.take().unwrap();
        let input = std::mem::take(&mut self.input);
        // A program that ends without reading its input breaks the pipe; that is its own affair.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        let code = wait(&mut child, &self.name, self.limit);
        writer.join().unwrap();
        Finished { name: self.name, code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }
}

impl Finished {
    /// The same, after making sure that the program was content.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{}: {}\n{}", self.name, self.stdout, self.stderr);
        self
    }

    /// The same, after making sure that the program failed in this way.
    #[track_caller]
    pub fn failure(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}: {}\n{}", self.name, self.stdout, self.stderr);
        self
    }

    /// All that it printed.
    pub fn output(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, name: &str, limit: Duration) -> Option<i32> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name} was still running after {limit:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}
