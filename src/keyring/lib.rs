//! Keys at rest.
//!
//! [`Keyring`] has the data keys that bodies are encrypted with: one in force for each domain, older ones for reading. They are stored wrapped by a master key
//! ([`MasterKeys`]): local ones of the configuration, or one of a key service ([`Wrapper`]). `docs/design/0010-encryption.md` says what that protects.
//!
//! [`MasterSecrets`] and [`SealingKeys`] are for everybody who stores secrets under keys of the configuration.

mod current;
mod destroy;
mod error;
mod keyring;
mod lifecycle;
mod maintenance;
mod master;
mod model;
mod rows;
mod sealing;
mod secret;
mod secrets;
mod wrapper;

pub use error::{Error, Result};
pub use keyring::{Gate, Keyring, Parts};
pub use maintenance::Maintained;
pub use master::{Configured, LocalMasterKey, MasterKeys};
pub use model::{KeyInfo, KeyPage, KeyState, Rewrapped, Rotated};
pub use sealing::{SealError, Sealed, SealingKeyId, SealingKeys};
pub use secret::{MasterSecret, SECRET_OCTETS, SecretError};
pub use secrets::MasterSecrets;
pub use wrapper::{Clear, WrapError, WrapFuture, Wrapper};
