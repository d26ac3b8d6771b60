//! The objects of the directory as its users see them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ekitei_kv::clock::Clock;
use serde::{Deserialize, Serialize};

use crate::address::{Domain, EmailAddress};
use crate::forwarding::Forwarding;
use crate::hosts::MtaSts;

/// The number of an account: sequential from 1, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(u64);

impl AccountId {
    /// Names the account with this number.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Changes with every write of an object; two equal ones mean that nobody wrote it in between (an HTTP entity tag).
///
/// It is the random id of the operation that wrote the object, which is also how a repeated transaction recognises its own work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revision(pub(crate) [u8; 16]);

impl Revision {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes()))
    }
}

/// When something happened: whole seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment as seconds since the Unix epoch.
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the Unix epoch.
    pub const fn unix(self) -> u64 {
        self.0
    }
}

impl Timestamp {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self(clock.now().as_secs())
    }
}

/// A domain that this service is responsible for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its name; never an address literal.
    pub name: Domain,
    /// Disabled domains take no mail and no logins.
    pub enabled: bool,
    /// Where mail for unknown users of the domain goes; `None` refuses it.
    pub catch_all: Option<EmailAddress>,
    /// Where mail to postmaster@ and abuse@ goes when neither is an account, alias or group.
    pub postmaster: Option<EmailAddress>,
    /// Quota of accounts that have none of their own, in bytes; `None` for the configured default.
    pub quota: Option<u64>,
    /// What all its accounts may hold together, in bytes; `None` for no limit.
    pub total_quota: Option<u64>,
    /// Its own MTA-STS policy; `None` for the service's.
    pub mta_sts: Option<MtaSts>,
    /// What mail programs of its users connect to; `None` for the service's name.
    pub client_host: Option<Domain>,
    /// The hosts in its MX records, as far as they are this service; `None` for the service's name.
    pub mx_hosts: Option<Vec<Domain>>,
    /// When it was created.
    pub created: Timestamp,
    /// Of the last write.
    pub revision: Revision,
}

/// What a new domain is made of.
#[derive(Clone, Debug, Default)]
pub struct NewDomain {
    /// See [`DomainInfo::catch_all`].
    pub catch_all: Option<EmailAddress>,
    /// See [`DomainInfo::postmaster`].
    pub postmaster: Option<EmailAddress>,
    /// See [`DomainInfo::quota`].
    pub quota: Option<u64>,
    /// See [`DomainInfo::total_quota`].
    pub total_quota: Option<u64>,
    /// See [`DomainInfo::mta_sts`].
    pub mta_sts: Option<MtaSts>,
    /// See [`DomainInfo::client_host`].
    pub client_host: Option<Domain>,
    /// See [`DomainInfo::mx_hosts`].
    pub mx_hosts: Option<Vec<Domain>>,
}

/// Changes to a domain; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct DomainChange {
    /// See [`DomainInfo::enabled`].
    pub enabled: Option<bool>,
    /// See [`DomainInfo::catch_all`].
    pub catch_all: Option<Option<EmailAddress>>,
    /// See [`DomainInfo::postmaster`].
    pub postmaster: Option<Option<EmailAddress>>,
    /// See [`DomainInfo::quota`].
    pub quota: Option<Option<u64>>,
    /// See [`DomainInfo::total_quota`].
    pub total_quota: Option<Option<u64>>,
    /// See [`DomainInfo::mta_sts`].
    pub mta_sts: Option<Option<MtaSts>>,
    /// See [`DomainInfo::client_host`].
    pub client_host: Option<Option<Domain>>,
    /// See [`DomainInfo::mx_hosts`].
    pub mx_hosts: Option<Option<Vec<Domain>>>,
}

/// How much an account may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Octets of the account alone; `None` for no limit.
    pub account: Option<u64>,
    /// What all accounts of its domain may hold together, if that is limited.
    pub domain: Option<DomainQuota>,
}

/// How much all accounts of a domain may hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainQuota {
    /// The domain.
    pub domain: Domain,
    /// Octets.
    pub limit: u64,
}

impl Quota {
    /// That of an account whose domain has none.
    pub fn of_account(limit: u64) -> Self {
        Self { account: Some(limit), domain: None }
    }

    /// Whether a message of `size` octets would not even fit if there were nothing else.
    pub fn never_fits(&self, size: u64) -> bool {
        let limits = [self.account, self.domain.as_ref().map(|domain| domain.limit)];
        limits.into_iter().flatten().any(|limit| size > limit)
    }
}

/// A user with mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number, by which the mailstore knows it.
    pub id: AccountId,
    /// Its address, which is also its login name.
    pub address: EmailAddress,
    /// The user's name, for people; may be empty.
    pub display_name: String,
    /// Disabled accounts take no mail and no logins; their mail is kept.
    pub enabled: bool,
    /// Its own quota in bytes; `None` for the domain's or the configured default.
    pub quota: Option<u64>,
    /// Whether it has a password of its own (besides app passwords).
    pub has_password: bool,
    /// Where its mail goes besides its mailboxes, or instead of them.
    pub forwarding: Option<Forwarding>,
    /// When it was created.
    pub created: Timestamp,
    /// Of the last write.
    pub revision: Revision,
}

/// What a new account is made of.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// See [`Account::address`].
    pub address: EmailAddress,
    /// See [`Account::display_name`].
    pub display_name: String,
    /// `None` makes an account that only app passwords can open.
    pub password: Option<NewPassword>,
    /// See [`Account::quota`].
    pub quota: Option<u64>,
    /// See [`Account::enabled`].
    pub enabled: bool,
    /// See [`Account::forwarding`].
    pub forwarding: Option<Forwarding>,
}

/// Changes to an account; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// See [`Account::display_name`].
    pub display_name: Option<String>,
    /// See [`Account::enabled`].
    pub enabled: Option<bool>,
    /// See [`Account::quota`].
    pub quota: Option<Option<u64>>,
    /// A new password, or `Some(None)` to take it away.
    pub password: Option<Option<NewPassword>>,
    /// See [`Account::forwarding`].
    pub forwarding: Option<Option<Forwarding>>,
}

/// A password on its way in. `Debug` does not show it.
#[derive(Clone)]
pub enum NewPassword {
    /// The password itself; stored as Argon2id.
    Plain(String),
    /// A hash of another system with its scheme, such as `{SHA512-CRYPT}$6$...`; replaced by Argon2id at the
    /// first login.
    Hash(String),
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Hash(_) => "Hash(..)",
        })
    }
}

/// An address that stands for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The address, in a domain of ours.
    pub address: EmailAddress,
    /// Where its mail goes: at least one address, local or remote.
    pub targets: BTreeSet<EmailAddress>,
    /// When it was created.
    pub created: Timestamp,
    /// Of the last write.
    pub revision: Revision,
}

/// An address with members that come and go one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The address, in a domain of ours.
    pub address: EmailAddress,
    /// Its name, for people; may be empty.
    pub display_name: String,
    /// Whether members may send with the group's address as the sender.
    pub members_may_send: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Of the last write (members do not count).
    pub revision: Revision,
}

/// What a new group is made of.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// See [`Group::address`].
    pub address: EmailAddress,
    /// See [`Group::display_name`].
    pub display_name: String,
    /// See [`Group::members_may_send`].
    pub members_may_send: bool,
    /// Its first members.
    pub members: BTreeSet<EmailAddress>,
}

/// Changes to a group; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// See [`Group::display_name`].
    pub display_name: Option<String>,
    /// See [`Group::members_may_send`].
    pub members_may_send: Option<bool>,
}

/// A password of one program of a user. The password itself is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPassword {
    /// What the user calls it; unique in the account.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
}

/// Which page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// The `next` of the page before; `None` for the first.
    pub after: Option<String>,
    /// At most this many objects, 1 to [`PageRequest::MAX_LIMIT`]; 0 for [`PageRequest::DEFAULT_LIMIT`].
    pub limit: usize,
}

impl PageRequest {
    /// Objects on a page when the request does not say.
    pub const DEFAULT_LIMIT: usize = 100;
    /// Most objects on a page.
    pub const MAX_LIMIT: usize = 1000;

    /// Objects on the page, whatever was asked for.
    pub fn effective_limit(&self) -> usize {
        if self.limit == 0 { Self::DEFAULT_LIMIT } else { self.limit.min(Self::MAX_LIMIT) }
    }
}

/// A page of a listing, in the order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The objects.
    pub items: Vec<T>,
    /// What to ask for to get the next page; `None` at the end.
    pub next: Option<String>,
}

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Accounts of ours, addresses elsewhere that aliases, groups and forwarding lead to, or both; never neither.
    Local {
        /// Each account once, however many ways lead to it.
        accounts: Vec<LocalRecipient>,
        /// Addresses of other domains.
        forwards: Vec<EmailAddress>,
    },
    /// The domain is not ours.
    Remote,
    /// The domain is ours, and nobody has this address (SMTP `550 5.1.1`).
    Unknown,
    /// Everyone behind the address is disabled, or its domain is (SMTP `550 5.2.1`).
    Disabled,
    /// Aliases, groups or forwarding behind the address are nested too deep, lead only in circles or to too many: the administrator's fault
    /// (SMTP `451 4.3.5`, so that mail waits until it is mended).
    Misconfigured(String),
}

/// One account behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRecipient {
    /// The account.
    pub account: AccountId,
    /// The account's own address: where the mail was finally delivered to.
    pub address: EmailAddress,
    /// What stood after the separator (`+`) in the address that led to the account.
    pub detail: Option<String>,
}

/// Which program asks for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Submission.
    Smtp,
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
    /// HTTP.
    Http,
}

/// Around a login: for logs, and for the rules of external authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthContext {
    /// Which program asks.
    pub service: Service,
    /// The client's address, if known.
    pub peer: Option<IpAddr>,
}

/// A successful login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The account.
    pub account: AccountId,
    /// Its address.
    pub address: EmailAddress,
    /// The name of the app password that was used, if one was.
    pub app_password: Option<String>,
}
