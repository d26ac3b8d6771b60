//! Whether signatures vouch for a zone, from a trust anchor down: what senders look at before they believe TLSA records (RFC 7672 §2.2).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ekitei_config::Dns;
use ekitei_dns::Resolver;

use crate::name::Name;

/// How long it is believed what was found out.
const KNOWN: Duration = Duration::from_secs(300);
/// How long a round waits for it.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long nobody is asked again after a failure.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Validates zones, by resolvers that hand on DNSSEC records. One for a process: it keeps what it found out.
pub struct Validator {
    resolver: Resolver,
    known: Mutex<BTreeMap<Name, (Instant, Option<bool>)>>,
}

impl Validator {
    /// By these resolvers, or those of the system where there are none; with the trust anchors (DNSKEY records) of a file in place of the root's.
    ///
    /// # Errors
    /// The file cannot be read, or has no anchors.
    pub fn new(resolvers: &[SocketAddr], trust_anchors: Option<&Path>) -> io::Result<Self> {
        let settings = Dns {
            servers: resolvers.to_vec(),
            timeout: ekitei_config::Duration::seconds(2),
            attempts: 1,
            dnssec: true,
            trust_anchors: trust_anchors.map(Path::to_path_buf),
            ..Dns::default()
        };
        Ok(Self { resolver: Resolver::new(&settings)?, known: Mutex::default() })
    }

    /// Whether a zone is signed from a trust anchor down; none if that cannot be found out now.
    pub async fn vouches(&self, zone: &Name) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(zone).copied();
        let lasts = |answer: &Option<bool>| if answer.is_some() { KNOWN } else { UNKNOWN };
        if let Some((_, answer)) = known.filter(|(since, answer)| since.elapsed() < lasts(answer)) {
            return answer;
        }
        // Resolvers that hand on no signatures make every zone look insecure.
        let ask = async {
            let is_capable = self.resolver.validates().await;
            if is_capable { self.resolver.is_secure(zone.as_str()).await.ok() } else { None }
        };
        let answer = tokio::time::timeout(PATIENCE, ask).await.unwrap_or_default();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, answer)| since.elapsed() < lasts(answer));
        known.insert(zone.clone(), (Instant::now(), answer));
        answer
    }
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Validator").finish_non_exhaustive()
    }
}
