//! Pebble: an ACME authority that checks what it is told to.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::process::{Process, free_port, tool, wait_until};
use crate::scratch::Scratch;

/// A running Pebble.
pub struct Pebble {
    port: u16,
    process: Process,
    dir: Scratch,
}

impl Pebble {
    /// Starts it; it looks names up at `dns`.
    pub fn start(dns: SocketAddr) -> Self {
        let dir = Scratch::new("pebble");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        fs::write(at("ca.pem"), authority.pem()).unwrap();
        fs::write(at("server.pem"), server.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(at("server.key"), key.serialize_pem()).unwrap();
        let port = free_port();
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{}", free_port()),
            "certificate": at("server.pem"),
            "privateKey": at("server.key"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "profiles": {"default": {"description": "the tests'", "validityPeriod": 7_776_000}},
        }});
        fs::write(at("config.json"), config.to_string()).unwrap();
        let process = Process::start("pebble", dir.path(), &tool("pebble").unwrap(), |command| {
            command
                .args(["-config", &at("config.json"), "-strict", "-dnsserver", &dns.to_string()])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", "0");
        });
        wait_until("Pebble", Duration::from_secs(30), || process.log().contains("Listening on"));
        Self { port, process, dir }
    }

    /// Its directory.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// The certificate that its server's leads to, in PEM.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
