//! Certificates of mail domains: ACME, renewal, and the rollover of keys whose fingerprints are in the DNS.
//!
//! Nothing here knows Kubernetes, and nothing here writes to the DNS: what a certificate authority asks for is given
//! to the caller's [`acme::Challenges`], and what the rollover wants done comes out of [`rollover::Rollover::advance`]
//! as actions. State is in values that the caller persists: [`acme::Credentials`], [`Key`], [`Certificate`],
//! [`renewal::Plan`], [`rollover::Rollover`].
//!
//! - [`Key`] and [`KeyId`]: private keys, and the hash of their public half, which is what TLSA records hold.
//! - [`Certificate`]: a chain as a server gives it: whom it names, until when, whether a key fits.
//! - [`tlsa`]: the records of RFC 7672.
//! - [`renewal`]: when to renew (RFC 9773, or at two thirds of the lifetime).
//! - [`acme`]: accounts and orders (RFC 8555) with DNS-01.
//! - [`rollover`]: from one key to the next without a moment at which DANE fails.

pub mod acme;
pub mod certificate;
pub mod key;
pub mod name;
pub mod renewal;
pub mod rollover;
pub mod tlsa;

pub use certificate::{Certificate, CertificateError};
pub use key::{Key, KeyError, KeyId, KeyType};
pub use name::{HostName, NameError};
pub use tlsa::Tlsa;
