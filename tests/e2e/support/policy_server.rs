//! The web server of an MTA-STS policy (RFC 8461 §3.3), on the port of HTTPS, which such a server must have.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::authority::Identity;
use super::program::skip;
use super::server::free_port;

const PORT: u16 = 443;

/// A running web server with an address of its own.
pub struct PolicyServer {
    address: Ipv4Addr,
    dir: TempDir,
    child: Child,
}

/// Whether the port of HTTPS can be had; if not, the running test is reported as skipped.
pub fn available() -> bool {
    let bound = TcpListener::bind((own_address(), PORT));
    if let Err(error) = &bound {
        skip(&format!("port {PORT} cannot be had: {error}"));
    }
    bound.is_ok()
}

/// An address of this machine that no other test of this run uses.
fn own_address() -> Ipv4Addr {
    let [high, low] = free_port().to_be_bytes();
    Ipv4Addr::new(127, 44, high, low)
}

impl PolicyServer {
    /// Serves each `(domain, policy)` at `https://mta-sts.<domain>/.well-known/mta-sts.txt`.
    pub fn start(identity: &Identity, policies: &[(&str, String)]) -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-policies-").tempdir().unwrap();
        for (domain, policy) in policies {
            fs::write(dir.path().join(format!("mta-sts.{domain}")), policy).unwrap();
        }
        let address = own_address();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/policy_server.py");
        let mut child = Command::new("python3")
            .arg("-I")
            .arg(script)
            .env("ADDRESS", address.to_string())
            .env("PORT", PORT.to_string())
            .env("CERTIFICATE", &identity.certificate)
            .env("KEY", &identity.key)
            .env("POLICIES", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "serving\n", "the policy server ended at its start");
        Self { address, dir, child }
    }

    /// The lines of a zone that say that `domain` has a policy, and where.
    pub fn records(&self, domain: &str) -> String {
        format!(
            "_mta-sts.{domain}. 300 IN TXT \"v=STSv1; id=1\"\nmta-sts.{domain}. 300 IN A {}\n",
            self.address
        )
    }

    /// The names that policies were asked for at, in order.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("requests")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for PolicyServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("The policy server was asked: {:?}", self.requests());
        }
    }
}
