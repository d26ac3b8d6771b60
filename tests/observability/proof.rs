//! Dashboards and alerts: each of their queries is asked of a real Prometheus (Debian's) that scrapes a service under load, and must have an answer;
//! `promtool` runs the tests of the alerts. `prove.py` does it, and says which query has none.

use std::path::Path;
use std::time::Duration;

use crate::support::{Program, require, seaweed};

#[test]
fn every_query_of_every_dashboard_and_alert_has_an_answer() {
    require!("prometheus", "promtool", "python3", "openssl");
    let home = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observability/prove.py");
    let mut proof = Program::new("python3", home.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Longer than the script waits for answers: it says which are missing.
        .limit(Duration::from_secs(300))
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_ekitei"));
    // Only a bucket has a cache in front of it; without one, its panel is left out.
    if let Some(address) = seaweed::shared() {
        let (key, secret) = (seaweed::ACCESS_KEY, seaweed::SECRET_KEY);
        proof = proof.arg("--s3").arg(format!("http://{key}:{secret}@{address}"));
    }
    print!("{}", proof.run().success().stdout);
}
