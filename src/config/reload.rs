//! What differs between two configurations, and what of it a running service can take over.

use serde_json::Value;

use crate::Config;

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The place of the key: `smtp.maxRecipients`, `listeners`.
    pub path: String,
    /// Whether a running service takes it over; otherwise it needs a restart.
    pub live: bool,
}

/// Sections that are read where they are used, so that a change takes effect in a running service: certificates
/// (on the next handshake), limits and rates (on the next connection or command), the log level.
const LIVE: &[&str] = &["tls", "limits", "smtp", "imap", "pop3", "mailstore", "admin", "log", "shutdown"];

/// Parts of [`LIVE`] sections that are fixed when the service starts: sizes of pools and caches, and the format
/// of lines that are being written.
const FIXED: &[&str] = &[
    "log.format",
    "smtp.maxBodiesInFlight",
    "imap.maxBodiesInFlight",
    "mailstore.viewCacheSize",
    "mailstore.deliveryBatch",
];

/// Every key that differs between `old` and `new`, in the order of the names. Lists count as one key.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let tree = |config: &Config| serde_json::to_value(config).expect("a configuration is plain data");
    let mut paths = Vec::new();
    differing(&tree(old), &tree(new), String::new(), &mut paths);
    // Secrets look alike in the tree, since it redacts them.
    if old.admin.token != new.admin.token && !paths.iter().any(|path| path == "admin.token") {
        paths.push("admin.token".to_owned());
    }
    paths.sort();
    paths.into_iter().map(|path| Change { live: is_live(&path), path }).collect()
}

/// The changes between `old` and `new` that take effect only after a restart.
pub fn restart_needed(old: &Config, new: &Config) -> Vec<Change> {
    changes(old, new).into_iter().filter(|change| !change.live).collect()
}

fn is_live(path: &str) -> bool {
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
