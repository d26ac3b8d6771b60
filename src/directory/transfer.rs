//! The directory in and out in whole: its rows for a backup, and its objects back into a directory.
//!
//! A backup keeps rows as they are, so that nothing is lost that a later form adds. A restore reads them as objects: each is written in one
//! transaction, unless something has its address already; an account keeps its number where that is free, or gets a new one.

use std::collections::BTreeMap;
use std::ops::Range;

use ekitei_kv::{self as kv, Database, KeyValue, RangeOptions, Transaction, Version, keys};
use foundationdb_tuple::unpack;

use crate::Directory;
use crate::address::{Domain, EmailAddress};
use crate::error::{Error, Result};
use crate::model::AccountId;
use crate::rows::{
    self, AccountRow, AliasRow, AppPasswordRow, CredentialRow, GroupRow, Owner, Table, TxError, TxResult,
};

/// Rows of one page of an export.
const PAGE: usize = 1000;
/// Members that one transaction writes.
const MEMBERS: usize = 2000;

/// Where an export is.
#[derive(Clone, Debug)]
pub struct ExportCursor(Range<Vec<u8>>);

impl Default for ExportCursor {
    fn default() -> Self {
        Self(keys::range(&(rows::SUBSPACE,)))
    }
}

/// One page of an export.
#[derive(Clone, Debug)]
pub struct ExportPage {
    /// The rows, in order; no more than what is left out because it is of this store alone.
    pub rows: Vec<KeyValue>,
    /// How many of them are domains.
    pub domains: u64,
    /// The accounts among them.
    pub accounts: Vec<(AccountId, EmailAddress)>,
    /// The version they were read at.
    pub version: Version,
    /// Where the next page begins; `None` after the last.
    pub next: Option<ExportCursor>,
}

/// An account of a backup, with all that belongs to it.
#[derive(Clone)]
pub struct AccountCopy {
    /// The number it had.
    pub id: AccountId,
    /// Its address.
    pub address: EmailAddress,
    row: AccountRow,
    credential: Option<CredentialRow>,
    app_passwords: Vec<AppPasswordRow>,
}

impl AccountCopy {
    /// How many app passwords it has.
    pub fn app_passwords(&self) -> usize {
        self.app_passwords.len()
    }
}

/// The objects of a backed-up directory.
#[derive(Default)]
pub struct DirectoryCopy {
    domains: BTreeMap<String, Vec<u8>>,
    accounts: BTreeMap<AccountId, AccountRow>,
    credentials: BTreeMap<AccountId, CredentialRow>,
    app_passwords: BTreeMap<AccountId, Vec<AppPasswordRow>>,
    aliases: Vec<AliasRow>,
    groups: Vec<GroupRow>,
    members: BTreeMap<(String, String), Vec<EmailAddress>>,
    last_account: u64,
}

/// What a restore did with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed<T> {
    /// It was written, under this number if it is an account.
    Added(T),
    /// Something of that address, and of the same kind, was there.
    Present(T),
    /// Something of another kind has the address; nothing was written.
    Taken(&'static str),
}

impl Directory {
    /// One page of all rows of the directory, as they are at one version.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn export(&self, from: &ExportCursor) -> Result<ExportPage> {
        self.read(|tx| async move {
            let options = RangeOptions { limit: PAGE, snapshot: true, ..RangeOptions::default() };
            let found = tx.get_range(from.0.clone(), options).await?;
            let next = (found.len() == PAGE).then(|| {
                let mut start = found[PAGE - 1].key.to_vec();
                start.push(0);
                ExportCursor(start..from.0.end.clone())
            });
            let (mut accounts, mut domains) = (Vec::new(), 0);
            let mut rows = Vec::with_capacity(found.len());
            for row in found {
                match rows::table_of(&row.key)? {
                    Table::Version => continue,
                    Table::Domain => domains += 1,
                    Table::Account => {
                        let account: AccountRow = rows::decode(&row.value)?;
                        accounts.push((account_of(&row.key)?, account.address));
                    }
                    _ => {}
                }
                rows.push(row);
            }
            Ok(ExportPage { rows, domains, accounts, version: tx.read_version().await?, next })
        })
        .await
    }

    /// Writes a domain of a backup, unless it is there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn restore_domain(&self, copy: &DirectoryCopy, domain: &Domain) -> Result<Placed<()>> {
        let Some(row) = copy.domains.get(domain.as_ascii()) else {
            return Err(Error::not_found("domain in the backup:", domain));
        };
        self.change(|tx| async move {
            let key = rows::domain_key(domain);
            if let Some(found) = tx.get(&key).await? {
                let ours = tx.may_have_committed() && found[..] == row[..];
                return Ok(if ours { Placed::Added(()) } else { Placed::Present(()) });
            }
            tx.set(&key, row);
            Ok(Placed::Added(()))
        })
        .await
    }

    /// Writes an account of a backup with its passwords, unless its address is taken. It gets the number it had if `keep_number` and nobody
    /// has that (in a store that gave none yet, or where it was this account's), else a new one; then app passwords, which are bound to the
    /// number, are left out. Its domain must be there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn restore_account(&self, copy: &AccountCopy, keep_number: bool) -> Result<Placed<AccountId>> {
        self.change(|tx| async move {
            let address = &copy.address;
            if let Some(owner) = rows::find::<Owner>(&tx, &rows::owner_key(address)).await? {
                let Owner::Account(id) = owner else { return Ok(Placed::Taken(owner.kind())) };
                let row: Option<AccountRow> = rows::find(&tx, &rows::account_key(id)).await?;
                let ours =
                    tx.may_have_committed() && row.is_some_and(|row| row.revision == copy.row.revision);
                return Ok(if ours { Placed::Added(id) } else { Placed::Present(id) });
            }
            if rows::find::<rows::DomainRow>(&tx, &rows::domain_key(address.domain())).await?.is_none() {
                return Err(Error::not_found("domain", address.domain()).into());
            }
            let is_free = tx.get(&rows::account_key(copy.id)).await?.is_none();
            let id = if keep_number && is_free {
                rows::raise_last_account(&tx, copy.id.get()).await?;
                copy.id
            } else {
                rows::next_account_id(&tx).await?
            };
            rows::put(&tx, &rows::owner_key(address), &Owner::Account(id))?;
            rows::put(&tx, &rows::account_key(id), &copy.row)?;
            rows::put(&tx, &rows::Listing::Accounts.key(address), &id)?;
            if let Some(credential) = &copy.credential {
                rows::put(&tx, &rows::credential_key(id), credential)?;
            }
            for app_password in copy.app_passwords.iter().filter(|_| id == copy.id) {
                rows::put(&tx, &rows::app_password_key(id, &app_password.name), app_password)?;
            }
            Ok(Placed::Added(id))
        })
        .await
    }

    /// Writes the aliases and groups of a backup, of one domain or of all, where their addresses are free; returns how many, and the
    /// addresses that something else has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn restore_names(
        &self,
        copy: &DirectoryCopy,
        domain: Option<&Domain>,
    ) -> Result<(u64, Vec<EmailAddress>)> {
        let wanted = |address: &EmailAddress| domain.is_none_or(|domain| address.domain() == domain);
        let (mut added, mut taken) = (0, Vec::new());
        let mut note = |address: &EmailAddress, placed| match placed {
            Placed::Added(()) => added += 1,
            Placed::Present(()) => {}
            Placed::Taken(_) => taken.push(address.clone()),
        };
        for alias in copy.aliases.iter().filter(|alias| wanted(&alias.address)) {
            let placed = self.restore_name(&alias.address, Owner::Alias, |tx| {
                rows::put(tx, &rows::Listing::Aliases.key(&alias.address), alias)
            });
            note(&alias.address, placed.await?);
        }
        for group in copy.groups.iter().filter(|group| wanted(&group.address)) {
            let address = &group.address;
            let put = |tx: &Transaction| rows::put(tx, &rows::Listing::Groups.key(address), group);
            let placed = self.restore_name(address, Owner::Group, put).await?;
            let key = (address.domain().as_ascii().to_owned(), address.local().folded().to_owned());
            if placed == Placed::Added(()) {
                for members in copy.members.get(&key).into_iter().flat_map(|all| all.chunks(MEMBERS)) {
                    self.change(|tx| async move {
                        for member in members {
                            rows::put(&tx, &rows::member_key(address, member), member)?;
                        }
                        Ok(())
                    })
                    .await?;
                }
            }
            note(address, placed);
        }
        Ok((added, taken))
    }

    async fn restore_name(
        &self,
        address: &EmailAddress,
        kind: Owner,
        put: impl Fn(&Transaction) -> TxResult<()>,
    ) -> Result<Placed<()>> {
        let put = &put;
        self.change(|tx| async move {
            match rows::find::<Owner>(&tx, &rows::owner_key(address)).await? {
                Some(owner) if owner != kind => return Ok(Placed::Taken(owner.kind())),
                Some(_) if !tx.may_have_committed() => return Ok(Placed::Present(())),
                _ => {}
            }
            rows::put(&tx, &rows::owner_key(address), &kind)?;
            put(&tx)?;
            Ok(Placed::Added(()))
        })
        .await
    }

    /// Sees to it that no number that the backup's directory gave is given again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn restore_numbers(&self, copy: &DirectoryCopy) -> Result<()> {
        self.change(|tx| async move { rows::raise_last_account(&tx, copy.last_account).await }).await
    }
}

/// Whether there is nothing in the directory of a store.
///
/// # Errors
/// When the store fails.
pub async fn is_empty(database: &Database) -> kv::Result<bool> {
    database
        .read(|tx: Transaction| async move {
            let options = RangeOptions { limit: 1, snapshot: true, ..RangeOptions::default() };
            let range = rows::domains().start..keys::range(&(rows::SUBSPACE,)).end;
            Ok::<_, kv::Error>(tx.get_range(range, options).await?.is_empty())
        })
        .await
}

impl DirectoryCopy {
    /// Reads rows of an export; all of them in any order.
    ///
    /// # Errors
    /// A row that does not decode, or is of a form that this release does not know.
    pub fn add(&mut self, rows: impl IntoIterator<Item = KeyValue>) -> Result<()> {
        for row in rows {
            self.add_row(&row).map_err(Error::from)?;
        }
        Ok(())
    }

    fn add_row(&mut self, row: &KeyValue) -> TxResult<()> {
        match rows::table_of(&row.key)? {
            // Made anew from the others.
            Table::Version | Table::Owner | Table::AccountByAddress => {}
            Table::LastAccount => self.last_account = rows::decode_last_account(&row.value),
            Table::Domain => {
                let domain = rows::domain_of_key(&row.key)?;
                rows::decode::<rows::DomainRow>(&row.value)?;
                self.domains.insert(domain.as_ascii().to_owned(), row.value.to_vec());
            }
            Table::Account => {
                self.accounts.insert(account_of(&row.key)?, rows::decode(&row.value)?);
            }
            Table::Credential => {
                self.credentials.insert(account_of(&row.key)?, rows::decode(&row.value)?);
            }
            Table::AppPassword => {
                let (_, _, id, _): (u32, u32, u64, String) = unpack(&row.key).map_err(damaged)?;
                let passwords = self.app_passwords.entry(AccountId::new(id)).or_default();
                passwords.push(rows::decode(&row.value)?);
            }
            Table::Alias => self.aliases.push(rows::decode(&row.value)?),
            Table::Group => self.groups.push(rows::decode(&row.value)?),
            Table::Member => {
                let (_, _, domain, local, _, _): (u32, u32, String, String, String, String) =
                    unpack(&row.key).map_err(damaged)?;
                self.members.entry((domain, local)).or_default().push(rows::decode(&row.value)?);
            }
        }
        Ok(())
    }

    /// The domains.
    pub fn domains(&self) -> impl Iterator<Item = Domain> {
        self.domains.keys().filter_map(|name| Domain::parse(name).ok())
    }

    /// The accounts, by their numbers.
    pub fn accounts(&self) -> impl Iterator<Item = AccountCopy> {
        self.accounts.iter().map(|(&id, row)| AccountCopy {
            id,
            address: row.address.clone(),
            row: row.clone(),
            credential: self.credentials.get(&id).cloned(),
            app_passwords: self.app_passwords.get(&id).cloned().unwrap_or_default(),
        })
    }

    /// How many aliases and groups there are.
    pub fn names(&self) -> usize {
        self.aliases.len() + self.groups.len()
    }
}

fn account_of(key: &[u8]) -> TxResult<AccountId> {
    let (_, _, id): (u32, u32, u64) = unpack(key).map_err(damaged)?;
    Ok(AccountId::new(id))
}

fn damaged(error: foundationdb_tuple::PackError) -> TxError {
    kv::Error::Corrupt(format!("a key of the directory: {error}")).into()
}
