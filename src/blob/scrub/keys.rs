//! Keys for checking: a body that is encrypted is decrypted where its key can be had, and is compared with its checksums where not.

use std::collections::HashMap;
use std::sync::Arc;

use super::{FindingKind, Scrubber, Step};
use crate::encryption::{BodyKey, DataKey, KeyError};
use crate::record::BodyRecord;
use crate::{BodyId, DataKeyId, Result};

/// The data keys that a step has asked for, each once; `None` for what cannot be had.
pub(super) type Keys = HashMap<DataKeyId, Option<Arc<DataKey>>>;

impl Scrubber {
    /// The key of an encrypted body, if it is at hand. That a key cannot be used at all is found once, and not for each body.
    pub(super) async fn key(
        &self,
        step: &mut Step,
        body: BodyId,
        record: &BodyRecord,
    ) -> Result<Option<BodyKey>> {
        let Some(seal) = &record.key else { return Ok(None) };
        let data_key = match step.keys.get(&seal.data_key) {
            Some(known) => known.clone(),
            None => {
                let found = self.data_key(step, seal.data_key).await?;
                step.keys.insert(seal.data_key, found.clone());
                found
            }
        };
        let derive = |key: Arc<DataKey>| BodyKey::derive(&key, seal, body, record.size, record.block_size);
        Ok(data_key.map(derive).transpose()?)
    }

    async fn data_key(&self, step: &mut Step, key: DataKeyId) -> Result<Option<Arc<DataKey>>> {
        let Some(keys) = &self.blobs.inner.settings.data_keys else { return Ok(None) };
        match keys.get(key).await {
            Ok(key) => Ok(Some(key)),
            // What unwraps it is away, or it was destroyed so that nobody can read what is under it.
            Err(KeyError::Unavailable { .. } | KeyError::Destroyed { .. }) => Ok(None),
            Err(error @ (KeyError::Missing { .. } | KeyError::Unusable { .. })) => {
                let name = format!("data key {}", key.get());
                step.find(FindingKind::Damaged, name, format!("bodies need it: {error}"));
                Ok(None)
            }
            Err(error @ KeyError::Store(_)) => Err(error.into()),
        }
    }
}
