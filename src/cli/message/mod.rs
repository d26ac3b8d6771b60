//! `ekitei message`: mail in from Maildir, mbox and single files, and out to Maildir and mbox, with its flags and dates.
//!
//! Files have lines that end in LF, the service has CRLF. A message is converted where that can be undone, so what is exported and
//! imported again is the same octet for octet.

mod export;
mod import;
mod maildir;
mod mbox;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use ekitei_api::Client;
use serde::Serialize;

use super::exit::Outcome;
use super::output::{Columns, Format};

/// What to do with messages. `ACCOUNT` is an address or a number.
#[derive(Subcommand)]
pub enum Verb {
    /// Put messages into a mailbox. Running it again puts them there again.
    Import {
        /// Whose mailbox.
        account: String,
        /// Maildirs, mbox files (mboxrd) or files with one message; which is seen from what is there.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The mailbox.
        #[arg(long, default_value = "INBOX")]
        mailbox: String,
        /// Take each PATH as a directory of Maildirs or mbox files and put each into the mailbox of its name, as
        /// `export --all` writes them.
        #[arg(long, conflicts_with = "mailbox")]
        recursive: bool,
        /// Make mailboxes that are not there.
        #[arg(long)]
        create: bool,
    },
    /// Write messages to files. Running it again on a Maildir adds only what is new.
    Export {
        /// Whose mailbox.
        account: String,
        /// The Maildir or mbox file; with --all, the directory for them.
        path: PathBuf,
        /// The mailbox.
        #[arg(long, default_value = "INBOX")]
        mailbox: String,
        /// Every mailbox of the account, each under its name.
        #[arg(long, conflicts_with = "mailbox")]
        all: bool,
        /// The form of the files.
        #[arg(long, value_enum, default_value_t)]
        format: Form,
    },
}

/// The form of exported files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A directory with a file for each message.
    #[default]
    Maildir,
    /// One file with all messages, as mboxrd.
    Mbox,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mail {
    octets: Vec<u8>,
    /// As IMAP writes them.
    flags: Vec<String>,
    /// Seconds since the epoch.
    received: Option<u64>,
}

/// What became of one mailbox.
#[derive(Debug, Serialize)]
struct Summary {
    mailbox: String,
    /// Messages that went over.
    messages: u64,
    /// Messages that were there already.
    skipped: u64,
    /// Messages that the service refused.
    failed: u64,
}

impl Columns for Summary {
    const HEAD: &'static [&'static str] = &["MAILBOX", "MESSAGES", "SKIPPED", "FAILED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.mailbox.clone(),
            self.messages.to_string(),
            self.skipped.to_string(),
            self.failed.to_string(),
        ]
    }
}

/// Does it.
pub async fn run(client: &Client, output: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Import { account, paths, mailbox, recursive, create } => {
            let import = import::Import { client, account: &account, create: create || recursive };
            let sources = import::sources(&paths, (!recursive).then_some(mailbox.as_str()))?;
            import.run(&sources, output).await
        }
        Verb::Export { account, path, mailbox, all, format } => {
            let export = export::Export { client, account: &account, path: &path, form: format };
            export.run((!all).then_some(mailbox.as_str()), output).await
        }
    }
}

/// Gives LF to a message all of whose lines end in CRLF; any other stays as it is, because the way back would not be known.
fn with_lf(octets: &[u8]) -> Vec<u8> {
    let crlf = octets.windows(2).filter(|pair| pair == b"\r\n").count();
    let count = |wanted: u8| octets.iter().filter(|&&octet| octet == wanted).count();
    if count(b'\r') != crlf || count(b'\n') != crlf {
        return octets.to_vec();
    }
    octets.iter().copied().filter(|&octet| octet != b'\r').collect()
}
