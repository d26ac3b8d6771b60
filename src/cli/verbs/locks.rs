//! `ekitei lock`

use clap::Subcommand;
use ekitei_api::{Client, Lock};

use super::all_pages;
use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, time};

/// What to do with locks.
#[derive(Subcommand)]
pub enum Verb {
    /// List the locks that are held, and by whom.
    List,
    /// Give a lock back in the name of its holder, which must not go on then: one that is gone for good.
    Release {
        /// Its name.
        name: String,
        /// Only if this is the holder.
        #[arg(long)]
        holder: Option<String>,
    },
}

impl Columns for Lock {
    const HEAD: &'static [&'static str] = &["NAME", "HOLDER", "UNTIL", "TOKEN"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.holder.clone(), time(self.expires), self.token.to_string()]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::List => {
            let list = async |page| client.list_locks(&page).await;
            format.list(&all_pages(None, list).await?)
        }
        Verb::Release { name, holder } => {
            let holder = match holder {
                Some(holder) => holder,
                None => client.lock(&name).await?.holder,
            };
            client.delete_lock(&name, &holder).await?;
            format.done(&format!("{holder} has the lock {name} no more"))
        }
    }
}
