//! Where a certificate is to come from.

use std::fmt::Write as _;

use ekitei_operator_api::{AcmeIssuer, CertManagerIssuer, Certificate as Spec, IssuerKind};
use ekitei_operator_certificates::acme::{AccountRequest, ExternalAccount, Server};
use sha2::{Digest as _, Sha256};

use super::Wanted;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::services::{secret_key, secret_text};

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Nowhere: the service has one of its own, or somebody else does TLS.
    None,
    /// An issuer of cert-manager.
    CertManager(CertManagerIssuer),
    /// A Secret of this name that somebody else fills.
    Secret(String),
    /// An authority, by ACME.
    Acme(Box<Authority>),
}

/// An authority that speaks ACME, with all that is in Secrets.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Where it is.
    pub server: Server,
    /// What an account is made with.
    pub account: AccountRequest,
    /// The Secret that the account is kept in, as namespace and name.
    pub secret: (String, String),
    /// The profile of certificates.
    pub profile: Option<String>,
}

impl Source {
    /// As statuses have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::CertManager(_) => "cert-manager",
            Self::Secret(_) => "secret",
            Self::Acme(_) => "acme",
        }
    }

    /// What a spec means, here and now.
    ///
    /// # Errors
    /// `ACMETermsNotAgreed`, `CertManagerMissing`, and those of Secrets that are named.
    pub async fn find(context: &Context, wanted: &Wanted<'_>) -> Result<Self> {
        let spec = wanted.spec;
        let has_default = context.options.acme_directory.is_some();
        match spec.issuer {
            IssuerKind::None => Ok(Self::None),
            IssuerKind::Secret => secret(spec),
            IssuerKind::CertManager => {
                if !context.certificates.cert_manager.is_installed(&context.client).await? {
                    let message = "cert-manager is wanted, and its CustomResourceDefinition is not installed";
                    return Err(Error::outside("CertManagerMissing", message));
                }
                cert_manager(spec)
            }
            IssuerKind::Acme => acme(context, wanted).await,
            IssuerKind::Auto => {
                let installed = spec.cert_manager.is_some()
                    && context.certificates.cert_manager.is_installed(&context.client).await?;
                match (installed, spec.acme.is_some() || has_default) {
                    (true, _) => cert_manager(spec),
                    (false, true) => acme(context, wanted).await,
                    (false, false) if spec.secret_ref.is_some() => secret(spec),
                    (false, false) => Ok(Self::None),
                }
            }
        }
    }
}

fn secret(spec: &Spec) -> Result<Source> {
    let reference = spec.secret_ref.as_ref();
    let reference =
        reference.ok_or_else(|| Error::invalid("SpecInvalid", "issuer Secret needs a secretRef"))?;
    Ok(Source::Secret(reference.name.clone()))
}

fn cert_manager(spec: &Spec) -> Result<Source> {
    let issuer = spec.cert_manager.clone();
    let issuer =
        issuer.ok_or_else(|| Error::invalid("SpecInvalid", "issuer CertManager needs certManager"))?;
    Ok(Source::CertManager(issuer))
}

async fn acme(context: &Context, wanted: &Wanted<'_>) -> Result<Source> {
    let authority = match &wanted.spec.acme {
        Some(issuer) => named(context, wanted, issuer).await?,
        None => default(context).await?,
    };
    Ok(Source::Acme(Box::new(authority)))
}

/// The authority that the spec names.
async fn named(context: &Context, wanted: &Wanted<'_>, issuer: &AcmeIssuer) -> Result<Authority> {
    agreed(issuer.terms_of_service_agreed, &issuer.directory)?;
    let (client, namespace) = (&context.client, wanted.namespace.as_str());
    let mut server = Server::new(&issuer.directory);
    if let Some(reference) = &issuer.ca_ref {
        server.authorities = Some(secret_text(client, namespace, reference).await?);
    }
    let external = match &issuer.external_account {
        Some(binding) => {
            let key = secret_key(client, namespace, &binding.key_ref).await?;
            Some(external(&binding.key_id, &key)?)
        }
        None => None,
    };
    let secret = match &issuer.account_secret_ref {
        Some(reference) => (namespace.to_owned(), reference.name.clone()),
        // An account that belongs to another is not shared with other namespaces.
        None if external.is_some() => (namespace.to_owned(), account_name(&issuer.directory)),
        None => (context.namespace().to_owned(), account_name(&issuer.directory)),
    };
    let account = AccountRequest { contact: issuer.contacts.clone(), external };
    Ok(Authority { server, account, secret, profile: issuer.profile.clone() })
}

/// The authority that the operator was started with.
async fn default(context: &Context) -> Result<Authority> {
    let options = &context.options;
    let directory = options.acme_directory.as_ref().ok_or_else(|| {
        Error::invalid(
            "ACMEDirectoryMissing",
            "issuer Acme needs `acme`: the operator has no default authority",
        )
    })?;
    agreed(options.acme_terms_of_service_agreed, directory)?;
    let mut server = Server::new(directory);
    if let Some(file) = &options.acme_ca_file {
        let pem = tokio::fs::read_to_string(file).await;
        let missing = |error| Error::outside("ACMECAFileMissing", format!("{}: {error}", file.display()));
        server.authorities = Some(pem.map_err(missing)?);
    }
    let external = default_external(options).await?;
    let account = AccountRequest { contact: options.acme_contacts.clone(), external };
    // An account that belongs to another is not the one of those who name the same directory without it.
    let of = [Some(directory), options.acme_external_account.as_ref()];
    let of: Vec<&str> = of.into_iter().flatten().map(String::as_str).collect();
    let secret = (context.namespace().to_owned(), account_name(&of.join(" ")));
    Ok(Authority { server, account, secret, profile: None })
}

/// The account that the one at the default authority belongs to.
async fn default_external(options: &Options) -> Result<Option<ExternalAccount>> {
    let (Some(key_id), Some(file)) =
        (&options.acme_external_account, &options.acme_external_account_key_file)
    else {
        return Ok(None);
    };
    let missing =
        |error| Error::outside("ACMEExternalAccountMissing", format!("{}: {error}", file.display()));
    let key = tokio::fs::read_to_string(file).await.map_err(missing)?;
    external(key_id, key.trim().as_bytes()).map(Some)
}

fn agreed(agreed: bool, directory: &str) -> Result<()> {
    if agreed {
        return Ok(());
    }
    let message = format!("the terms of service of {directory} have to be agreed to: termsOfServiceAgreed");
    Err(Error::invalid("ACMETermsNotAgreed", message))
}

fn external(key_id: &str, key: &[u8]) -> Result<ExternalAccount> {
    let wrong = |error: &dyn std::fmt::Display| Error::invalid("ACMEExternalAccountInvalid", error);
    let key = std::str::from_utf8(key).map_err(|error| wrong(&error))?;
    ExternalAccount::new(key_id, key).map_err(|error| wrong(&error))
}

/// The name of the Secret of the account with an authority.
pub fn account_name(directory: &str) -> String {
    let hash = Sha256::digest(directory.as_bytes());
    hash.iter().take(5).fold("ekitei-acme-".to_owned(), |mut name, octet| {
        let _ = write!(name, "{octet:02x}");
        name
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[tokio::test]
    async fn the_account_of_the_default_authority_may_belong_to_another() {
        let file = std::env::temp_dir().join(format!("ekitei-external-{}", std::process::id()));
        let path = file.to_str().unwrap();
        let arguments =
            ["operator", "--acme-external-account=key-1", "--acme-external-account-key-file", path];
        let options = Command::try_parse_from(arguments).unwrap().options;
        let missing = default_external(&options).await.unwrap_err();
        assert_eq!(missing.reason(), "ACMEExternalAccountMissing");

        std::fs::write(&file, "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0\n").unwrap();
        let found = default_external(&options).await;
        std::fs::write(&file, "not base64url!\n").unwrap();
        let wrong = default_external(&options).await;
        std::fs::remove_file(&file).unwrap();
        assert!(found.unwrap().is_some());
        assert_eq!(wrong.unwrap_err().reason(), "ACMEExternalAccountInvalid");
        let none = Command::try_parse_from(["operator"]).unwrap().options;
        assert!(default_external(&none).await.unwrap().is_none());
    }
}
