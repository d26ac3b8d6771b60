//! Processes over one store, and certificates for them.

use std::sync::Arc;
use std::time::Duration;

use ekitei_certificates::{CertificateName, Certificates, NewCertificate, Parts};
use ekitei_config::{Config, Live, Secret};
use ekitei_kv::Database;
use ekitei_kv::clock::ManualClock;
use ekitei_net::Tls;
use ekitei_telemetry::Registry;
use tokio::task::JoinHandle;

/// The encryption keys, 32 octets in base64.
pub const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub const OTHER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A process.
pub struct Process {
    pub certificates: Certificates,
    pub tls: Tls,
    pub clock: Arc<ManualClock>,
    pub registry: Registry,
    following: Option<JoinHandle<()>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

/// A configuration with this encryption key in force, and these before it.
pub fn configured(key: &str, previous: &[&str]) -> Config {
    let mut config = Config { hostname: "mx1.example.test".to_owned(), ..Config::default() };
    config.signing.encryption_key = Some(Secret::new(key));
    config.signing.previous_encryption_keys = previous.iter().copied().map(Secret::new).collect();
    config
}

impl Process {
    pub fn start(database: &Database, config: Config) -> Self {
        let (tls, registry) = (Tls::none(), Registry::default());
        let clock = ManualClock::new(Duration::from_secs(1_000));
        let certificates = Certificates::open(Parts {
            database: database.clone(),
            live: Live::new(config),
            clock: clock.clone(),
            key_file: None,
            tls: tls.clone(),
            registry: registry.clone(),
        });
        Self { certificates: certificates.unwrap(), tls, clock, registry, following: None }
    }

    pub fn alone() -> Self {
        Self::start(&Database::in_memory(), configured(KEY, &[]))
    }

    pub fn following(mut self) -> Self {
        let certificates = self.certificates.clone();
        self.following = Some(tokio::spawn(async move { certificates.follow_changes().await }));
        self
    }

    /// The names of the stored certificates that are in force, the default first.
    pub fn in_force(&self) -> Vec<String> {
        self.tls.certificates().iter().map(|status| status.source.to_string()).collect()
    }

    /// Waits, at most for the second that is promised.
    pub async fn until(&self, what: impl Fn(&Self) -> bool) {
        for _ in 0..200 {
            if what(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not within a second; in force: {:?}", self.tls.certificates());
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> Option<i64> {
        self.registry.render().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

pub fn name(text: &str) -> CertificateName {
    text.parse().unwrap()
}

/// A certificate for these hosts; another one with each call.
pub fn made(hosts: &[&str]) -> NewCertificate {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(hosts).unwrap();
    NewCertificate { chain: made.cert.pem(), key: made.signing_key.serialize_pem().into() }
}

/// The same once more.
pub fn again(new: &NewCertificate) -> NewCertificate {
    NewCertificate { chain: new.chain.clone(), key: new.key.clone() }
}
