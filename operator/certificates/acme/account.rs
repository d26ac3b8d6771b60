//! Accounts of an ACME server (RFC 8555 §7.3).

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use instant_acme::{AccountCredentials, CertificateIdentifier, ExternalAccountKey, NewAccount};
use jiff::Timestamp;
use rustls::pki_types::Der;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::Step;
use super::http::{Https, noting};
use super::{AcmeError, Patience, Server};
use crate::Certificate;
use crate::renewal::{Advice, Window};

/// What an account is made with.
#[derive(Clone, Debug, Default)]
pub struct AccountRequest {
    /// Addresses of people whom the authority may write to, without `mailto:`.
    pub contact: Vec<String>,
    /// The account with the authority that the ACME account belongs to, where one is needed.
    pub external: Option<ExternalAccount>,
}

/// An external account binding (RFC 8555 §7.3.4). Its debug form does not show the key.
#[derive(Clone)]
pub struct ExternalAccount {
    key_id: String,
    key: Zeroizing<Vec<u8>>,
}

impl ExternalAccount {
    /// From what the authority gave: the identifier of the key, and the key in Base64 of any kind.
    ///
    /// # Errors
    /// [`AcmeError::BadInput`] if the key is not Base64, or one of both is empty.
    pub fn new(key_id: impl Into<String>, key: &str) -> Result<Self, AcmeError> {
        let (key_id, key) = (key_id.into(), key.trim());
        let decoded =
            [&URL_SAFE_NO_PAD, &URL_SAFE, &STANDARD, &STANDARD_NO_PAD].into_iter().find_map(|alphabet| {
                let octets = alphabet.decode(key).ok()?;
                (!octets.is_empty()).then_some(octets)
            });
        match decoded {
            Some(octets) if !key_id.trim().is_empty() => {
                Ok(Self { key_id: key_id.trim().to_owned(), key: Zeroizing::new(octets) })
            }
            _ => Err(AcmeError::BadInput(
                "an external account needs the identifier of its key, and the key in Base64".to_owned(),
            )),
        }
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// What an account is restored from: JSON with its URL, its private key and the directory. A secret, which the caller
/// keeps as it is; its debug form shows the URLs only.
#[derive(Clone)]
pub struct Credentials {
    json: Zeroizing<String>,
    id: String,
    directory: String,
}

#[derive(Deserialize)]
struct PublicPart {
    id: String,
    directory: String,
}

impl Credentials {
    /// Reads what [`Credentials::json`] gave.
    ///
    /// # Errors
    /// [`AcmeError::BadInput`].
    pub fn from_json(json: &str) -> Result<Self, AcmeError> {
        let bad = |error: serde_json::Error| {
            AcmeError::BadInput(format!("the credentials of the ACME account cannot be read: {error}"))
        };
        let PublicPart { id, directory } = serde_json::from_str(json).map_err(bad)?;
        let _: AccountCredentials = serde_json::from_str(json).map_err(bad)?;
        Ok(Self { json: Zeroizing::new(json.to_owned()), id, directory })
    }

    /// The form to keep.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The URL of the account.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The URL of the directory of the server that the account is with. Another server needs another account.
    pub fn directory(&self) -> &str {
        &self.directory
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// An account, ready for orders. Cheap to clone.
#[derive(Clone)]
pub struct Account {
    pub(super) inner: instant_acme::Account,
    pub(super) patience: Patience,
}

impl Account {
    /// Makes an account with a new key, agreeing to the terms of service. The credentials are to be kept at once: there
    /// is no other way back to the account.
    ///
    /// # Errors
    /// [`AcmeError`]; [`AcmeError::AccountRefused`] for a wrong or missing external account, or contact.
    pub async fn create(server: &Server, request: &AccountRequest) -> Result<(Self, Credentials), AcmeError> {
        let contact: Vec<String> =
            request.contact.iter().map(|address| format!("mailto:{address}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = request
            .external
            .as_ref()
            .map(|external| ExternalAccountKey::new(external.key_id.clone(), &external.key));
        let builder = instant_acme::Account::builder_with_http(Box::new(Https::new(server)?));
        noting(async {
            let created = builder.create(&new, server.directory.clone(), external.as_ref()).await;
            let (inner, credentials) = created.map_err(|error| AcmeError::new(error, Step::Account))?;
            let json = serde_json::to_string(&credentials)
                .map_err(|error| AcmeError::BadAnswer(format!("credentials that cannot be kept: {error}")))?;
            Ok((Self { inner, patience: server.patience }, Credentials::from_json(&json)?))
        })
        .await
    }

    /// The account of `credentials`. Asks the server for its directory only: that it does not know the account shows
    /// when something is ordered ([`AcmeError::UnknownAccount`]).
    ///
    /// # Errors
    /// [`AcmeError`]; [`AcmeError::BadInput`] if the account is with another server.
    pub async fn restore(server: &Server, credentials: &Credentials) -> Result<Self, AcmeError> {
        if credentials.directory != server.directory {
            return Err(AcmeError::BadInput(format!(
                "the ACME account is with {}, and not with {}",
                credentials.directory, server.directory
            )));
        }
        let parsed: AccountCredentials = serde_json::from_str(&credentials.json)
            .map_err(|error| AcmeError::BadInput(format!("the credentials of the ACME account: {error}")))?;
        let builder = instant_acme::Account::builder_with_http(Box::new(Https::new(server)?));
        noting(async {
            let restored = builder.from_credentials(parsed).await;
            let inner = restored.map_err(|error| AcmeError::new(error, Step::Order))?;
            Ok(Self { inner, patience: server.patience })
        })
        .await
    }

    /// Tells the server other contacts; addresses without `mailto:`. Also how to find out whether it knows the account.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn set_contact(&self, contact: &[String]) -> Result<(), AcmeError> {
        let contact: Vec<String> = contact.iter().map(|address| format!("mailto:{address}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        noting(async {
            let updated = super::order::with_nonces!(self.inner.update_contacts(&contact).await);
            updated.map_err(|error| AcmeError::new(error, Step::Account))
        })
        .await
    }

    /// The URL of the account.
    pub fn id(&self) -> &str {
        self.inner.id()
    }

    /// The profiles that the server offers, with what it says of them.
    pub fn profiles(&self) -> Vec<(String, String)> {
        self.inner
            .profiles()
            .map(|profile| (profile.name.to_owned(), profile.description.to_owned()))
            .collect()
    }

    /// Asks when `certificate` should be renewed (RFC 9773). `None` if the server has no such service, or the certificate
    /// nothing to ask by.
    ///
    /// # Errors
    /// [`AcmeError`]. The plan for the certificate then stays as it is.
    pub async fn advice(&self, certificate: &Certificate) -> Result<Option<Advice>, AcmeError> {
        let Some(id) = identifier(certificate) else { return Ok(None) };
        let answer = noting(async {
            match self.inner.renewal_info(&id).await {
                Err(instant_acme::Error::Unsupported(_)) => Ok(None),
                Err(error) => Err(AcmeError::new(error, Step::Advice)),
                Ok(answer) => Ok(Some(answer)),
            }
        });
        let Some((info, ask_after)) = answer.await? else { return Ok(None) };
        let timestamp = |seconds: i64| {
            Timestamp::from_second(seconds)
                .map_err(|error| AcmeError::BadAnswer(format!("renewal information: {error}")))
        };
        let window = Window {
            start: timestamp(info.suggested_window.start.unix_timestamp())?,
            end: timestamp(info.suggested_window.end.unix_timestamp())?,
            explanation: info.explanation_url,
        };
        Ok(Some(Advice { window, ask_after: ask_after.max(Duration::from_secs(1)) }))
    }
}

/// What identifies a certificate to its authority, for the library.
pub(super) fn identifier(certificate: &Certificate) -> Option<CertificateIdentifier<'static>> {
    let ari = certificate.ari()?;
    Some(
        CertificateIdentifier::new(Der::from_slice(&ari.authority), Der::from_slice(&ari.serial))
            .into_owned(),
    )
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("id", &self.id()).finish_non_exhaustive()
    }
}
