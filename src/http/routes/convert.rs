//! Between the objects of the directory and those of the API.

use std::collections::BTreeSet;

use ekitei_api as api;
use ekitei_directory::{
    Account, AccountChange, Alias, AppPassword, Domain, DomainChange, DomainInfo, EmailAddress, Forwarding,
    Group, MtaSts, MtaStsMode, NewAccount, NewDomain, NewPassword, Page,
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
        mta_sts: info.mta_sts.map(|policy| api::MtaSts {
            mode: match policy.mode {
                MtaStsMode::None => api::MtaStsMode::None,
                MtaStsMode::Testing => api::MtaStsMode::Testing,
                MtaStsMode::Enforce => api::MtaStsMode::Enforce,
            },
            mx: policy.mx,
            max_age: policy.max_age,
        }),
        client_host: info.client_host.map(|host| host.as_ascii().to_owned()),
        mx_hosts: info.mx_hosts.map(|hosts| hosts.iter().map(|host| host.as_ascii().to_owned()).collect()),
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
        forwarding: account.forwarding.map(|forwarding| api::Forwarding {
            addresses: forwarding.addresses.iter().map(EmailAddress::to_string).collect(),
            keep_copy: forwarding.keep_copy,
        }),
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

fn optional_address(text: Option<String>) -> Result<Option<EmailAddress>> {
    text.as_deref().map(address).transpose()
}

pub(super) fn addresses(texts: &BTreeSet<String>) -> Result<BTreeSet<EmailAddress>> {
    texts.iter().map(|text| address(text)).collect()
}

fn host(text: &str) -> Result<Domain> {
    Domain::parse(text).map_err(|error| Refused::invalid(format!("{text}: {error}")))
}

fn optional_host(text: Option<String>) -> Result<Option<Domain>> {
    text.as_deref().map(host).transpose()
}

fn optional_hosts(texts: Option<Vec<String>>) -> Result<Option<Vec<Domain>>> {
    texts.map(|texts| texts.iter().map(|text| host(text)).collect()).transpose()
}

fn mta_sts(policy: api::MtaSts) -> MtaSts {
    MtaSts {
        mode: match policy.mode {
            api::MtaStsMode::None => MtaStsMode::None,
            api::MtaStsMode::Testing => MtaStsMode::Testing,
            api::MtaStsMode::Enforce => MtaStsMode::Enforce,
        },
        mx: policy.mx,
        max_age: policy.max_age,
    }
}

fn forwarding(given: Option<api::Forwarding>) -> Result<Option<Forwarding>> {
    given
        .map(|given| Ok(Forwarding { addresses: addresses(&given.addresses)?, keep_copy: given.keep_copy }))
        .transpose()
}

pub(super) fn new_domain(new: api::NewDomain) -> Result<NewDomain> {
    Ok(NewDomain {
        catch_all: optional_address(new.catch_all)?,
        postmaster: optional_address(new.postmaster)?,
        quota: new.quota,
        total_quota: new.total_quota,
        mta_sts: new.mta_sts.map(mta_sts),
        client_host: optional_host(new.client_host)?,
        mx_hosts: optional_hosts(new.mx_hosts)?,
    })
}

pub(super) fn domain_change(patch: api::DomainPatch) -> Result<DomainChange> {
    Ok(DomainChange {
        enabled: patch.enabled,
        catch_all: patch.catch_all.map(optional_address).transpose()?,
        postmaster: patch.postmaster.map(optional_address).transpose()?,
        quota: patch.quota,
        total_quota: patch.total_quota,
        mta_sts: patch.mta_sts.map(|given| given.map(mta_sts)),
        client_host: patch.client_host.map(optional_host).transpose()?,
        mx_hosts: patch.mx_hosts.map(optional_hosts).transpose()?,
    })
}

pub(super) fn new_account(new: api::NewAccount) -> Result<NewAccount> {
    Ok(NewAccount {
        address: address(&new.address)?,
        display_name: new.display_name,
        password: password(new.password, new.password_hash)?,
        quota: new.quota,
        enabled: new.enabled,
        forwarding: forwarding(new.forwarding)?,
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
        forwarding: patch.forwarding.map(forwarding).transpose()?,
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
