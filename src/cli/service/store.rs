//! Opening the metadata store that the configuration names.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

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
            private_directory(&path)
                .with_context(|| format!("cannot create the directory of the store {}", path.display()))?;
            Ok(tokio::task::spawn_blocking(move || Database::open_embedded(path, options)).await??)
        }
        Store::FoundationDb { cluster_file, prefix } => open_cluster(&cluster_file, &prefix),
    }
}

/// Makes a directory, and those above it, that only the service may read, since mail is in it. One that is there stays as it is.
///
/// # Errors
/// The system's.
pub(super) fn private_directory(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(feature = "foundationdb")]
fn open_cluster(cluster_file: &Path, prefix: &str) -> anyhow::Result<Database> {
    Ok(Database::open_foundationdb(cluster_file.to_string_lossy(), prefix)?)
}

#[cfg(not(feature = "foundationdb"))]
fn open_cluster(cluster_file: &Path, _prefix: &str) -> anyhow::Result<Database> {
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

/// Ends the process with a failure, now, whatever it does. Not without [`close`]: a client library that is torn down while it runs
/// crashes, and who started us would see that instead of the failure.
pub(super) fn end_at_once() -> ! {
    close();
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn nobody_else_may_read_a_new_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/store");
        let store = Store::Embedded {
            path: path.clone(),
            cache_size: ekitei_config::ByteSize::mib(1),
            write_buffer: ekitei_config::ByteSize::mib(1),
            verify: ekitei_config::Verify::Quick,
        };
        drop(open(&store, false).await.unwrap());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
