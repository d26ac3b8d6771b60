//! A master key in AWS KMS, or in what speaks its protocol: data keys are sent there to be wrapped and unwrapped, and the master key never leaves it.
//!
//! The scope of a data key goes along as the encryption context: it must be the same to unwrap, can be demanded by the key's policy, and
//! is what the log of KMS shows.

use std::fmt;
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::Builder;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use ekitei_keyring::{Clear, WrapError, WrapFuture, Wrapper};
use ekitei_s3::aws::{Access, Connection, KeySource};
use zeroize::Zeroizing;

/// The key of the encryption context that has the scope.
const CONTEXT: &str = "ekitei-scope";
/// What it has for the service, since a value cannot be empty.
const SERVICE: &str = "(service)";
/// Attempts of one call, within its time.
const ATTEMPTS: u32 = 3;

/// Which key, and how to reach it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where KMS is and who asks.
    pub access: Access,
    /// The key: its id, its ARN, or `alias/` and its alias.
    pub key_id: String,
    /// How long one call may take, attempts included.
    pub timeout: Duration,
}

/// The key cannot be used with these settings: the operator's.
#[derive(Debug, thiserror::Error)]
#[error("the key {key_id} of KMS cannot be used: {reason}")]
pub struct OpenError {
    key_id: String,
    reason: String,
}

/// A master key in KMS.
pub struct KmsKey {
    name: String,
    key_id: String,
    client: Client,
    connection: Connection,
}

impl fmt::Debug for KmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl KmsKey {
    /// A key. KMS is not asked yet.
    ///
    /// # Errors
    /// No region is known, or the certificates are none.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let keys = settings.access.keys.clone().map(|keys| KeySource::new(move || keys.clone()));
        Self::open_with(settings, keys).await
    }

    /// Like [`KmsKey::open`], with credentials that may be replaced at any time in place of [`Access::keys`]; `None` for those of the environment.
    ///
    /// # Errors
    /// As [`KmsKey::open`].
    pub async fn open_with(settings: Settings, keys: Option<KeySource>) -> Result<Self, OpenError> {
        let Settings { access, key_id, timeout } = settings;
        let failed = |reason: String| OpenError { key_id: key_id.clone(), reason };
        let connection = access.connect_with(keys).await.map_err(|error| failed(error.to_string()))?;
        let attempt = timeout.div_f64(f64::from(ATTEMPTS) - 1.0);
        let config = Builder::from(&connection.config)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(access.connect_timeout)
                    .operation_attempt_timeout(attempt)
                    .operation_timeout(timeout)
                    .build(),
            )
            .build();
        let name = format!("aws-kms:{key_id}");
        Ok(Self { name, key_id, client: Client::from_conf(config), connection })
    }

    async fn encrypt(&self, key: &Clear, scope: &str) -> Result<Vec<u8>, WrapError> {
        let request = || {
            let request = self.client.encrypt().key_id(&self.key_id).encryption_context(CONTEXT, scope);
            request.plaintext(Blob::new(key.to_vec())).send()
        };
        let wrapped = self.ask(request).await?.ciphertext_blob.map(Blob::into_inner);
        wrapped.ok_or_else(|| WrapError::Unavailable("KMS answered without a ciphertext".to_owned()))
    }

    async fn decrypt(&self, wrapped: &[u8], scope: &str) -> Result<Clear, WrapError> {
        let request = || {
            let request = self.client.decrypt().encryption_context(CONTEXT, scope);
            let request = request.set_key_id(self.fixed_key().map(str::to_owned));
            request.ciphertext_blob(Blob::new(wrapped)).send()
        };
        let answer = self.ask(request).await?;
        // Not everything that speaks the protocol looks at what was asked for.
        if let Some((fixed, used)) = self.fixed_key().zip(answer.key_id())
            && !is_same_key(fixed, used)
        {
            return Err(WrapError::Refused(format!("it was wrapped by another key of KMS, {used}")));
        }
        let clear = Zeroizing::new(answer.plaintext.map(Blob::into_inner).unwrap_or_default());
        let octets = clear.as_slice().try_into();
        octets.map(Zeroizing::new).map_err(|_| WrapError::Refused("it has another length".to_owned()))
    }

    /// The key that must have wrapped what is unwrapped. An alias may point to another key than it did then.
    fn fixed_key(&self) -> Option<&str> {
        let is_alias = self.key_id.starts_with("alias/") || self.key_id.contains(":alias/");
        (!is_alias).then_some(&self.key_id)
    }

    /// Asks KMS, and once more with other credentials where those are what is wrong.
    async fn ask<T, E, F>(&self, request: impl Fn() -> F) -> Result<T, WrapError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let answer = match request().await {
            Err(error) if is_of_credentials(&error) => {
                self.connection.credentials.forget().await;
                request().await
            }
            answer => answer,
        };
        answer.map_err(|error| classify(&error))
    }
}

impl Wrapper for KmsKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap<'a>(&'a self, key: &'a Clear, scope: &'a str) -> WrapFuture<'a, Vec<u8>> {
        Box::pin(self.encrypt(key, context(scope)))
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8], scope: &'a str) -> WrapFuture<'a, Clear> {
        Box::pin(self.decrypt(wrapped, context(scope)))
    }
}

fn context(scope: &str) -> &str {
    if scope.is_empty() { SERVICE } else { scope }
}

/// Whether the ARN of a key is that of a key that is given by its id or its ARN.
fn is_same_key(given: &str, arn: &str) -> bool {
    given == arn || arn.rsplit_once('/').is_some_and(|(_, id)| id == given)
}

/// Whether the credentials have expired, or are not known and may have been replaced where they come from.
fn is_of_credentials<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(
        error.code(),
        Some(
            "ExpiredTokenException"
                | "ExpiredToken"
                | "RequestExpired"
                | "UnrecognizedClientException"
                | "InvalidSignatureException"
                | "InvalidClientTokenId"
        )
    )
}

/// Whether to wait for KMS or to change something.
fn classify<E, R>(error: &SdkError<E, R>) -> WrapError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    let Some(code) = error.code() else {
        return WrapError::Unavailable(format!("KMS cannot be asked: {}", DisplayErrorContext(error)));
    };
    let said = format!("KMS says {code}: {}", error.message().unwrap_or_default());
    match code {
        "AccessDeniedException"
        | "DisabledException"
        | "IncorrectKeyException"
        | "InvalidAliasNameException"
        | "InvalidArnException"
        | "InvalidCiphertextException"
        | "InvalidKeyUsageException"
        | "InvalidSignatureException"
        | "KMSInvalidStateException"
        | "NotFoundException"
        | "UnrecognizedClientException"
        | "ValidationException" => WrapError::Refused(said),
        _ => WrapError::Unavailable(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_by_its_id_and_its_arn() {
        let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd";
        assert!(is_same_key(arn, arn) && is_same_key("1234abcd", arn));
        assert!(!is_same_key("abcd", arn) && !is_same_key(&arn.replace("1111", "9999"), arn));
    }
}
