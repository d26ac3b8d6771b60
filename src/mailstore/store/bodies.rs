//! The bodies of a message: one, or one for each domain if bodies are encrypted, since each domain has a key of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use ekitei_blob::{KeyScope, Prepared};

use super::Inner;
use crate::Result;
use crate::types::AccountId;

/// Octets that the bodies of one message take as rows if there are several; the larger ones of them become objects.
const MAX_HOT: usize = 4_000_000;

/// The prepared bodies of a message.
pub(super) struct Bodies {
    /// At least one. The first is also that of the companions.
    prepared: Vec<Prepared>,
    /// Which one an account has, if not the first.
    of_account: BTreeMap<AccountId, usize>,
}

impl Bodies {
    /// All of them, with their places.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Prepared)> {
        self.prepared.iter().enumerate()
    }

    /// The place of an account's.
    pub(super) fn place_of(&self, account: AccountId) -> usize {
        self.of_account.get(&account).copied().unwrap_or(0)
    }

    /// An account's.
    pub(super) fn of(&self, account: AccountId) -> &Prepared {
        &self.prepared[self.place_of(account)]
    }

    /// The first, which goes on to others.
    pub(super) fn first(&self) -> &Prepared {
        &self.prepared[0]
    }

    /// Octets of rows that they take, at most.
    pub(super) fn row_size(&self) -> usize {
        self.prepared.iter().map(Prepared::row_size).sum()
    }
}

impl Inner {
    /// Prepares a message for these accounts. A body becomes rows only if it takes at most `max_hot` octets.
    ///
    /// # Errors
    /// When a store, the directory or the master key fails.
    pub(super) async fn prepare_bodies(
        &self,
        message: Bytes,
        accounts: &[AccountId],
        max_hot: usize,
    ) -> Result<Bodies> {
        let mut scopes: Vec<KeyScope> = Vec::new();
        let mut of_account = BTreeMap::new();
        if self.blobs.encrypts() {
            for &account in accounts {
                let scope = self.key_scope(account).await?;
                let place = scopes.iter().position(|known| *known == scope).unwrap_or(scopes.len());
                if place == scopes.len() {
                    scopes.push(scope);
                }
                of_account.insert(account, place);
            }
        }
        if scopes.is_empty() {
            scopes.push(KeyScope::Service);
        }
        let max_hot = if scopes.len() == 1 { max_hot } else { max_hot.min(MAX_HOT) / scopes.len() };
        let mut prepared = Vec::with_capacity(scopes.len());
        for scope in &scopes {
            prepared.push(self.blobs.prepare_for(scope, message.clone(), max_hot).await?);
        }
        Ok(Bodies { prepared, of_account })
    }

    /// Whose data key the bodies of an account are encrypted with.
    ///
    /// # Errors
    /// When the directory does not answer.
    pub(super) async fn key_scope(&self, account: AccountId) -> Result<KeyScope> {
        let domain = self.domains.domain_of(account).await?;
        Ok(domain.map_or(KeyScope::Service, |domain| KeyScope::Domain(domain.as_ascii().into())))
    }
}
