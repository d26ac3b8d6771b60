//! Domains: which names are ours.

use std::sync::Arc;

use ekitei_kv::{RangeOptions, Transaction};

use crate::address::Domain;
use crate::cache::{Key, Value};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::hosts::{self, MtaSts};
use crate::model::{DomainChange, DomainInfo, NewDomain, Page, PageRequest, Revision};
use crate::paging::{self, Bounds};
use crate::rows::{self, DomainRow, LaterOfDomain, Listing, Owner, TxResult};
use crate::{accounts, aliases, groups};

/// Rows removed in one transaction by a forced removal: far below the limits of a transaction.
const REMOVAL_BATCH: usize = 100;

impl Directory {
    /// Creates a domain.
    ///
    /// # Errors
    /// `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_domain(&self, name: &Domain, new: NewDomain) -> Result<DomainInfo> {
        if name.is_literal() {
            return Err(Error::Invalid(format!("{name} is an address literal, not a domain")));
        }
        let NewDomain { catch_all, postmaster, quota, total_quota, mta_sts, client_host, mx_hosts } = new;
        check_hosts(client_host.as_ref(), mx_hosts.as_deref())?;
        if mta_sts.is_some() || client_host.is_some() || mx_hosts.is_some() {
            self.require_additions()?;
        }
        let mta_sts = mta_sts.map(MtaSts::checked).transpose()?;
        let row = DomainRow {
            enabled: true,
            catch_all,
            postmaster,
            quota,
            created: self.now(),
            revision: Revision::random(),
            later: LaterOfDomain { total_quota, mta_sts, client_host, mx_hosts },
        };
        let row = &row;
        self.change(|tx| async move {
            let key = rows::domain_key(name);
            if let Some(existing) = rows::find::<DomainRow>(&tx, &key).await?
                && existing.revision != row.revision
            {
                return Err(Error::AlreadyExists { what: "a domain", name: name.to_string() }.into());
            }
            rows::put(&tx, &key, row)
        })
        .await?;
        Ok(row.clone().into_info(name.clone()))
    }

    /// A domain.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn domain(&self, name: &Domain) -> Result<DomainInfo> {
        let info = self.find_domain(name).await?.ok_or_else(|| Error::not_found("domain", name))?;
        Ok(DomainInfo::clone(&info))
    }

    /// Whether `domain` is one of ours, enabled or not.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn is_local_domain(&self, domain: &Domain) -> Result<bool> {
        Ok(self.find_domain(domain).await?.is_some())
    }

    /// Whether this host is this service by what the domain says that it belongs to ([`DomainInfo::mx_hosts`]). A domain speaks for hosts of its own name only: otherwise
    /// it could keep mail for anybody's hosts from leaving.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn is_own_mx_host(&self, host: &str) -> Result<bool> {
        let Ok(host) = Domain::parse(host) else { return Ok(false) };
        let mut name = host.as_ascii();
        loop {
            if let Ok(domain) = Domain::parse(name)
                && let Some(info) = self.find_domain(&domain).await?
                && info.mx_hosts.as_ref().is_some_and(|hosts| hosts.contains(&host))
            {
                return Ok(true);
            }
            match name.split_once('.') {
                Some((_, above)) => name = above,
                None => return Ok(false),
            }
        }
    }

    /// A domain as it is remembered or stored.
    pub(crate) async fn find_domain(&self, name: &Domain) -> Result<Option<Arc<DomainInfo>>> {
        if name.is_literal() {
            return Ok(None);
        }
        let value = self
            .look_up(Key::Domain(name.clone()), |tx| async move {
                let row: Option<DomainRow> = rows::find(&tx, &rows::domain_key(name)).await?;
                Ok(Value::Domain(row.map(|row| Arc::new(row.into_info(name.clone())))))
            })
            .await?;
        match value {
            Value::Domain(info) => Ok(info),
            _ => Ok(None),
        }
    }

    /// Domains in the order of their names.
    ///
    /// # Errors
    /// `Invalid` for a page that none of our pages named, `Unavailable`.
    pub async fn list_domains(&self, page: &PageRequest) -> Result<Page<DomainInfo>> {
        let after = page.after.as_deref().map(Domain::parse).transpose()?;
        let bounds = &Bounds::new(rows::domains(), after.map(|name| rows::domain_key(&name)), page);
        self.read(|tx| async move {
            let (found, more) = bounds.rows(&tx).await?;
            let read = |row: &ekitei_kv::KeyValue| -> TxResult<DomainInfo> {
                Ok(rows::decode::<DomainRow>(&row.value)?.into_info(rows::domain_of_key(&row.key)?))
            };
            let items = found.iter().map(read).collect::<TxResult<Vec<_>>>()?;
            Ok(paging::page(items, more, |info| info.name.as_ascii().to_owned()))
        })
        .await
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
        let mta_sts = change.mta_sts.map(|given| given.map(MtaSts::checked).transpose()).transpose()?;
        let change = DomainChange { mta_sts, ..change };
        check_hosts(
            change.client_host.as_ref().and_then(Option::as_ref),
            change.mx_hosts.as_ref().and_then(Option::as_deref),
        )?;
        let of_hosts = [
            matches!(change.mta_sts, Some(Some(_))),
            matches!(change.client_host, Some(Some(_))),
            matches!(change.mx_hosts, Some(Some(_))),
        ];
        if of_hosts.contains(&true) {
            self.require_additions()?;
        }
        let (change, revision) = (&change, Revision::random());
        let row = self
            .change(|tx| async move {
                let key = rows::domain_key(name);
                let mut row = require_domain(&tx, name).await?;
                revision_matches(row.revision, expected, revision, name)?;
                row.revision = revision;
                row.apply(change.clone());
                rows::put(&tx, &key, &row)?;
                Ok(row)
            })
            .await?;
        Ok(row.into_info(name.clone()))
    }

    /// Removes a domain; with `force`, together with its accounts, aliases and groups. Mail is the caller's to remove, before
    /// the accounts go.
    ///
    /// A forced removal takes several transactions, after a first one that disables the domain; it may be repeated
    /// until it succeeds.
    ///
    /// # Errors
    /// `NotFound`, `InUse` without `force`, `Unavailable`.
    pub async fn delete_domain(&self, name: &Domain, force: bool) -> Result<()> {
        if force {
            let disabled = DomainChange { enabled: Some(false), ..DomainChange::default() };
            self.update_domain(name, disabled, None).await?;
            while self.change(|tx| async move { remove_batch(&tx, name).await }).await? {}
        }
        self.change(|tx| async move {
            let key = rows::domain_key(name);
            if tx.get(&key).await?.is_none() {
                return gone_or_missing(&tx, "domain", name);
            }
            let options = RangeOptions { limit: 1, ..RangeOptions::default() };
            if !tx.get_range(rows::owners(name), options).await?.is_empty() {
                return Err(in_use(&tx, name).await?.into());
            }
            tx.clear(&key);
            Ok(())
        })
        .await
    }
}

impl DomainRow {
    fn apply(&mut self, change: DomainChange) {
        let DomainChange {
            enabled,
            catch_all,
            postmaster,
            quota,
            total_quota,
            mta_sts,
            client_host,
            mx_hosts,
        } = change;
        set(&mut self.enabled, enabled);
        set(&mut self.catch_all, catch_all);
        set(&mut self.postmaster, postmaster);
        set(&mut self.quota, quota);
        set(&mut self.later.total_quota, total_quota);
        set(&mut self.later.mta_sts, mta_sts);
        set(&mut self.later.client_host, client_host);
        set(&mut self.later.mx_hosts, mx_hosts);
    }
}

fn set<T>(field: &mut T, change: Option<T>) {
    if let Some(value) = change {
        *field = value;
    }
}

fn check_hosts(client: Option<&Domain>, mx: Option<&[Domain]>) -> Result<()> {
    client.map_or(Ok(()), hosts::refuse_literal)?;
    mx.map_or(Ok(()), hosts::checked_mx_hosts)
}

/// The row of a domain that has to be there.
pub(crate) async fn require_domain(tx: &Transaction, name: &Domain) -> TxResult<DomainRow> {
    let row = rows::find(tx, &rows::domain_key(name)).await?;
    Ok(row.ok_or_else(|| Error::not_found("domain", name))?)
}

/// Refuses a change to an object that is not what the caller saw; `ours` is the revision that a first, successful attempt left.
pub(crate) fn revision_matches(
    found: Revision,
    expected: Option<Revision>,
    ours: Revision,
    name: &impl ToString,
) -> Result<()> {
    match expected {
        Some(expected) if found != expected && found != ours => Err(Error::Stale { name: name.to_string() }),
        _ => Ok(()),
    }
}

/// The answer to removing what is not there: success if an attempt of ours may have removed it.
pub(crate) fn gone_or_missing(tx: &Transaction, what: &'static str, name: &impl ToString) -> TxResult<()> {
    if tx.may_have_committed() { Ok(()) } else { Err(Error::not_found(what, name.to_string()).into()) }
}

/// Says what a domain is in use by, with one example of each kind.
async fn in_use(tx: &Transaction, name: &Domain) -> TxResult<Error> {
    let options = RangeOptions { limit: 1, ..RangeOptions::default() };
    let mut by = Vec::new();
    for (listing, kind) in
        [(Listing::Accounts, "accounts"), (Listing::Aliases, "aliases"), (Listing::Groups, "groups")]
    {
        if !tx.get_range(listing.range(Some(name)), options).await?.is_empty() {
            by.push(kind);
        }
    }
    Ok(Error::InUse { name: name.to_string(), by: format!("it still has {}", by.join(" and ")) })
}

/// Removes some of the accounts, aliases and groups of a domain; tells whether there may be more.
async fn remove_batch(tx: &Transaction, domain: &Domain) -> TxResult<bool> {
    let options = RangeOptions { limit: REMOVAL_BATCH, ..RangeOptions::default() };
    let owners = tx.get_range(rows::owners(domain), options).await?;
    for row in &owners {
        let address = rows::address_of_key(&row.key)?;
        match rows::decode(&row.value)? {
            Owner::Account(id) => accounts::remove(tx, id, &address),
            Owner::Alias => aliases::remove(tx, &address),
            Owner::Group => groups::remove(tx, &address),
        }
    }
    Ok(owners.len() == REMOVAL_BATCH)
}
