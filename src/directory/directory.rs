//! The directory as its users see it.

use std::collections::BTreeSet;

use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, Version};

use crate::address::{Domain, EmailAddress};
use crate::error::{AuthError, Result};
use crate::model::*;
use crate::settings::Settings;

/// The directory: cheap to clone, shared by all servers of the process.
#[derive(Clone)]
pub struct Directory {}

impl Directory {
    /// Opens the directory in `db`. Spawn [`Directory::follow_changes`] to hear of other processes' changes at once.
    pub fn new(db: Database, settings: Settings, clock: SharedClock) -> Self {
        let _ = (db, settings, clock);
        todo!()
    }

    /// Replaces the settings (a reload of the configuration).
    pub fn reload(&self, settings: Settings) {
        let _ = settings;
        todo!()
    }

    /// Watches the version row and drops cached lookups when it changes; runs until it is dropped. Without it, changes of
    /// other processes are seen after `cache_ttl` at the latest.
    pub async fn follow_changes(&self) {
        todo!()
    }

    /// The commit version of the last change of the directory; 0 for an empty one.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn version(&self) -> Result<Version> {
        todo!()
    }

    /// Where mail for `address` goes.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: answer with a temporary failure.
    pub async fn resolve_recipient(&self, address: &EmailAddress) -> Result<Recipient> {
        let _ = address;
        todo!()
    }

    /// Where mail for `<postmaster>` without a domain goes (RFC 5321 §4.5.1); `Unknown` when nobody is named for it.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn resolve_postmaster(&self) -> Result<Recipient> {
        todo!()
    }

    /// Whether `domain` is one of ours, enabled or not.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn is_local_domain(&self, domain: &Domain) -> Result<bool> {
        let _ = domain;
        todo!()
    }

    /// Checks a login name and a password. Costs about the same time for unknown users as for wrong passwords.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(
        &self,
        login: &str,
        password: &str,
        context: AuthContext,
    ) -> Result<Authenticated, AuthError> {
        let _ = (login, password, context);
        todo!()
    }

    /// Whether the account may send with `sender` as its address: its own address with or without a detail, an alias or a group
    /// (if that allows it) that leads to it, or an address that the catch-all gives it.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn may_send_as(&self, account: AccountId, sender: &EmailAddress) -> Result<bool> {
        let _ = (account, sender);
        todo!()
    }

    /// The quota of an account in bytes: its own, its domain's, or the configured default; `None` for no limit. Cached.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::Unavailable`].
    pub async fn quota(&self, account: AccountId) -> Result<Option<u64>> {
        let _ = account;
        todo!()
    }

    /// An account by its number. Cached.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::Unavailable`].
    pub async fn account(&self, id: AccountId) -> Result<Account> {
        let _ = id;
        todo!()
    }

    /// An account by its own address (no aliases, no details).
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::Unavailable`].
    pub async fn account_by_address(&self, address: &EmailAddress) -> Result<Account> {
        let _ = address;
        todo!()
    }

    /// Creates a domain.
    ///
    /// # Errors
    /// `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_domain(&self, name: &Domain, new: NewDomain) -> Result<DomainInfo> {
        let _ = (name, new);
        todo!()
    }

    /// A domain.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn domain(&self, name: &Domain) -> Result<DomainInfo> {
        let _ = name;
        todo!()
    }

    /// Domains in the order of their names.
    ///
    /// # Errors
    /// `Invalid` for a page that none of our pages named, `Unavailable`.
    pub async fn list_domains(&self, page: &PageRequest) -> Result<Page<DomainInfo>> {
        let _ = page;
        todo!()
    }

    /// Changes a domain; with `expected`, only if it still has that revision.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`, `Unavailable`.
    pub async fn update_domain(
        &self,
        name: &Domain,
        change: DomainChange,
        expected: Option<Revision>,
    ) -> Result<DomainInfo> {
        let _ = (name, change, expected);
        todo!()
    }

    /// Removes a domain; with `force`, together with its accounts, aliases and groups. Returns the accounts that went, whose mail
    /// the caller removes.
    ///
    /// # Errors
    /// `NotFound`, `InUse` without `force`, `Unavailable`.
    pub async fn delete_domain(&self, name: &Domain, force: bool) -> Result<Vec<AccountId>> {
        let _ = (name, force);
        todo!()
    }

    /// Creates an account.
    ///
    /// # Errors
    /// `NotFound` for its domain, `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_account(&self, new: NewAccount) -> Result<Account> {
        let _ = new;
        todo!()
    }

    /// Accounts of a domain, or of all, in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound` for the domain, `Invalid`, `Unavailable`.
    pub async fn list_accounts(&self, domain: Option<&Domain>, page: &PageRequest) -> Result<Page<Account>> {
        let _ = (domain, page);
        todo!()
    }

    /// Changes an account; with `expected`, only if it still has that revision.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`, `Unavailable`.
    pub async fn update_account(
        &self,
        id: AccountId,
        change: AccountChange,
        expected: Option<Revision>,
    ) -> Result<Account> {
        let _ = (id, change, expected);
        todo!()
    }

    /// Removes an account with its passwords. Its mail is the caller's to remove.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_account(&self, id: AccountId) -> Result<()> {
        let _ = id;
        todo!()
    }

    /// Makes an app password and returns it: the only time that it can be seen.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `Invalid` (name, or too many of them), `Unavailable`.
    pub async fn create_app_password(&self, account: AccountId, name: &str) -> Result<(AppPassword, String)> {
        let _ = (account, name);
        todo!()
    }

    /// All app passwords of an account.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn list_app_passwords(&self, account: AccountId) -> Result<Vec<AppPassword>> {
        let _ = account;
        todo!()
    }

    /// Revokes an app password.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_app_password(&self, account: AccountId, name: &str) -> Result<()> {
        let _ = (account, name);
        todo!()
    }

    /// Creates an alias.
    ///
    /// # Errors
    /// `NotFound` for its domain, `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_alias(
        &self,
        address: &EmailAddress,
        targets: BTreeSet<EmailAddress>,
    ) -> Result<Alias> {
        let _ = (address, targets);
        todo!()
    }

    /// An alias.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn alias(&self, address: &EmailAddress) -> Result<Alias> {
        let _ = address;
        todo!()
    }

    /// Aliases of a domain, or of all, in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound` for the domain, `Invalid`, `Unavailable`.
    pub async fn list_aliases(&self, domain: Option<&Domain>, page: &PageRequest) -> Result<Page<Alias>> {
        let _ = (domain, page);
        todo!()
    }

    /// Replaces the targets of an alias; with `expected`, only if it still has that revision.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`, `Unavailable`.
    pub async fn update_alias(
        &self,
        address: &EmailAddress,
        targets: BTreeSet<EmailAddress>,
        expected: Option<Revision>,
    ) -> Result<Alias> {
        let _ = (address, targets, expected);
        todo!()
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_alias(&self, address: &EmailAddress) -> Result<()> {
        let _ = address;
        todo!()
    }

    /// Creates a group.
    ///
    /// # Errors
    /// `NotFound` for its domain, `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_group(&self, new: NewGroup) -> Result<Group> {
        let _ = new;
        todo!()
    }

    /// A group.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn group(&self, address: &EmailAddress) -> Result<Group> {
        let _ = address;
        todo!()
    }

    /// Groups of a domain, or of all, in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound` for the domain, `Invalid`, `Unavailable`.
    pub async fn list_groups(&self, domain: Option<&Domain>, page: &PageRequest) -> Result<Page<Group>> {
        let _ = (domain, page);
        todo!()
    }

    /// Changes a group; with `expected`, only if it still has that revision.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`, `Unavailable`.
    pub async fn update_group(
        &self,
        address: &EmailAddress,
        change: GroupChange,
        expected: Option<Revision>,
    ) -> Result<Group> {
        let _ = (address, change, expected);
        todo!()
    }

    /// Removes a group with its members.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_group(&self, address: &EmailAddress) -> Result<()> {
        let _ = address;
        todo!()
    }

    /// Members of a group in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Unavailable`.
    pub async fn list_members(&self, group: &EmailAddress, page: &PageRequest) -> Result<Page<EmailAddress>> {
        let _ = (group, page);
        todo!()
    }

    /// Adds a member; nothing happens if it is one already.
    ///
    /// # Errors
    /// `NotFound` for the group, `Invalid`, `Unavailable`.
    pub async fn add_member(&self, group: &EmailAddress, member: &EmailAddress) -> Result<()> {
        let _ = (group, member);
        todo!()
    }

    /// Removes a member.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn remove_member(&self, group: &EmailAddress, member: &EmailAddress) -> Result<()> {
        let _ = (group, member);
        todo!()
    }
}
