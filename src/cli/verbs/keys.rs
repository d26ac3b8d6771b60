//! `ekitei key`

use clap::{Args, Subcommand};
use ekitei_api::{Client, DataKey, DataKeyRotation, DataKeyState};

use super::all_pages;
use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, json, print, time};

/// What to do with the keys that bodies are encrypted with.
#[derive(Subcommand)]
pub enum Verb {
    /// List the data keys.
    List {
        /// Only those of this domain.
        domain: Option<String>,
    },
    /// Show a data key.
    Show {
        /// Its number.
        id: u64,
    },
    /// Make a new data key for what comes. Older ones go on reading; bodies are not written again.
    Rotate(Whose),
    /// Wrap all data keys by the master key in force, so that the previous ones can go.
    Rewrap,
    /// Destroy a data key, and with it what it encrypted, wherever copies of the bodies are. Reads the records of all bodies first, and refuses if one needs it.
    Destroy {
        /// Its number.
        id: u64,
        /// Even if mail is lost.
        #[arg(long)]
        force: bool,
    },
}

/// Whose data keys are replaced.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// This domain's.
    domain: Option<String>,
    /// That for mail of no domain.
    #[arg(long)]
    service: bool,
    /// All.
    #[arg(long)]
    all: bool,
}

impl Columns for DataKey {
    const HEAD: &'static [&'static str] = &["ID", "DOMAIN", "STATE", "CREATED", "RETIRED", "MASTER KEY"];

    fn cells(&self) -> Vec<String> {
        let state = match self.state {
            DataKeyState::Active => "active",
            DataKeyState::Retired => "retired",
            DataKeyState::Destroyed => "destroyed",
        };
        vec![
            self.id.to_string(),
            self.domain.clone().unwrap_or_else(|| "(service)".to_owned()),
            state.to_owned(),
            time(self.created),
            self.retired.map_or_else(|| "-".to_owned(), time),
            self.master_key.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::List { domain } => {
            let keys = all_pages(domain.as_deref(), async |page| client.list_data_keys(&page).await).await?;
            format.list(&keys)
        }
        Verb::Show { id } => format.show(&client.data_key(id).await?),
        Verb::Rotate(Whose { domain, service, all }) => {
            let done = client.rotate_data_keys(&DataKeyRotation { domain, service, all }).await?;
            match format {
                Format::Json => json(&done),
                Format::Table => {
                    print(&format!("{} new data keys; {} could not be made\n", done.rotated, done.failed))
                }
            }
        }
        Verb::Rewrap => {
            let done = client.rewrap_data_keys().await?;
            match format {
                Format::Json => json(&done),
                Format::Table => print(&format!(
                    "{} data keys wrapped anew, {} were already; {} could not be\n",
                    done.rewrapped, done.current, done.failed
                )),
            }
        }
        Verb::Destroy { id, force } => {
            client.destroy_data_key(id, force).await?;
            format.done(&format!("the data key {id} is destroyed"))
        }
    }
}
