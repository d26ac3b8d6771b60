//! Accounts: users with mailboxes.

use std::sync::Arc;

use ekitei_kv::Transaction;

use crate::address::{Domain, EmailAddress};
use crate::cache::{Key, Value};
use crate::directory::Directory;
use crate::domains::{gone_or_missing, require_domain, revision_matches};
use crate::error::{Error, Result};
use crate::forwarding::Forwarding;
use crate::model::{
    Account, AccountChange, AccountId, DomainQuota, NewAccount, NewPassword, Page, PageRequest, Quota,
    Revision,
};
use crate::paging::{self, Bounds};
use crate::password::{self, StoredHash};
use crate::rows::{self, AccountRow, CredentialRow, Listing, Owner, TxResult};

/// Longest display name in octets.
const DISPLAY_NAME_OCTETS: usize = 1000;

impl Directory {
    /// Creates an account.
    ///
    /// # Errors
    /// `NotFound` for its domain, `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_account(&self, new: NewAccount) -> Result<Account> {
        let NewAccount { address, display_name, password, quota, enabled, forwarding } = new;
        check_display_name(&display_name)?;
        self.check_forwarding(forwarding.as_ref(), &address)?;
        let revision = Revision::random();
        let credential = match password {
            Some(password) => Some(self.credential(password, revision).await?),
            None => None,
        };
        let row = AccountRow {
            address,
            display_name,
            enabled,
            quota,
            has_password: credential.is_some(),
            created: self.now(),
            revision,
            forwarding,
        };
        let (row, credential) = (&row, &credential);
        self.change(|tx| async move {
            require_domain(&tx, row.address.domain()).await?;
            let owner = rows::find::<Owner>(&tx, &rows::owner_key(&row.address)).await?;
            if let Some(Owner::Account(id)) = owner
                && find_row(&tx, id).await?.is_some_and(|existing| existing.revision == revision)
            {
                return Ok(row.clone().into_account(id));
            }
            refuse_taken(owner, &row.address)?;
            let id = rows::next_account_id(&tx).await?;
            rows::put(&tx, &rows::owner_key(&row.address), &Owner::Account(id))?;
            rows::put(&tx, &Listing::Accounts.key(&row.address), &id)?;
            rows::put(&tx, &rows::account_key(id), row)?;
            if let Some(credential) = credential {
                rows::put(&tx, &rows::credential_key(id), credential)?;
            }
            Ok(row.clone().into_account(id))
        })
        .await
    }

    /// An account by its number. Cached.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn account(&self, id: AccountId) -> Result<Account> {
        let account = self.find_account(id).await?.ok_or_else(|| Error::not_found("account", id))?;
        Ok(Account::clone(&account))
    }

    pub(crate) async fn find_account(&self, id: AccountId) -> Result<Option<Arc<Account>>> {
        let value = self
            .look_up(Key::Account(id), |tx| async move {
                let row = find_row(&tx, id).await?;
                Ok(Value::Account(row.map(|row| Arc::new(row.into_account(id)))))
            })
            .await?;
        match value {
            Value::Account(account) => Ok(account),
            _ => Ok(None),
        }
    }

    /// An account by its own address (no aliases, no details).
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn account_by_address(&self, address: &EmailAddress) -> Result<Account> {
        self.read(|tx| async move {
            let owner = rows::find(&tx, &rows::owner_key(address)).await?;
            let Some(Owner::Account(id)) = owner else {
                return Err(Error::not_found("account", address).into());
            };
            Ok(require_row(&tx, id).await?.into_account(id))
        })
        .await
    }

    /// The quota of an account: its own, its domain's for each account, or the configured default; and what its domain may hold in all. Cached.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn quota(&self, id: AccountId) -> Result<Quota> {
        let account = self.find_account(id).await?.ok_or_else(|| Error::not_found("account", id))?;
        let domain = self.find_domain(account.address.domain()).await?;
        let of_each = domain.as_ref().and_then(|domain| domain.quota);
        let total = domain.as_ref().and_then(|domain| domain.total_quota);
        Ok(Quota {
            account: account.quota.or(of_each).or(self.current().settings.default_quota),
            domain: total.map(|limit| DomainQuota { domain: account.address.domain().clone(), limit }),
        })
    }

    /// Accounts of a domain, or of all, in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound` for the domain, `Invalid`, `Unavailable`.
    pub async fn list_accounts(&self, domain: Option<&Domain>, page: &PageRequest) -> Result<Page<Account>> {
        let bounds = &listing_bounds(Listing::Accounts, domain, page)?;
        self.read(|tx| async move {
            if let Some(domain) = domain {
                require_domain(&tx, domain).await?;
            }
            let (found, more) = bounds.rows(&tx).await?;
            let mut accounts = Vec::with_capacity(found.len());
            for row in &found {
                let id: AccountId = rows::decode(&row.value)?;
                accounts.push(require_row(&tx, id).await?.into_account(id));
            }
            Ok(paging::page(accounts, more, |account| account.address.to_wire()))
        })
        .await
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
        let AccountChange { display_name, enabled, quota, password, forwarding } = change;
        if let Some(name) = &display_name {
            check_display_name(name)?;
        }
        let revision = Revision::random();
        let credential = match password {
            None => None,
            Some(None) => Some(None),
            Some(Some(password)) => Some(Some(self.credential(password, revision).await?)),
        };
        let (display_name, credential, forwarding) = (&display_name, &credential, &forwarding);
        self.change(|tx| async move {
            let mut row = require_row(&tx, id).await?;
            revision_matches(row.revision, expected, revision, &row.address)?;
            if let Some(name) = display_name {
                row.display_name.clone_from(name);
            }
            row.enabled = enabled.unwrap_or(row.enabled);
            row.quota = quota.unwrap_or(row.quota);
            if let Some(forwarding) = forwarding {
                self.check_forwarding(forwarding.as_ref(), &row.address)?;
                row.forwarding.clone_from(forwarding);
            }
            match credential {
                None => {}
                Some(None) => tx.clear(&rows::credential_key(id)),
                Some(Some(credential)) => rows::put(&tx, &rows::credential_key(id), credential)?,
            }
            row.has_password = credential.as_ref().map_or(row.has_password, Option::is_some);
            row.revision = revision;
            rows::put(&tx, &rows::account_key(id), &row)?;
            Ok(row.into_account(id))
        })
        .await
    }

    /// Removes an account with its passwords. Its mail is the caller's to remove.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_account(&self, id: AccountId) -> Result<()> {
        self.change(|tx| async move {
            match find_row(&tx, id).await? {
                Some(row) => remove(&tx, id, &row.address),
                None => gone_or_missing(&tx, "account", &id)?,
            }
            Ok(())
        })
        .await
    }

    fn check_forwarding(&self, forwarding: Option<&Forwarding>, owner: &EmailAddress) -> Result<()> {
        let Some(forwarding) = forwarding else { return Ok(()) };
        forwarding.check(owner, &self.current().settings)?;
        self.require_additions()
    }

    /// Makes the row of a new password. `{PLAIN}` is hashed like a password that was typed.
    async fn credential(&self, password: NewPassword, revision: Revision) -> Result<CredentialRow> {
        let current = self.current();
        let hash = match password {
            NewPassword::Plain(password) => {
                password::check_new(&password, current.settings.password_min_length)?;
                current.verifier.hash(password).await?
            }
            NewPassword::Hash(text) => match StoredHash::parse(&text)? {
                StoredHash::Plain(password) => {
                    // What another system took may be short, but a login needs a secret.
                    password::check_new(&password, 1)?;
                    current.verifier.hash(password).await?
                }
                hash => hash,
            },
        };
        Ok(CredentialRow { hash: hash.to_text(), revision })
    }
}

/// The rows of a page of a listing by address.
pub(crate) fn listing_bounds(
    listing: Listing,
    domain: Option<&Domain>,
    page: &PageRequest,
) -> Result<Bounds> {
    let after = page.after.as_deref().map(EmailAddress::parse).transpose()?;
    Ok(Bounds::new(listing.range(domain), after.map(|address| listing.key(&address)), page))
}

/// Refuses an address that somebody has.
pub(crate) fn refuse_taken(owner: Option<Owner>, address: &EmailAddress) -> Result<()> {
    match owner {
        Some(owner) => Err(Error::AlreadyExists { what: owner.kind(), name: address.to_string() }),
        None => Ok(()),
    }
}

pub(crate) fn check_display_name(name: &str) -> Result<()> {
    if name.len() > DISPLAY_NAME_OCTETS {
        return Err(Error::Invalid(format!("the name is longer than {DISPLAY_NAME_OCTETS} octets")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::Invalid("the name contains a control character".to_owned()));
    }
    Ok(())
}

pub(crate) async fn find_row(tx: &Transaction, id: AccountId) -> TxResult<Option<AccountRow>> {
    rows::find(tx, &rows::account_key(id)).await
}

pub(crate) async fn require_row(tx: &Transaction, id: AccountId) -> TxResult<AccountRow> {
    Ok(find_row(tx, id).await?.ok_or_else(|| Error::not_found("account", id))?)
}

/// Removes the rows of an account.
pub(crate) fn remove(tx: &Transaction, id: AccountId, address: &EmailAddress) {
    tx.clear(&rows::owner_key(address));
    tx.clear(&Listing::Accounts.key(address));
    tx.clear(&rows::account_key(id));
    tx.clear(&rows::credential_key(id));
    tx.clear_range(rows::app_passwords(id));
}
