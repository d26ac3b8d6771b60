//! `ekitei alias`

use clap::Subcommand;
use ekitei_api::{Alias, AliasTargets, Client, NewAlias};

use super::all_pages;
use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, time};

/// What to do with aliases.
#[derive(Subcommand)]
pub enum Verb {
    /// Create an alias.
    Add {
        /// Its address.
        address: String,
        /// Where its mail goes.
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// List the aliases.
    List {
        /// Only those of this domain.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Show an alias.
    Show {
        /// Its address.
        address: String,
    },
    /// Make an alias have exactly these targets, whether it is there or not.
    Set {
        /// Its address.
        address: String,
        /// Where its mail goes.
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Remove an alias.
    Remove {
        /// Its address.
        address: String,
    },
}

impl Columns for Alias {
    const HEAD: &'static [&'static str] = &["ADDRESS", "TARGETS", "CREATED"];

    fn cells(&self) -> Vec<String> {
        let targets: Vec<&str> = self.targets.iter().map(String::as_str).collect();
        vec![self.address.clone(), targets.join(", "), time(self.created)]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Add { address, targets } => {
            let new = NewAlias { address, targets: targets.into_iter().collect() };
            format.show(&client.create_alias(&new).await?)
        }
        Verb::List { domain } => {
            let list = async |page| client.list_aliases(&page).await;
            format.list(&all_pages(domain.as_deref(), list).await?)
        }
        Verb::Show { address } => format.show(&client.alias(&address).await?),
        Verb::Set { address, targets } => {
            let targets = AliasTargets { targets: targets.into_iter().collect() };
            format.show(&client.put_alias(&address, &targets, None).await?)
        }
        Verb::Remove { address } => {
            client.delete_alias(&address).await?;
            format.done(&format!("{address} is removed"))
        }
    }
}
