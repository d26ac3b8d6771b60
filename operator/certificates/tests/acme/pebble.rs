//! Pebble as a process of its own.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ekitei_operator_certificates::Key;
use ekitei_operator_certificates::acme::{Account, AccountRequest, Patience, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::names::{Names, Trouble};

/// The key of an external account, as an authority gives it.
pub const EXTERNAL_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// How Pebble is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Accounts need an external one: `kid-1` with [`EXTERNAL_KEY`].
    pub external: bool,
    /// Of a hundred good nonces this many are refused.
    pub refused_nonces: u8,
    pub trouble: Trouble,
}

/// A running Pebble with its name server.
pub struct Pebble {
    process: Child,
    program: PathBuf,
    dir: TempDir,
    settings: Settings,
    address: SocketAddr,
    management: SocketAddr,
    authority: String,
    pub names: Arc<Names>,
}

impl Pebble {
    /// Starts it; `None` where it is not installed, after saying so.
    pub async fn start(settings: Settings) -> Option<Self> {
        let program = program()?;
        let dir = tempfile::Builder::new().prefix("ekitei-pebble-").tempdir().unwrap();
        let authority = write_identity(&dir);
        let names = Names::serve(settings.trouble).await;
        let (address, management) = (free(), free());
        let config = serde_json::json!({"pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": dir.path().join("cert.pem"),
            "privateKey": dir.path().join("key.pem"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "externalAccountBindingRequired": settings.external,
            "externalAccountMACKeys": {"kid-1": EXTERNAL_KEY},
            "domainBlocklist": ["blocked.example"],
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": {
                "default": {"description": "three months", "validityPeriod": 7_776_000},
                "shortlived": {"description": "six days", "validityPeriod": 518_400}
            }
        }});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let process = run(&program, &dir, settings, names.address(), address).await;
        Some(Self { process, program, dir, settings, address, management, authority, names })
    }

    /// Its directory, with its authority, and less patience than for one that is far away.
    pub fn server(&self) -> Server {
        let patience = Patience {
            request: Duration::from_secs(20),
            visible: Duration::from_secs(2),
            validation: Duration::from_secs(60),
            issuance: Duration::from_secs(60),
        };
        let mut server =
            Server::new(format!("https://{}/dir", self.address)).with_authorities(&self.authority);
        server.patience = patience;
        server
    }

    /// A new account.
    pub async fn account(&self) -> Account {
        Account::create(&self.server(), &AccountRequest::default()).await.unwrap().0
    }

    /// Stops it and starts it again: it has forgotten everything.
    pub async fn restart(&mut self) {
        self.stop();
        self.process = run(&self.program, &self.dir, self.settings, self.names.address(), self.address).await;
    }

    /// Tells it what to answer when it is asked for renewal information of a certificate.
    pub async fn set_renewal_info(&self, certificate: &str, answer: &str) {
        let body = serde_json::json!({"Certificate": certificate, "ARIResponse": answer}).to_string();
        let url = format!("https://{}/set-renewal-info/", self.management);
        let response = self.client().post(url).body(body).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{status}: {}", response.text().await.unwrap());
    }

    /// The authority of the certificates that it issues, in PEM.
    pub async fn root(&self) -> String {
        let url = format!("https://{}/roots/0", self.management);
        self.client().get(url).send().await.unwrap().text().await.unwrap()
    }

    fn client(&self) -> reqwest::Client {
        use rustls::pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent("tests")
            .no_proxy()
            .build()
            .unwrap()
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A new key of the usual kind.
pub fn key() -> Key {
    Key::generate(ekitei_operator_certificates::KeyType::default()).unwrap()
}

/// Where Pebble is: on the path, or where `make kubernetes-tools` puts it. If it is nowhere, the running test is reported as skipped.
fn program() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let cache = set("EKITEI_CACHE").or_else(|| Some(caches()?.join("ekitei")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(cache.map(|cache| cache.join("kubernetes/bin")))
        .map(|dir| dir.join("pebble"))
        .find(|file| file.is_file());
    if found.is_none() {
        skip("not installed: pebble (make kubernetes-tools)");
    }
    found
}

/// Puts the running test into the skip report (`$EKITEI_SKIP_REPORT`) and says so.
fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED certificates {}: {reason}\n", thread.name().unwrap_or("unnamed"));
    eprint!("{line}");
    if let Some(report) = std::env::var_os("EKITEI_SKIP_REPORT") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(report).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A certificate for the loopback address in `dir`, and the authority that signs it, in PEM.
fn write_identity(dir: &TempDir) -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    std::fs::write(dir.path().join("cert.pem"), leaf.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    root
}

async fn run(
    program: &PathBuf,
    dir: &TempDir,
    settings: Settings,
    names: &str,
    address: SocketAddr,
) -> Child {
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    // It is killed when the test ends, however that does.
    let process = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .arg("-config")
        .arg(dir.path().join("config.json"))
        .args(["-dnsserver", names, "-strict"])
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env("PEBBLE_AUTHZREUSE", "0")
        .env("PEBBLE_WFE_NONCEREJECT", settings.refused_nonces.to_string())
        .stdout(Stdio::from(log.try_clone().unwrap()))
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        let log = dir.path().join("log");
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", std::fs::read_to_string(log));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process
}
