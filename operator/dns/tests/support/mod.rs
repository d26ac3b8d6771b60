//! Real servers for the tests, started on the loopback and stopped with them. What is not installed is skipped by name.
#![allow(dead_code)]

pub mod knot;
pub mod moto;
pub mod pdns;
pub mod world;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ekitei_operator_dns::verify::{Settings, Verifier};
use ekitei_operator_dns::{Desired, Family, Name, RecordSet, RecordType, Value, desired::Purpose};

/// How long a server may take to start on a slow machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A program, if it is installed: on the path, where only administrators look, or where `scripts/install-clients` puts it.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("EKITEI_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache).join("ekitei"),
        None => home.join(".cache/ekitei"),
    });
    let more = [PathBuf::from("/usr/sbin"), cache.join("moto/bin")];
    let folders = std::env::split_paths(&path).chain(more);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A command for a server that is killed when the running test ends, however it does.
pub fn until_we_end(server: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(server);
    command
}

/// Puts the running test into the skip report (`$EKITEI_SKIP_REPORT`) and says so.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED dns {}: {reason}\n", thread.name().unwrap_or("unnamed"));
    eprint!("{line}");
    if let Some(report) = std::env::var_os("EKITEI_SKIP_REPORT") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(report).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// A port that is free for both TCP and UDP.
pub fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits for something, and fails if it does not come.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LIMIT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn set(name: &str, record_type: RecordType, values: &[&str]) -> RecordSet {
    let values = values.iter().map(|value| Value::parse(record_type, value).unwrap());
    RecordSet::new(name.parse().unwrap(), 300, values).unwrap()
}

pub fn want(name: &str, record_type: RecordType, family: &str, values: &[&str]) -> Desired {
    Desired { set: set(name, record_type, values), family: Family::read(family), purpose: Purpose::Spf }
}

/// Asks these servers, and no others.
pub fn verifier(servers: &[SocketAddr]) -> Verifier {
    Verifier::new(Settings {
        servers: servers.iter().map(SocketAddr::to_string).collect(),
        timeout: Duration::from_millis(500),
        ..Settings::default()
    })
}
