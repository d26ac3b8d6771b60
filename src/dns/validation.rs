//! The trust anchors, and whether the servers that are asked let us validate at all.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::proto::serialize::txt::trust_anchor::{Entry, Parser};
use tokio::time::Instant;

/// How long it is believed that the servers hand on DNSSEC records.
const CAPABLE: Duration = Duration::from_secs(3_600);
/// How long it is believed that they do not.
const INCAPABLE: Duration = Duration::from_secs(600);

/// Where trust begins.
pub(crate) struct Anchors {
    pub(crate) keys: Arc<TrustAnchors>,
    /// The names of the zones that the keys sign.
    zones: Vec<Name>,
}

impl Anchors {
    /// The root's, as built in; or those of a file of DNSKEY records.
    ///
    /// # Errors
    /// The file cannot be read, or has no DNSKEY record.
    pub(crate) fn load(file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = file else {
            return Ok(Self { keys: Arc::new(TrustAnchors::default()), zones: vec![Name::root()] });
        };
        let explain = |reason: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| explain(error.to_string()))?;
        let keys = text.parse::<TrustAnchors>().map_err(|error| explain(error.to_string()))?;
        let entries = Parser::new(text.as_str()).parse().map_err(|error| explain(error.to_string()))?;
        let zones: Vec<Name> = entries
            .into_iter()
            .filter_map(|entry| {
                let Entry::DNSKEY(record) = entry else { return None };
                let mut zone = record.name().clone();
                zone.set_fqdn(true);
                Some(zone)
            })
            .collect();
        if zones.is_empty() {
            return Err(explain("there is no DNSKEY record in it".to_owned()));
        }
        Ok(Self { keys: Arc::new(keys), zones })
    }

    /// Whether a name is under an anchor. What is not cannot be validated, and is insecure (RFC 4035 §4.3 calls it indeterminate).
    fn covers(&self, name: &Name) -> bool {
        self.zones.iter().any(|zone| zone.zone_of(name))
    }
}

/// The resolver that validates.
///
/// Many forwarders drop the records of DNSSEC. With them every validation fails, and all mail would wait forever; so the key of an anchor is asked for
/// first, and while it cannot be validated nothing is: every answer is insecure, and a warning says so.
pub(crate) struct Validating {
    resolver: TokioResolver,
    anchors: Anchors,
    capability: Mutex<Option<Capability>>,
}

/// What the last look at the servers showed.
#[derive(Clone, Copy)]
struct Capability {
    capable: bool,
    until: Instant,
}

impl Validating {
    pub(crate) fn new(resolver: TokioResolver, anchors: Anchors) -> Self {
        Self { resolver, anchors, capability: Mutex::new(None) }
    }

    /// The resolver to ask for a name, if its answer can be validated.
    pub(crate) async fn resolver(&self, name: &Name) -> Option<&TokioResolver> {
        (self.anchors.covers(name) && self.is_capable().await).then_some(&self.resolver)
    }

    /// Whether the servers hand on what validation needs; asked anew from time to time.
    pub(crate) async fn is_capable(&self) -> bool {
        let known = *self.capability.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.filter(|known| Instant::now() < known.until) {
            return known.capable;
        }
        // A server that does not answer now tells nothing: what follows fails too, and is tried again.
        let Some(capable) = self.probe().await else { return true };
        if !capable && known.is_none_or(|known| known.capable) {
            tracing::warn!(
                "the resolvers in dns.servers do not hand on DNSSEC records: nothing is validated, and DANE is off"
            );
        }
        let until = Instant::now() + if capable { CAPABLE } else { INCAPABLE };
        *self.capability.lock().unwrap_or_else(PoisonError::into_inner) = Some(Capability { capable, until });
        capable
    }

    async fn probe(&self) -> Option<bool> {
        let zone = self.anchors.zones.first()?;
        match self.resolver.lookup(zone.clone(), RecordType::DNSKEY).await {
            Ok(keys) => Some(keys.answers().iter().any(|record| {
                record.record_type() == RecordType::DNSKEY && record.name == *zone && record.proof.is_secure()
            })),
            Err(NetError::Dns(
                DnsError::DnssecBogus | DnsError::Nsec { .. } | DnsError::NoRecordsFound(_),
            )) => Some(false),
            Err(_) => None,
        }
    }
}
