//! The objects of the admin API.
//!
//! Times are seconds since the Unix epoch; sizes and quotas are octets.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::patch::present;

/// One page of a listing, in the order of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The objects.
    pub items: Vec<T>,
    /// What to pass as `after` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A domain that the service is responsible for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// The name in A-labels.
    #[schema(example = "xn--bcher-kva.example")]
    pub name: String,
    /// The name in U-labels.
    #[schema(example = "bücher.example")]
    pub unicode_name: String,
    /// Disabled domains take no mail and no logins.
    pub enabled: bool,
    /// Where mail for unknown users goes.
    pub catch_all: Option<String>,
    /// Where mail to postmaster@ and abuse@ goes when nobody has that address.
    pub postmaster: Option<String>,
    /// Quota of accounts without one of their own.
    pub quota: Option<u64>,
    /// What all its accounts may hold together.
    #[serde(default)]
    pub total_quota: Option<u64>,
    /// Its own MTA-STS policy; absent for the service's (`web.mtaSts`).
    #[serde(default)]
    pub mta_sts: Option<MtaSts>,
    /// What mail programs of its users connect to; absent for the service's (`web.clientHost`).
    #[serde(default)]
    #[schema(example = "mail.example.test")]
    pub client_host: Option<String>,
    /// The hosts in its MX records, as far as they are this service; absent for the service's own name.
    #[serde(default)]
    #[schema(example = json!(["mx-tokyo.example.test", "mx-us.example.test"]))]
    pub mx_hosts: Option<Vec<String>>,
    /// When it was created.
    pub created: u64,
    /// Changes with every write.
    pub revision: String,
}

/// A domain to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDomain {
    /// The name, in A-labels or U-labels.
    pub name: String,
    /// See [`Domain::catch_all`].
    #[serde(default)]
    pub catch_all: Option<String>,
    /// See [`Domain::postmaster`].
    #[serde(default)]
    pub postmaster: Option<String>,
    /// See [`Domain::quota`].
    #[serde(default)]
    pub quota: Option<u64>,
    /// See [`Domain::total_quota`].
    #[serde(default)]
    pub total_quota: Option<u64>,
    /// See [`Domain::mta_sts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mta_sts: Option<MtaSts>,
    /// See [`Domain::client_host`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_host: Option<String>,
    /// See [`Domain::mx_hosts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx_hosts: Option<Vec<String>>,
}

/// A change of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainPatch {
    /// See [`Domain::enabled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// See [`Domain::catch_all`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub catch_all: Option<Option<String>>,
    /// See [`Domain::postmaster`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub postmaster: Option<Option<String>>,
    /// See [`Domain::quota`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub quota: Option<Option<u64>>,
    /// See [`Domain::total_quota`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub total_quota: Option<Option<u64>>,
    /// See [`Domain::mta_sts`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MtaSts>)]
    pub mta_sts: Option<Option<MtaSts>>,
    /// See [`Domain::client_host`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub client_host: Option<Option<String>>,
    /// See [`Domain::mx_hosts`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub mx_hosts: Option<Option<Vec<String>>>,
}

/// The MTA-STS policy of a domain (RFC 8461 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MtaSts {
    /// What senders are to do when TLS fails.
    pub mode: MtaStsMode,
    /// The MX hosts, or patterns such as `*.mx.example.com`; empty for the domain's `mx_hosts`, else those of the service.
    #[serde(default)]
    pub mx: Vec<String>,
    /// How long senders may keep the policy, in seconds; at most 31557600, a year.
    #[serde(default = "a_week")]
    pub max_age: u64,
}

/// What senders are to do when TLS to an MX host fails (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MtaStsMode {
    /// There is no policy (any more).
    None,
    /// Deliver, and report it.
    Testing,
    /// Do not deliver.
    Enforce,
}

impl MtaStsMode {
    /// The word in the policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Testing => "testing",
            Self::Enforce => "enforce",
        }
    }
}

fn a_week() -> u64 {
    7 * 86_400
}

/// A user with mailboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Its number, which never changes and is never used again.
    pub id: u64,
    /// Its address and login name.
    #[schema(example = "alice@example.test")]
    pub address: String,
    /// The user's name, for people.
    pub display_name: String,
    /// Disabled accounts take no mail and no logins; their mail is kept.
    pub enabled: bool,
    /// Its own quota; absent for the domain's or the service's.
    pub quota: Option<u64>,
    /// Whether it has a password besides app passwords.
    pub has_password: bool,
    /// Where its mail goes besides its mailboxes, or instead of them; absent for its mailboxes alone.
    #[serde(default)]
    pub forwarding: Option<Forwarding>,
    /// When it was created.
    pub created: u64,
    /// Changes with every write.
    pub revision: String,
}

/// An account to be created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// See [`Account::address`].
    pub address: String,
    /// See [`Account::display_name`].
    #[serde(default)]
    pub display_name: String,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    pub password: Option<String>,
    /// A hash of another system instead of the password: `{SHA512-CRYPT}`, `{SHA256-CRYPT}`, `{BLF-CRYPT}`, `{SSHA}`,
    /// `{SSHA512}`, `{ARGON2ID}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// See [`Account::quota`].
    #[serde(default)]
    pub quota: Option<u64>,
    /// See [`Account::enabled`].
    #[serde(default = "yes")]
    pub enabled: bool,
    /// See [`Account::forwarding`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
}

/// A change of an account.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    /// See [`Account::display_name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// See [`Account::enabled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// See [`Account::quota`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub quota: Option<Option<u64>>,
    /// A new password; `null` takes it away.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub password: Option<Option<String>>,
    /// See [`NewAccount::password_hash`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// See [`Account::forwarding`]; it is set as a whole, and `null` takes it away.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Forwarding>)]
    pub forwarding: Option<Option<Forwarding>>,
}

/// Where the mail of an account goes besides its own mailboxes, or instead of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forwarding {
    /// At least one address, of this service or elsewhere; never the account's own.
    pub addresses: BTreeSet<String>,
    /// Whether the account's own mailboxes get the mail, too.
    #[serde(default = "yes")]
    pub keep_copy: bool,
}

fn yes() -> bool {
    true
}

/// An address that stands for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    /// The address, in a domain of the service.
    pub address: String,
    /// Where its mail goes.
    pub targets: BTreeSet<String>,
    /// When it was created.
    pub created: u64,
    /// Changes with every write.
    pub revision: String,
}

/// An alias to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlias {
    /// See [`Alias::address`].
    pub address: String,
    /// See [`Alias::targets`].
    pub targets: BTreeSet<String>,
}

/// The targets that an alias shall have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasTargets {
    /// See [`Alias::targets`].
    pub targets: BTreeSet<String>,
}

/// An address with members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// The address, in a domain of the service.
    pub address: String,
    /// Its name, for people.
    pub display_name: String,
    /// Whether members may send with the group's address.
    pub members_may_send: bool,
    /// When it was created.
    pub created: u64,
    /// Changes with every write of the group itself; members do not count.
    pub revision: String,
}

/// A group to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// See [`Group::address`].
    pub address: String,
    /// See [`Group::display_name`].
    #[serde(default)]
    pub display_name: String,
    /// See [`Group::members_may_send`].
    #[serde(default)]
    pub members_may_send: bool,
    /// Its first members.
    #[serde(default)]
    pub members: BTreeSet<String>,
}

/// A change of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupPatch {
    /// See [`Group::display_name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// See [`Group::members_may_send`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_may_send: Option<bool>,
}

/// A password of one program of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppPassword {
    /// What the user calls it.
    pub name: String,
    /// When it was created.
    pub created: u64,
}

/// An app password to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppPassword {
    /// What to call it; unique in the account.
    pub name: String,
}

/// An app password that was created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedAppPassword {
    /// What it is called.
    pub name: String,
    /// When it was created.
    pub created: u64,
    /// The password: this is the only time that it is shown.
    #[schema(format = Password)]
    pub password: String,
}

/// A mailbox with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mailbox {
    /// Its name, with `/` between levels.
    pub name: String,
    /// What it is for, such as `\Sent` (RFC 6154).
    pub special_use: Option<String>,
    /// Messages in it.
    pub messages: u64,
    /// Messages without `\Seen`.
    pub unseen: u64,
    /// Messages with `\Deleted`.
    pub deleted: u64,
    /// Octets of its messages.
    pub size: u64,
    /// The UID that the next message gets.
    pub uid_next: u32,
    /// UIDVALIDITY (RFC 9051 §2.3.1.1).
    pub uid_validity: u32,
}

/// A message in a mailbox, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// System flags and keywords, as IMAP writes them.
    #[schema(example = json!(["\\Seen", "$Forwarded"]))]
    pub flags: Vec<String>,
    /// INTERNALDATE.
    pub received: u64,
    /// Octets.
    pub size: u64,
}

/// Which mailbox an import goes to, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportQuery {
    /// The mailbox; `INBOX` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Make the mailbox if it is not there.
    #[serde(default)]
    pub create: bool,
    /// Flags and keywords, separated by spaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub flags: String,
    /// INTERNALDATE in seconds since the epoch; now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
}

/// What an import made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// UIDVALIDITY of the mailbox.
    pub uid_validity: u32,
    /// The UID of the message.
    pub uid: u32,
}

/// What is running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// `ekitei`.
    pub software: String,
    /// Its version.
    pub version: String,
    /// The host name in greetings.
    pub hostname: String,
    /// When the process started.
    pub started: u64,
    /// The version of the directory: rises with every change of it.
    pub directory_version: u64,
}

/// What `ekitei doctor` asks the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it is.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Not looked at; the detail says why.
    Skipped,
    /// Works, and will not for ever.
    Warning,
    /// Does not work.
    Failure,
}
