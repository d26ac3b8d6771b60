//! `ekitei key`

use clap::{Args, Subcommand};
use ekitei_api::{Client, DataKey, DataKeyRotation, DataKeyState};

use super::all_pages;
use crate::cli::exit::{Failure, Outcome};
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
                Format::Json => json(&done)?,
                Format::Table => print(&format!("{} new data keys\n", done.rotated))?,
            }
            unless_failed(done.failed, "keep their keys, since no new ones could be made")
        }
        Verb::Rewrap => {
            let done = client.rewrap_data_keys().await?;
            match format {
                Format::Json => json(&done)?,
                Format::Table => print(&format!(
                    "{} data keys wrapped anew, {} were already\n",
                    done.rewrapped, done.current
                ))?,
            }
            unless_failed(done.failed, "stay under their master keys, which are needed as long as that is so")
        }
        Verb::Destroy { id, force } => {
            client.destroy_data_key(id, force).await?;
            format.done(&format!("the data key {id} is destroyed"))
        }
    }
}

/// What did not succeed is a failure of the command: who goes on to take an old master key away must not be told that all is well.
fn unless_failed(failed: u64, what: &str) -> Outcome {
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::other(format!("{failed} {what}; the log of the service says why")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_stay_as_they_were_are_a_failure() {
        assert!(unless_failed(0, "stay").is_ok());
        let failure = unless_failed(2, "stay").map_err(|failure| failure.message);
        assert_eq!(failure, Err("2 stay; the log of the service says why".to_owned()));
    }
}
