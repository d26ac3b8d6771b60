//! Reading the configuration again while the service runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ekitei_config::{Config, changes};
use ekitei_directory::Directory;
use ekitei_net::Net;
use ekitei_telemetry::LogControl;

use super::settings;

/// How often the file is looked at when `tls.watchInterval` does not say.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// Puts a new configuration in force in every part that can take it over.
pub struct Reloader {
    path: Option<PathBuf>,
    net: Net,
    directory: Directory,
    logs: LogControl,
}

impl Reloader {
    /// Reads from `path`; without one there is nothing to read again.
    pub fn new(path: Option<&Path>, net: &Net, directory: &Directory, logs: LogControl) -> Self {
        Self { path: path.map(Path::to_owned), net: net.clone(), directory: directory.clone(), logs }
    }

    /// Reads the file. A file with errors changes nothing, and the log says what is wrong with it.
    pub fn reload(&self) {
        let Some(path) = &self.path else { return };
        match Config::load(path) {
            Ok(config) => self.apply(config),
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
    }

    fn apply(&self, config: Config) {
        match settings::directory(&config) {
            Ok(settings) => self.directory.reload(settings),
            Err(error) => return tracing::error!(error, "the configuration stays as it was"),
        }
        if let Err(error) = self.net.tls().reload(&config.tls) {
            tracing::error!(%error, "the certificates stay as they were");
        }
        if let Err(error) = self.logs.set(&settings::log_filter(&config)) {
            tracing::error!(%error, "the log level stays as it was");
        }
        for change in self.net.live().replace(config) {
            if change.live {
                tracing::info!(key = change.path, "changed");
            } else {
                tracing::warn!(key = change.path, "changed; takes effect after a restart");
            }
        }
    }

    /// Reloads whenever the file changes, or one that a secret in it is read from, such as a mounted Secret.
    pub async fn follow_file(&self) {
        let Some(path) = &self.path else { return std::future::pending().await };
        let mut seen = stamp(path);
        let mut secrets = Secrets::new(path);
        loop {
            let interval = self.net.live().load().tls.watch_interval.get();
            tokio::time::sleep(if interval.is_zero() { IDLE_INTERVAL } else { interval }).await;
            if interval.is_zero() {
                continue;
            }
            let now = stamp(path);
            if now.is_some() && now != seen {
                seen = now;
                tracing::info!("the configuration file changed");
                self.reload();
                secrets = Secrets::new(path);
            } else if secrets.changed(path) {
                tracing::info!("a file that the configuration reads a secret from changed");
                self.reload();
            }
        }
    }
}

/// The configuration with its secrets, as it was read last.
struct Secrets {
    read: Result<Config, String>,
    /// What was said of a reading that failed since.
    said: Option<String>,
}

impl Secrets {
    fn new(path: &Path) -> Self {
        Self { read: Config::load(path).map_err(|error| error.to_string()), said: None }
    }

    /// Reads it again; whether it is another. What cannot be read now is said once, and changes nothing.
    fn changed(&mut self, path: &Path) -> bool {
        let now = Self::new(path);
        let changed = match (&self.read, &now.read) {
            (Ok(before), Ok(now)) => !changes(before, now).is_empty(),
            (Err(before), Err(now)) => before != now,
            (Err(_), Ok(_)) => true,
            (Ok(_), Err(error)) => {
                if self.said.as_ref() != Some(error) {
                    tracing::error!(error, "the configuration stays as it was");
                    self.said = Some(error.clone());
                }
                return false;
            }
        };
        *self = now;
        changed
    }
}

/// What tells one state of a file from another.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_file_of_its_own_is_seen_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let [config, key] = ["ekitei.yaml", "master.key"].map(|name| folder.path().join(name));
        let secret = |octet: char| format!("{}=\n", octet.to_string().repeat(43));
        std::fs::write(&key, secret('A')).unwrap();
        std::fs::write(&config, format!("encryption: {{ masterKey: 'file:{}' }}\n", key.display())).unwrap();
        let mut secrets = Secrets::new(&config);
        assert!(!secrets.changed(&config));
        // As a mounted Secret is replaced.
        std::fs::remove_file(&key).unwrap();
        assert!(!secrets.changed(&config), "it stays as it was");
        std::fs::write(&key, secret('Q')).unwrap();
        assert!(secrets.changed(&config));
        assert!(!secrets.changed(&config));
        let change = ekitei_config::Change { path: "encryption.masterKey".to_owned(), live: true };
        let before = Config::parse("encryption: { masterKey: x }", &|_| None).unwrap();
        let now = secrets.read.unwrap();
        assert!(changes(&before, &now).contains(&change));
    }
}
