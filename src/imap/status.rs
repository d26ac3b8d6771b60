//! STATUS and NAMESPACE (RFC 9051 §6.3.11, §6.3.10).

use ekitei_mailstore::{Flags, Mailbox};

use crate::mailboxes::wire_name;
use crate::proto::MailboxName;
use crate::proto::command::StatusItem;
use crate::proto::response::{NamespaceEntry, StatusValue};
use crate::reply::{Outcome, Reply, Stop};
use crate::session::Session;

/// Refuses items that this server has no answer to, of extensions that it does not announce.
pub(crate) fn check_items(items: &[StatusItem]) -> Result<(), Stop> {
    let unknown = items.iter().find(|item| matches!(item, StatusItem::HighestModSeq | StatusItem::MailboxId));
    match unknown {
        None => Ok(()),
        Some(item) => Err(Reply::bad(format!("{} is not offered", item.as_str())).into()),
    }
}

impl Session {
    pub(crate) async fn status(&mut self, name: &MailboxName, items: &[StatusItem]) -> Outcome {
        check_items(items)?;
        let mailbox = self.mailbox(name).await?;
        let values = self.status_values(&mailbox, items).await?;
        self.wire.responses(self.encoding).status(&wire_name(&mailbox.name), &values);
        Ok(Reply::ok("That is its status"))
    }

    /// The values of STATUS items, in the order asked.
    pub(crate) async fn status_values(
        &self,
        mailbox: &Mailbox,
        items: &[StatusItem],
    ) -> Result<Vec<(StatusItem, StatusValue<'static>)>, Stop> {
        let (store, account) = (&self.shared.mailstore, self.account()?);
        let status = store.status(account, mailbox.id).await?;
        let mut values = Vec::with_capacity(items.len());
        for &item in items {
            let value = match item {
                StatusItem::Messages => status.messages,
                // No session is the first to see a message: `\Recent` is gone in IMAP4rev2.
                StatusItem::Recent => 0,
                StatusItem::UidNext => u64::from(status.uid_next.get()),
                StatusItem::UidValidity => u64::from(status.uid_validity),
                StatusItem::Unseen => status.unseen,
                StatusItem::Deleted => status.deleted,
                StatusItem::Size => status.size,
                StatusItem::AppendLimit => self.config.imap.append_limit.get(),
                StatusItem::DeletedStorage => self.deleted_storage(mailbox).await?,
                // Refused by `check_items`.
                StatusItem::HighestModSeq | StatusItem::MailboxId => continue,
            };
            values.push((item, StatusValue::Number(value)));
        }
        Ok(values)
    }

    /// Octets of the messages with `\Deleted` (RFC 9208 §4.1.5): not counted by the store, since only this asks for it.
    async fn deleted_storage(&self, mailbox: &Mailbox) -> Result<u64, Stop> {
        let view = self.shared.mailstore.view(self.account()?, mailbox.id).await?;
        let snapshot = view.refresh().await?;
        let deleted = snapshot.entries.iter().filter(|entry| entry.flags.contains(Flags::DELETED));
        Ok(deleted.map(|entry| entry.size).sum())
    }

    /// NAMESPACE: everything is the user's own.
    pub(crate) fn namespace(&mut self) -> Outcome {
        self.wire.responses(self.encoding).namespace(&[NamespaceEntry { prefix: "" }], &[], &[]);
        Ok(Reply::ok("These are the namespaces"))
    }
}
