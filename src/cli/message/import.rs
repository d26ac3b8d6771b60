//! Mail in.

use std::path::{Path, PathBuf};

use ekitei_api::{Client, ClientError, ImportQuery, ProblemCode};

use super::{Mail, Summary, maildir, mbox};
use crate::cli::exit::{Context, Failure, Outcome};
use crate::cli::output::Format;

/// Files, and the mailbox they go to.
pub(super) struct Source {
    path: PathBuf,
    mailbox: String,
}

/// What is where: each path for `mailbox`, or without one all that is below it, each for the mailbox of its name.
pub(super) fn sources(paths: &[PathBuf], mailbox: Option<&str>) -> Outcome<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        match mailbox {
            Some(mailbox) => sources.push(Source { path: path.clone(), mailbox: mailbox.to_owned() }),
            None => find_below(path, path, &mut sources)?,
        }
    }
    Ok(sources)
}

/// Finds Maildirs and mbox files below `root`.
fn find_below(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Outcome {
    let entries = std::fs::read_dir(folder).context(folder.display())?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.context(folder.display())?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !matches!(&*name, "cur" | "new" | "tmp") {
            if maildir::is_maildir(&path) {
                sources.push(Source { mailbox: mailbox_of(root, &path), path: path.clone() });
            }
            find_below(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "mbox") && mbox::is_mbox(&path) {
            sources.push(Source { mailbox: mailbox_of(root, &path.with_extension("")), path });
        }
    }
    Ok(())
}

/// The path below `root`, as the name of a mailbox.
fn mailbox_of(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let levels: Vec<_> = below.components().map(|level| level.as_os_str().to_string_lossy()).collect();
    levels.join("/")
}

/// An import into one account.
pub(super) struct Import<'a> {
    pub(super) client: &'a Client,
    pub(super) account: &'a str,
    /// Whether mailboxes that are not there are made.
    pub(super) create: bool,
}

impl Import<'_> {
    /// Imports all sources, and prints what became of each. Messages that the service refuses are named, and the others go on.
    pub(super) async fn run(&self, sources: &[Source], output: Format) -> Outcome {
        let mut summaries = Vec::with_capacity(sources.len());
        for source in sources {
            let mut summary = Summary { mailbox: source.mailbox.clone(), messages: 0, skipped: 0, failed: 0 };
            let result = self.import(source, &mut summary).await;
            summaries.push(summary);
            if let Err(failure) = result {
                output.list(&summaries)?;
                return Err(failure);
            }
        }
        output.list(&summaries)?;
        match summaries.iter().map(|summary| summary.failed).sum::<u64>() {
            0 => Ok(()),
            failed => Err(Failure::other(format!("{failed} messages were not imported"))),
        }
    }

    async fn import(&self, source: &Source, summary: &mut Summary) -> Outcome {
        let path = &source.path;
        if maildir::is_maildir(path) {
            let keywords = maildir::keywords(path)?;
            for file in maildir::files(path)? {
                self.send(&file.display().to_string(), maildir::read(&file, &keywords)?, summary).await?;
            }
        } else if mbox::is_mbox(path) {
            for (number, mail) in mbox::Reader::open(path)?.enumerate() {
                self.send(&format!("{}, message {}", path.display(), number + 1), mail?, summary).await?;
            }
        } else if path.is_dir() {
            return Err(Failure::usage(format!(
                "{} is no Maildir; --recursive looks below it",
                path.display()
            )));
        } else {
            let octets = std::fs::read(path).context(path.display())?;
            let mail = Mail { octets, flags: Vec::new(), received: None };
            self.send(&path.display().to_string(), mail, summary).await?;
        }
        Ok(())
    }

    /// Sends one message. A fault of the message is counted; any other ends the import.
    async fn send(&self, name: &str, mail: Mail, summary: &mut Summary) -> Outcome {
        let query = ImportQuery {
            mailbox: Some(summary.mailbox.clone()),
            create: self.create,
            flags: mail.flags.join(" "),
            received: mail.received,
        };
        match self.client.import_message(self.account, &query, mail.octets).await {
            Ok(_) => summary.messages += 1,
            Err(ClientError::Problem(problem))
                if matches!(problem.code, ProblemCode::Invalid | ProblemCode::TooLarge) =>
            {
                eprintln!("ekitei: {name}: {}", problem.detail);
                summary.failed += 1;
            }
            Err(error) => {
                let failure = Failure::from(error);
                return Err(Failure::new(failure.code, format!("{name}: {}", failure.message)));
            }
        }
        Ok(())
    }
}
