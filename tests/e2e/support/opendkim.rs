//! OpenDKIM as a milter: one that signs for a domain, or one that verifies.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::knot::Knot;
use super::server::free_port;
use super::wait_until;

/// A running OpenDKIM.
pub struct OpenDkim {
    port: u16,
    dir: TempDir,
    child: Child,
    record: String,
}

impl OpenDkim {
    /// One that signs for `domain` with a new key of `algorithm`: `rsa` or `ed25519`, which is the selector, too.
    pub fn start(algorithm: &str, domain: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-opendkim-").tempdir().unwrap();
        let key = dir.path().join("key.pem");
        let mut generate = Command::new("openssl");
        generate.args(["genpkey", "-algorithm", algorithm, "-out"]).arg(&key);
        if algorithm == "rsa" {
            generate.args(["-pkeyopt", "rsa_keygen_bits:2048"]);
        }
        assert!(generate.output().unwrap().status.success());
        let public =
            Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&key).output();
        let public = public.unwrap().stdout;
        // RFC 8463 §4: the record of Ed25519 has the 32 octets themselves, which are the last of the structure.
        let public = if algorithm == "rsa" { &public[..] } else { &public[public.len() - 32..] };
        let encoded = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(public)
        };
        let text = format!("v=DKIM1; k={algorithm}; p={encoded}");
        let strings: Vec<String> = text
            .as_bytes()
            .chunks(255)
            .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
            .collect();
        let record = format!("{algorithm}._domainkey.{domain}. 300 IN TXT {}\n", strings.join(" "));
        let settings = format!(
            "Mode s\nDomain {domain}\nSelector {algorithm}\nKeyFile {}\nSignatureAlgorithm {algorithm}-sha256\n",
            key.display()
        );
        Self::launch(dir, &settings, record)
    }

    /// One that verifies what comes, asking `knot`, and says so in Authentication-Results.
    pub fn verifying(knot: &Knot) -> Self {
        let dir = tempfile::Builder::new().prefix("ekitei-opendkim-").tempdir().unwrap();
        // Its resolver knows that there is no `.test` (RFC 6761), unless it is told otherwise.
        let resolver = dir.path().join("unbound.conf");
        fs::write(&resolver, "server:\n  local-zone: \"test.\" nodefault\n").unwrap();
        let settings = format!(
            "Mode v\nAlwaysAddARHeader yes\nAuthservID verifier.test\nNameservers {}\nResolverConfiguration {}\n\
             InternalHosts 192.0.2.1\n",
            knot.standard_address(),
            resolver.display()
        );
        Self::launch(dir, &settings, String::new())
    }

    fn launch(dir: TempDir, settings: &str, record: String) -> Self {
        let port = free_port();
        let config = dir.path().join("opendkim.conf");
        let common = format!(
            "Socket inet:{port}@127.0.0.1\nPidFile {}/pid\nCanonicalization relaxed/relaxed\nBackground no\nUserID root\n\
             RequireSafeKeys no\nSyslog no\n",
            dir.path().display()
        );
        fs::write(&config, format!("{common}{settings}")).unwrap();
        let child = Command::new("opendkim")
            .args(["-f", "-x"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("OpenDKIM to listen", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, dir, child, record }
    }

    /// The line of the zone with its public key.
    pub fn record(&self) -> &str {
        &self.record
    }

    /// What Postfix calls it.
    pub fn milter(&self) -> String {
        format!("inet:127.0.0.1:{}", self.port)
    }
}

impl Drop for OpenDkim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("OpenDKIM's folder was {}", self.dir.path().display());
        }
    }
}
