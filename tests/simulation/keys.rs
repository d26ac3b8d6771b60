//! Keys of bodies as the processes of a run have them: master keys that are exchanged, behind a service that is not always there.

use std::fmt;
use std::sync::Arc;

use ekitei_blob::{DataKey, DataKeyId, DataKeys, KeyFuture, KeyScope};
use ekitei_keyring::{
    Clear, Keyring, LocalMasterKey, MasterKeys, MasterSecret, WrapError, WrapFuture, Wrapper,
};
use ekitei_kv::Transaction;
use ekitei_telemetry::Registry;

use crate::flaw::Flaw;
use crate::wire::Wire;

/// How master keys are exchanged, in the steps that the documentation gives: which are the numbers of the key in force and of those that were.
const GENERATIONS: [(usize, &[usize]); 4] = [(0, &[]), (0, &[1]), (1, &[0]), (1, &[])];
/// Both master keys, 32 octets in base64.
const SECRETS: [(&str, &str); 2] = [("AQEB", "AQE="), ("AgIC", "AgI=")];

/// A way in which master keys are configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u32);

impl Generation {
    /// The new key is in force, and the old one still opens.
    pub const NEW_KEY: Self = Self(2);

    /// The next one, if this is not the last.
    pub fn next(self) -> Option<Self> {
        Some(Self(self.0 + 1)).filter(|next| (next.0 as usize) < GENERATIONS.len())
    }

    fn numbers(self) -> (usize, &'static [usize]) {
        GENERATIONS[(self.0 as usize).min(GENERATIONS.len() - 1)]
    }

    /// The master keys of a process that is configured so; each use of one is a step on its wire, if it has one.
    pub fn masters(self, wire: Option<&Arc<Wire>>) -> MasterKeys {
        let (current, previous) = self.numbers();
        let master = |number: usize| master(number, wire);
        let previous = previous.iter().filter_map(|&number| master(number)).collect();
        MasterKeys::new(master(current), previous, &Registry::new())
    }
}

fn master(number: usize, wire: Option<&Arc<Wire>>) -> Option<Arc<dyn Wrapper>> {
    let (piece, end) = SECRETS[number];
    let secret = MasterSecret::parse("a master key", &(piece.repeat(10) + end)).ok()?;
    let key = LocalMasterKey::new(secret).ok()?;
    Some(match wire {
        Some(wire) => Arc::new(KeyService { key, wire: Arc::clone(wire) }),
        None => Arc::new(key),
    })
}

/// A service that wraps and unwraps data keys, behind the wire of a process.
struct KeyService {
    key: LocalMasterKey,
    wire: Arc<Wire>,
}

impl KeyService {
    async fn step(&self, what: &str) -> Result<(), WrapError> {
        self.wire.step(what).await.map_err(|error| WrapError::Unavailable(error.to_string()))
    }
}

impl fmt::Debug for KeyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl Wrapper for KeyService {
    fn name(&self) -> &str {
        self.key.name()
    }

    fn wrap<'a>(&'a self, key: &'a Clear, scope: &'a str) -> WrapFuture<'a, Vec<u8>> {
        Box::pin(async move {
            self.step("wrap").await?;
            let wrapped = self.key.wrap(key, scope).await;
            self.step("answer to wrap").await?;
            wrapped
        })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8], scope: &'a str) -> WrapFuture<'a, Clear> {
        Box::pin(async move {
            self.step("unwrap").await?;
            let clear = self.key.unwrap(wrapped, scope).await;
            self.step("answer to unwrap").await?;
            clear
        })
    }
}

/// The keyring of a process, with the flaw of the run.
#[derive(Debug)]
pub struct Keys {
    pub keyring: Keyring,
    pub flaw: Option<Flaw>,
}

impl DataKeys for Keys {
    fn is_enabled(&self) -> bool {
        self.keyring.is_enabled()
    }

    fn current<'a>(&'a self, scope: &'a KeyScope) -> KeyFuture<'a, Option<Arc<DataKey>>> {
        if self.flaw == Some(Flaw::PlainBodies) {
            return Box::pin(async { Ok(None) });
        }
        self.keyring.current(scope)
    }

    fn get(&self, key: DataKeyId) -> KeyFuture<'_, Arc<DataKey>> {
        self.keyring.get(key)
    }

    fn confirm<'a>(&'a self, transaction: &'a Transaction, key: DataKeyId) -> KeyFuture<'a, ()> {
        if self.flaw == Some(Flaw::KeysUnconfirmed) {
            return Box::pin(async { Ok(()) });
        }
        self.keyring.confirm(transaction, key)
    }
}
