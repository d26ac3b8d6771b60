//! Where zones are kept, and how to read and change them.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::name::Name;
use crate::plan::Change;
use crate::record::{Key, RecordSet};

pub mod cloud;
pub mod manual;
mod observe;
pub mod rfc2136;
pub mod route53;

pub use observe::{Observations, needed, observe};

/// The result of asking a provider.
pub type Result<T, E = ProviderError> = std::result::Result<T, E>;

/// A zone that a provider keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its apex.
    pub name: Name,
    /// How the provider calls it, where that is not its name.
    pub id: Option<String>,
}

/// What a provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It takes changes; if not, all records are [`State::Manual`](crate::State::Manual) until they are seen.
    pub writes: bool,
    /// All changes of one [`Provider::apply`] happen, or none does.
    pub atomic: bool,
    /// It compares [`Change::before`] with what is there when it applies the change. If not, we compare right before.
    pub prerequisites: bool,
    /// It can hold variants of a record set ([`Variant`](crate::record::Variant)).
    pub routing: bool,
    /// The shortest TTL that it takes, in seconds; shorter ones are raised.
    pub min_ttl: u32,
    /// It needs and takes the marker records. An API that has ownership of its own does not.
    pub markers: bool,
}

/// Why a provider did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Somebody changed a record in between: look again, and plan anew.
    #[error("the zone was changed meanwhile: {0}")]
    Conflict(String),
    /// It is away, slow, or limits our rate: later.
    #[error("the provider does not answer: {0}")]
    Unavailable(String),
    /// Key, token or permissions are wrong: the operator's configuration.
    #[error("the provider refuses us: {0}")]
    Unauthorized(String),
    /// It does not keep such a zone: the operator's configuration.
    #[error("there is no zone for {name} there: {reason}")]
    NoZone {
        /// What a zone was looked for.
        name: Name,
        /// What was found instead.
        reason: String,
    },
    /// It does not take this change, and will not later.
    #[error("the provider does not take this: {0}")]
    Rejected(String),
    /// The settings of the provider are wrong: the operator's configuration.
    #[error("the provider is not configured well: {0}")]
    Settings(String),
}

impl ProviderError {
    /// Whether the same may work later, with nothing changed by anybody.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Unavailable(_))
    }

    /// A reason for conditions and metrics, in CamelCase.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "ZoneChanged",
            Self::Unavailable(_) => "ServerUnreachable",
            Self::Unauthorized(_) => "CredentialsRefused",
            Self::NoZone { .. } => "ZoneNotFound",
            Self::Rejected(_) => "ProviderRejected",
            Self::Settings(_) => "ProviderSettingsInvalid",
        }
    }
}

/// A keeper of zones.
///
/// Implementations of other crates (one that writes `DNSEndpoint` objects) are welcome: [`get`](Self::get) may ask the authoritative servers
/// ([`Verifier::get`](crate::verify::Verifier::get)) if there is nothing better.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Its kind and place, for messages: `rfc2136 at ns1.example.org:53`.
    fn name(&self) -> String;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether it has words for such a record set at all. One that it has none for is not wanted of it, rather than rejected each time.
    fn takes(&self, _set: &RecordSet) -> bool {
        true
    }

    /// The zone that a name is in.
    ///
    /// # Errors
    /// [`ProviderError::NoZone`] if it keeps none, and all others.
    fn zone<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Zone>>;

    /// A record set as it is now. Where the name is an alias and something else is asked for, this is the CNAME set; and none only if it is certain
    /// that there is nothing.
    ///
    /// # Errors
    /// All but [`ProviderError::Conflict`].
    fn get<'a>(&'a self, zone: &'a Zone, key: &'a Key) -> BoxFuture<'a, Result<Option<RecordSet>>>;

    /// Changes record sets in the order given. If this fails and the provider is not atomic, some may be changed.
    ///
    /// # Errors
    /// [`ProviderError::Conflict`] if one is not as [`Change::before`] says, and all others.
    fn apply<'a>(&'a self, zone: &'a Zone, changes: &'a [Change]) -> BoxFuture<'a, Result<()>>;
}
