//! Mail out.

use std::path::{Component, Path, PathBuf};

use ekitei_api::{Client, ClientError, Message, PageQuery, ProblemCode};

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
            if let Some(mail) = self.fetch(mailbox, message).await? {
                writer.write(&unique, &mail)?;
                summary.messages += 1;
            }
        }
        Ok(summary)
    }

    async fn to_mbox(&self, mailbox: &str, path: &Path) -> Outcome<Summary> {
        let mut writer = mbox::Writer::create(path)?;
        let mut summary = Summary { mailbox: mailbox.to_owned(), messages: 0, skipped: 0, failed: 0 };
        for message in self.list(mailbox).await? {
            if let Some(mail) = self.fetch(mailbox, message).await? {
                writer.write(&mail)?;
                summary.messages += 1;
            }
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

    /// A message that was listed; `None` if its user has removed it since, as users do while they are exported.
    async fn fetch(&self, mailbox: &str, message: Message) -> Outcome<Option<Mail>> {
        match self.client.export_message(self.account, mailbox, message.uid).await {
            Ok(octets) => Ok(Some(Mail { octets, flags: message.flags, received: Some(message.received) })),
            Err(ClientError::Problem(problem)) if problem.code == ProblemCode::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
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

    /// Answers each connection with the next of these, and with nothing else.
    async fn service(answers: Vec<String>) -> Client {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        // That one is installed already is no harm.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Client::new(&format!("http://{address}"), None).unwrap()
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn a_message_that_is_removed_meanwhile_does_not_end_the_export() {
        let listed = r#"{"items":[{"uid":1,"flags":[],"received":7,"size":3},{"uid":2,"flags":[],"received":8,"size":3}]}"#;
        let gone = serde_json::to_string(&ekitei_api::Problem::new(ProblemCode::NotFound, "gone")).unwrap();
        let answers = vec![answer("200 OK", listed), answer("404 Not Found", &gone), answer("200 OK", "two")];
        let client = service(answers).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let export = Export { client: &client, account: "alice@example.test", path, form: Form::Maildir };
        let summary = export.to_maildir("INBOX", 1, path).await.unwrap();
        assert_eq!(summary.messages, 1);
        let files = maildir::files(path).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(maildir::read(&files[0], &[]).unwrap().octets, b"two");
    }

    #[test]
    fn no_mailbox_leads_out_of_the_directory() {
        assert_eq!(below(Path::new("/x"), "Archive/2020").unwrap(), Path::new("/x/Archive/2020"));
        for name in ["..", "a/../..", ".", "a/cur", "tmp", "/etc", ""] {
            assert!(below(Path::new("/x"), name).is_err(), "{name:?}");
        }
    }
}
