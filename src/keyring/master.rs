//! Master keys: the one in force wraps, all of them unwrap.
//!
//! Local ones are taken over whenever the configuration changes, as when a mounted Secret does. What a process knew once it goes on unwrapping with until it ends: a key that was
//! taken away too early is missed by the next process, and not by all at once.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ekitei_config::{Config, Encryption, Live, Secret};
use ekitei_telemetry::{CounterFamily, HistogramFamily, Registry, SECONDS, Timer};
use zeroize::Zeroizing;

use crate::rows::Wrapped;
use crate::sealing::{SealError, Sealed, SealingKeys};
use crate::secret::{MasterSecret, SecretError};
use crate::wrapper::{Clear, WrapError, WrapFuture, Wrapper};

/// A master key that the configuration has in it.
pub struct LocalMasterKey {
    name: String,
    keys: SealingKeys,
}

impl LocalMasterKey {
    /// The master key of this secret.
    ///
    /// # Errors
    /// [`SealError::Library`].
    pub fn new(secret: MasterSecret) -> Result<Self, SealError> {
        let keys = SealingKeys::new(&[secret], "ekitei data keys")?;
        let name = keys.current().map(|id| format!("local:{id}")).unwrap_or_default();
        Ok(Self { name, keys })
    }
}

impl std::fmt::Debug for LocalMasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Wrapper for LocalMasterKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap<'a>(&'a self, key: &'a Clear, scope: &'a str) -> WrapFuture<'a, Vec<u8>> {
        Box::pin(async move {
            let sealed = self.keys.seal(&**key, scope.as_bytes()).map_err(refused)?;
            postcard::to_stdvec(&sealed).map_err(refused)
        })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8], scope: &'a str) -> WrapFuture<'a, Clear> {
        Box::pin(async move {
            let sealed: Sealed = postcard::from_bytes(wrapped).map_err(refused)?;
            let clear = self.keys.open(&sealed, scope.as_bytes()).map_err(refused)?;
            let octets = clear.as_slice().try_into();
            octets.map(Zeroizing::new).map_err(|_| WrapError::Refused("it has another length".to_owned()))
        })
    }
}

fn refused(error: impl ToString) -> WrapError {
    WrapError::Refused(error.to_string())
}

/// The key in force, if there is one, and the previous ones.
pub type Configured = (Option<Arc<dyn Wrapper>>, Vec<Arc<dyn Wrapper>>);

/// The master keys that are configured.
#[derive(Clone, Debug)]
pub struct MasterKeys {
    set: Arc<RwLock<Arc<Set>>>,
    measures: Measures,
}

/// The keys as a configuration has them.
#[derive(Debug)]
struct Set {
    current: Option<Arc<dyn Wrapper>>,
    previous: Vec<Arc<dyn Wrapper>>,
    /// That configuration; `None` until the first is known, which these were made of.
    of: Option<Arc<Config>>,
    /// The key in force is that of a key service, which stays until a restart.
    is_remote: bool,
}

impl Set {
    /// The keys under another configuration.
    fn under(&self, config: Arc<Config>) -> Self {
        let (current, previous) = (self.current.clone(), self.previous.clone());
        let same = Self { current, previous, of: Some(Arc::clone(&config)), is_remote: self.is_remote };
        let (given, before) = match &self.of {
            None => {
                return Self { is_remote: config.encryption.kms.is_some(), ..same };
            }
            Some(before) => (&config.encryption, &before.encryption),
        };
        let secrets = |given: &Encryption| (given.master_key.clone(), given.previous_master_keys.clone());
        if secrets(given) == secrets(before) {
            return same;
        }
        let (local, older) = match MasterKeys::local(given) {
            Ok(local) => local,
            Err(error) => {
                tracing::error!(%error, "the master keys stay as they were");
                return same;
            }
        };
        let current = if self.is_remote { same.current.clone() } else { local.clone() };
        let mut previous: Vec<Arc<dyn Wrapper>> = Vec::new();
        for key in older.into_iter().chain(local).chain(same.current.clone()).chain(same.previous.clone()) {
            if current.iter().chain(&previous).all(|known| known.name() != key.name()) {
                previous.push(key);
            }
        }
        tracing::info!(in_force = current.as_ref().map(|key| key.name()), "master keys were read again");
        Self { current, previous, ..same }
    }
}

#[derive(Clone)]
struct Measures {
    seconds: HistogramFamily,
    failures: CounterFamily,
}

impl std::fmt::Debug for Measures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Measures")
    }
}

impl MasterKeys {
    /// These keys. Without one in force nothing new is wrapped.
    pub fn new(
        current: Option<Arc<dyn Wrapper>>,
        previous: Vec<Arc<dyn Wrapper>>,
        registry: &Registry,
    ) -> Self {
        let seconds = registry.histograms(
            "keyring_seconds",
            "Time to wrap or unwrap a data key.",
            &["operation"],
            SECONDS,
        );
        let failures = registry.counters(
            "keyring_failures_total",
            "Data keys that could not be wrapped or unwrapped.",
            &["operation"],
        );
        let set = Set { current, previous, of: None, is_remote: false };
        Self { set: Arc::new(RwLock::new(Arc::new(set))), measures: Measures { seconds, failures } }
    }

    /// Takes over the configuration in force.
    pub(crate) fn follow(&self, live: &Live) {
        let is_known =
            |set: &Set, config: &Arc<Config>| set.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, config));
        if is_known(&self.set(), &live.load()) {
            return;
        }
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        // Read again: of two that come at once the later one must not put an earlier configuration in force.
        let config = live.load();
        if !is_known(&set, &config) {
            *set = Arc::new(set.under(config));
        }
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The local keys of the configuration: the one in force, if there is one, and the previous ones.
    ///
    /// # Errors
    /// A key is malformed.
    pub fn local(settings: &Encryption) -> Result<Configured, SecretError> {
        let wrapper = |whose: &str, secret: &Secret| -> Result<Arc<dyn Wrapper>, SecretError> {
            let secret = MasterSecret::parse(whose, secret.expose())?;
            Ok(Arc::new(LocalMasterKey::new(secret).map_err(SecretError::unusable)?))
        };
        let current = settings.master_key.as_ref();
        let current = current.map(|secret| wrapper("encryption.masterKey", secret)).transpose()?;
        let previous = settings.previous_master_keys.iter().enumerate();
        let previous = previous
            .map(|(index, secret)| wrapper(&format!("encryption.previousMasterKeys[{index}]"), secret));
        Ok((current, previous.collect::<Result<_, _>>()?))
    }

    /// The name of the key that wraps.
    pub fn current(&self) -> Option<String> {
        self.set().current.as_ref().map(|wrapper| wrapper.name().to_owned())
    }

    /// Whether there is a key that wraps.
    pub(crate) fn has_current(&self) -> bool {
        self.set().current.is_some()
    }

    /// Wraps a key, and tries that it can be unwrapped again: with a key service the one may be allowed and the other not.
    pub(crate) async fn wrap(&self, key: &Clear, scope: &str) -> Result<Wrapped, WrapError> {
        let set = self.set();
        let Some(wrapper) = &set.current else {
            return Err(WrapError::Refused(
                "there is no master key (encryption.masterKey, encryption.kms)".to_owned(),
            ));
        };
        let octets = self.measured("wrap", wrapper.wrap(key, scope)).await?;
        let tried = self.measured("unwrap", wrapper.unwrap(&octets, scope)).await?;
        if *tried != **key {
            return Err(WrapError::Refused(format!(
                "what {} wraps it does not unwrap again",
                wrapper.name()
            )));
        }
        Ok(Wrapped { by: wrapper.name().to_owned(), octets })
    }

    pub(crate) async fn unwrap(&self, wrapped: &Wrapped, scope: &str) -> Result<Clear, WrapError> {
        let set = self.set();
        let mut all = set.current.iter().chain(&set.previous);
        let Some(wrapper) = all.find(|wrapper| wrapper.name() == wrapped.by) else {
            return Err(WrapError::Refused(format!(
                "it is wrapped by the master key {}, which is not configured (encryption.masterKey, encryption.previousMasterKeys, encryption.kms, \
                 encryption.previousKms)",
                wrapped.by
            )));
        };
        self.measured("unwrap", wrapper.unwrap(&wrapped.octets, scope)).await
    }

    async fn measured<T>(&self, operation: &str, work: WrapFuture<'_, T>) -> Result<T, WrapError> {
        let timer = Timer::start();
        let result = work.await;
        let elapsed: Duration = timer.observe(&self.measures.seconds.with(&[operation]));
        if let Err(error) = &result {
            self.measures.failures.with(&[operation]).inc();
            tracing::warn!(operation, %error, ?elapsed, "a data key cannot be had");
        }
        result
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 32 times the octet, in base64.
    fn secret(octet: u8) -> Secret {
        use base64::Engine as _;
        Secret::new(base64::engine::general_purpose::STANDARD.encode([octet; 32]))
    }

    fn masters(current: u8, previous: &[u8]) -> MasterKeys {
        let settings = Encryption {
            master_key: Some(secret(current)),
            previous_master_keys: previous.iter().map(|&octet| secret(octet)).collect(),
            ..Encryption::default()
        };
        let (current, previous) = MasterKeys::local(&settings).unwrap();
        MasterKeys::new(current, previous, &Registry::new())
    }

    #[tokio::test]
    async fn a_wrapped_key_opens_only_for_its_scope_and_under_its_master_key() {
        let key = Zeroizing::new([9; 32]);
        let wrapped = masters(1, &[]).wrap(&key, "a.test").await.unwrap();
        assert!(wrapped.by.starts_with("local:"));
        assert_eq!(*masters(1, &[]).unwrap(&wrapped, "a.test").await.unwrap(), *key);
        assert_eq!(*masters(2, &[1]).unwrap(&wrapped, "a.test").await.unwrap(), *key);
        assert!(masters(1, &[]).unwrap(&wrapped, "b.test").await.is_err());
        let error = masters(2, &[]).unwrap(&wrapped, "a.test").await.unwrap_err().to_string();
        assert!(error.contains(&wrapped.by) && error.contains("encryption.previousMasterKeys"), "{error}");
    }

    #[tokio::test]
    async fn without_a_master_key_nothing_is_wrapped() {
        let previous =
            MasterKeys::local(&Encryption { previous_master_keys: vec![secret(1)], ..Encryption::default() });
        let masters = MasterKeys::new(None, previous.unwrap().1, &Registry::new());
        let error = masters.wrap(&Zeroizing::new([9; 32]), "").await.unwrap_err().to_string();
        assert!(error.contains("encryption.masterKey"), "{error}");
    }
}
