//! A master key in AWS KMS, or in what speaks its protocol: data keys are sent there to be wrapped and unwrapped, and the master key never leaves it.
//!
//! The scope of a data key goes along as the encryption context: it must be the same to unwrap, can be demanded by the key's policy, and
//! is what the log of KMS shows.

use std::fmt;
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::Builder;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use ekitei_keyring::{Clear, WrapError, WrapFuture, Wrapper};
use ekitei_s3::aws::{Access, Connection};
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
        let Settings { access, key_id, timeout } = settings;
        let failed = |reason: String| OpenError { key_id: key_id.clone(), reason };
        let connection = access.connect().await.map_err(|error| failed(error.to_string()))?;
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
            request.plaintext(Blob::new(key.to_vec()))
        };
        let answer = match request().send().await {
            Err(error) if is_expired(&error) => {
                self.connection.credentials.forget().await;
                request().send().await
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| classify(&error))?;
        let wrapped = answer.ciphertext_blob.map(Blob::into_inner);
        wrapped.ok_or_else(|| WrapError::Unavailable("KMS answered without a ciphertext".to_owned()))
    }

    async fn decrypt(&self, wrapped: &[u8], scope: &str) -> Result<Clear, WrapError> {
        let request = || {
            let request = self.client.decrypt().encryption_context(CONTEXT, scope);
            request.ciphertext_blob(Blob::new(wrapped))
        };
        let answer = match request().send().await {
            Err(error) if is_expired(&error) => {
                self.connection.credentials.forget().await;
                request().send().await
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| classify(&error))?;
        let clear = Zeroizing::new(answer.plaintext.map(Blob::into_inner).unwrap_or_default());
        let octets = clear.as_slice().try_into();
        octets.map(Zeroizing::new).map_err(|_| WrapError::Refused("it has another length".to_owned()))
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

fn is_expired<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(error.code(), Some("ExpiredTokenException" | "ExpiredToken" | "RequestExpired"))
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
