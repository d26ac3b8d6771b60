//! Knot DNS: the name servers of the tests, with dynamic updates.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::process::{Process, free_port, tool, wait_until};
use crate::scratch::Scratch;

/// A key for updates.
#[derive(Clone, Debug)]
pub struct Tsig {
    /// Its name.
    pub name: String,
    /// Its secret (HMAC-SHA256), in base64.
    pub secret: String,
}

impl Tsig {
    /// A new key.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), secret: BASE64.encode(rand::random::<[u8; 32]>()) }
    }
}

/// A running Knot DNS, which serves some zones, some of them signed (DNSSEC), and takes updates with a key.
pub struct Knot {
    port: u16,
    process: Option<Process>,
    dir: Scratch,
    /// The key that may update the zones.
    pub tsig: Tsig,
}

impl Knot {
    /// Serves these zones (name, whether it is signed), which hold nothing but SOA and NS at first.
    pub fn start(zones: &[(&str, bool)]) -> Self {
        let dir = Scratch::new("knot");
        let (port, tsig, path) = (free_port(), Tsig::new("operator."), dir.path().display().to_string());
        fs::create_dir(dir.path().join("db")).unwrap();
        let mut configuration = format!(
            "server:\n    rundir: \"{path}\"\n    listen: 127.0.0.1@{port}\n\
             log:\n  - target: \"{path}/knot.log\"\n    any: info\n\
             database:\n    storage: \"{path}/db\"\n    kasp-db-max-size: 20M\n    journal-db-max-size: 20M\n    timer-db-max-size: 2M\n\
             key:\n  - id: {}\n    algorithm: hmac-sha256\n    secret: {}\n\
             acl:\n  - id: update\n    key: {}\n    action: [update, transfer]\n\
             policy:\n  - id: signed\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n\
             template:\n  - id: default\n    storage: \"{path}\"\n    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: changes\n    acl: update\n\
             zone:\n",
            tsig.name, tsig.secret, tsig.name
        );
        for (zone, signed) in zones {
            let _ = writeln!(configuration, "  - domain: {zone}.\n    file: {zone}.zone");
            if *signed {
                configuration.push_str("    dnssec-signing: on\n    dnssec-policy: signed\n");
            }
            let records = format!(
                "{zone}. 300 IN SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 1\n{zone}. 300 IN NS ns.{zone}.\nns.{zone}. 300 IN A 127.0.0.1\n"
            );
            fs::write(dir.path().join(format!("{zone}.zone")), records).unwrap();
        }
        fs::write(dir.path().join("knot.conf"), configuration).unwrap();
        let mut knot = Self { port, process: None, dir, tsig };
        knot.run();
        knot
    }

    /// Starts it again with what it had, after [`Self::stop`].
    pub fn run(&mut self) {
        let _ = fs::remove_file(self.dir.path().join("knot.log"));
        let configuration = self.dir.path().join("knot.conf");
        let process = Process::start("knotd", self.dir.path(), &tool("knotd").unwrap(), |command| {
            command.arg("-c").arg(configuration);
        });
        self.process = Some(process);
        wait_until("Knot to start", Duration::from_secs(30), || {
            fs::read_to_string(self.dir.path().join("knot.log"))
                .is_ok_and(|log| log.contains("server started"))
        });
        let zones = fs::read_dir(self.dir.path()).unwrap().filter_map(|entry| {
            entry.unwrap().file_name().to_str().and_then(|name| name.strip_suffix(".zone").map(str::to_owned))
        });
        for zone in zones {
            wait_until("Knot to load its zones", Duration::from_secs(30), || {
                self.ask(&zone, "SOA").is_some_and(|answer| !answer.is_empty())
            });
        }
    }

    /// Ends it; what it knows stays.
    pub fn stop(&mut self) {
        self.process.take().unwrap().stop(Duration::from_secs(10));
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The values of a record set as it serves them, in `dig +short`'s form and sorted; `None` if it does not answer.
    pub fn ask(&self, name: &str, type_: &str) -> Option<Vec<String>> {
        let output = Command::new(tool("kdig").unwrap())
            .args(["@127.0.0.1", "-p", &self.port.to_string(), "+short", "+time=1", "+retry=1", name, type_])
            .output()
            .unwrap();
        let mut values: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        values.sort();
        output.status.success().then_some(values)
    }

    /// Sends an update as somebody else with the key would: lines of `knsupdate`, such as `update add NAME TTL TYPE VALUE`.
    pub fn update(&self, zone: &str, lines: &str) {
        let script = format!(
            "server 127.0.0.1 {}\nkey hmac-sha256:{} {}\nzone {zone}.\n{lines}\nsend\n",
            self.port, self.tsig.name, self.tsig.secret
        );
        let file = self.dir.path().join("update");
        fs::write(&file, script).unwrap();
        let output = Command::new(tool("knsupdate").unwrap()).arg("-v").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
