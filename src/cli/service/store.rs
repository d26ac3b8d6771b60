//! Opening the metadata store that the configuration names.

use anyhow::Context;
use ekitei_config::Store;
use ekitei_kv::{Database, EmbeddedOptions, Verify};

/// Opens the store; checking its files may take a while. With `accept_loss` a store whose last commits are lost is opened as it was
/// before them.
///
/// # Errors
/// The store's own words: they name the file, and the way out.
pub(super) async fn open(store: &Store, accept_loss: bool) -> anyhow::Result<Database> {
    match store.clone() {
        Store::Embedded { path, cache_size, write_buffer, verify } => {
            let options = EmbeddedOptions {
                cache_bytes: cache_size.get(),
                memtable_bytes: write_buffer.get(),
                verify: match verify {
                    ekitei_config::Verify::Full => Verify::Full,
                    ekitei_config::Verify::Quick => Verify::Quick,
                },
                accept_loss,
                ..EmbeddedOptions::default()
            };
            std::fs::create_dir_all(&path)
                .with_context(|| format!("cannot create the directory of the store {}", path.display()))?;
            Ok(tokio::task::spawn_blocking(move || Database::open_embedded(path, options)).await??)
        }
        Store::FoundationDb { cluster_file } => open_cluster(&cluster_file),
    }
}

#[cfg(feature = "foundationdb")]
fn open_cluster(cluster_file: &std::path::Path) -> anyhow::Result<Database> {
    Ok(Database::open_foundationdb(cluster_file.to_string_lossy())?)
}

#[cfg(not(feature = "foundationdb"))]
fn open_cluster(cluster_file: &std::path::Path) -> anyhow::Result<Database> {
    anyhow::bail!(
        "store.kind: foundationdb ({}): this build has no FoundationDB; build it with --features foundationdb",
        cluster_file.display()
    )
}

/// Ends what the store's client library runs; before the process returns from `main`.
pub(super) fn close() {
    #[cfg(feature = "foundationdb")]
    ekitei_kv::stop_foundationdb();
}
