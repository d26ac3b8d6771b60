//! The rows of the directory: keys, values, and the version row that every change writes.
//!
//! Keys are tuples whose first element is [`subspace::DIRECTORY`] and whose second says which table. `domain` is the
//! A-label text of a domain, `local` the case-folded local part, `id` the number of an account. Values are a format
//! byte ([`FORMAT`]) followed by postcard.
//!
//! | key after the subspace | value |
//! |---|---|
//! | `0` | not postcard: the versionstamp (10 bytes) of the last change of the directory |
//! | `1` | not postcard: the last account number given out, 8 bytes big-endian |
//! | `2, domain` | [`DomainRow`] |
//! | `3, domain, local` | [`Owner`]: which kind of object has the address, so that names are unique across all kinds |
//! | `4, id` | [`AccountRow`] |
//! | `5, domain, local` | [`AccountId`]: the accounts in the order of their addresses |
//! | `6, id` | [`CredentialRow`]: the account's own password |
//! | `7, id, name` | [`AppPasswordRow`] |
//! | `8, domain, local` | [`AliasRow`] |
//! | `9, domain, local` | [`GroupRow`] |
//! | `10, domain, local, member domain, member local` | `EmailAddress` of the member: one row each, so that groups may be large |

use std::collections::BTreeSet;
use std::ops::Range;

use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{self as kv, Transaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::address::{Domain, EmailAddress};
use crate::error::Error;
use crate::forwarding::Forwarding;
use crate::hosts::MtaSts;
use crate::model::{Account, AccountId, Alias, DomainInfo, Group, Revision, Timestamp};
use crate::tail::{self, if_there};

/// The format of the values that this version writes; it reads no other yet.
const FORMAT: u8 = 1;

const VERSION: u32 = 0;
const LAST_ACCOUNT: u32 = 1;
const DOMAIN: u32 = 2;
const OWNER: u32 = 3;
const ACCOUNT: u32 = 4;
const ACCOUNT_BY_ADDRESS: u32 = 5;
const CREDENTIAL: u32 = 6;
const APP_PASSWORD: u32 = 7;
const ALIAS: u32 = 8;
const GROUP: u32 = 9;
const MEMBER: u32 = 10;

pub(crate) const SUBSPACE: u32 = subspace::DIRECTORY;

/// The tables, as their keys name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Version,
    LastAccount,
    Domain,
    Owner,
    Account,
    AccountByAddress,
    Credential,
    AppPassword,
    Alias,
    Group,
    Member,
}

/// The table that a key of the directory belongs to.
pub(crate) fn table_of(key: &[u8]) -> TxResult<Table> {
    let prefixes = [
        (VERSION, Table::Version),
        (LAST_ACCOUNT, Table::LastAccount),
        (DOMAIN, Table::Domain),
        (OWNER, Table::Owner),
        (ACCOUNT, Table::Account),
        (ACCOUNT_BY_ADDRESS, Table::AccountByAddress),
        (CREDENTIAL, Table::Credential),
        (APP_PASSWORD, Table::AppPassword),
        (ALIAS, Table::Alias),
        (GROUP, Table::Group),
        (MEMBER, Table::Member),
    ];
    let found = prefixes.into_iter().find(|(number, _)| key.starts_with(&keys::key(&(SUBSPACE, *number))));
    found
        .map(|(_, table)| table)
        .ok_or_else(|| kv::Error::Corrupt("a key of an unknown table of the directory".into()).into())
}

/// What a transaction of ours ends with: a failure of the store, which may be retried, or a refusal, which may not.
#[derive(Debug)]
pub(crate) enum TxError {
    Store(kv::Error),
    Refused(Error),
}

impl From<kv::Error> for TxError {
    fn from(error: kv::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for TxError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl kv::AsKvError for TxError {
    fn as_kv_error(&self) -> Option<&kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

impl From<TxError> for Error {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Store(error) => error.into(),
            TxError::Refused(error) => error,
        }
    }
}

pub(crate) type TxResult<T> = Result<T, TxError>;

/// The listings that are paged through by address: which table, and how a row of it names its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    Accounts,
    Aliases,
    Groups,
}

impl Listing {
    fn table(self) -> u32 {
        match self {
            Self::Accounts => ACCOUNT_BY_ADDRESS,
            Self::Aliases => ALIAS,
            Self::Groups => GROUP,
        }
    }

    /// The rows of one domain, or of all.
    pub(crate) fn range(self, domain: Option<&Domain>) -> Range<Vec<u8>> {
        match domain {
            Some(domain) => keys::range(&(SUBSPACE, self.table(), domain.as_ascii())),
            None => keys::range(&(SUBSPACE, self.table())),
        }
    }

    /// The row of one address.
    pub(crate) fn key(self, address: &EmailAddress) -> Vec<u8> {
        by_address(self.table(), address)
    }
}

pub(crate) fn version_key() -> Vec<u8> {
    keys::key(&(SUBSPACE, VERSION))
}

pub(crate) fn last_account_key() -> Vec<u8> {
    keys::key(&(SUBSPACE, LAST_ACCOUNT))
}

pub(crate) fn domain_key(domain: &Domain) -> Vec<u8> {
    keys::key(&(SUBSPACE, DOMAIN, domain.as_ascii()))
}

pub(crate) fn domains() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, DOMAIN))
}

pub(crate) fn owner_key(address: &EmailAddress) -> Vec<u8> {
    by_address(OWNER, address)
}

pub(crate) fn owners(domain: &Domain) -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, OWNER, domain.as_ascii()))
}

pub(crate) fn account_key(id: AccountId) -> Vec<u8> {
    keys::key(&(SUBSPACE, ACCOUNT, id.get()))
}

pub(crate) fn credential_key(id: AccountId) -> Vec<u8> {
    keys::key(&(SUBSPACE, CREDENTIAL, id.get()))
}

pub(crate) fn app_password_key(id: AccountId, name: &str) -> Vec<u8> {
    keys::key(&(SUBSPACE, APP_PASSWORD, id.get(), name))
}

pub(crate) fn app_passwords(id: AccountId) -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, APP_PASSWORD, id.get()))
}

pub(crate) fn member_key(group: &EmailAddress, member: &EmailAddress) -> Vec<u8> {
    keys::key(&(
        SUBSPACE,
        MEMBER,
        group.domain().as_ascii(),
        group.local().folded(),
        member.domain().as_ascii(),
        member.local().folded(),
    ))
}

pub(crate) fn members(group: &EmailAddress) -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, MEMBER, group.domain().as_ascii(), group.local().folded()))
}

fn by_address(table: u32, address: &EmailAddress) -> Vec<u8> {
    keys::key(&(SUBSPACE, table, address.domain().as_ascii(), address.local().folded()))
}

/// Which kind of object has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owner {
    Account(AccountId),
    Alias,
    Group,
}

impl Owner {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Account(_) => "an account",
            Self::Alias => "an alias",
            Self::Group => "a group",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DomainRow {
    pub(crate) enabled: bool,
    pub(crate) catch_all: Option<EmailAddress>,
    pub(crate) postmaster: Option<EmailAddress>,
    pub(crate) quota: Option<u64>,
    pub(crate) created: Timestamp,
    pub(crate) revision: Revision,
    pub(crate) later: LaterOfDomain,
}

/// What later releases added to the row of a domain: see [`tail`].
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct LaterOfDomain {
    #[serde(deserialize_with = "if_there")]
    pub(crate) total_quota: Option<u64>,
    #[serde(deserialize_with = "if_there")]
    pub(crate) mta_sts: Option<MtaSts>,
    #[serde(deserialize_with = "if_there")]
    pub(crate) client_host: Option<Domain>,
    #[serde(deserialize_with = "if_there")]
    pub(crate) mx_hosts: Option<Vec<Domain>>,
}

impl Serialize for LaterOfDomain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { total_quota, mta_sts, client_host, mx_hosts } = self;
        let set = [total_quota.is_some(), mta_sts.is_some(), client_host.is_some(), mx_hosts.is_some()];
        match tail::fields_to_write(&set) {
            0 => ().serialize(serializer),
            1 => (total_quota,).serialize(serializer),
            2 => (total_quota, mta_sts).serialize(serializer),
            3 => (total_quota, mta_sts, client_host).serialize(serializer),
            _ => (total_quota, mta_sts, client_host, mx_hosts).serialize(serializer),
        }
    }
}

impl DomainRow {
    pub(crate) fn into_info(self, name: Domain) -> DomainInfo {
        let Self { enabled, catch_all, postmaster, quota, created, revision, later } = self;
        let LaterOfDomain { total_quota, mta_sts, client_host, mx_hosts } = later;
        DomainInfo {
            name,
            enabled,
            catch_all,
            postmaster,
            quota,
            total_quota,
            mta_sts,
            client_host,
            mx_hosts,
            created,
            revision,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub(crate) address: EmailAddress,
    pub(crate) display_name: String,
    pub(crate) enabled: bool,
    pub(crate) quota: Option<u64>,
    pub(crate) has_password: bool,
    pub(crate) created: Timestamp,
    pub(crate) revision: Revision,
    /// Of a later release: see [`tail`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "if_there")]
    pub(crate) forwarding: Option<Forwarding>,
}

impl AccountRow {
    pub(crate) fn into_account(self, id: AccountId) -> Account {
        let Self { address, display_name, enabled, quota, has_password, created, revision, forwarding } =
            self;
        Account { id, address, display_name, enabled, quota, has_password, forwarding, created, revision }
    }
}

/// A password; `revision` changes with the password and stays when only its hash is renewed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CredentialRow {
    pub(crate) hash: String,
    pub(crate) revision: Revision,
}

/// An app password; `digest` is that of [`crate::app_passwords`].
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AppPasswordRow {
    pub(crate) name: String,
    pub(crate) digest: [u8; 32],
    pub(crate) created: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AliasRow {
    pub(crate) address: EmailAddress,
    pub(crate) targets: BTreeSet<EmailAddress>,
    pub(crate) created: Timestamp,
    pub(crate) revision: Revision,
}

impl From<AliasRow> for Alias {
    fn from(row: AliasRow) -> Self {
        let AliasRow { address, targets, created, revision } = row;
        Self { address, targets, created, revision }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    pub(crate) address: EmailAddress,
    pub(crate) display_name: String,
    pub(crate) members_may_send: bool,
    pub(crate) created: Timestamp,
    pub(crate) revision: Revision,
}

impl From<GroupRow> for Group {
    fn from(row: GroupRow) -> Self {
        let GroupRow { address, display_name, members_may_send, created, revision } = row;
        Self { address, display_name, members_may_send, created, revision }
    }
}

/// Writes a value in the current format.
pub(crate) fn put<T: Serialize>(tx: &Transaction, key: &[u8], value: &T) -> TxResult<()> {
    let bytes = postcard::to_extend(value, vec![FORMAT])
        .map_err(|error| Error::Invalid(format!("the row cannot be written: {error}")))?;
    tx.set(key, &bytes);
    Ok(())
}

/// Reads a value.
pub(crate) async fn find<T: DeserializeOwned>(tx: &Transaction, key: &[u8]) -> TxResult<Option<T>> {
    match tx.get(key).await? {
        Some(bytes) => Ok(Some(decode(&bytes)?)),
        None => Ok(None),
    }
}

/// Decodes a value; a format that this version does not know is a failure of the store, not of the caller.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> TxResult<T> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest)
            .map_err(|error| kv::Error::Corrupt(format!("a row of the directory: {error}")).into()),
        Some((format, _)) => Err(kv::Error::Corrupt(format!(
            "a row of the directory has format {format}, which this version does not know"
        ))
        .into()),
        None => Err(kv::Error::Corrupt("a row of the directory is empty".to_owned()).into()),
    }
}

/// The domain name in a key of the domain table.
pub(crate) fn domain_of_key(key: &[u8]) -> TxResult<Domain> {
    let damaged = |reason: String| kv::Error::Corrupt(format!("a domain's key: {reason}"));
    let (_, _, name): (u32, u32, String) =
        foundationdb_tuple::unpack(key).map_err(|error| damaged(error.to_string()))?;
    Domain::parse(&name).map_err(|error| damaged(error.to_string()).into())
}

/// The address in a key of a table by address, in its case-folded form.
pub(crate) fn address_of_key(key: &[u8]) -> TxResult<EmailAddress> {
    let damaged = |reason: String| kv::Error::Corrupt(format!("an address's key: {reason}"));
    let (_, _, domain, local): (u32, u32, String, String) =
        foundationdb_tuple::unpack(key).map_err(|error| damaged(error.to_string()))?;
    let domain = Domain::parse(&domain).map_err(|error| damaged(error.to_string()))?;
    Ok(EmailAddress::from_key(domain, &local))
}

/// Marks the directory as changed by this transaction.
pub(crate) fn touch(tx: &Transaction) {
    tx.set_versionstamped_value(&version_key(), &[0; 10], 0);
}

/// The commit version of the last change, as this transaction sees it.
pub(crate) async fn last_change(tx: &Transaction) -> TxResult<kv::Version> {
    let stamp = tx.get_snapshot(&version_key()).await?;
    let version = stamp.as_deref().and_then(|stamp| stamp.first_chunk::<8>());
    Ok(version.map_or(0, |bytes| kv::Version::from_be_bytes(*bytes)))
}

/// The number for a new account.
pub(crate) async fn next_account_id(tx: &Transaction) -> TxResult<AccountId> {
    let key = last_account_key();
    let last = tx.get(&key).await?.as_deref().and_then(|value| value.first_chunk::<8>().copied());
    let id = last.map_or(0, u64::from_be_bytes) + 1;
    tx.set(&key, &id.to_be_bytes());
    Ok(AccountId::new(id))
}

/// Takes all numbers up to this one for given.
pub(crate) async fn raise_last_account(tx: &Transaction, last: u64) -> TxResult<()> {
    let key = last_account_key();
    if tx.get(&key).await?.map_or(0, |value| decode_last_account(&value)) < last {
        tx.set(&key, &last.to_be_bytes());
    }
    Ok(())
}

/// The number in the row of the last account.
pub(crate) fn decode_last_account(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
