//! `ekitei app-password`

use clap::Subcommand;
use ekitei_api::{AppPassword, Client, CreatedAppPassword};

use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, time};

/// What to do with app passwords. `ACCOUNT` is an address or a number.
#[derive(Subcommand)]
pub enum Verb {
    /// Make an app password, and show it this once.
    Add {
        /// Whose.
        account: String,
        /// What to call it.
        name: String,
    },
    /// List the app passwords of an account.
    List {
        /// Whose.
        account: String,
    },
    /// Revoke an app password.
    Remove {
        /// Whose.
        account: String,
        /// Which.
        name: String,
    },
}

impl Columns for AppPassword {
    const HEAD: &'static [&'static str] = &["NAME", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), time(self.created)]
    }
}

impl Columns for CreatedAppPassword {
    const HEAD: &'static [&'static str] = &["NAME", "PASSWORD"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.password.clone()]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Add { account, name } => format.show(&client.create_app_password(&account, &name).await?),
        Verb::List { account } => format.list(&client.list_app_passwords(&account).await?.items),
        Verb::Remove { account, name } => {
            client.delete_app_password(&account, &name).await?;
            format.done(&format!("{name} is revoked"))
        }
    }
}
