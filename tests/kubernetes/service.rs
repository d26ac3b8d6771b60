//! The mail service, over an embedded store.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ekitei_api::Client;
use rcgen::{CertificateParams, KeyPair};

use crate::process::{Process, built, free_port, wait_until};
use crate::scratch::Scratch;

const TOKEN: &str = "token-of-the-tests";

/// A running service.
pub struct Service {
    process: Option<Process>,
    dir: Scratch,
    /// Its admin API.
    pub http: u16,
    /// SMTP from other hosts.
    pub smtp: u16,
    /// Submission with STARTTLS.
    pub submission: u16,
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// IMAP over TLS.
    pub imaps: u16,
    /// The public pages over TLS.
    pub https: u16,
}

impl Service {
    /// Starts it; it looks names up at `dns`.
    pub fn start(dns: SocketAddr) -> Self {
        let dir = Scratch::new("ekitei");
        let ports: [u16; 6] = std::array::from_fn(|_| free_port());
        let [http, smtp, submission, imap, imaps, https] = ports;
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(dir.path().join("cert.pem"), certificate.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        let path = dir.path().display();
        let listeners = [
            ("http", http),
            ("smtp", smtp),
            ("submission", submission),
            ("imap", imap),
            ("imaps", imaps),
            ("https", https),
        ];
        let listeners: String = listeners
            .map(|(protocol, port)| format!("  - {{ protocol: {protocol}, address: '127.0.0.1:{port}' }}\n"))
            .concat();
        let yaml = format!(
            "hostname: localhost\nstore: {{ kind: embedded, path: {path}/store }}\nblobs: {{ path: {path}/blobs }}\n\
             tls: {{ certificates: [{{ certificate: {path}/cert.pem, key: {path}/key.pem }}] }}\n\
             listeners:\n{listeners}admin: {{ token: 'file:{path}/token' }}\n\
             dns: {{ servers: ['{dns}'] }}\nrelay: {{ ignoreAddresses: [] }}\n"
        );
        fs::write(dir.path().join("ekitei.yaml"), yaml).unwrap();
        let mut service = Self { process: None, dir, http, smtp, submission, imap, imaps, https };
        service.run();
        service
    }

    /// Starts it again with what it had, after [`Self::stop`].
    pub fn run(&mut self) {
        let configuration = self.dir.path().join("ekitei.yaml");
        let process = Process::start("ekitei", self.dir.path(), &built("ekitei"), |command| {
            command.args(["serve", "--config"]).arg(configuration);
        });
        self.process = Some(process);
        wait_until("the service", Duration::from_secs(60), || {
            std::net::TcpStream::connect(("127.0.0.1", self.http)).is_ok()
        });
    }

    /// Ends it; what it knows stays.
    pub fn stop(&mut self) {
        self.process.take().unwrap().stop(Duration::from_secs(30));
    }

    /// The URL of its admin API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// The file with the token of its admin API.
    pub fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// The token itself.
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// A client of its admin API.
    pub fn api(&self) -> Client {
        Client::new(&self.url(), Some(TOKEN.to_owned())).unwrap()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.as_ref().unwrap().log()
    }
}
