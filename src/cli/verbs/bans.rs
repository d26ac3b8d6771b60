//! `ekitei ban` and `ekitei greylist`

use clap::Subcommand;
use ekitei_api::{Ban, Client, GreylistEntry, NewBan};
use ekitei_config::Duration;

use super::all_pages;
use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, time, yes_no};

/// What to do with bans.
#[derive(Subcommand)]
pub enum Verb {
    /// Let clients in no more, from their next connection on.
    Add {
        /// Their address or network, as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.
        network: String,
        /// Why, for the list of bans.
        #[arg(long, default_value = "")]
        reason: String,
        /// For how long, as 1h or 30d; without it the ban has no end.
        #[arg(long)]
        duration: Option<Duration>,
    },
    /// List the bans that count now.
    List,
    /// Show the ban that keeps an address out.
    Show {
        /// The address.
        address: String,
    },
    /// End a ban, and forget what the clients did.
    Remove {
        /// The address or network of the ban.
        network: String,
    },
}

/// What to do with the greylist.
#[derive(Subcommand)]
pub enum GreylistVerb {
    /// List the combinations of network, sender and recipient that may come in.
    List {
        /// Those that were put off and did not come again yet, instead.
        #[arg(long)]
        waiting: bool,
    },
    /// Forget all about the network of a client.
    Remove {
        /// An address in the network.
        address: String,
    },
}

impl Columns for Ban {
    const HEAD: &'static [&'static str] = &["NETWORK", "SINCE", "UNTIL", "BY HAND", "TIMES", "REASON"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.network.clone(),
            time(self.created),
            self.until.map_or_else(|| "for good".to_owned(), time),
            yes_no(self.manual),
            self.times.to_string(),
            self.reason.clone(),
        ]
    }
}

impl Columns for GreylistEntry {
    const HEAD: &'static [&'static str] = &["NETWORK", "SENDER", "RECIPIENT", "PASSED", "AT"];

    fn cells(&self) -> Vec<String> {
        let sender = if self.sender.is_empty() { "<>" } else { &self.sender };
        let (network, recipient) = (self.network.clone(), self.recipient.clone());
        vec![network, sender.to_owned(), recipient, yes_no(self.passed), time(self.at)]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Add { network, reason, duration } => {
            let new = NewBan { reason, duration: duration.map(|duration| duration.as_secs()) };
            format.show(&client.put_ban(&network, &new).await?)
        }
        Verb::List => {
            let list = async |page| client.list_bans(&page).await;
            format.list(&all_pages(None, list).await?)
        }
        Verb::Show { address } => format.show(&client.ban(&address).await?),
        Verb::Remove { network } => {
            client.delete_ban(&network).await?;
            format.done(&format!("{network} is banned no more"))
        }
    }
}

/// Does it.
pub async fn run_greylist(client: &Client, format: Format, verb: GreylistVerb) -> Outcome {
    match verb {
        GreylistVerb::List { waiting } => {
            let list = async |page| client.list_greylist(waiting, &page).await;
            format.list(&all_pages(None, list).await?)
        }
        GreylistVerb::Remove { address } => {
            let removed = client.delete_greylist(&address).await?.removed;
            format.done(&format!("{removed} combinations are forgotten"))
        }
    }
}
