//! Groups: addresses with members that come and go one by one, each a row, so that a group may be large.

use ekitei_kv::{KeyValue, Transaction};

use crate::accounts::{check_display_name, listing_bounds, refuse_taken};
use crate::address::{Domain, EmailAddress};
use crate::directory::Directory;
use crate::domains::{gone_or_missing, require_domain, revision_matches};
use crate::error::{Error, Result};
use crate::model::{Group, GroupChange, NewGroup, Page, PageRequest, Revision};
use crate::paging::{self, Bounds};
use crate::rows::{self, GroupRow, Listing, Owner, TxResult};

/// Most members that a group may be created with; more are added one by one. Keeps the transaction small.
pub const NEW_GROUP_MEMBERS: usize = 1000;

impl Directory {
    /// Creates a group.
    ///
    /// # Errors
    /// `NotFound` for its domain, `AlreadyExists`, `Invalid`, `Unavailable`.
    pub async fn create_group(&self, new: NewGroup) -> Result<Group> {
        let NewGroup { address, display_name, members_may_send, members } = new;
        check_display_name(&display_name)?;
        if members.len() > NEW_GROUP_MEMBERS {
            return Err(Error::Invalid(format!(
                "a new group has at most {NEW_GROUP_MEMBERS} members; add more later"
            )));
        }
        for member in &members {
            check_member(&address, member)?;
        }
        let (created, revision) = (self.now(), Revision::random());
        let row = GroupRow { address, display_name, members_may_send, created, revision };
        let (row, members) = (&row, &members);
        self.change(|tx| async move {
            let address = &row.address;
            require_domain(&tx, address.domain()).await?;
            let key = Listing::Groups.key(address);
            let existing = rows::find::<GroupRow>(&tx, &key).await?;
            if existing.is_none_or(|existing| existing.revision != row.revision) {
                refuse_taken(rows::find(&tx, &rows::owner_key(address)).await?, address)?;
            }
            rows::put(&tx, &rows::owner_key(address), &Owner::Group)?;
            rows::put(&tx, &key, row)?;
            for member in members {
                rows::put(&tx, &rows::member_key(address, member), member)?;
            }
            Ok(())
        })
        .await?;
        Ok(row.clone().into())
    }

    /// A group.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn group(&self, address: &EmailAddress) -> Result<Group> {
        self.read(|tx| async move { Ok(require_row(&tx, address).await?.into()) }).await
    }

    /// Groups of a domain, or of all, in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound` for the domain, `Invalid`, `Unavailable`.
    pub async fn list_groups(&self, domain: Option<&Domain>, page: &PageRequest) -> Result<Page<Group>> {
        let bounds = &listing_bounds(Listing::Groups, domain, page)?;
        self.read(|tx| async move {
            if let Some(domain) = domain {
                require_domain(&tx, domain).await?;
            }
            let (found, more) = bounds.rows(&tx).await?;
            let read =
                |row: &KeyValue| -> TxResult<Group> { Ok(rows::decode::<GroupRow>(&row.value)?.into()) };
            let groups = found.iter().map(read).collect::<TxResult<Vec<_>>>()?;
            Ok(paging::page(groups, more, |group| group.address.to_wire()))
        })
        .await
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
        if let Some(name) = &change.display_name {
            check_display_name(name)?;
        }
        let (change, revision) = (&change, Revision::random());
        self.change(|tx| async move {
            let mut row = require_row(&tx, address).await?;
            revision_matches(row.revision, expected, revision, address)?;
            if let Some(name) = &change.display_name {
                row.display_name.clone_from(name);
            }
            row.members_may_send = change.members_may_send.unwrap_or(row.members_may_send);
            row.revision = revision;
            rows::put(&tx, &Listing::Groups.key(address), &row)?;
            Ok(row.into())
        })
        .await
    }

    /// Removes a group with its members.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_group(&self, address: &EmailAddress) -> Result<()> {
        self.change(|tx| async move {
            if tx.get(&Listing::Groups.key(address)).await?.is_none() {
                return gone_or_missing(&tx, "group", address);
            }
            remove(&tx, address);
            Ok(())
        })
        .await
    }

    /// Members of a group in the order of their addresses.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Unavailable`.
    pub async fn list_members(&self, group: &EmailAddress, page: &PageRequest) -> Result<Page<EmailAddress>> {
        let after = page.after.as_deref().map(EmailAddress::parse).transpose()?;
        let after = after.map(|member| rows::member_key(group, &member));
        let bounds = &Bounds::new(rows::members(group), after, page);
        self.read(|tx| async move {
            require_row(&tx, group).await?;
            let (found, more) = bounds.rows(&tx).await?;
            let members = found.iter().map(|row| rows::decode(&row.value)).collect::<TxResult<Vec<_>>>()?;
            Ok(paging::page(members, more, EmailAddress::to_wire))
        })
        .await
    }

    /// Adds a member; nothing happens if it is one already.
    ///
    /// # Errors
    /// `NotFound` for the group, `Invalid`, `Unavailable`.
    pub async fn add_member(&self, group: &EmailAddress, member: &EmailAddress) -> Result<()> {
        check_member(group, member)?;
        self.change(|tx| async move {
            require_row(&tx, group).await?;
            rows::put(&tx, &rows::member_key(group, member), member)
        })
        .await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn remove_member(&self, group: &EmailAddress, member: &EmailAddress) -> Result<()> {
        self.change(|tx| async move {
            require_row(&tx, group).await?;
            let key = rows::member_key(group, member);
            if tx.get(&key).await?.is_none() {
                return gone_or_missing(&tx, "member", member);
            }
            tx.clear(&key);
            Ok(())
        })
        .await
    }
}

fn check_member(group: &EmailAddress, member: &EmailAddress) -> Result<()> {
    if group == member {
        return Err(Error::Invalid(format!("the group {group} cannot be its own member")));
    }
    Ok(())
}

async fn require_row(tx: &Transaction, address: &EmailAddress) -> TxResult<GroupRow> {
    let row = rows::find(tx, &Listing::Groups.key(address)).await?;
    Ok(row.ok_or_else(|| Error::not_found("group", address))?)
}

/// Removes the rows of a group.
pub(crate) fn remove(tx: &Transaction, address: &EmailAddress) {
    tx.clear(&rows::owner_key(address));
    tx.clear(&Listing::Groups.key(address));
    tx.clear_range(rows::members(address));
}
