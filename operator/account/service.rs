//! An account in the service: made, adopted, changed, removed.

use ekitei_api::{Account, AccountPatch, AliasTargets, Client, ClientError, NewAccount, ProblemCode};
use ekitei_operator_api::{AccountDrift, ConditionStatus, MailAccount, MailDomain, MailRegion};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;

use crate::account::drift::{Comparison, Fields, compare};
use crate::account::password::{BadPassword, Password, Version};
use crate::account::quantity::{self, NotAQuantity};
use crate::account::{SEEN, Work, claim, fields};
use crate::context::Context;
use crate::domain::claim::holds;
use crate::error::{Error, Optional as _, Result};
use crate::fail;

/// What the reason of the condition is when the service does not know the domain yet.
const DOMAIN_NOT_READY: &str = "DomainNotReady";

impl From<NotAQuantity> for Error {
    fn from(error: NotAQuantity) -> Self {
        Self::invalid("QuotaInvalid", error)
    }
}

impl From<BadPassword> for Error {
    fn from(error: BadPassword) -> Self {
        Self::invalid("PasswordInvalid", error)
    }
}

impl Work<'_> {
    /// Makes the account in the service what the object says.
    pub(super) async fn write(&mut self, domains: &[MailDomain]) -> Result<()> {
        // Aliases may be in other domains; the mailboxes are where the account's own one is at home.
        let client = client(self.context, claim::home(self.account, domains), domains).await?;
        let account = match client.account(&self.account.spec.address).await.optional()? {
            Some(account) => account,
            None => self.create(&client).await?,
        };
        self.known(&account).await;
        let (account, foreign) = self.update(&client, account).await?;
        let password = self.password(&client, &account).await;
        self.tell(&foreign).await;
        password?;
        let seen = self.status.last_seen.as_ref();
        if seen.is_none_or(|seen| self.context.clock.since(seen) >= SEEN) {
            self.status.last_seen = Some(self.context.clock.time());
        }
        Ok(())
    }

    /// Makes the account, without a password: that is set by the step that sets all later ones.
    async fn create(&mut self, client: &Client) -> Result<Account> {
        let spec = &self.account.spec;
        self.context.leadership.check()?;
        let new = NewAccount {
            address: spec.address.clone(),
            display_name: spec.display_name.clone().unwrap_or_default(),
            password: None,
            password_hash: None,
            quota: spec.quota.as_deref().map(quantity::octets).transpose()?,
            enabled: spec.enabled,
            forwarding: fields::forwarding(spec),
        };
        let account = client.create_account(&new).await.map_err(|error| not_created(&spec.address, error))?;
        fail::point("account.created")?;
        let was_there = self.status.account_id.is_some();
        let (reason, note) = if was_there {
            ("AccountRecreated", format!("{} had been deleted elsewhere, and was made anew", account.address))
        } else {
            ("AccountCreated", format!("{} was made", account.address))
        };
        self.context.events.normal(self.account, reason, &note).await;
        Ok(account)
    }

    /// Notes which account it is. One with another number is another account: nothing that was set is of it.
    async fn known(&mut self, account: &Account) {
        if self.status.account_id == Some(account.id) {
            return;
        }
        if self.status.account_id.is_none() && account.created.saturating_add(60) < seconds(self.context) {
            let note =
                format!("{} was there already, and is kept by this object from now on", account.address);
            self.context.events.normal(self.account, "AccountAdopted", &note).await;
        }
        self.status.account_id = Some(account.id);
        self.status.applied.clear();
        self.status.password_version = None;
    }

    /// Writes what the object says anew, and notes what was changed elsewhere.
    /// Returns aliases that are someone else's, too.
    async fn update(&mut self, client: &Client, account: Account) -> Result<(Account, Vec<String>)> {
        let wanted = fields::wanted(&self.account.spec, &account.address)?;
        let mut aliases = Vec::new();
        for alias in fields::aliases(wanted.keys().chain(self.status.applied.keys())) {
            aliases.extend(client.alias(alias).await.optional()?);
        }
        let found = fields::found(&account, &aliases);
        let mut comparison = compare(&wanted, &self.status.applied, &found);
        let foreign = fields::foreign_aliases(&mut comparison, &self.status.applied, &found);
        let account = self.change(client, account, &comparison).await?;
        self.status.applied = comparison.applied;
        self.status.drift = comparison.drift;
        Ok((account, foreign))
    }

    async fn change(&self, client: &Client, account: Account, comparison: &Comparison) -> Result<Account> {
        if comparison.is_settled() {
            return Ok(account);
        }
        self.context.leadership.check()?;
        let account = match fields::patch(&self.account.spec, comparison)? {
            // Only as it was seen: what is changed elsewhere at the same time is not lost.
            Some(patch) => {
                client.update_account(&account.id.to_string(), &patch, Some(&account.revision)).await?
            }
            None => account,
        };
        for alias in fields::aliases(&comparison.write) {
            let targets = AliasTargets { targets: [account.address.clone()].into() };
            client.put_alias(alias, &targets, None).await?;
        }
        for alias in fields::aliases(&comparison.reset) {
            client.delete_alias(alias).await.optional()?;
        }
        fail::point("account.written")?;
        Ok(account)
    }

    /// Says what is not as the object says, in the condition and in an event.
    async fn tell(&mut self, foreign: &[String]) {
        let drift: Vec<String> = self
            .status
            .drift
            .iter()
            .map(|drift| {
                format!("{} is {:?} here and {:?} in the service", drift.field, drift.wanted, drift.found)
            })
            .collect();
        let (reason, message) = if !foreign.is_empty() {
            ("AliasConflict", format!("{} lead elsewhere already, and were left alone", foreign.join(", ")))
        } else if !drift.is_empty() {
            ("ChangedElsewhere", drift.join("; "))
        } else {
            return self.in_sync("InSync", ConditionStatus::True, String::new());
        };
        self.context.events.warning(self.account, reason, &message).await;
        self.in_sync(reason, ConditionStatus::False, message);
    }

    /// Sets the password if the Secret has another one than was set.
    async fn password(&mut self, client: &Client, account: &Account) -> Result<()> {
        let id = account.id.to_string();
        let Some(source) = &self.account.spec.password else {
            // It was said here, and is not any more. It may be the user's own by now, and nobody wants to be locked out by a line that was removed.
            if self.status.password_version.is_some() {
                self.status.password_version = None;
                let note = "the password is not this object's any more; the account keeps the one it has";
                self.context.events.normal(self.account, "PasswordReleased", note).await;
            }
            return Ok(());
        };
        let namespace = self.account.namespace().unwrap_or_default();
        let secrets: Api<Secret> = Api::namespaced(self.context.client.clone(), &namespace);
        let name = &source.secret_ref.name;
        let secret = secrets.get(name).await.optional()?.ok_or_else(|| {
            Error::outside(
                "SecretMissing",
                format!("there is no Secret {namespace}/{name} with the password"),
            )
        })?;
        let password = Password::read(&secret, &source.secret_ref.key)?;
        let version = Version::of(&password, &secret, account.id, &self.context.services.key().await?);
        if !self.status.password_version.as_deref().is_some_and(|set| version.is(set)) {
            self.context.leadership.check()?;
            client.update_account(&id, &with_password(password), None).await.map_err(refused_password)?;
            fail::point("account.password")?;
            self.context
                .events
                .normal(self.account, "PasswordSet", "the password of the Secret was set")
                .await;
        } else if !account.has_password {
            self.status.drift.push(AccountDrift {
                field: fields::PASSWORD.to_owned(),
                wanted: "that of the Secret".to_owned(),
                found: "none".to_owned(),
            });
        }
        self.status.password_version = Some(version.to_string());
        Ok(())
    }
}

fn with_password(password: Password) -> AccountPatch {
    match password {
        Password::Plain(plain) => AccountPatch { password: Some(Some(plain)), ..AccountPatch::default() },
        Password::Hash(hash) => AccountPatch { password_hash: Some(hash), ..AccountPatch::default() },
    }
}

fn refused_password(error: ClientError) -> Error {
    match error {
        ClientError::Problem(problem) if problem.code == ProblemCode::Invalid => {
            Error::invalid("PasswordRefused", format!("the service refuses the password: {}", problem.detail))
        }
        error => error.into(),
    }
}

fn not_created(address: &str, error: ClientError) -> Error {
    match &error {
        ClientError::Problem(problem) if problem.code == ProblemCode::AlreadyExists => Error::outside(
            "AddressTaken",
            format!("{address} is an alias or a group in the service, so it cannot be an account"),
        ),
        ClientError::Problem(problem) if problem.code == ProblemCode::NotFound => {
            Error::outside(DOMAIN_NOT_READY, format!("the service does not have the domain yet: {error}"))
        }
        _ => error.into(),
    }
}

fn seconds(context: &Context) -> u64 {
    u64::try_from(context.clock.now().as_second()).unwrap_or_default()
}

/// The service where the mailboxes of a domain live: that of its home region. Domains that aliases are in must be the objects' own there, too: the service may have a
/// domain of that name that is somebody else's.
async fn client(context: &Context, domain: Option<&MailDomain>, others: &[MailDomain]) -> Result<Client> {
    let Some(domain) = domain else { return context.services.main().await };
    let regions: Api<MailRegion> = Api::namespaced(context.client.clone(), context.namespace());
    let home = regions.get(&domain.spec.home_region).await.optional()?;
    let others = others.iter().filter(|other| claim::accepts(other));
    if let Some(domain) = others.chain([domain]).find(|one| !holds(context, one, home.as_ref())) {
        let message = format!(
            "the MailDomain {} does not have the domain in the service of its home region",
            domain.name_any()
        );
        return Err(Error::outside(DOMAIN_NOT_READY, message));
    }
    match home {
        Some(region) => context.services.of_region(&context.client, &region).await,
        None => context.services.main().await,
    }
}

/// Removes an account with its mail and the aliases that were made for it, if it is still the one that was made or adopted.
pub(super) async fn remove(
    account: &MailAccount,
    context: &Context,
    id: u64,
    applied: &Fields,
) -> Result<()> {
    let domains = Work::new(account, context).domains().await?;
    let client = client(context, claim::home(account, &domains), &[]).await?;
    context.leadership.check()?;
    for (field, target) in applied {
        let Some(alias) = fields::aliases([field]).into_iter().next() else { continue };
        let found = client.alias(alias).await.optional()?;
        if found.is_some_and(|found| found.targets.iter().eq([target])) {
            client.delete_alias(alias).await.optional()?;
        }
    }
    let found = client.account(&id.to_string()).await.optional()?;
    if found.is_some_and(|found| claim::canonical(&found.address) == claim::canonical(&account.spec.address))
    {
        client.delete_account(&id.to_string()).await.optional()?;
        let note = format!("{} was deleted with its mail", account.spec.address);
        context.events.normal(account, "AccountDeleted", &note).await;
    }
    Ok(())
}
