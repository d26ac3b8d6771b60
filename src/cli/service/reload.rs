//! Reading the configuration again while the service runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ekitei_config::Config;
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

    /// Reloads whenever the file changes.
    pub async fn follow_file(&self) {
        let Some(path) = &self.path else { return std::future::pending().await };
        let mut seen = stamp(path);
        loop {
            let interval = self.net.live().load().tls.watch_interval.get();
            tokio::time::sleep(if interval.is_zero() { IDLE_INTERVAL } else { interval }).await;
            let now = stamp(path);
            if !interval.is_zero() && now.is_some() && now != seen {
                seen = now;
                tracing::info!("the configuration file changed");
                self.reload();
            }
        }
    }
}

/// What tells one state of a file from another.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
