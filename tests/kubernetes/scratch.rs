//! Directories of the servers of tests, which go when the tests do, however those end.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::thread;

use tempfile::TempDir;

/// A directory of one server. It is removed when it is dropped; of a test that fails its logs are kept.
pub struct Scratch(TempDir);

/// Where all directories of this process are.
static ALL: LazyLock<All> = LazyLock::new(|| All::new().unwrap());

struct All {
    path: PathBuf,
    /// What removes the directory waits for the end of this pipe: that comes with the end of this process, also where nothing of it can run any more.
    _open: ChildStdin,
}

/// Removes a directory when standard input ends. Those who write there are killed at the same time (see [`crate::Process`]), and may need a moment.
const REMOVE: &str = r#"trap '' INT TERM HUP
read -r _
for _ in {1..100}; do
    rm -rf -- "$1" 2>/dev/null && exit
    sleep 0.1
done"#;

impl All {
    fn new() -> io::Result<Self> {
        let path = tempfile::Builder::new().prefix("ekitei-kubernetes-").tempdir()?.keep();
        let mut remove = Command::new("bash");
        remove.args(["-c", REMOVE, "remove"]).arg(&path).stdin(Stdio::piped()).process_group(0);
        let mut remove = remove.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let open = remove.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { path, _open: open })
    }
}

impl Scratch {
    /// A new directory, whose name begins with that of the server.
    pub fn new(server: &str) -> Self {
        Self(tempfile::Builder::new().prefix(&format!("{server}-")).tempdir_in(&ALL.path).unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Copies the logs to where they stay, if the running test fails.
    pub fn keep_logs_of_failure(&self) {
        if !thread::panicking() {
            return;
        }
        let test = thread::current().name().unwrap_or("unnamed").replace("::", ".");
        let name = format!("ekitei-kubernetes-logs-{}", std::process::id());
        let to = std::env::temp_dir().join(name).join(test).join(self.path().file_name().unwrap_or_default());
        match copy_logs(self.path(), &to) {
            Ok(()) => eprintln!("--- logs are in {}", to.display()),
            Err(error) => eprintln!("--- logs could not be kept in {}: {error}", to.display()),
        }
    }
}

fn copy_logs(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let file = entry?.path();
        let is_log = file.extension().is_some_and(|extension| extension == "log");
        if let Some(name) = file.file_name().filter(|_| is_log) {
            fs::copy(&file, to.join(name))?;
        }
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.keep_logs_of_failure();
    }
}
