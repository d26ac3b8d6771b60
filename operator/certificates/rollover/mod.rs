//! From one key of a host to the next, while the fingerprints of its keys are in the DNS (DANE, RFC 7671 §8.1).
//!
//! Mail servers that check DANE refuse a host whose certificate has none of the published keys, and they keep what was
//! published for the TTL of the records. So the next key is published *beside* the current one, all name servers are
//! seen to show it, the longest TTL passes, and only then the certificate of the next key is put in force; the record of
//! the old one is removed some time later:
//!
//! ```text
//! Empty -> First -> Steady -> NextPublished -> SwitchDue -> Switched -> Steady
//!                     |  ^          ^ |            |  ^        ^
//!                     |  |          | +------------+--|--------+ the next key is lost: its record is retired
//!                     |  |          +--------------+  | a name server no longer shows it
//!                     +--|----------------------------+ nothing is published: a plain renewal
//!                        +-- the old record is removed
//! ```
//!
//! [`Rollover`] is a value without behaviour of its own: [`Rollover::advance`] takes what was observed and gives the
//! state that follows and what is to be done. The order of things is the caller's part of the bargain:
//!
//! 1. Read the state as it was persisted (from the API server itself, not from a cache that may be behind).
//! 2. Observe ([`Observation`]), advance.
//! 3. Persist the new state; when somebody else wrote it meanwhile, start over.
//! 4. Do the actions, in their order. Each may be repeated and each may fail: what was not done is asked for again.
//!
//! A process may die between any two of these. The invariant, which a property test keeps under any order of events and
//! any such death: *whatever set of TLSA records a resolver may still hold, it is empty or names the key in force.*
//!
//! Where no TLSA record is wanted or may be in a cache, this is plain renewal: Steady, SwitchDue, Switched, Steady
//! without waiting for names.

mod advance;
mod state;
#[cfg(test)]
mod tests;

pub use state::{Action, Observation, Phase, Rollover, Served, Step, Timing};
