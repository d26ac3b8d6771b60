//! The keys that bodies are encrypted with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ekitei_cluster::{Cluster, Feature};
use ekitei_config::{Kms, Live};
use ekitei_keyring::{Keyring, MasterKeys, Parts, Wrapper};
use ekitei_kms::KmsKey;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_s3::aws::{Access, KeySource};
use ekitei_telemetry::Registry;

use super::objects::live_keys;

/// How long a connection to a key service may take to be made.
const CONNECT: Duration = Duration::from_secs(3);

/// Opens the keyring. No key service is asked yet.
///
/// # Errors
/// A master key that is malformed, a region that nobody knows.
pub(super) async fn open(
    live: &Live,
    database: &Database,
    cluster: &Cluster,
    clock: &SharedClock,
    registry: &Registry,
) -> anyhow::Result<Keyring> {
    let config = live.load();
    let gate = cluster.features().gate(Feature::EncryptedBodies);
    if config.encryption.enabled && !gate() {
        tracing::warn!(
            "bodies are not encrypted as long as processes of an earlier release may run, which could not read them"
        );
    }
    Ok(Keyring::new(Parts {
        database: database.clone(),
        masters: masters(live, registry).await?,
        live: live.clone(),
        gate: Arc::new(gate),
        clock: Arc::clone(clock),
        registry: registry.clone(),
    }))
}

/// The master keys: the one of KMS is in force if there is one, or else the local one.
async fn masters(live: &Live, registry: &Registry) -> anyhow::Result<MasterKeys> {
    let given = &live.load().encryption;
    let (local, mut previous) = MasterKeys::local(given)?;
    for (index, settings) in given.previous_kms.iter().enumerate() {
        let id = settings.key_id.clone();
        let credentials = live_keys(live, move |config| {
            let found = config.encryption.previous_kms.get(index).filter(|kms| kms.key_id == id);
            found?.credentials.as_ref()
        });
        previous.push(kms(&format!("encryption.previousKms[{index}]"), settings, credentials).await?);
    }
    let current = match &given.kms {
        Some(settings) => {
            previous.extend(local);
            let credentials = live_keys(live, |config| config.encryption.kms.as_ref()?.credentials.as_ref());
            Some(kms("encryption.kms", settings, credentials).await?)
        }
        None => local,
    };
    Ok(MasterKeys::new(current, previous, registry))
}

/// A key of KMS, which is asked with these credentials, or those of the environment.
async fn kms(path: &str, given: &Kms, credentials: Option<KeySource>) -> anyhow::Result<Arc<dyn Wrapper>> {
    let read = |file: &Path| {
        std::fs::read(file).with_context(|| format!("{path}.caFile: cannot read {}", file.display()))
    };
    let settings = ekitei_kms::Settings {
        access: Access {
            region: given.region.clone(),
            endpoint: given.endpoint.clone(),
            keys: None,
            authorities: given.ca_file.as_deref().map(read).transpose()?,
            connect_timeout: CONNECT.min(given.timeout.get()),
        },
        key_id: given.key_id.clone(),
        timeout: given.timeout.get(),
    };
    let opened = KmsKey::open_with(settings, credentials).await;
    Ok(Arc::new(opened.with_context(|| path.to_owned())?))
}
