//! Aliases: addresses that stand for others.

use std::collections::BTreeSet;

use ekitei_kv::{KeyValue, Transaction};

use crate::accounts::{listing_bounds, refuse_taken};
use crate::address::{Domain, EmailAddress};
use crate::directory::Directory;
use crate::domains::{gone_or_missing, require_domain, revision_matches};
use crate::error::{Error, Result};
use crate::model::{Alias, Page, PageRequest, Revision};
use crate::paging;
use crate::rows::{self, AliasRow, Listing, Owner, TxResult};

/// Most targets of an alias, so that its row stays well below the limit of a value. Groups have no such limit.
pub const ALIAS_TARGETS: usize = 200;

impl Directory {
    /// Creates an alias.
    ///
    /// # Errors
    /// `NotFound` for its domain, `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_alias(
        &self,
        address: &EmailAddress,
        targets: BTreeSet<EmailAddress>,
    ) -> Result<Alias> {
        check_targets(address, &targets)?;
        let row =
            AliasRow { address: address.clone(), targets, created: self.now(), revision: Revision::random() };
        let row = &row;
        self.change(|tx| async move {
            require_domain(&tx, address.domain()).await?;
            let key = Listing::Aliases.key(address);
            let existing = rows::find::<AliasRow>(&tx, &key).await?;
            if existing.is_none_or(|existing| existing.revision != row.revision) {
                refuse_taken(rows::find(&tx, &rows::owner_key(address)).await?, address)?;
            }
            rows::put(&tx, &rows::owner_key(address), &Owner::Alias)?;
            rows::put(&tx, &key, row)
        })
        .await?;
        Ok(row.clone().into())
    }

    /// An alias.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn alias(&self, address: &EmailAddress) -> Result<Alias> {
        self.read(|tx| async move { Ok(require_row(&tx, address).await?.into()) }).await
    }

    /// Aliases of a domain, or of all, in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound` for the domain, `Invalid`, `Unavailable`.
    pub async fn list_aliases(&self, domain: Option<&Domain>, page: &PageRequest) -> Result<Page<Alias>> {
        let bounds = &listing_bounds(Listing::Aliases, domain, page)?;
        self.read(|tx| async move {
            if let Some(domain) = domain {
                require_domain(&tx, domain).await?;
            }
            let (found, more) = bounds.rows(&tx).await?;
            let read =
                |row: &KeyValue| -> TxResult<Alias> { Ok(rows::decode::<AliasRow>(&row.value)?.into()) };
            let aliases = found.iter().map(read).collect::<TxResult<Vec<_>>>()?;
            Ok(paging::page(aliases, more, |alias| alias.address.to_wire()))
        })
        .await
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
        check_targets(address, &targets)?;
        let (targets, revision) = (&targets, Revision::random());
        self.change(|tx| async move {
            let mut row = require_row(&tx, address).await?;
            revision_matches(row.revision, expected, revision, address)?;
            row.targets.clone_from(targets);
            row.revision = revision;
            rows::put(&tx, &Listing::Aliases.key(address), &row)?;
            Ok(row.into())
        })
        .await
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_alias(&self, address: &EmailAddress) -> Result<()> {
        self.change(|tx| async move {
            if tx.get(&Listing::Aliases.key(address)).await?.is_none() {
                return gone_or_missing(&tx, "alias", address);
            }
            remove(&tx, address);
            Ok(())
        })
        .await
    }
}

fn check_targets(address: &EmailAddress, targets: &BTreeSet<EmailAddress>) -> Result<()> {
    let refuse = |reason: String| Err(Error::Invalid(reason));
    if targets.is_empty() {
        return refuse("an alias needs at least one target".to_owned());
    }
    if targets.len() > ALIAS_TARGETS {
        return refuse(format!("an alias has at most {ALIAS_TARGETS} targets; make a group of them"));
    }
    if targets.contains(address) {
        return refuse(format!("the alias {address} cannot be its own target"));
    }
    Ok(())
}

async fn require_row(tx: &Transaction, address: &EmailAddress) -> TxResult<AliasRow> {
    let row = rows::find(tx, &Listing::Aliases.key(address)).await?;
    Ok(row.ok_or_else(|| Error::not_found("alias", address))?)
}

/// Removes the rows of an alias.
pub(crate) fn remove(tx: &Transaction, address: &EmailAddress) {
    tx.clear(&rows::owner_key(address));
    tx.clear(&Listing::Aliases.key(address));
}
