//! How to reach a service of Amazon's kind: region, endpoint, certificates, and credentials that are renewed when they expire.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
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
use tokio::time::Instant;

/// The region that servers which have none expect in a signature.
const ANY_REGION: &str = "us-east-1";
/// Credentials are renewed so long before they expire.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// As long as the old ones last, their source is asked again after this time.
const AGAIN: Duration = Duration::from_secs(10);
/// As long as the old ones last, their source has this time.
const RENEWAL: Duration = Duration::from_secs(5);
/// Credentials that a service does not know are fetched anew if they are older than this.
const SETTLED: Duration = Duration::from_secs(30);

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

/// Keys that may be replaced while the service runs: they are asked for with each request.
#[derive(Clone)]
pub struct KeySource(Arc<dyn Fn() -> Keys + Send + Sync>);

impl KeySource {
    /// The keys that `now` gives. It is called often.
    pub fn new(now: impl Fn() -> Keys + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The keys as they are now.
    pub fn now(&self) -> Keys {
        (self.0)()
    }

    fn credentials(&self) -> Credentials {
        let keys = self.now();
        Credentials::new(
            keys.access_key_id,
            keys.secret_access_key,
            keys.session_token,
            None,
            "configuration",
        )
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySource")
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
        let keys = self.keys.clone().map(|keys| KeySource::new(move || keys.clone()));
        self.connect_with(keys).await
    }

    /// Like [`Access::connect`], with these keys, if there are any, in place of [`Access::keys`].
    ///
    /// # Errors
    /// As [`Access::connect`].
    pub async fn connect_with(&self, keys: Option<KeySource>) -> Result<Connection, ObjectError> {
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
            // Not the machine, which is not asked in vain where the server is somebody else's.
            let known = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new());
            loader = loader.region(known.or_else(Region::from_static(ANY_REGION)));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(keys) = &keys {
            // In place of the environment, which is not asked.
            loader = loader.credentials_provider(keys.credentials());
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(ObjectError::invalid("no region is given, nor does the environment name one"));
        }
        let source = match (keys, config.credentials_provider()) {
            (Some(keys), _) => Source::Given(keys),
            (None, Some(source)) => Source::Asked(source),
            (None, None) => return Err(ObjectError::invalid("there is no source of credentials")),
        };
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
    source: Source,
    kept: Mutex<Kept>,
    /// Held by who asks the source.
    asking: tokio::sync::Mutex<()>,
}

/// Where credentials come from.
#[derive(Debug)]
enum Source {
    /// The configuration: at hand whenever they are needed, so nothing is kept.
    Given(KeySource),
    /// Files, services and machines.
    Asked(SharedCredentialsProvider),
}

#[derive(Debug, Default)]
struct Kept {
    credentials: Option<Credentials>,
    /// When the source was asked for them, or tried to be.
    asked: Option<Instant>,
    /// When they came.
    since: Option<Instant>,
}

impl Kept {
    /// The credentials, if they last for longer than this.
    fn lasting(&self, spare: Duration) -> Option<Credentials> {
        let until = SystemTime::now() + spare;
        let lasts = |credentials: &&Credentials| credentials.expiry().is_none_or(|expiry| expiry > until);
        self.credentials.as_ref().filter(lasts).cloned()
    }
}

impl Renewable {
    fn new(source: Source) -> Self {
        Self { source, kept: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Makes the next request ask the source again.
    pub async fn forget(&self) {
        self.kept().credentials = None;
    }

    /// A service says that the credentials of a request that began at this time have expired. If newer ones are here, they are not what it means.
    pub(crate) fn expired(&self, begun: Instant) {
        let mut kept = self.kept();
        if kept.since.is_none_or(|since| since <= begun) {
            kept.credentials = None;
        }
    }

    /// A service does not know the credentials: they may have been replaced where they come from. That is looked for now and then.
    pub(crate) fn unknown(&self) {
        let mut kept = self.kept();
        if kept.since.is_none_or(|since| since.elapsed() >= SETTLED) {
            kept.credentials = None;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credentials. One at a time asks the source; the others wait for its answer only if there is nothing that lasts.
    async fn get(&self) -> Result<Credentials, CredentialsError> {
        let source = match &self.source {
            Source::Given(keys) => return Ok(keys.credentials()),
            Source::Asked(source) => source,
        };
        if let Some(credentials) = self.kept().lasting(EARLY) {
            return Ok(credentials);
        }
        let usable = self.usable();
        let asking = match &usable {
            Some((credentials, is_due)) => match self.asking.try_lock() {
                Ok(asking) if *is_due => asking,
                _ => return Ok(credentials.clone()),
            },
            None => self.asking.lock().await,
        };
        if let Some(credentials) = self.kept().lasting(EARLY) {
            return Ok(credentials); // somebody else asked
        }
        self.kept().asked = Some(Instant::now());
        let answer = match &usable {
            // A source that does not answer must not keep requests from credentials that are good.
            Some(_) => tokio::time::timeout(RENEWAL, source.provide_credentials())
                .await
                .unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(RENEWAL))),
            None => source.provide_credentials().await,
        };
        drop(asking);
        match (answer, usable) {
            (Ok(credentials), _) => {
                let mut kept = self.kept();
                kept.since = Some(Instant::now());
                Ok(kept.credentials.insert(credentials).clone())
            }
            (Err(error), Some((credentials, _))) => {
                tracing::warn!(%error, "credentials that expire soon cannot be renewed");
                Ok(credentials)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Credentials that have not expired yet, and whether their source is to be asked for others.
    fn usable(&self) -> Option<(Credentials, bool)> {
        let kept = self.kept();
        let is_due = kept.asked.is_none_or(|asked| asked.elapsed() >= AGAIN);
        Some((kept.lasting(Duration::ZERO)?, is_due))
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
    struct Numbered {
        asked: AtomicU64,
        lifetime: Option<Duration>,
        /// It answers so many times, and then never.
        answers: u64,
    }

    impl ProvideCredentials for Numbered {
        fn provide_credentials<'a>(&'a self) -> Providing<'a>
        where
            Self: 'a,
        {
            let id = self.asked.fetch_add(1, Ordering::SeqCst);
            if id >= self.answers {
                return Providing::new(std::future::pending());
            }
            let expiry = self.lifetime.map(|lifetime| SystemTime::now() + lifetime);
            Providing::ready(Ok(Credentials::new(id.to_string(), "secret", None, expiry, "test")))
        }
    }

    fn renewable(lifetime: Option<Duration>, answers: u64) -> Renewable {
        let source = Numbered { asked: AtomicU64::new(0), lifetime, answers };
        Renewable::new(Source::Asked(SharedCredentialsProvider::new(source)))
    }

    async fn id(renewable: &Renewable) -> String {
        renewable.get().await.unwrap().access_key_id().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_kept_until_they_nearly_expire_or_are_forgotten() {
        let lasting = renewable(Some(EARLY * 2), 9);
        assert_eq!([id(&lasting).await, id(&lasting).await], ["0", "0"]);
        lasting.forget().await;
        assert_eq!(id(&lasting).await, "1");

        let brief = renewable(Some(EARLY / 2), 9);
        assert_eq!([id(&brief).await, id(&brief).await], ["0", "0"], "not with each request");
        tokio::time::advance(AGAIN).await;
        assert_eq!([id(&brief).await, id(&brief).await], ["1", "1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_keeps_nobody_from_credentials_that_last() {
        let renewable = Arc::new(renewable(Some(EARLY / 2), 1));
        assert_eq!(id(&renewable).await, "0");
        tokio::time::advance(AGAIN).await;
        let begun = Instant::now();
        let first = tokio::spawn({
            let renewable = Arc::clone(&renewable);
            async move { id(&renewable).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(id(&renewable).await, "0");
        assert_eq!(begun.elapsed(), Duration::ZERO, "others do not wait");
        assert_eq!(first.await.unwrap(), "0");
        assert_eq!(begun.elapsed(), RENEWAL);
    }

    #[tokio::test(start_paused = true)]
    async fn one_expiry_is_one_renewal_however_many_requests_tell_of_it() {
        let renewable = renewable(None, 9);
        let begun = Instant::now();
        assert_eq!(id(&renewable).await, "0");
        tokio::time::advance(SETTLED).await;
        let begun_later = Instant::now();
        renewable.expired(begun_later);
        tokio::time::advance(AGAIN).await;
        assert_eq!(id(&renewable).await, "1");
        renewable.expired(begun_later);
        renewable.expired(begun);
        assert_eq!(id(&renewable).await, "1", "they are newer than these requests");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_nobody_knows_are_looked_for_anew_now_and_then() {
        let renewable = renewable(None, 9);
        assert_eq!(id(&renewable).await, "0");
        renewable.unknown();
        assert_eq!(id(&renewable).await, "0", "they came just now");
        tokio::time::advance(SETTLED).await;
        renewable.unknown();
        assert_eq!(id(&renewable).await, "1");
    }

    #[tokio::test]
    async fn keys_of_the_configuration_are_those_of_now() {
        let number = Arc::new(AtomicU64::new(0));
        let source = KeySource::new({
            let number = Arc::clone(&number);
            move || Keys {
                access_key_id: number.load(Ordering::SeqCst).to_string(),
                secret_access_key: "hidden".to_owned(),
                session_token: None,
            }
        });
        let access = Access {
            region: None,
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            keys: None,
            authorities: None,
            connect_timeout: Duration::from_secs(1),
        };
        let connection = access.connect_with(Some(source)).await.unwrap();
        assert_eq!(id(&connection.credentials).await, "0");
        number.store(1, Ordering::SeqCst);
        assert_eq!(id(&connection.credentials).await, "1");
        assert!(!format!("{connection:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn the_region_of_an_endpoint_is_that_of_the_environment() {
        const REGION: &str = "eu-north-1";
        if std::env::var("AWS_REGION").as_deref() != Ok(REGION) {
            // Once more, in another environment.
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child
                .args(["--exact", "aws::tests::the_region_of_an_endpoint_is_that_of_the_environment"])
                .env("AWS_REGION", REGION);
            let output = child.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let access = Access {
            region: None,
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            keys: None,
            authorities: None,
            connect_timeout: Duration::from_secs(1),
        };
        assert_eq!(access.connect().await.unwrap().config.region().unwrap().as_ref(), REGION);
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
