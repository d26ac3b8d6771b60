//! Whether a login is right.
//!
//! A password costs a slow hash once; then it is remembered for a while as a digest keyed with a random number of this process, so
//! that a client that connects every minute, or a thousand that connect at once after a restart of the network, cost nothing. What is remembered names
//! the password's revision, so a changed or removed password is forgotten the moment that its row is read again.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::accounts;
use crate::address::{EmailAddress, LocalPart};
use crate::app_passwords;
use crate::cache::{Key, Login, Value};
use crate::directory::Directory;
use crate::domains;
use crate::error::{AuthError, Error, Result};
use crate::model::{AccountId, AuthContext, Authenticated, Revision};
use crate::password::{self, StoredHash};
use crate::rows::{self, CredentialRow, Owner};

impl Directory {
    /// Checks a login name and a password. Costs about the same time for unknown users as for wrong passwords, and a wrong
    /// login at least `failed_login_delay`.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(
        &self,
        login: &str,
        password: &str,
        context: AuthContext,
    ) -> Result<Authenticated, AuthError> {
        let started = Instant::now();
        let result = self.check_login(login, password).await;
        match &result {
            Ok(who) => {
                tracing::debug!(account = %who.account, service = ?context.service, peer = ?context.peer, "login");
            }
            Err(error) => {
                tracing::info!(%error, service = ?context.service, peer = ?context.peer, "login refused");
            }
        }
        if matches!(result, Err(AuthError::InvalidCredentials)) {
            tokio::time::sleep_until(started + self.current().settings.failed_login_delay).await;
        }
        result
    }

    async fn check_login(&self, login: &str, password: &str) -> Result<Authenticated, AuthError> {
        if password::check_length(password).is_err() {
            return Err(AuthError::InvalidCredentials);
        }
        let found = match self.login_address(login) {
            Some(address) => self.find_login(&address).await.map_err(unavailable)?,
            None => None,
        };
        let Some(found) = found else {
            // As slow as for a user that exists.
            self.current().verifier.verify(None, password.to_owned()).await?;
            return Err(AuthError::InvalidCredentials);
        };
        let account = found.account.id;
        let app_password =
            app_passwords::matching(account, &found.app_passwords, password).map(str::to_owned);
        if app_password.is_none() {
            self.check_password(account, found.credential.as_ref(), password).await?;
        }
        if !found.enabled {
            return Err(AuthError::Disabled);
        }
        Ok(Authenticated { account, address: found.account.address.clone(), app_password })
    }

    /// Compares with what is remembered, or else with the stored hash.
    async fn check_password(
        &self,
        account: AccountId,
        credential: Option<&CredentialRow>,
        password: &str,
    ) -> Result<(), AuthError> {
        let current = self.current();
        let revision = credential.map(|credential| credential.revision);
        if revision.is_some_and(|revision| current.logins.knows(account, revision, password)) {
            return Ok(());
        }
        let hash = credential.map(|credential| StoredHash::parse(&credential.hash)).transpose();
        let hash = hash.map_err(unavailable)?;
        let verified = current.verifier.verify(hash, password.to_owned()).await?;
        let Some(revision) = revision.filter(|_| verified.correct) else {
            return Err(AuthError::InvalidCredentials);
        };
        current.logins.remember(account, revision, password);
        if let Some(renewed) = verified.renewed {
            self.renew_hash(account, revision, &renewed).await;
        }
        Ok(())
    }

    /// Replaces a hash of another system. The login succeeds even if this does not.
    async fn renew_hash(&self, account: AccountId, revision: Revision, hash: &StoredHash) {
        let renewed = &CredentialRow { hash: hash.to_text(), revision };
        let result = self
            .maintain(|tx| async move {
                let key = rows::credential_key(account);
                let stored: Option<CredentialRow> = rows::find(&tx, &key).await?;
                match stored {
                    Some(stored) if stored.revision == revision => rows::put(&tx, &key, renewed),
                    _ => Ok(()),
                }
            })
            .await;
        if let Err(error) = result {
            tracing::warn!(%account, %error, "the password hash could not be renewed");
        }
    }

    /// The address that a login name is; a name without a domain is in the default domain.
    fn login_address(&self, login: &str) -> Option<EmailAddress> {
        if login.contains('@') {
            return EmailAddress::parse(login).ok();
        }
        let domain = self.current().settings.default_domain.clone()?;
        EmailAddress::new(LocalPart::parse(login).ok()?, domain).ok()
    }

    async fn find_login(&self, address: &EmailAddress) -> Result<Option<Arc<Login>>> {
        let value = self
            .look_up(Key::Login(address.clone()), |tx| async move {
                let owner = rows::find(&tx, &rows::owner_key(address)).await?;
                let Some(Owner::Account(id)) = owner else { return Ok(Value::Login(None)) };
                let Some(row) = accounts::find_row(&tx, id).await? else { return Ok(Value::Login(None)) };
                let domain = domains::require_domain(&tx, address.domain()).await?;
                Ok(Value::Login(Some(Arc::new(Login {
                    enabled: row.enabled && domain.enabled,
                    account: row.into_account(id),
                    credential: rows::find(&tx, &rows::credential_key(id)).await?,
                    app_passwords: app_passwords::all(&tx, id).await?,
                }))))
            })
            .await?;
        match value {
            Value::Login(login) => Ok(login),
            _ => Ok(None),
        }
    }
}

fn unavailable(error: Error) -> AuthError {
    AuthError::Unavailable(error.to_string())
}

/// Passwords that were right a short while ago, as keyed digests.
pub(crate) struct RememberedLogins {
    /// Random, so that the digests in memory cannot be compared with a list of passwords made elsewhere.
    key: [u8; 32],
    ttl: Duration,
    until: Cache<[u8; 32], Instant>,
}

impl RememberedLogins {
    pub(crate) fn new(entries: usize, ttl: Duration) -> Self {
        Self { key: rand::random(), ttl, until: Cache::new(entries.max(1)) }
    }

    fn knows(&self, account: AccountId, revision: Revision, password: &str) -> bool {
        self.until.get(&self.digest(account, revision, password)).is_some_and(|until| Instant::now() < until)
    }

    fn remember(&self, account: AccountId, revision: Revision, password: &str) {
        if self.ttl > Duration::ZERO {
            self.until.insert(self.digest(account, revision, password), Instant::now() + self.ttl);
        }
    }

    /// The fixed-size fields come first, so no two inputs share their octets.
    fn digest(&self, account: AccountId, revision: Revision, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&account.get().to_be_bytes());
        hasher.update(&revision.0);
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }
}
