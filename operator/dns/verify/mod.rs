//! Looking whether the world sees a record: every authoritative server of the zone is asked, directly.

mod authorities;
mod look;
#[cfg(test)]
pub(crate) mod testing;
mod validator;
mod waits;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::name::Name;

pub use authorities::{Authorities, Security, Server};
pub use look::{Seen, View, confirm};
pub use validator::Validator;
pub use waits::forgotten_after;

/// Whom to ask, and how long.
#[derive(Clone)]
pub struct Settings {
    /// Resolvers that find the servers of a zone; empty for those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// `host:port` of the authoritative servers, for a zone that no resolver finds; empty to have them found.
    pub servers: Vec<String>,
    /// How long an answer may take, over UDP and over TCP each.
    pub timeout: Duration,
    /// Says whether a zone is signed all the way down from the root. Without it, a zone that has keys is [`Security::Signed`].
    pub validator: Option<Arc<Validator>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { resolvers: Vec::new(), servers: Vec::new(), timeout: Duration::from_secs(2), validator: None }
    }
}

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No server can be asked now.
    #[error("{0}")]
    Unavailable(String),
    /// There is no such zone anywhere: somebody has to delegate it.
    #[error("{0}")]
    NoZone(String),
}

/// How long the servers of a zone are believed to be the same, by who reads many records of it.
const RECENT: Duration = Duration::from_secs(30);

/// Asks authoritative servers. Clones share what they know.
#[derive(Clone)]
pub struct Verifier {
    settings: Settings,
    recent: Arc<Mutex<BTreeMap<Name, (Instant, Authorities)>>>,
}

impl Verifier {
    /// A verifier; nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, recent: Arc::default() }
    }

    /// [`authorities`](Self::authorities), or what they were half a minute ago.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn recent_authorities(&self, name: &Name) -> Result<Authorities, VerifyError> {
        let known = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((_, authorities)) = known.filter(|(since, _)| since.elapsed() < RECENT) {
            return Ok(authorities);
        }
        let found = self.authorities(name).await?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, (since, _)| since.elapsed() < RECENT);
        recent.insert(name.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Settings { resolvers, servers, timeout, .. } = &self.settings;
        let mut text = f.debug_struct("Verifier");
        text.field("resolvers", resolvers).field("servers", servers).field("timeout", timeout).finish()
    }
}
