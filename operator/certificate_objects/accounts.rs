//! ACME accounts, each kept in a Secret: its key `account.json` is the account's only copy.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use ekitei_operator_certificates::acme::{Account, AcmeError, Credentials};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};

use super::source::Authority;
use crate::context::Context;
use crate::error::{Error, Optional as _, Result};

/// The key in the Secret.
pub const ACCOUNT: &str = "account.json";

/// The namespace and name of a Secret.
type Id = (String, String);
/// Whose turn it is.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// One at a time is made for each Secret, within this process; others find it there already.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<HashMap<Id, Turn>>);

impl Accounts {
    fn turn(&self, secret: &Id) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(secret.clone()).or_default())
    }
}

/// The account with an authority: the one that is kept, or a new one, kept before it is used.
///
/// # Errors
/// The authority's (see [`acme`]), and the Kubernetes API's.
pub async fn open(context: &Context, authority: &Authority) -> Result<Account> {
    let turn = context.certificates.accounts.turn(&authority.secret);
    let _turn = turn.lock().await;
    let (namespace, name) = &authority.secret;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let kept = secrets.get(name).await.optional()?;
    if let Some(secret) = &kept
        && let Some(credentials) = credentials(secret, authority)?
    {
        return Account::restore(&authority.server, &credentials).await.map_err(acme);
    }
    context.leadership.check()?;
    let created = Account::create(&authority.server, &authority.account).await;
    let (account, credentials) = created.map_err(acme)?;
    tracing::info!(account = account.id(), directory = credentials.directory(), "an ACME account was made");
    let data = BTreeMap::from([(ACCOUNT.to_owned(), ByteString(credentials.json().as_bytes().to_vec()))]);
    match kept {
        // It is there and is empty, or is of another authority's; what else is in it stays.
        Some(mut secret) => {
            secret.data.get_or_insert_default().extend(data);
            secrets.replace(name, &PostParams::default(), &secret).await?;
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                labels: Some(super::kept::labels()),
                ..ObjectMeta::default()
            };
            let secret = Secret { metadata, data: Some(data), ..Secret::default() };
            secrets.create(&PostParams::default(), &secret).await?;
        }
    }
    Ok(account)
}

/// Gives up an account that its authority does not know any more, so that the next round makes another.
///
/// # Errors
/// The Kubernetes API's.
pub async fn forget(context: &Context, authority: &Authority) -> Result<()> {
    let turn = context.certificates.accounts.turn(&authority.secret);
    let _turn = turn.lock().await;
    let (namespace, name) = &authority.secret;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let Some(secret) = secrets.get(name).await.optional()? else { return Ok(()) };
    context.leadership.check()?;
    let preconditions =
        Preconditions { uid: secret.metadata.uid, resource_version: secret.metadata.resource_version };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    secrets.delete(name, &parameters).await.optional()?;
    tracing::warn!(
        secret = format!("{namespace}/{name}"),
        "the ACME account is unknown to its authority, and given up"
    );
    Ok(())
}

/// The credentials in a Secret, if they are for this authority.
fn credentials(secret: &Secret, authority: &Authority) -> Result<Option<Credentials>> {
    let Some(ByteString(octets)) = secret.data.as_ref().and_then(|data| data.get(ACCOUNT)) else {
        return Ok(None);
    };
    let wrong = |error: &dyn std::fmt::Display| {
        let (namespace, name) = &authority.secret;
        Error::invalid("SecretInvalid", format!("{ACCOUNT} of Secret {namespace}/{name}: {error}"))
    };
    let json = std::str::from_utf8(octets).map_err(|error| wrong(&error))?;
    let credentials = Credentials::from_json(json).map_err(|error| wrong(&error))?;
    Ok((credentials.directory() == authority.server.directory).then_some(credentials))
}

/// What an authority says, as an error of a round.
pub fn acme(error: AcmeError) -> Error {
    use ekitei_operator_certificates::acme::Retry;
    let (reason, message) = (error.reason(), error.to_string());
    match error.retry() {
        Retry::WhenChanged => Error::invalid(reason, message),
        Retry::After(after) => Error::Outside { reason, message, after: Some(after) },
        Retry::Backoff => Error::Outside { reason, message, after: None },
    }
}
