//! The bodies of what is restored: those that are in the store are referred to, the others come out of the packs.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use ekitei_blob::{BodyId, KeyScope};
use ekitei_kv::Transaction;
use ekitei_mailstore::transfer::{RestoreNote, RestoredBody};
use ekitei_queue::transfer::QueuedCopy;

use super::Run;
use super::account::Origin;
use crate::document::pieces;
use crate::error::{Error, Result};
use crate::repository::Fetch;
use crate::rows;

/// How often a body that goes away again is prepared anew.
const ATTEMPTS: usize = 5;
/// Octets of one body that go into a transaction with others; larger ones become objects.
const MAX_HOT: usize = 1 << 20;

/// Under which ids bodies are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// Those they had: in a store that was empty.
    Same,
    /// Those they had while they are there, else new ones, which the accounts of this domain share: an id that was in use once may still be
    /// in somebody's hands.
    Domain(String),
}

/// Notes new names in the transactions that store the bodies.
#[derive(Default)]
pub(super) struct Notes {
    domain: String,
    /// New id -> the one it had.
    renamed: HashMap<BodyId, BodyId>,
}

impl RestoreNote for Notes {
    fn write(&self, transaction: &Transaction, message: BodyId) {
        if let Some(original) = self.renamed.get(&message) {
            transaction.set(&rows::renamed(&self.domain, *original), message.as_bytes());
        }
    }
}

impl Notes {
    pub(super) fn new(naming: &Naming) -> Self {
        let domain = match naming {
            Naming::Same => String::new(),
            Naming::Domain(domain) => domain.clone(),
        };
        Self { domain, renamed: HashMap::new() }
    }
}

impl Run<'_> {
    /// The octets of a body, from the packs.
    pub(super) async fn body_octets(&self, body: [u8; 16], size: u64) -> Result<Bytes> {
        let chunk = |number| self.repository.keys().body_chunk(&body, number);
        if pieces(size) == 1 {
            return self.repository.chunk(&self.index, chunk(0), Fetch::Pack, &self.progress).await;
        }
        let mut octets = BytesMut::new();
        for number in 0..pieces(size) {
            octets.extend_from_slice(
                &self.repository.chunk(&self.index, chunk(number), Fetch::Pack, &self.progress).await?,
            );
        }
        Ok(octets.freeze())
    }

    /// The ids that a body of the backup may have here, the likeliest last.
    pub(super) async fn candidates(&self, body: BodyId, origin: &Origin) -> Result<Vec<BodyId>> {
        let Naming::Domain(domain) = &origin.naming else { return Ok(vec![body]) };
        let row = &rows::renamed(domain, body);
        let renamed = self.backup.database.read(|tx: Transaction| async move { tx.get(row).await }).await?;
        let renamed = renamed.and_then(|id| id[..].try_into().ok()).map(BodyId::from_bytes);
        Ok(renamed.into_iter().chain(origin.stays.then_some(body)).collect())
    }

    /// A body to be stored or referred to, and its id here.
    pub(super) async fn body(
        &self,
        body: BodyId,
        size: u64,
        origin: &Origin,
        notes: &mut Notes,
    ) -> Result<(BodyId, RestoredBody)> {
        let candidates = &self.candidates(body, origin).await?;
        let stored = self
            .backup
            .database
            .read(|tx: Transaction| async move {
                for &candidate in candidates {
                    if ekitei_blob::is_stored(&tx, candidate).await? {
                        return Ok::<_, ekitei_kv::Error>(Some(candidate));
                    }
                }
                Ok(None)
            })
            .await?;
        if let Some(id) = stored {
            return Ok((id, RestoredBody::Present));
        }
        let octets = self.body_octets(*body.as_bytes(), size).await?;
        self.progress.bytes(octets.len() as u64);
        let (blobs, scope) = (&self.backup.blobs, &origin.scope);
        let prepared = match origin.naming {
            Naming::Same => blobs.prepare_as(body, scope, octets, MAX_HOT).await?,
            Naming::Domain(_) => blobs.prepare_for(scope, octets, MAX_HOT).await?,
        };
        let id = prepared.id();
        if id != body {
            notes.renamed.insert(id, body);
        }
        Ok((id, RestoredBody::New(Box::new(prepared))))
    }

    /// A message of the queue.
    pub(super) async fn queued(&mut self, message: &QueuedCopy, hold: bool) -> Result<()> {
        let (body, size) = message.body()?;
        let origin = Origin { naming: Naming::Same, stays: true, scope: KeyScope::Service };
        for _ in 0..ATTEMPTS {
            let (id, found) = self.body(body, size, &origin, &mut Notes::default()).await?;
            let prepared = match &found {
                RestoredBody::Present => None,
                RestoredBody::New(prepared) => Some(&**prepared),
            };
            let added =
                ekitei_queue::transfer::import(&self.backup.database, message, (id, prepared), hold).await;
            match added.map_err(Error::from) {
                Ok(added) => {
                    self.done.queued += u64::from(added);
                    return Ok(());
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ekitei_blob::Error::NotFound(body).into())
    }
}

/// Whether a body went away between looking at it and referring to it.
pub(super) fn is_gone(error: &Error) -> bool {
    use ekitei_blob::Error::{IntentExpired, NotFound};
    matches!(
        error,
        Error::Body(NotFound(_) | IntentExpired(_))
            | Error::MailStore(ekitei_mailstore::Error::Body(NotFound(_) | IntentExpired(_)))
            | Error::Queue(ekitei_queue::Error::Body(NotFound(_) | IntentExpired(_)))
    )
}
