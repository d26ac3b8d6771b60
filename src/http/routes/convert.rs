//! Between the objects of the directory and those of the API.

use std::collections::BTreeSet;

use ekitei_api as api;
use ekitei_directory::{
    Account, AccountChange, Alias, AppPassword, DomainChange, DomainInfo, EmailAddress, Group, NewAccount,
    NewPassword, Page,
};

use crate::extract::Tagged;
use crate::problem::{Refused, Result};

pub(super) fn domain(info: DomainInfo) -> api::Domain {
    api::Domain {
        name: info.name.as_ascii().to_owned(),
        unicode_name: info.name.to_string(),
        enabled: info.enabled,
        catch_all: info.catch_all.map(|address| address.to_string()),
        postmaster: info.postmaster.map(|address| address.to_string()),
        quota: info.quota,
        total_quota: info.total_quota,
        created: info.created.unix(),
        revision: info.revision.to_string(),
    }
}

pub(super) fn account(account: Account) -> api::Account {
    api::Account {
        id: account.id.get(),
        address: account.address.to_string(),
        display_name: account.display_name,
        enabled: account.enabled,
        quota: account.quota,
        has_password: account.has_password,
        created: account.created.unix(),
        revision: account.revision.to_string(),
    }
}

pub(super) fn alias(alias: Alias) -> api::Alias {
    api::Alias {
        address: alias.address.to_string(),
        targets: alias.targets.iter().map(EmailAddress::to_string).collect(),
        created: alias.created.unix(),
        revision: alias.revision.to_string(),
    }
}

pub(super) fn group(group: Group) -> api::Group {
    api::Group {
        address: group.address.to_string(),
        display_name: group.display_name,
        members_may_send: group.members_may_send,
        created: group.created.unix(),
        revision: group.revision.to_string(),
    }
}

pub(super) fn app_password(password: AppPassword) -> api::AppPassword {
    api::AppPassword { name: password.name, created: password.created.unix() }
}

pub(super) fn page<T, U>(page: Page<T>, convert: impl Fn(T) -> U) -> axum::Json<api::Page<U>> {
    axum::Json(api::Page { items: page.items.into_iter().map(convert).collect(), next: page.next })
}

/// An object with its entity tag.
macro_rules! tagged {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Tagged<$kind> {
            fn from(object: $kind) -> Self {
                Self { revision: object.revision.clone(), object }
            }
        })*
    };
}

tagged!(api::Domain, api::Account, api::Alias, api::Group);

pub(super) fn address(text: &str) -> Result<EmailAddress> {
    EmailAddress::parse(text).map_err(|error| Refused::invalid(format!("{text}: {error}")))
}

pub(super) fn optional_address(text: Option<String>) -> Result<Option<EmailAddress>> {
    text.as_deref().map(address).transpose()
}

pub(super) fn addresses(texts: &BTreeSet<String>) -> Result<BTreeSet<EmailAddress>> {
    texts.iter().map(|text| address(text)).collect()
}

pub(super) fn domain_change(patch: api::DomainPatch) -> Result<DomainChange> {
    Ok(DomainChange {
        enabled: patch.enabled,
        catch_all: patch.catch_all.map(optional_address).transpose()?,
        postmaster: patch.postmaster.map(optional_address).transpose()?,
        quota: patch.quota,
        total_quota: patch.total_quota,
    })
}

pub(super) fn new_account(new: api::NewAccount) -> Result<NewAccount> {
    Ok(NewAccount {
        address: address(&new.address)?,
        display_name: new.display_name,
        password: password(new.password, new.password_hash)?,
        quota: new.quota,
        enabled: new.enabled,
    })
}

pub(super) fn account_change(patch: api::AccountPatch) -> Result<AccountChange> {
    let password = match patch.password {
        Some(None) if patch.password_hash.is_none() => Some(None),
        plain => password(plain.flatten(), patch.password_hash)?.map(Some),
    };
    Ok(AccountChange {
        display_name: patch.display_name,
        enabled: patch.enabled,
        quota: patch.quota,
        password,
    })
}

fn password(plain: Option<String>, hash: Option<String>) -> Result<Option<NewPassword>> {
    match (plain, hash) {
        (Some(_), Some(_)) => Err(Refused::invalid("give either password or password_hash, not both")),
        (Some(plain), None) => Ok(Some(NewPassword::Plain(plain))),
        (None, Some(hash)) => Ok(Some(NewPassword::Hash(hash))),
        (None, None) => Ok(None),
    }
}
