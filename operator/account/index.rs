//! All MailAccounts, as the watch has them: who else wants this address?

use std::sync::{Arc, Mutex, PoisonError};

use ekitei_operator_api::MailAccount;
use kube::runtime::reflector::Store;

/// All MailAccounts.
#[derive(Default)]
pub struct Index(Mutex<Option<Store<MailAccount>>>);

impl Index {
    /// From now on they are in this store.
    pub fn set(&self, store: Store<MailAccount>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<MailAccount>> {
        let store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().map(Store::state).unwrap_or_default()
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}
