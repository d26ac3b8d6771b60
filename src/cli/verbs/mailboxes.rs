//! `ekitei mailbox`

use clap::Subcommand;
use ekitei_api::{Client, Mailbox};

use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, or_dash, size};

/// What to do with mailboxes.
#[derive(Subcommand)]
pub enum Verb {
    /// List the mailboxes of an account with their counters.
    List {
        /// Whose: an address or a number.
        account: String,
    },
}

impl Columns for Mailbox {
    const HEAD: &'static [&'static str] =
        &["NAME", "USE", "MESSAGES", "UNSEEN", "SIZE", "UIDNEXT", "UIDVALIDITY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            or_dash(self.special_use.as_ref()),
            self.messages.to_string(),
            self.unseen.to_string(),
            size(Some(self.size)),
            self.uid_next.to_string(),
            self.uid_validity.to_string(),
        ]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::List { account } => format.list(&client.list_mailboxes(&account).await?.items),
    }
}
