//! What holds mail and who it is for: the same for a service, and for a backup without one.

use std::sync::Arc;

use ekitei_blob::{Blobs, ObjectStore};
use ekitei_cluster::{Cluster, Feature};
use ekitei_config::Live;
use ekitei_directory::Directory;
use ekitei_keyring::Keyring;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_mailstore::{DomainCounting, MailStore};
use ekitei_telemetry::Registry;

use super::{bodies, keys, settings};

/// They.
pub(super) struct Parts {
    pub(super) keyring: Keyring,
    pub(super) blobs: Blobs,
    pub(super) directory: Directory,
    pub(super) mailstore: MailStore,
    /// How often the data of the store has moved to another one.
    pub(super) incarnation: u16,
}

impl Parts {
    /// The parts of a process of this cluster, with bodies in `objects`.
    ///
    /// # Errors
    /// A master key that is malformed, a setting of the directory that cannot be; the store's.
    pub(super) async fn over(
        objects: Arc<dyn ObjectStore>,
        live: &Live,
        database: &Database,
        cluster: &Cluster,
        clock: &SharedClock,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let config = live.load();
        let keyring = keys::open(live, database, cluster, clock, registry).await?;
        let of_bodies = ekitei_blob::Settings {
            data_keys: Some(Arc::new(keyring.clone())),
            ..bodies::behind(cluster, settings::blobs(&config))
        };
        let blobs = Blobs::new(database.clone(), objects, of_bodies, Arc::clone(clock));
        let of_directory = settings::directory(&config).map_err(anyhow::Error::msg)?;
        let additions = Arc::new(cluster.features().gate(Feature::ForwardingAndHosts));
        let directory = Directory::gated(database.clone(), of_directory, Arc::clone(clock), additions);
        let incarnation = ekitei_backup::incarnation(database).await?;
        let counting = DomainCounting {
            directory: directory.clone(),
            is_active: Arc::new(cluster.features().gate(Feature::DomainUsage)),
        };
        let mailstore = MailStore::with_domains(
            database.clone(),
            blobs.clone(),
            ekitei_mailstore::Settings { incarnation, ..settings::mailstore(&config) },
            Arc::clone(clock),
            counting,
        );
        Ok(Self { keyring, blobs, directory, mailstore, incarnation })
    }
}
