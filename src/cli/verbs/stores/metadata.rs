//! The metadata store: a directory with room for more, or a cluster that answers and is well.

use std::path::Path;

use ekitei_api::{Check, CheckStatus};
use ekitei_config::Store;

use super::{check, failure};

/// Less free space than this share of the disk, or than [`LEAST_FREE`], is too little to run on.
const LEAST_SHARE: f64 = 0.05;
/// Octets that must be free: compactions write tables anew before they remove the old ones.
const LEAST_FREE: u64 = 1 << 30;

/// Everything that is found of the metadata store.
pub(super) async fn checks(store: &Store) -> Vec<Check> {
    match store {
        Store::Embedded { path, .. } => vec![directory(path), free_space(path)],
        Store::FoundationDb { cluster_file, prefix } => {
            let mut checks = vec![self::cluster_file(cluster_file)];
            if checks.iter().all(|check| check.status != CheckStatus::Failure) {
                checks.extend(cluster::checks(cluster_file, prefix).await);
            }
            checks
        }
    }
}

fn directory(path: &Path) -> Check {
    const NAME: &str = "store: directory";
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            failure(NAME, format!("{} is no directory", path.display()), "give store.path another value")
        }
        Ok(found) if found.permissions().readonly() => failure(
            NAME,
            format!("{} is read-only", path.display()),
            "mount it for writing, or give it to the service's user",
        ),
        Ok(_) => check(NAME, CheckStatus::Ok, format!("{} is there", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let detail = format!("{} is not there; a start of the service makes it, empty", path.display());
            check(NAME, CheckStatus::Warning, detail)
        }
        Err(error) => failure(NAME, format!("{}: {error}", path.display()), "run this as the service's user"),
    }
}

/// The room on the disk of a directory, or of the nearest one above it that is there.
fn free_space(path: &Path) -> Check {
    const NAME: &str = "store: free space";
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = absolute.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    let Some(disk) = found else {
        return check(NAME, CheckStatus::Skipped, "the system does not say how much is free");
    };
    let (free, size) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let share = free as f64 / size.max(1) as f64;
    let detail = format!("{:.1} GiB are free ({:.0}%)", free as f64 / f64::from(1 << 30), share * 100.0);
    if free < LEAST_FREE || share < LEAST_SHARE {
        return failure(
            NAME,
            detail,
            "make room, or move store.path to a larger disk, before mail is refused",
        );
    }
    check(NAME, CheckStatus::Ok, detail)
}

/// Reads the file that names a cluster's coordinators.
fn cluster_file(path: &Path) -> Check {
    const NAME: &str = "store: cluster file";
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("{}: {error}", path.display());
            return failure(
                NAME,
                what,
                "copy it from a machine of the cluster, and let the service's user read it",
            );
        }
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let parts = line.and_then(|line| line.split_once('@')).filter(|(name, _)| name.contains(':'));
    let Some((name, coordinators)) = parts else {
        let what = format!("{} is none", path.display());
        return failure(NAME, what, "it has one line such as name:id@10.0.0.1:4500,10.0.0.2:4500");
    };
    if std::fs::OpenOptions::new().append(true).open(path).is_err() {
        let detail = format!("{} cannot be written, so a change of coordinators is not kept", path.display());
        return check(NAME, CheckStatus::Warning, detail);
    }
    let coordinators = coordinators.split(',').count();
    check(NAME, CheckStatus::Ok, format!("names the cluster {name} with {coordinators} coordinators"))
}

#[cfg(not(feature = "foundationdb"))]
mod cluster {
    //! A build without FoundationDB.
    use super::{Check, Path, failure};

    pub(super) async fn checks(_: &Path, _: &str) -> Vec<Check> {
        let what = "this build has no FoundationDB";
        vec![failure(
            "store: client",
            what,
            "build it with --features foundationdb, or set store.kind: embedded",
        )]
    }
}

#[cfg(feature = "foundationdb")]
mod cluster {
    //! What a cluster says of itself, and how long it takes.
    use std::time::{Duration, Instant};

    use ekitei_kv::{Database, Error};

    use super::{Check, CheckStatus, Path, check, failure, status};

    /// How long the cluster may take for anything.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// A commit that takes longer is felt by everyone who sends or reads.
    const SLOW_COMMIT: Duration = Duration::from_millis(100);

    pub(super) async fn checks(file: &Path, prefix: &str) -> Vec<Check> {
        let database = match Database::open_foundationdb(file.to_string_lossy(), prefix) {
            Ok(database) => database,
            Err(error) => {
                let advice = "install libfdb_c 7.3 of the cluster's version; older ones do not know the API";
                return vec![failure("store: client", error, advice)];
            }
        };
        let mut checks = Vec::new();
        match tokio::time::timeout(PATIENCE, database.cluster_status()).await {
            Ok(Ok(Some(json))) => checks.extend(status::checks(&json)),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => checks.push(check("store: status", CheckStatus::Skipped, error)),
            Err(_) => {
                let advice = "see that its processes run and that the coordinators' addresses can be reached from here";
                checks.push(failure("store: cluster", format!("no answer for {PATIENCE:?}"), advice));
                return checks;
            }
        }
        checks.push(commit(&database).await);
        checks
    }

    /// Commits a transaction that writes nothing, which costs the cluster as much as a small one.
    async fn commit(database: &Database) -> Check {
        let begun = Instant::now();
        let write = database.transact(|transaction| async move {
            transaction.read_version().await?;
            let key = ekitei_kv::keys::key(&(ekitei_kv::keys::subspace::CLUSTER, "doctor"));
            let end = ekitei_kv::prefix_end(&key).unwrap_or_default();
            transaction.add_write_conflict(key..end);
            Ok::<_, Error>(())
        });
        match tokio::time::timeout(PATIENCE, write).await {
            Ok(Ok(())) => judge(begun.elapsed()),
            Ok(Err(error)) => {
                failure("store: commit", error, "see fdbcli's status for what the cluster waits for")
            }
            Err(_) => failure("store: commit", format!("none for {PATIENCE:?}"), "see fdbcli's status"),
        }
    }

    fn judge(took: Duration) -> Check {
        let detail = format!("a transaction takes {:.1} ms", took.as_secs_f64() * 1000.0);
        if took < SLOW_COMMIT {
            return check("store: commit", CheckStatus::Ok, detail);
        }
        let detail =
            format!("{detail}; that is slow: keep pods and cluster in one place, with logs on fast disks");
        check("store: commit", CheckStatus::Warning, detail)
    }
}

/// What FoundationDB's status document says, in the words of an operator.
#[cfg(any(test, feature = "foundationdb"))]
mod status {
    use ekitei_api::{Check, CheckStatus};
    use serde_json::Value;

    use super::super::{check, failure};

    pub(super) fn checks(json: &[u8]) -> Vec<Check> {
        let Ok(status) = serde_json::from_slice::<Value>(json) else {
            return vec![check("store: status", CheckStatus::Skipped, "cannot be read")];
        };
        let at = |path: &str| status.pointer(path).cloned().unwrap_or_default();
        if at("/client/database_status/available") == false {
            let advice = "see that enough of its processes run (fdbcli: status details)";
            return vec![failure("store: cluster", "the database is not available", advice)];
        }
        let mode = at("/cluster/configuration/redundancy_mode");
        let mode = mode.as_str().unwrap_or("unknown");
        let processes = at("/cluster/processes").as_object().map_or(0, |processes| processes.len());
        let mut checks = Vec::new();
        let detail = format!("available, {processes} processes, redundancy {mode}");
        checks.push(if mode == "single" && processes > 1 {
            let advice = "a single failure loses mail; in fdbcli: configure double";
            check("store: cluster", CheckStatus::Warning, format!("{detail}: {advice}"))
        } else {
            check("store: cluster", CheckStatus::Ok, detail)
        });
        if at("/cluster/data/state/healthy") == false {
            let state = at("/cluster/data/state/name");
            let detail =
                format!("data is not replicated as configured: {}", state.as_str().unwrap_or("unknown"));
            checks.push(check("store: data", CheckStatus::Warning, detail));
        }
        let limited = at("/cluster/qos/performance_limited_by/name");
        if let Some(by) = limited.as_str().filter(|by| *by != "workload") {
            checks.push(check(
                "store: load",
                CheckStatus::Warning,
                format!("the cluster is held back by {by}"),
            ));
        }
        for message in at("/cluster/messages").as_array().into_iter().flatten() {
            let text = message.get("description").or(message.get("name")).and_then(Value::as_str);
            checks.push(check("store: message", CheckStatus::Warning, text.unwrap_or("unknown")));
        }
        checks
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn found(json: &str) -> Vec<(CheckStatus, String)> {
            checks(json.as_bytes()).into_iter().map(|check| (check.status, check.detail)).collect()
        }

        #[test]
        fn a_status_document_is_put_into_words() {
            let well = r#"{"client": {"database_status": {"available": true}}, "cluster": {
                "configuration": {"redundancy_mode": "double"}, "processes": {"a": {}, "b": {}, "c": {}},
                "data": {"state": {"healthy": true}}, "qos": {"performance_limited_by": {"name": "workload"}}}}"#;
            assert_eq!(
                found(well),
                [(CheckStatus::Ok, "available, 3 processes, redundancy double".to_owned())]
            );
            let away = r#"{"client": {"database_status": {"available": false}}}"#;
            assert_eq!(found(away)[0].0, CheckStatus::Failure);
            let ill = r#"{"client": {"database_status": {"available": true}}, "cluster": {
                "configuration": {"redundancy_mode": "single"}, "processes": {"a": {}, "b": {}},
                "data": {"state": {"healthy": false, "name": "missing_data"}},
                "qos": {"performance_limited_by": {"name": "storage_server_write_queue_size"}},
                "messages": [{"description": "Unable to reach all workers."}]}}"#;
            let ill = found(ill);
            assert_eq!(ill.len(), 4);
            assert!(ill.iter().all(|(status, _)| *status == CheckStatus::Warning));
            assert!(ill[1].1.contains("missing_data") && ill[2].1.contains("write_queue"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_directory_is_looked_at_where_it_is_or_will_be() {
        let folder = tempfile::tempdir().unwrap();
        let store = |path: &Path| {
            let text = format!("store: {{kind: embedded, path: {}}}", path.display());
            ekitei_config::Config::parse(&text, &|_| None).unwrap().store
        };
        let there = checks(&store(folder.path())).await;
        assert_eq!(there[0].status, CheckStatus::Ok);
        assert!(there[1].detail.contains("GiB are free"));
        let missing = checks(&store(&folder.path().join("a/b"))).await;
        assert_eq!(missing[0].status, CheckStatus::Warning);
        assert!(missing[1].detail.contains("GiB are free"));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(checks(&store(&file)).await[0].status, CheckStatus::Failure);
    }

    #[test]
    fn a_cluster_file_is_read_before_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fdb.cluster");
        assert_eq!(cluster_file(&path).status, CheckStatus::Failure);
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(cluster_file(&path).detail.contains("name:id@"));
        std::fs::write(&path, "# of the test\nmail:x1@10.0.0.1:4500,10.0.0.2:4500\n").unwrap();
        let sound = cluster_file(&path);
        assert_eq!(sound.status, CheckStatus::Ok);
        assert!(sound.detail.contains("mail:x1 with 2 coordinators"));
    }
}
