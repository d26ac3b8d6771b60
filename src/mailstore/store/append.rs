//! APPEND: messages that a client brings.

use ekitei_blob::Owner;
use ekitei_directory::Quota;

use super::bodies::Bodies;
use super::transaction::{UidAllocator, mailbox_row};
use super::{Inner, MailStore};
use crate::mutation::{Attempts, Mutation};
use crate::record::SharedRecord;
use crate::request::{Appended, NewMessage};
use crate::rows::IndexRow;
use crate::types::{AccountId, Keywords, MailboxId};
use crate::{Error, Result, mime};

/// Octets of a keyword: an index row stores its length in one octet.
const MAX_KEYWORD: usize = 255;
/// Octets of all keywords of a message: they are in every index row, thousands of which are written in one transaction.
const MAX_KEYWORDS_SIZE: usize = 1000;
/// Octets of bodies that one APPEND writes as rows; the bodies beyond become objects.
const MAX_HOT: usize = 4_000_000;
/// Octets of the other rows that one APPEND may write.
const MAX_ROWS: usize = 4_000_000;

/// A message whose bodies are prepared and whose MIME structure is known.
pub(super) struct ReadMessage {
    pub(super) bodies: Bodies,
    pub(super) record: SharedRecord,
    pub(super) size: u64,
}

impl Inner {
    /// Reads and prepares a message for these accounts. Its body becomes rows only if it takes at most `max_hot` octets.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Limit`], or a failing store.
    pub(super) async fn read_message(
        &self,
        message: bytes::Bytes,
        accounts: &[AccountId],
        max_hot: usize,
    ) -> Result<ReadMessage> {
        let size = message.len() as u64;
        if size > self.settings.max_message_size {
            return Err(Error::TooLarge);
        }
        let parsed = if message.len() > 256 << 10 {
            let message = message.clone();
            tokio::task::spawn_blocking(move || mime::parse(&message))
                .await
                .map_err(|_| Error::Limit("the message could not be read"))?
        } else {
            mime::parse(&message)
        };
        let record = SharedRecord::encode(parsed, size)?;
        Ok(ReadMessage { bodies: self.prepare_bodies(message, accounts, max_hot).await?, record, size })
    }

    pub(super) fn check_keywords(&self, keywords: &Keywords) -> Result<()> {
        if keywords.len() > self.settings.max_keywords {
            return Err(Error::Limit("the message has too many keywords"));
        }
        if keywords.iter().any(|keyword| keyword.len() > MAX_KEYWORD)
            || keywords.iter().map(str::len).sum::<usize>() > MAX_KEYWORDS_SIZE
        {
            return Err(Error::Limit("the keywords are too long"));
        }
        Ok(())
    }
}

impl MailStore {
    /// Adds messages to a mailbox, all or none (RFC 3502).
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], [`Error::OverQuota`], [`Error::TooLarge`], [`Error::Limit`].
    pub async fn append(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        messages: Vec<NewMessage>,
        quota: Option<Quota>,
    ) -> Result<Appended> {
        let inner = &self.inner;
        let mut read = Vec::with_capacity(messages.len());
        let (mut hot, mut rows) = (0, 0);
        for message in messages {
            inner.check_keywords(&message.keywords)?;
            let received = message.received.unwrap_or_else(|| inner.now());
            let max_hot = MAX_HOT.saturating_sub(hot);
            let read_message = inner.read_message(message.message, &[account], max_hot).await?;
            hot += read_message.bodies.row_size();
            rows += read_message.target_size();
            if rows > MAX_ROWS {
                return Err(Error::Limit("these are too many messages for one APPEND"));
            }
            let row = IndexRow {
                message: read_message.bodies.of(account).id(),
                flags: message.flags,
                keywords: message.keywords,
                received: i64::try_from(received.as_secs()).unwrap_or(i64::MAX),
                size: read_message.size,
            };
            read.push((read_message, row));
        }
        let (read, operation, attempts) = (&read, inner.operation(), &Attempts::new());
        let quota = quota.as_ref();
        inner
            .database
            .transact(|transaction| async move {
                if let Some((done, _)) = attempts.committed(&transaction, operation).await? {
                    return Ok(done);
                }
                let uid_validity = mailbox_row(&transaction, account, mailbox).await?.uid_validity;
                let mut mutation = Mutation::new(transaction.clone(), operation, inner.settings.incarnation);
                let mut allocator = UidAllocator::default();
                let mut uids = Vec::with_capacity(read.len());
                for (message, row) in read {
                    let uid = allocator.allocate(&transaction, account, mailbox).await?;
                    let body = message.bodies.of(account);
                    body.store(&transaction, Owner::Account(account.get())).await?;
                    message.record.store(&transaction, account, row.message, b"");
                    ekitei_blob::add_reference(&transaction, row.message, account.get());
                    mutation.add(account, mailbox, uid, row);
                    uids.push(uid);
                }
                inner.check_quota(&transaction, account, quota, &mutation).await?;
                allocator.finish(&transaction);
                mutation.finish(inner).await?;
                let appended = Appended { uid_validity, uids };
                attempts.note(&transaction, (account, mailbox), appended.clone()).await?;
                Ok::<_, Error>(appended)
            })
            .await
    }
}
