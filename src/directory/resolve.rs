//! Where mail for an address goes.
//!
//! An address of ours is looked for in this order: itself; without its detail (`user+detail`); if it is a role that every domain has
//! ([`LocalPart::is_role`]: postmaster@, abuse@, dmarc-reports@ and the like), the domain's postmaster; the domain's catch-all; and for those, which have
//! to reach somebody (RFC 5321 §4.5.1, RFC 2142 §4), the configured postmaster, and at last the first account of the domain. Aliases, groups and the forwarding
//! of accounts are followed level by level; each address is followed once, so that circles end, and depth and breadth are bounded.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::pin;

use ekitei_kv::{RangeOptions, Transaction};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::accounts;
use crate::address::{Domain, EmailAddress, LocalPart};
use crate::cache::{Key, Value};
use crate::directory::Directory;
use crate::error::Result;
use crate::model::{AccountId, LocalRecipient, Recipient};
use crate::rows::{self, AccountRow, AliasRow, DomainRow, GroupRow, Listing, Owner, TxResult};
use crate::settings::Settings;

/// Addresses of one level that are looked up at the same time.
const CONCURRENCY: usize = 64;

impl Directory {
    /// Where mail for `address` goes.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]: answer with a temporary failure.
    pub async fn resolve_recipient(&self, address: &EmailAddress) -> Result<Recipient> {
        match self.find_domain(address.domain()).await? {
            None => return Ok(Recipient::Remote),
            Some(domain) if !domain.enabled => return Ok(Recipient::Disabled),
            Some(_) => {}
        }
        let current = &self.current();
        let value = self
            .look_up(Key::Recipient(address.to_wire()), |tx| async move {
                let expansion = Expansion::of(&tx, &current.settings, address, Purpose::Delivery).await?;
                Ok(Value::Recipient(expansion.into_recipient()))
            })
            .await?;
        match value {
            Value::Recipient(recipient) => Ok(recipient),
            _ => Ok(Recipient::Unknown),
        }
    }

    /// Where mail for `<postmaster>` without a domain goes (RFC 5321 §4.5.1); `Unknown` when nobody is named for it.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn resolve_postmaster(&self) -> Result<Recipient> {
        let current = self.current();
        let settings = &current.settings;
        if let Some(postmaster) = &settings.postmaster {
            return self.resolve_recipient(postmaster).await;
        }
        let domain = match &settings.default_domain {
            Some(domain) => Some(domain.clone()),
            None => self.first_domain().await?,
        };
        let local = LocalPart::parse("postmaster").ok();
        match domain.zip(local).and_then(|(domain, local)| EmailAddress::new(local, domain).ok()) {
            Some(address) => self.resolve_recipient(&address).await,
            None => Ok(Recipient::Unknown),
        }
    }

    async fn first_domain(&self) -> Result<Option<Domain>> {
        let page = crate::model::PageRequest { after: None, limit: 1 };
        Ok(self.list_domains(&page).await?.items.into_iter().next().map(|info| info.name))
    }

    /// Whether the account may send with `sender` as its address: its own address with or without a detail, an alias or
    /// a group (if that allows it) that leads to it, or an address that the catch-all gives it.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn may_send_as(&self, account: AccountId, sender: &EmailAddress) -> Result<bool> {
        let current = &self.current();
        let value = self
            .look_up(Key::Sender(account, sender.clone()), |tx| async move {
                let expansion = Expansion::of(&tx, &current.settings, sender, Purpose::Sending).await?;
                Ok(Value::Sender(expansion.accounts.contains_key(&account)))
            })
            .await?;
        Ok(matches!(value, Value::Sender(true)))
    }
}

/// Why an address is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Delivery,
    /// Groups lead to their members only if members may send as the group, and accounts to nobody else: who gets a copy of someone's mail may not write in
    /// that name.
    Sending,
}

/// An address still to be followed, with the detail it inherits from the addresses before it.
struct Step {
    address: EmailAddress,
    detail: Option<String>,
}

/// What one address leads to.
enum Found {
    Remote,
    Unknown,
    Disabled,
    Account(AccountId, AccountRow, Option<String>),
    /// Further addresses.
    Others(Vec<EmailAddress>, Option<String>),
}

/// What is known about an address while it is followed.
#[derive(Default)]
struct Expansion {
    accounts: BTreeMap<AccountId, LocalRecipient>,
    forwards: BTreeSet<EmailAddress>,
    seen: HashSet<EmailAddress>,
    disabled: bool,
    trouble: Option<String>,
}

impl Expansion {
    async fn of(
        tx: &Transaction,
        settings: &Settings,
        address: &EmailAddress,
        purpose: Purpose,
    ) -> TxResult<Self> {
        let mut this = Self::default();
        this.seen.insert(address.clone());
        let mut level = vec![Step { address: address.clone(), detail: None }];
        let mut depth = 0;
        while !level.is_empty() {
            if depth > settings.expansion_depth {
                this.trouble = Some(format!(
                    "aliases, groups and forwarding are nested more than {} deep",
                    settings.expansion_depth
                ));
                break;
            }
            if this.is_too_wide(settings) {
                this.trouble = Some(format!("it leads to more than {} addresses", settings.expansion_fanout));
                break;
            }
            level = this.follow(tx, settings, purpose, level).await?;
            depth += 1;
        }
        Ok(this)
    }

    /// Whether it leads to more addresses than allowed; it is itself not one of them.
    fn is_too_wide(&self, settings: &Settings) -> bool {
        self.seen.len() > settings.expansion_fanout.saturating_add(1)
    }

    /// Looks up a level; returns the next one.
    async fn follow(
        &mut self,
        tx: &Transaction,
        settings: &Settings,
        purpose: Purpose,
        level: Vec<Step>,
    ) -> TxResult<Vec<Step>> {
        let lookups = stream::iter(level)
            .map(|step| async move {
                let found = look(tx, settings, purpose, &step).await?;
                TxResult::Ok((step, found))
            })
            .buffered(CONCURRENCY);
        let mut lookups = pin!(lookups);
        let mut next = Vec::new();
        // A level of many large groups is not read to its end when it leads to too many already.
        while !self.is_too_wide(settings)
            && let Some((step, found)) = lookups.try_next().await?
        {
            match found {
                Found::Unknown => {}
                Found::Disabled => self.disabled = true,
                Found::Remote => {
                    self.forwards.insert(step.address);
                }
                Found::Account(_, row, _) if !row.enabled => self.disabled = true,
                Found::Account(account, row, detail) => {
                    let forwarding = row.forwarding.filter(|_| purpose == Purpose::Delivery);
                    if forwarding.as_ref().is_none_or(|forwarding| forwarding.keep_copy) {
                        let (address, detail) = (row.address, detail.clone());
                        self.accounts.entry(account).or_insert(LocalRecipient { account, address, detail });
                    }
                    // The detail names a mailbox of this account, and nothing of another's.
                    next.extend(self.fresh(forwarding.into_iter().flat_map(|to| to.addresses), None));
                }
                Found::Others(addresses, detail) => next.extend(self.fresh(addresses, detail)),
            }
        }
        Ok(next)
    }

    /// What was not followed yet of these addresses.
    fn fresh(
        &mut self,
        addresses: impl IntoIterator<Item = EmailAddress>,
        detail: Option<String>,
    ) -> Vec<Step> {
        let fresh = addresses.into_iter().filter(|address| self.seen.insert(address.clone()));
        fresh.map(|address| Step { address, detail: detail.clone() }).collect()
    }

    fn into_recipient(self) -> Recipient {
        if let Some(trouble) = self.trouble {
            return Recipient::Misconfigured(trouble);
        }
        if !self.accounts.is_empty() || !self.forwards.is_empty() {
            return Recipient::Local {
                accounts: self.accounts.into_values().collect(),
                forwards: self.forwards.into_iter().collect(),
            };
        }
        if self.disabled {
            return Recipient::Disabled;
        }
        if self.seen.len() > 1 {
            // The address exists, so saying "no such user" would be wrong, and mail for it should wait.
            return Recipient::Misconfigured("its aliases, groups and forwarding lead to nobody".to_owned());
        }
        Recipient::Unknown
    }
}

/// Looks up one address.
async fn look(tx: &Transaction, settings: &Settings, purpose: Purpose, step: &Step) -> TxResult<Found> {
    let address = &step.address;
    if address.domain().is_literal() {
        return Ok(Found::Remote);
    }
    let Some(domain) = rows::find::<DomainRow>(tx, &rows::domain_key(address.domain())).await? else {
        return Ok(Found::Remote);
    };
    if !domain.enabled {
        return Ok(Found::Disabled);
    }
    if let Some(owner) = rows::find(tx, &rows::owner_key(address)).await? {
        return owned(tx, settings, purpose, owner, address, step.detail.clone()).await;
    }
    if let Some((user, detail)) = without_detail(settings, address)
        && let Some(owner) = rows::find(tx, &rows::owner_key(&user)).await?
    {
        return owned(tx, settings, purpose, owner, &user, Some(detail)).await;
    }
    let fallback = fallback(tx, settings, &domain, address).await?;
    // What falls back on itself is nobody.
    let fallback = fallback.filter(|fallback| fallback != address);
    Ok(fallback.map_or(Found::Unknown, |target| Found::Others(vec![target], step.detail.clone())))
}

/// What the object that has an address leads to.
async fn owned(
    tx: &Transaction,
    settings: &Settings,
    purpose: Purpose,
    owner: Owner,
    address: &EmailAddress,
    detail: Option<String>,
) -> TxResult<Found> {
    Ok(match owner {
        Owner::Account(id) => match accounts::find_row(tx, id).await? {
            Some(row) => Found::Account(id, row, detail),
            None => Found::Unknown,
        },
        Owner::Alias => {
            let row: Option<AliasRow> = rows::find(tx, &Listing::Aliases.key(address)).await?;
            let targets = row.map(|row| row.targets.into_iter().collect()).unwrap_or_default();
            Found::Others(targets, detail)
        }
        Owner::Group => Found::Others(group_members(tx, settings, purpose, address).await?, detail),
    })
}

async fn group_members(
    tx: &Transaction,
    settings: &Settings,
    purpose: Purpose,
    group: &EmailAddress,
) -> TxResult<Vec<EmailAddress>> {
    if purpose == Purpose::Sending {
        let row: Option<GroupRow> = rows::find(tx, &Listing::Groups.key(group)).await?;
        if row.is_none_or(|row| !row.members_may_send) {
            return Ok(Vec::new());
        }
    }
    // One more than allowed is enough to see that there are too many.
    let options = RangeOptions { limit: settings.expansion_fanout + 1, ..RangeOptions::default() };
    let found = tx.get_range(rows::members(group), options).await?;
    found.iter().map(|row| rows::decode(&row.value)).collect()
}

fn without_detail(settings: &Settings, address: &EmailAddress) -> Option<(EmailAddress, String)> {
    let (user, detail) = address.local().split_detail(settings.detail_separator?)?;
    Some((EmailAddress::new(user, address.domain().clone()).ok()?, detail))
}

/// Where mail for an address that nobody has goes instead.
async fn fallback(
    tx: &Transaction,
    settings: &Settings,
    domain: &DomainRow,
    address: &EmailAddress,
) -> TxResult<Option<EmailAddress>> {
    if !address.local().is_role() {
        return Ok(domain.catch_all.clone());
    }
    let named = domain
        .postmaster
        .clone()
        .or_else(|| domain.catch_all.clone())
        .or_else(|| settings.postmaster.clone());
    // An address that is its own fallback would leave the role with nobody.
    if let Some(named) = named.filter(|named| named != address) {
        return Ok(Some(named));
    }
    first_account(tx, address.domain()).await
}

async fn first_account(tx: &Transaction, domain: &Domain) -> TxResult<Option<EmailAddress>> {
    let options = RangeOptions { limit: 1, ..RangeOptions::default() };
    let found = tx.get_range(Listing::Accounts.range(Some(domain)), options).await?;
    found.first().map(|row| rows::address_of_key(&row.key)).transpose()
}
