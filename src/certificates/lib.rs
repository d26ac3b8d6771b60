//! TLS certificates that are kept in the metadata store, so that every process has them without a file or a restart.
//!
//! [`Certificates`] stores a chain with its key under a name that its owner chooses; the key is encrypted under a key derived from
//! `signing.encryptionKey`, and bound to the name. Each process watches for changes and puts what is stored in force in [`ekitei_net::Tls`]. One that
//! cannot be opened leaves the others as they are.

mod certificates;
mod error;
mod follow;
mod maintenance;
mod model;
mod rows;

pub use certificates::{Certificates, Parts};
pub use error::{Error, Result};
pub use model::{CertificateInfo, CertificateName, NewCertificate, Revision};
