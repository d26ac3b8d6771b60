//! Knot DNS as all of the Internet's name servers: it serves a root zone of its own, signed, and an unsigned zone below it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::server::{Builder, free_port};
use super::wait_until;

/// A running Knot DNS.
pub struct Knot {
    port: u16,
    /// An address of its own, for programs that know no port but 53.
    standard: Ipv4Addr,
    dir: TempDir,
    child: Child,
}

impl Knot {
    /// Serves `records` (lines of a zone file with absolute names) in the signed root zone, and `unsigned` in `unsigned.`, which is delegated without
    /// a signature.
    pub fn start(records: &str, unsigned: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-knot-").tempdir().unwrap();
        let port = free_port();
        let [high, low] = port.to_be_bytes();
        let standard = Ipv4Addr::new(127, 53, high, low);
        let path = dir.path().display();
        fs::create_dir(dir.path().join("db")).unwrap();
        let configuration = format!(
            "server:\n    rundir: \"{path}\"\n    listen: [127.0.0.1@{port}, {standard}@53]\n\
             log:\n  - target: \"{path}/log\"\n    any: info\n\
             database:\n    storage: \"{path}/db\"\n    kasp-db-max-size: 20M\n    journal-db-max-size: 20M\n    timer-db-max-size: 2M\n\
             policy:\n  - id: signed\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n\
             template:\n  - id: default\n    storage: \"{path}\"\n    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\n\
             zone:\n  - domain: .\n    file: root.zone\n    dnssec-signing: on\n    dnssec-policy: signed\n  \
             - domain: unsigned.\n    file: unsigned.zone\n"
        );
        fs::write(dir.path().join("knot.conf"), configuration).unwrap();
        let apex = |zone: &str| {
            format!("{zone} 300 IN SOA ns.dns. admin.dns. 1 3600 600 86400 1\n{zone} 300 IN NS ns.dns.\n")
        };
        let root =
            format!("{}ns.dns. 300 IN A 127.0.0.1\nunsigned. 300 IN NS ns.dns.\n{records}\n", apex("."));
        fs::write(dir.path().join("root.zone"), root).unwrap();
        fs::write(dir.path().join("unsigned.zone"), format!("{}{unsigned}\n", apex("unsigned."))).unwrap();
        let output = File::create(dir.path().join("output")).unwrap();
        let child = Command::new("knotd")
            .arg("-c")
            .arg(dir.path().join("knot.conf"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let knot = Self { port, standard, dir, child };
        wait_until("Knot to sign its zone", Duration::from_secs(30), || {
            let log = knot.log();
            log.contains("[.] loaded") && log.contains("server started")
        });
        knot
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Where it answers on the port of DNS; only root can have it do so.
    pub fn standard_address(&self) -> Ipv4Addr {
        self.standard
    }

    /// The key that all signatures lead to, as a zone file; written beside the zones.
    pub fn trust_anchors(&self) -> PathBuf {
        let keys = Command::new("keymgr")
            .arg("-c")
            .arg(self.dir.path().join("knot.conf"))
            .args([".", "dnskey"])
            .output()
            .unwrap();
        assert!(keys.status.success(), "{}", String::from_utf8_lossy(&keys.stderr));
        let file = self.dir.path().join("anchors");
        let keys = String::from_utf8(keys.stdout).unwrap();
        fs::write(&file, keys.replace(" DNSKEY ", " 300 IN DNSKEY ")).unwrap();
        file
    }

    /// A service that asks it, and believes it.
    pub fn resolves_for(&self, builder: Builder) -> Builder {
        builder.set("dns", "servers", &format!("['{}']", self.address())).set(
            "dns",
            "trustAnchors",
            &self.trust_anchors().display().to_string(),
        )
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("Knot's log:\n{}", self.log());
        }
    }
}
