//! Forwarding: an account's mail goes to other addresses, besides its own mailboxes or instead of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::error::{Error, Result};
use crate::settings::Settings;

/// Where the mail of an account goes, besides its own mailboxes or instead of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// At least one address, here or elsewhere; never the account's own.
    pub addresses: BTreeSet<EmailAddress>,
    /// Whether the account's own mailboxes get the mail, too.
    pub keep_copy: bool,
}

impl Forwarding {
    /// Whether the account `owner` may have it.
    pub(crate) fn check(&self, owner: &EmailAddress, settings: &Settings) -> Result<()> {
        let refuse = |reason: String| Err(Error::Invalid(reason));
        if self.addresses.is_empty() {
            return refuse("forwarding needs at least one address".to_owned());
        }
        if self.addresses.len() > settings.forwarding_addresses {
            return refuse(format!(
                "an account forwards to at most {} addresses (directory.maxForwardingAddresses); forward to a group",
                settings.forwarding_addresses
            ));
        }
        if self.addresses.contains(owner) {
            return refuse(format!("{owner} cannot forward to itself; keep a copy instead"));
        }
        Ok(())
    }
}
