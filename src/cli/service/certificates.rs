//! The certificates in the store, beside those in files.

use std::sync::Arc;

use ekitei_certificates::{Certificates, Parts};
use ekitei_config::Live;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_net::Tls;
use ekitei_telemetry::Registry;

use super::sending::key_file;

/// Opens them, and puts in force what is stored, so that the first client has the right one. A store that cannot be read now is no reason not to start:
/// whoever follows the changes tries again.
///
/// # Errors
/// The key that they are encrypted with cannot be read or made.
pub(super) async fn open(
    live: &Live,
    database: &Database,
    clock: &SharedClock,
    tls: &Tls,
    registry: &Registry,
) -> anyhow::Result<Certificates> {
    let certificates = Certificates::open(Parts {
        database: database.clone(),
        live: live.clone(),
        clock: Arc::clone(clock),
        key_file: key_file(&live.load()),
        tls: tls.clone(),
        registry: registry.clone(),
    })?;
    if let Err(error) = certificates.load().await {
        tracing::warn!(%error, "the stored certificates are not in force yet");
    }
    Ok(certificates)
}
