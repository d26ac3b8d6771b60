//! How to reach a service of Amazon's kind: region, endpoint, certificates, and credentials that are renewed when they expire.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::IdentityCache;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use ekitei_blob::ObjectError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;

/// The region that servers which have none expect in a signature.
const ANY_REGION: &str = "us-east-1";
/// Credentials are renewed so long before they expire.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// Where a service is and who asks.
#[derive(Clone, Debug)]
pub struct Access {
    /// The region; if none is given, what the environment says, and for an endpoint without one `us-east-1`.
    pub region: Option<String>,
    /// The URL of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// Access key and secret; without them the environment is asked: variables, files, a web identity (IRSA), the container, the machine.
    pub keys: Option<Keys>,
    /// Certificates to trust beside the system's, in PEM.
    pub authorities: Option<Vec<u8>>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
}

/// Keys that do not expire by themselves.
#[derive(Clone)]
pub struct Keys {
    /// The id of the access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The token of temporary keys.
    pub session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// What the clients of services are built from.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The configuration of Amazon's library.
    pub config: SdkConfig,
    /// Its credentials, to be [forgotten](Renewable::forget) when a service says that they have expired.
    pub credentials: Arc<Renewable>,
}

impl Access {
    /// Finds region and source of credentials. No service is asked, but the machine's may be, for its region.
    ///
    /// # Errors
    /// The certificates are none, or no region is known.
    pub async fn connect(&self) -> Result<Connection, ObjectError> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(self.tls()?)
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(self.connect_timeout).build());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        } else if self.endpoint.is_some() {
            loader = loader.region(Region::from_static(ANY_REGION));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(keys) = &self.keys {
            loader = loader.credentials_provider(Credentials::new(
                &keys.access_key_id,
                &keys.secret_access_key,
                keys.session_token.clone(),
                None,
                "configuration",
            ));
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(ObjectError::invalid("no region is given, nor does the environment name one"));
        }
        let source = config.credentials_provider();
        let source = source.ok_or_else(|| ObjectError::invalid("there is no source of credentials"))?;
        let credentials = Arc::new(Renewable::new(source));
        let config = config
            .into_builder()
            .credentials_provider(SharedCredentialsProvider::new(
                Arc::clone(&credentials) as Arc<dyn ProvideCredentials>
            ))
            .identity_cache(IdentityCache::no_cache())
            .build();
        Ok(Connection { config, credentials })
    }

    fn tls(&self) -> Result<TlsContext, ObjectError> {
        let mut trusted = TrustStore::default();
        if let Some(pem) = &self.authorities {
            // The library would panic over what is none.
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            if !found.is_ok_and(|found| !found.is_empty()) {
                return Err(ObjectError::invalid("the authorities are no certificates in PEM"));
            }
            trusted.add_pem_certificate(pem.clone());
        }
        let context = TlsContext::builder().with_trust_store(trusted).build();
        context.map_err(|error| ObjectError::invalid(format!("the certificates cannot be used: {error}")))
    }
}

/// Credentials that are kept until they expire, or until a service says that they have.
#[derive(Debug)]
pub struct Renewable {
    source: SharedCredentialsProvider,
    kept: Mutex<Option<Credentials>>,
}

impl Renewable {
    fn new(source: SharedCredentialsProvider) -> Self {
        Self { source, kept: Mutex::new(None) }
    }

    /// Makes the next request ask the source again.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    /// The credentials; one at a time asks the source, and the others wait for its answer.
    async fn get(&self) -> Result<Credentials, CredentialsError> {
        let mut kept = self.kept.lock().await;
        let now = SystemTime::now();
        let lasts = |credentials: &Credentials, spare: Duration| {
            credentials.expiry().is_none_or(|expiry| expiry > now + spare)
        };
        if let Some(credentials) = kept.as_ref().filter(|credentials| lasts(credentials, EARLY)) {
            return Ok(credentials.clone());
        }
        match self.source.provide_credentials().await {
            Ok(credentials) => Ok(kept.insert(credentials).clone()),
            Err(error) => match kept.as_ref().filter(|credentials| lasts(credentials, Duration::ZERO)) {
                Some(credentials) => {
                    tracing::warn!(%error, "credentials that expire soon cannot be renewed");
                    Ok(credentials.clone())
                }
                None => Err(error),
            },
        }
    }
}

impl ProvideCredentials for Renewable {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.get())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Source {
        asked: AtomicU64,
        lifetime: Option<Duration>,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> Providing<'a>
        where
            Self: 'a,
        {
            let id = self.asked.fetch_add(1, Ordering::SeqCst).to_string();
            let expiry = self.lifetime.map(|lifetime| SystemTime::now() + lifetime);
            Providing::ready(Ok(Credentials::new(id, "secret", None, expiry, "test")))
        }
    }

    fn renewable(lifetime: Option<Duration>) -> Renewable {
        Renewable::new(SharedCredentialsProvider::new(Source { asked: AtomicU64::new(0), lifetime }))
    }

    #[tokio::test]
    async fn credentials_are_kept_until_they_nearly_expire_or_are_forgotten() {
        let lasting = renewable(Some(EARLY * 2));
        assert_eq!(lasting.get().await.unwrap().access_key_id(), "0");
        assert_eq!(lasting.get().await.unwrap().access_key_id(), "0");
        lasting.forget().await;
        assert_eq!(lasting.get().await.unwrap().access_key_id(), "1");

        let brief = renewable(Some(EARLY / 2));
        brief.get().await.unwrap();
        assert_eq!(brief.get().await.unwrap().access_key_id(), "1");
    }

    #[tokio::test]
    async fn a_secret_is_not_shown_and_no_certificate_is_refused() {
        let keys = Keys {
            access_key_id: "id".to_owned(),
            secret_access_key: "hidden".to_owned(),
            session_token: Some("hidden".to_owned()),
        };
        let access = Access {
            region: None,
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            keys: Some(keys),
            authorities: Some(b"no certificate".to_vec()),
            connect_timeout: Duration::from_secs(1),
        };
        assert!(!format!("{access:?}").contains("hidden"));
        assert!(access.connect().await.unwrap_err().to_string().contains("PEM"));
        let connection = Access { authorities: None, ..access }.connect().await.unwrap();
        assert_eq!(connection.config.region().unwrap().as_ref(), ANY_REGION);
        assert!(!format!("{connection:?}").contains("hidden"));
    }
}
