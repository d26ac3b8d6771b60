//! Knot DNS: a primary server that takes updates, and a secondary one that follows when it is told to.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ekitei_operator_dns::provider::rfc2136::{Rfc2136, Settings, TsigKey};
use tempfile::TempDir;

use super::{free_port, program, skip, until_we_end, wait_until};

/// `sixteen octets..`, in base64.
pub const SECRET: &str = "c2l4dGVlbiBvY3RldHMuLg==";
/// Another one.
pub const OTHER_SECRET: &str = "b3RoZXIgc2l4dGVlbiBvY3RldHM=";

/// A running Knot DNS.
pub struct Knot {
    port: u16,
    /// An address on the port that NS records mean; only root can have it.
    standard: Option<Ipv4Addr>,
    dir: TempDir,
    child: Child,
}

impl Knot {
    /// A primary server of zone `a.test`, signed, with these lines beside its apex; none if Knot is not installed. The key `writer` may change
    /// everything, the key `text` only TXT records, the key `reader` nothing.
    pub fn primary(records: &str) -> Option<Self> {
        let apex = |own: Ipv4Addr, other: Ipv4Addr| {
            format!(
                "a.test. 300 IN SOA ns1.a.test. admin.a.test. 1 3600 600 86400 60\na.test. 300 IN NS ns1.a.test.\n\
                 a.test. 300 IN NS ns2.a.test.\nns1.a.test. 300 IN A {own}\nns2.a.test. 300 IN A {other}\n{records}\n"
            )
        };
        let rest = "acl:\n  - id: writer\n    key: writer\n    action: update\n  \
             - id: text\n    key: text\n    action: update\n    update-type: [TXT]\n  \
             - id: transfer\n    address: 127.0.0.1\n    action: transfer\n\
             policy:\n  - id: signed\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n\
             zone:\n  - domain: a.test.\n    file: a.test.zone\n    acl: [writer, text, transfer]\n    \
             dnssec-signing: on\n    dnssec-policy: signed\n";
        Self::start(Some(&apex), rest)
    }

    /// A server that has the zone from another, and asks it again only when told to.
    pub fn secondary(primary: &Self) -> Option<Self> {
        let rest = format!(
            "remote:\n  - id: primary\n    address: 127.0.0.1@{}\nzone:\n  - domain: a.test.\n    master: primary\n",
            primary.port
        );
        Self::start(None, &rest)
    }

    fn start(zone: Option<&dyn Fn(Ipv4Addr, Ipv4Addr) -> String>, rest: &str) -> Option<Self> {
        let Some(knotd) = program("knotd") else {
            skip("not installed: knotd (apt-get install knot)");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("ekitei-knot-").tempdir().unwrap();
        let port = free_port();
        let [high, low] = port.to_be_bytes();
        // Nobody answers at the other one.
        let (own, other) = (Ipv4Addr::new(127, 53, high, low), Ipv4Addr::new(127, 54, high, low));
        let standard = TcpListener::bind((own, 53)).is_ok().then_some(own);
        let listen = standard.map(|own| format!(", {own}@53")).unwrap_or_default();
        let path = dir.path().display();
        fs::create_dir(dir.path().join("db")).unwrap();
        let key = |id: &str, algorithm: &str| {
            format!("  - id: {id}\n    algorithm: {algorithm}\n    secret: {SECRET}\n")
        };
        let keys = [key("writer", "hmac-sha256"), key("text", "hmac-sha512"), key("reader", "hmac-sha384")];
        let configuration = format!(
            "server:\n    rundir: \"{path}\"\n    listen: [127.0.0.1@{port}{listen}]\n\
             log:\n  - target: \"{path}/log\"\n    any: info\n\
             database:\n    storage: \"{path}/db\"\n    kasp-db-max-size: 20M\n    journal-db-max-size: 20M\n    timer-db-max-size: 2M\n\
             key:\n{}\
             template:\n  - id: default\n    storage: \"{path}\"\n    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\n\
             {rest}",
            keys.concat()
        );
        fs::write(dir.path().join("knot.conf"), configuration).unwrap();
        if let Some(zone) = zone {
            fs::write(dir.path().join("a.test.zone"), zone(own, other)).unwrap();
        }
        let output = File::create(dir.path().join("output")).unwrap();
        let child = until_we_end(&knotd)
            .arg("-c")
            .arg(dir.path().join("knot.conf"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let knot = Self { port, standard, dir, child };
        wait_until("Knot to have its zone", || {
            let log = knot.log();
            log.contains("server started") && (log.contains("[a.test.] loaded") || log.contains("finished"))
        });
        Some(knot)
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The address that its NS records lead to, if it can have that.
    pub fn standard(&self) -> Option<Ipv4Addr> {
        self.standard
    }

    /// The keys of its zone, for who is to trust them.
    pub fn trust_anchors(&self) -> PathBuf {
        let keys = Command::new(program("keymgr").unwrap())
            .arg("-c")
            .arg(self.dir.path().join("knot.conf"))
            .args(["a.test.", "dnskey"])
            .output()
            .unwrap();
        assert!(keys.status.success(), "{keys:?}");
        let file = self.dir.path().join("anchors");
        let keys = String::from_utf8(keys.stdout).unwrap();
        fs::write(&file, keys.replace(" DNSKEY ", " 300 IN DNSKEY ")).unwrap();
        file
    }

    /// A provider that uses one of its keys.
    pub fn provider(&self, key: &str, algorithm: &str, secret: &str) -> Rfc2136 {
        Rfc2136::new(Settings {
            server: self.address().to_string(),
            key: TsigKey::new(key, algorithm, secret).unwrap(),
            timeout: Duration::from_secs(5),
        })
    }

    /// One that may change everything.
    pub fn writer(&self) -> Rfc2136 {
        self.provider("writer", "hmac-sha256", SECRET)
    }

    /// Has a secondary server ask its primary.
    pub fn refresh(&self) {
        let before = self.log().matches("finished").count();
        let knotc = program("knotc").unwrap();
        let socket = self.dir.path().join("knot.sock");
        let done =
            Command::new(knotc).arg("-s").arg(socket).args(["zone-refresh", "a.test."]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        wait_until("the transfer", || self.log().matches("finished").count() > before);
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("Knot's log:\n{}", self.log());
        }
    }
}
