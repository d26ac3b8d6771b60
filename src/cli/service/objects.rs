//! Opening the object store that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ekitei_blob::resilience::{Metrics, Settings as Patience};
use ekitei_blob::{CacheSettings, CachedStore, DirectoryStore, ObjectStore, Resilient};
use ekitei_config::{BlobCredentials, BlobSse, BlobStore, Blobs, Config, Live};
use ekitei_s3::aws::{Access, KeySource, Keys};
use ekitei_s3::{S3Store, ServerEncryption};
use ekitei_telemetry::Registry;

use super::store::private_directory;

/// Opens the store, and makes it dependable. A bucket that does not answer now is no error: it may be back when it is needed.
///
/// # Errors
/// A directory that cannot be made, certificates that are none, a region that nobody knows.
pub async fn open(blobs: &Blobs, registry: &Registry) -> anyhow::Result<Resilient> {
    open_with(blobs, None, registry).await
}

/// Like [`open`], for a service: when `blobs.credentials` are replaced, the next request has the new ones.
///
/// # Errors
/// As [`open`].
pub async fn open_live(live: &Live, registry: &Registry) -> anyhow::Result<Resilient> {
    let keys = live_keys(live, |config| config.blobs.credentials.as_ref());
    open_with(&live.load().blobs, keys, registry).await
}

/// The store of backups, likewise with `backup.credentials` as they are when it is asked.
///
/// # Errors
/// As [`open`].
pub async fn open_backups(live: &Live, registry: &Registry) -> anyhow::Result<Resilient> {
    let config = live.load();
    let keys = live_keys(live, |config| config.backup.credentials.as_ref());
    open_with(&config.backup.objects(&config.blobs), keys, registry).await
}

async fn open_with(
    blobs: &Blobs,
    given: Option<KeySource>,
    registry: &Registry,
) -> anyhow::Result<Resilient> {
    let (patience, metrics) = (patience(blobs), Metrics::new(registry));
    Ok(match blobs.kind {
        BlobStore::Directory => Resilient::new(directory(blobs)?, patience.for_a_disk(), metrics),
        BlobStore::S3 => Resilient::new(bucket(blobs, given).await?, patience, metrics),
    })
}

/// Credentials that the configuration has somewhere, as they are when they are asked for; `None` if it has none there at the start, and they are the
/// environment's.
pub(super) fn live_keys(
    live: &Live,
    of: impl Fn(&Config) -> Option<&BlobCredentials> + Send + Sync + 'static,
) -> Option<KeySource> {
    let first = keys(of(&live.load())?);
    let live = live.clone();
    Some(KeySource::new(move || of(&live.load()).map_or_else(|| first.clone(), keys)))
}

fn keys(given: &BlobCredentials) -> Keys {
    Keys {
        access_key_id: given.access_key_id.expose().to_owned(),
        secret_access_key: given.secret_access_key.expose().to_owned(),
        session_token: given.session_token.as_ref().map(|token| token.expose().to_owned()),
    }
}

/// The store with what was read of it kept near, if it is not on this machine anyway.
///
/// # Errors
/// The folder of the cache cannot be made or listed.
pub fn near(store: Resilient, blobs: &Blobs, registry: &Registry) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let cache = &blobs.object_cache;
    if blobs.kind == BlobStore::Directory || cache.memory.get() == 0 {
        return Ok(Arc::new(store));
    }
    let settings = CacheSettings {
        page_size: cache.page_size.get(),
        read_ahead: cache.read_ahead.into(),
        memory: cache.memory.get(),
        disk: cache.disk.clone().map(|folder| (folder, cache.disk_size.get())),
        ..CacheSettings::default()
    };
    let cached = CachedStore::new(store, settings, registry);
    Ok(Arc::new(cached.context("blobs.objectCache.disk: the folder cannot be used")?))
}

/// Opens the store as it is, for who wants to see each failure.
///
/// # Errors
/// As [`open`].
pub async fn open_plain(blobs: &Blobs) -> anyhow::Result<Box<dyn ObjectStore>> {
    Ok(match blobs.kind {
        BlobStore::Directory => Box::new(directory(blobs)?),
        BlobStore::S3 => Box::new(bucket(blobs, None).await?),
    })
}

fn directory(blobs: &Blobs) -> anyhow::Result<DirectoryStore> {
    let opened = private_directory(&blobs.path).and_then(|()| DirectoryStore::open(&blobs.path));
    opened.with_context(|| format!("cannot open the directory of bodies {}", blobs.path.display()))
}

async fn bucket(blobs: &Blobs, given: Option<KeySource>) -> anyhow::Result<S3Store> {
    let settings = bucket_settings(blobs)?;
    let opened = match given {
        Some(keys) => S3Store::open_with(settings, keys).await,
        None => S3Store::open(settings).await,
    };
    opened.with_context(|| format!("cannot use the bucket {}", blobs.bucket))
}

fn bucket_settings(blobs: &Blobs) -> anyhow::Result<ekitei_s3::Settings> {
    let authorities = blobs.ca_file.as_deref().map(|path| {
        std::fs::read(path).with_context(|| format!("blobs.caFile: cannot read {}", path.display()))
    });
    Ok(ekitei_s3::Settings {
        access: Access {
            region: blobs.region.clone(),
            endpoint: blobs.endpoint.clone(),
            keys: blobs.credentials.as_ref().map(keys),
            authorities: authorities.transpose()?,
            connect_timeout: blobs.timeouts.connect.get(),
        },
        bucket: blobs.bucket.clone(),
        prefix: blobs.prefix.clone(),
        path_style: blobs.path_style,
        encryption: match blobs.sse {
            BlobSse::None => ServerEncryption::None,
            BlobSse::Aes256 => ServerEncryption::Aes256,
            BlobSse::Kms => ServerEncryption::Kms(blobs.sse_key_id.clone()),
        },
        part_size: blobs.part_size.get(),
        part_uploads: usize::try_from(blobs.part_uploads).unwrap_or(usize::MAX),
        // Parts that are on their way at the same time share the link.
        part_timeout: blobs.timeouts.attempt.get()
            + Duration::from_secs(
                blobs.part_size.get().saturating_mul(blobs.part_uploads.into())
                    / blobs.timeouts.min_throughput.get().max(1),
            ),
    })
}

fn patience(blobs: &Blobs) -> Patience {
    let (times, retries) = (&blobs.timeouts, &blobs.retries);
    Patience {
        attempt: times.attempt.get(),
        total: times.total.get(),
        min_throughput: times.min_throughput.get(),
        first_delay: retries.first_delay.get(),
        max_delay: retries.max_delay.get(),
        retry_share: retries.share,
        retry_reserve: retries.reserve,
        visibility_delay: retries.visibility_delay.get(),
        hedge_after: blobs.hedge_after.get(),
        max_requests: usize::try_from(blobs.max_requests).unwrap_or(usize::MAX),
        away_after: blobs.away_after.get(),
        probe_interval: blobs.probe_interval.get(),
        ..Patience::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    fn blobs(text: &str) -> Blobs {
        ekitei_config::Config::parse(&format!("blobs: {{{text}}}"), &|_| None).unwrap().blobs
    }

    #[tokio::test]
    async fn a_directory_is_opened_and_measured() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs { path: folder.path().join("bodies"), ..blobs("kind: directory") };
        let registry = Registry::new();
        let store = open(&blobs, &registry).await.unwrap();
        store.put("abcd", vec![Bytes::from_static(b"x")]).await.unwrap();
        assert_eq!(store.get("abcd", 0..9).await.unwrap(), "x");
        let shown = registry.render();
        assert!(
            shown.contains("ekitei_blob_object_requests_total{operation=\"put\",outcome=\"ok\"} 1"),
            "{shown}"
        );
    }

    #[test]
    fn keys_that_are_replaced_in_a_running_service_are_used() {
        let config = |key: &str| {
            let text = format!(
                "blobs: {{kind: s3, bucket: mail, endpoint: 'http://127.0.0.1:1', credentials: {{accessKeyId: {key}, secretAccessKey: hidden}}}}"
            );
            ekitei_config::Config::parse(&text, &|_| None).unwrap()
        };
        let live = Live::new(config("old"));
        let keys = live_keys(&live, |config| config.blobs.credentials.as_ref()).unwrap();
        assert_eq!(keys.now().access_key_id, "old");
        assert!(live_keys(&live, |config| config.backup.credentials.as_ref()).is_none());
        let changes = live.replace(config("new"));
        assert_eq!(keys.now().access_key_id, "new");
        assert!(
            changes.iter().all(|change| change.path == "blobs.credentials" && change.live),
            "{changes:?}"
        );
        // Without them it would be the environment that is asked: that takes a restart.
        let changes = live.replace(ekitei_config::Config::default());
        assert_eq!(keys.now().access_key_id, "old");
        assert!(changes.iter().any(|change| change.path == "blobs.credentials" && !change.live));
    }

    #[tokio::test]
    async fn a_bucket_has_what_the_configuration_says() {
        let settings = bucket_settings(&blobs(
            "kind: s3, bucket: mail, endpoint: 'http://127.0.0.1:1', pathStyle: true, prefix: a/, sse: 'aws:kms', \
             sseKeyId: k, credentials: {accessKeyId: id, secretAccessKey: hidden}, partSize: 5MiB",
        ))
        .unwrap();
        assert_eq!(settings.encryption, ServerEncryption::Kms(Some("k".to_owned())));
        assert_eq!((settings.part_size, settings.path_style), (5 << 20, true));
        assert_eq!(settings.access.keys.as_ref().unwrap().access_key_id, "id");
        assert!(!format!("{settings:?}").contains("hidden"));
        assert!(S3Store::open(settings).await.is_ok(), "nothing is asked of the server yet");
        let missing = bucket_settings(&blobs("kind: s3, bucket: mail, caFile: /nowhere/ca.pem")).unwrap_err();
        assert!(format!("{missing:#}").contains("blobs.caFile"));
    }
}
