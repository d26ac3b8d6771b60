//! Who may come in, before anything is counted as a connection: rates of new connections, and bans.

use std::net::IpAddr;

use crate::limits::{AddressKey, Refusal};
use crate::rate::RateLimiter;

/// Addresses whose rate of connections is remembered.
const MAX_RATED_ADDRESSES: usize = 100_000;

/// A client at the door. Those from trusted networks are let in without a question, and so are those of listeners for internal use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The client's address, canonical.
    pub client: IpAddr,
    /// The listeners that share the rate: `smtp`, `imap`, `pop3`.
    pub group: &'static str,
    /// The new connections a minute that one address may make to the group; 0 is no limit.
    pub per_minute: u32,
}

/// Decides who may come in. It is asked for every connection, and so must not wait for anything.
pub trait Gate: Send + Sync + 'static {
    /// Counts a new connection.
    ///
    /// # Errors
    /// Why the client may not come in; the connection is then not counted.
    fn admit(&self, arrival: &Arrival) -> Result<(), Refusal>;
}

/// The rates of this process alone, and no bans.
#[derive(Debug)]
pub(crate) struct LocalRates(RateLimiter<(&'static str, AddressKey)>);

impl Default for LocalRates {
    fn default() -> Self {
        Self(RateLimiter::new(MAX_RATED_ADDRESSES))
    }
}

impl Gate for LocalRates {
    fn admit(&self, arrival: &Arrival) -> Result<(), Refusal> {
        let key = (arrival.group, AddressKey::from(arrival.client));
        if self.0.allow(&key, arrival.per_minute) { Ok(()) } else { Err(Refusal::Rate) }
    }
}
