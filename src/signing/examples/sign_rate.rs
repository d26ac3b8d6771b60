//! What signing costs: `cargo run --release -p ekitei-signing --example sign_rate`.

use std::sync::Arc;
use std::time::Instant;

use ekitei_config::{Config, DkimAlgorithm, Live, Secret};
use ekitei_directory::{Directory, Domain, NewDomain, Settings};
use ekitei_kv::Database;
use ekitei_kv::clock::SystemClock;
use ekitei_signing::{NewKey, Parts, Signing};
use ekitei_telemetry::Registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, algorithms) in [
        ("rsa", vec![DkimAlgorithm::Rsa]),
        ("ed25519", vec![DkimAlgorithm::Ed25519]),
        ("both", vec![DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519]),
    ] {
        let mut config = Config::default();
        config.signing.algorithms = algorithms;
        config.signing.encryption_key = Some(Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        let (database, clock) = (Database::in_memory(), Arc::new(SystemClock));
        let directory = Directory::new(database.clone(), Settings::default(), clock.clone());
        let domain = Domain::parse("example.test")?;
        directory.create_domain(&domain, NewDomain::default()).await?;
        let live = Live::new(config);
        let registry = Registry::default();
        let manual_gate = Arc::new(|| true);
        let parts =
            Parts { database, directory, live, clock, resolver: None, key_file: None, manual_gate, registry };
        let signing = Signing::open(parts)?;
        signing.create(&domain, NewKey { now: true, ..NewKey::default() }).await?;
        for (size, rounds) in [(5_000, 2_000), (1_000_000, 100), (25_000_000, 4)] {
            let body = "All work and no play makes Jack a dull boy.\r\n".repeat(size / 45);
            let message = format!("From: a@example.test\r\nTo: b@elsewhere.test\r\nSubject: s\r\n\r\n{body}");
            signing.sign(&domain, message.as_bytes()).await?;
            let begin = Instant::now();
            for _ in 0..rounds {
                signing.sign(&domain, message.as_bytes()).await?;
            }
            let each = begin.elapsed().as_secs_f64() / f64::from(rounds);
            println!("{name:8} {size:>9} octets: {:>9.3} ms a message", each * 1000.0);
        }
    }
    Ok(())
}
