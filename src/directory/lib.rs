//! Domains, accounts, aliases, groups and credentials: who an address leads to, and who may log in.
//!
//! Addresses are parsed once at the edge ([`EmailAddress`]); [`Directory`] answers three questions: where mail for an
//! address goes ([`Directory::resolve_recipient`]), whether a login is right ([`Directory::authenticate`]), and
//! whether an account may use a sender ([`Directory::may_send_as`]). Everything else serves the administrator.
//!
//! Every change writes the version row in the same transaction; lookups are cached in memory, and a cached one counts only as long as
//! it was read at or after the last change ([`Directory::follow_changes`]).

mod accounts;
mod address;
mod aliases;
mod app_passwords;
mod argon2id;
mod cache;
mod directory;
mod domains;
mod error;
mod forwarding;
mod groups;
mod hosts;
mod login;
mod model;
mod paging;
mod password;
mod resolve;
mod rows;
mod settings;
mod tail;
pub mod transfer;
mod verifier;

#[cfg(test)]
mod scenarios;

pub use address::{
    ADDRESS_OCTETS, AddressError, DOMAIN_OCTETS, Domain, EmailAddress, LOCAL_PART_OCTETS, LocalPart,
};
pub use aliases::ALIAS_TARGETS;
pub use directory::{Directory, Gate};
pub use error::{AuthError, Error, Result};
pub use forwarding::Forwarding;
pub use groups::NEW_GROUP_MEMBERS;
pub use hosts::{DOMAIN_MX_HOSTS, MTA_STS_MAX_AGE, MtaSts, MtaStsMode};
pub use model::{
    Account, AccountChange, AccountId, Alias, AppPassword, AuthContext, Authenticated, DomainChange,
    DomainInfo, DomainQuota, Group, GroupChange, LocalRecipient, NewAccount, NewDomain, NewGroup,
    NewPassword, Page, PageRequest, Quota, Recipient, Revision, Service, Timestamp,
};
pub use password::PASSWORD_OCTETS;
pub use settings::{Argon2Cost, Settings};
