//! What differs between two configurations, and what of it a running service can take over.

use serde_json::Value;

use crate::{Config, Kms};

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The place of the key: `smtp.maxRecipients`, `listeners`.
    pub path: String,
    /// Whether a running service takes it over; otherwise it needs a restart.
    pub live: bool,
}

/// What is read where it is used, or put in force by a reload, so that a change takes effect in a running service:
/// certificates (on the next handshake), limits and rates (on the next connection or command), the log level.
const LIVE: &[&str] = &[
    "hostname",
    "tls",
    "limits",
    "smtp",
    "filter",
    "queue",
    "relay",
    "signing",
    "reports",
    "imap",
    "pop3",
    "directory",
    "backup.credentials",
    "backup.interval",
    "blobs.credentials",
    "blobs.packing.interval",
    "blobs.packing.compactRate",
    "blobs.scrub",
    "cluster.maxLocks",
    "cluster.maxLockTime",
    "backup.dailyAt",
    "backup.retention",
    "encryption.enabled",
    "encryption.kms.credentials",
    "encryption.maintenanceInterval",
    "encryption.masterKey",
    "encryption.previousKms.credentials",
    "encryption.previousMasterKeys",
    "encryption.rotateAfter",
    "mailstore.defaultQuota",
    "mailstore.maintenanceInterval",
    "web",
    "admin",
    "log",
    "shutdown",
];

/// Parts of [`LIVE`] that are fixed when the service starts: sizes of pools, and the format of lines that are being
/// written.
const FIXED: &[&str] = &[
    "filter.greylist.cacheEntries",
    "limits.tlsHandshakeTimeout",
    "log.format",
    "queue.lease",
    "queue.maxActiveMemory",
    "smtp.maxBodiesInFlight",
    "imap.maxBodiesInFlight",
    "imap.search.maxBodies",
    "signing.encryptionKey",
    "signing.previousEncryptionKeys",
];

/// Every key that differs between `old` and `new`, in the order of the names. Lists count as one key.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let tree = |config: &Config| serde_json::to_value(config).expect("a configuration is plain data");
    let mut paths = Vec::new();
    differing(&tree(old), &tree(new), String::new(), &mut paths);
    // Secrets look alike in the tree, since it redacts them.
    let secrets = [
        ("admin.token", old.admin.token != new.admin.token),
        ("backup.encryptionKey", old.backup.encryption_key != new.backup.encryption_key),
        (
            "backup.previousEncryptionKeys",
            old.backup.previous_encryption_keys != new.backup.previous_encryption_keys,
        ),
        ("backup.credentials", old.backup.credentials != new.backup.credentials),
        ("blobs.credentials", old.blobs.credentials != new.blobs.credentials),
        ("encryption.masterKey", old.encryption.master_key != new.encryption.master_key),
        (
            "encryption.previousMasterKeys",
            old.encryption.previous_master_keys != new.encryption.previous_master_keys,
        ),
        (
            "encryption.kms.credentials",
            kms(old).zip(kms(new)).is_some_and(|(old, new)| old.credentials != new.credentials),
        ),
        ("encryption.previousKms", old.encryption.previous_kms != new.encryption.previous_kms),
        ("traces.headers", old.traces.headers != new.traces.headers),
        ("signing.encryptionKey", old.signing.encryption_key != new.signing.encryption_key),
        (
            "signing.previousEncryptionKeys",
            old.signing.previous_encryption_keys != new.signing.previous_encryption_keys,
        ),
    ];
    for (secret, differs) in secrets {
        if differs && !paths.iter().any(|path| path == secret) {
            paths.push(secret.to_owned());
        }
    }
    paths.sort();
    paths.into_iter().map(|path| Change { live: is_taken_over(old, new, &path), path }).collect()
}

fn kms(config: &Config) -> Option<&Kms> {
    config.encryption.kms.as_ref()
}

/// Whether a service that began with `old` takes over what `new` has at this path.
fn is_taken_over(old: &Config, new: &Config, path: &str) -> bool {
    // Who had no credentials at the start asks the environment, and goes on doing so.
    let given = |config: &Config| {
        Some(match path {
            "backup.credentials" => config.backup.credentials.is_some(),
            "blobs.credentials" => config.blobs.credentials.is_some(),
            "encryption.kms.credentials" => kms(config)?.credentials.is_some(),
            _ => return None,
        })
    };
    match path {
        "encryption.previousKms" => {
            let others = (&old.encryption.previous_kms, &new.encryption.previous_kms);
            others.0.len() == others.1.len()
                && others.0.iter().zip(others.1).all(|(old, new)| differ_by_secrets_only(old, new))
        }
        _ => is_live(path) && given(old) == given(new),
    }
}

/// Whether two keys are the same but for the credentials that they are asked with.
fn differ_by_secrets_only(old: &Kms, new: &Kms) -> bool {
    old.credentials.is_some() == new.credentials.is_some()
        && *old == Kms { credentials: old.credentials.clone(), ..new.clone() }
}

/// The changes between `old` and `new` that take effect only after a restart.
pub fn restart_needed(old: &Config, new: &Config) -> Vec<Change> {
    changes(old, new).into_iter().filter(|change| !change.live).collect()
}

/// Whether a running service takes over a change of the key at `path`.
pub(crate) fn is_live(path: &str) -> bool {
    let within = |prefix: &&&str| {
        path.strip_prefix(**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    LIVE.iter().any(|prefix| within(&prefix)) && !FIXED.iter().any(|prefix| within(&prefix))
}

fn differing(old: &Value, new: &Value, path: String, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differing(
                    a.get(name).unwrap_or(&Value::Null),
                    b.get(name).unwrap_or(&Value::Null),
                    place,
                    found,
                );
            }
        }
        _ if old != new => found.push(path),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{Change, Config, Live, changes, restart_needed};

    fn config(text: &str) -> Config {
        Config::parse(text, &|_| None).unwrap()
    }

    fn change(path: &str, live: bool) -> Change {
        Change { path: path.to_owned(), live }
    }

    #[test]
    fn a_reload_says_what_changed_and_what_needs_a_restart() {
        let old = config("admin: { token: 0123456789abcdef }");
        let new = config(
            "
admin: { token: fedcba9876543210 }
log: { level: debug, format: json }
smtp: { maxRecipients: 100 }
store: { kind: embedded, path: /elsewhere }
tls: { certificates: [{ certificate: a, key: b }] }",
        );
        let live = Live::new(old.clone());
        assert_eq!(
            live.replace(new.clone()),
            [
                change("admin.token", true),
                change("log.format", false),
                change("log.level", true),
                change("smtp.maxRecipients", true),
                change("store.path", false),
                change("tls.certificates", true),
            ]
        );
        assert_eq!(live.load().smtp.max_recipients, 100);
        assert_eq!(restart_needed(&old, &new), [change("log.format", false), change("store.path", false)]);
        assert_eq!(restart_needed(&new, &new), []);
    }

    #[test]
    fn credentials_that_are_replaced_need_no_restart_unless_they_come_from_elsewhere() {
        let of = |key: &str, id: &str| {
            let given = match key {
                "" => String::new(),
                key => format!(", credentials: {{ accessKeyId: {key}, secretAccessKey: hidden }}"),
            };
            config(&format!(
                "
blobs: {{ kind: s3, bucket: mail{given} }}
backup: {{ kind: s3, bucket: backups{given} }}
encryption: {{ kms: {{ keyId: {id}{given} }}, previousKms: [{{ keyId: {id}{given} }}] }}"
            ))
        };
        let all = |live: bool| {
            let paths = [
                "backup.credentials",
                "blobs.credentials",
                "encryption.kms.credentials",
                "encryption.previousKms",
            ];
            paths.map(|path| change(path, live))
        };
        assert_eq!(changes(&of("old", "a"), &of("new", "a")), all(true));
        assert_eq!(changes(&of("", "a"), &of("new", "a")), all(false));
        assert_eq!(
            changes(&of("old", "a"), &of("old", "b")),
            [change("encryption.kms.keyId", false), change("encryption.previousKms", false)]
        );
    }
}
