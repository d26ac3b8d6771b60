//! Mail out.

use std::path::{Component, Path, PathBuf};

use ekitei_api::{Client, Message, PageQuery};

use super::{Form, Mail, Summary, maildir, mbox};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::Format;

/// Messages listed at once.
const PAGE: usize = 1000;

/// An export of one account.
pub(super) struct Export<'a> {
    pub(super) client: &'a Client,
    pub(super) account: &'a str,
    pub(super) path: &'a Path,
    pub(super) form: Form,
}

impl Export<'_> {
    /// Exports `mailbox`, or without one all of them, and prints what became of each.
    pub(super) async fn run(&self, mailbox: Option<&str>, output: Format) -> Outcome {
        let mailboxes = self.client.list_mailboxes(self.account).await?.items;
        let mut summaries = Vec::new();
        for found in
            mailboxes.iter().filter(|found| mailbox.is_none_or(|wanted| is_same(wanted, &found.name)))
        {
            let path = match mailbox {
                Some(_) => self.path.to_owned(),
                None => below(self.path, &found.name)?,
            };
            let summary = match self.form {
                Form::Maildir => self.to_maildir(&found.name, found.uid_validity, &path).await?,
                Form::Mbox if mailbox.is_some() => self.to_mbox(&found.name, &path).await?,
                Form::Mbox => self.to_mbox(&found.name, &with_mbox(path)).await?,
            };
            summaries.push(summary);
        }
        if summaries.is_empty() {
            let name = mailbox.unwrap_or_default();
            return Err(Failure::new(
                crate::cli::exit::Code::NotFound,
                format!("there is no mailbox {name}"),
            ));
        }
        output.list(&summaries)
    }

    async fn to_maildir(&self, mailbox: &str, uid_validity: u32, path: &Path) -> Outcome<Summary> {
        let mut writer = maildir::Writer::open(path)?;
        let mut summary = Summary { mailbox: mailbox.to_owned(), messages: 0, skipped: 0, failed: 0 };
        for message in self.list(mailbox).await? {
            let unique = format!("{}.{uid_validity}_{}.ekitei", message.received, message.uid);
            if writer.has(&unique) {
                summary.skipped += 1;
                continue;
            }
            writer.write(&unique, &self.fetch(mailbox, message).await?)?;
            summary.messages += 1;
        }
        Ok(summary)
    }

    async fn to_mbox(&self, mailbox: &str, path: &Path) -> Outcome<Summary> {
        let mut writer = mbox::Writer::create(path)?;
        let mut summary = Summary { mailbox: mailbox.to_owned(), messages: 0, skipped: 0, failed: 0 };
        for message in self.list(mailbox).await? {
            writer.write(&self.fetch(mailbox, message).await?)?;
            summary.messages += 1;
        }
        writer.finish()?;
        Ok(summary)
    }

    async fn list(&self, mailbox: &str) -> Outcome<Vec<Message>> {
        let mut page = PageQuery { limit: Some(PAGE), ..PageQuery::default() };
        let mut messages = Vec::new();
        loop {
            let found = self.client.list_messages(self.account, mailbox, &page).await?;
            messages.extend(found.items);
            match found.next {
                Some(next) => page.after = Some(next),
                None => return Ok(messages),
            }
        }
    }

    async fn fetch(&self, mailbox: &str, message: Message) -> Outcome<Mail> {
        let octets = self.client.export_message(self.account, mailbox, message.uid).await?;
        Ok(Mail { octets, flags: message.flags, received: Some(message.received) })
    }
}

fn is_same(wanted: &str, name: &str) -> bool {
    wanted == name || (name == "INBOX" && wanted.eq_ignore_ascii_case(name))
}

/// Where a mailbox goes below `root`. Users choose the names of mailboxes, so none may lead out of it or into a Maildir.
fn below(root: &Path, mailbox: &str) -> Outcome<PathBuf> {
    let ordinary = |level: &str| {
        let mut parts = Path::new(level).components();
        matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part.to_str() == Some(level))
            && !matches!(level, "cur" | "new" | "tmp")
    };
    if mailbox.split('/').all(ordinary) {
        return Ok(root.join(mailbox));
    }
    Err(Failure::other(format!(
        "the mailbox {mailbox:?} cannot be a directory; export it alone, with --mailbox"
    )))
}

/// `Archive/2020` is in the file `Archive/2020.mbox`.
fn with_mbox(path: PathBuf) -> PathBuf {
    let mut name = path.into_os_string();
    name.push(".mbox");
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_mailbox_leads_out_of_the_directory() {
        assert_eq!(below(Path::new("/x"), "Archive/2020").unwrap(), Path::new("/x/Archive/2020"));
        for name in ["..", "a/../..", ".", "a/cur", "tmp", "/etc", ""] {
            assert!(below(Path::new("/x"), name).is_err(), "{name:?}");
        }
    }
}
