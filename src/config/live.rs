//! The configuration of a running service, which can be replaced.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{Change, Config, changes};

/// A handle to the configuration in force. Clones share it. Read it where a decision is made, or once for each
/// connection, and a reload takes effect there.
#[derive(Debug, Clone)]
pub struct Live {
    current: Arc<ArcSwap<Config>>,
}

impl Live {
    /// Starts with `config`.
    pub fn new(config: Config) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(config)) }
    }

    /// The configuration in force.
    pub fn load(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// Puts `config` in force and returns what differs. Changes that need a restart are in the new tree too, but
    /// the parts that read them only at start go on as they were.
    pub fn replace(&self, config: Config) -> Vec<Change> {
        let config = Arc::new(config);
        let old = self.current.swap(Arc::clone(&config));
        changes(&old, &config)
    }
}
