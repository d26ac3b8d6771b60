//! Records of mail domains: what there should be, whose they are, publishing them, and looking whether every server shows them.
//!
//! Nothing here knows Kubernetes. The steps of one round, each usable by itself:
//!
//! 1. [`desired`]: [`MailDomain::records`] and [`MailHost::records`] turn plain descriptions into [`Desired`] record sets; pure.
//! 2. [`provider`]: a [`Provider`] is where a zone is kept. [`observe`] asks it for what is there now.
//! 3. [`plan`]: [`plan`](plan::plan) compares desired, observed and [`Inventory`] and gives [`Change`]s, and a [`State`] for each record; pure.
//! 4. The caller stores [`Plan::intent`] (what we may be about to own), then applies, then stores [`Plan::inventory`]:
//!    [`Round`] does these with the retries that conflicts need.
//! 5. [`verify`]: asks every authoritative server of the zone for every record.
//!
//! What is ours is said by markers beside the records ([`owner`]) and by the inventory; `docs/design/0015-dns-ownership.md` has the rules.
//! Locks between several operators are the caller's: those that share a zone use the same [`Owner`], and one of them writes at a time.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod desired;
mod exchange;
pub mod family;
pub mod inventory;
pub mod name;
pub mod owner;
pub mod plan;
pub mod provider;
pub mod record;
pub mod round;
pub mod verify;
mod wildcard;
pub mod wire;

pub use desired::{Desired, InvalidInput, MailDomain, MailHost};
pub use family::Family;
pub use inventory::{Entry, Inventory};
pub use name::Name;
pub use owner::Owner;
pub use plan::{Adoption, Change, Plan, RecordState, State};
pub use provider::{Capabilities, Provider, ProviderError, Zone, observe};
pub use record::{Key, RecordSet, RecordType, Value};
pub use round::{Outcome, Round};
pub use verify::Verifier;
