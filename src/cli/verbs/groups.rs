//! `ekitei group`

use clap::Subcommand;
use ekitei_api::{Client, Group, GroupPatch, NewGroup};
use serde::Serialize;

use super::{all_pages, nothing_to_set};
use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, time, yes_no};

/// What to do with groups.
#[derive(Subcommand)]
pub enum Verb {
    /// Create a group.
    Add {
        /// Its address.
        address: String,
        /// Its first members.
        members: Vec<String>,
        /// Its name.
        #[arg(long, default_value = "")]
        name: String,
        /// Let members send with the group's address.
        #[arg(long)]
        members_may_send: bool,
    },
    /// List the groups.
    List {
        /// Only those of this domain.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Show a group.
    Show {
        /// Its address.
        address: String,
    },
    /// Change a group.
    Set {
        /// Its address.
        address: String,
        /// Its name.
        #[arg(long)]
        name: Option<String>,
        /// Whether members may send with the group's address.
        #[arg(long, value_name = "true|false")]
        members_may_send: Option<bool>,
    },
    /// Remove a group.
    Remove {
        /// Its address.
        address: String,
    },
    /// List the members of a group.
    Members {
        /// Its address.
        address: String,
    },
    /// Add members to a group; those it has already stay.
    AddMember {
        /// Its address.
        address: String,
        /// Who.
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// Remove members from a group.
    RemoveMember {
        /// Its address.
        address: String,
        /// Who.
        #[arg(required = true)]
        members: Vec<String>,
    },
}

impl Columns for Group {
    const HEAD: &'static [&'static str] = &["ADDRESS", "NAME", "MEMBERS-MAY-SEND", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.address.clone(),
            self.display_name.clone(),
            yes_no(self.members_may_send),
            time(self.created),
        ]
    }
}

/// A member in a list.
#[derive(Serialize)]
#[serde(transparent)]
struct Member(String);

impl Columns for Member {
    const HEAD: &'static [&'static str] = &["MEMBER"];

    fn cells(&self) -> Vec<String> {
        vec![self.0.clone()]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Add { address, members, name, members_may_send } => {
            let members = members.into_iter().collect();
            let new = NewGroup { address, display_name: name, members_may_send, members };
            format.show(&client.create_group(&new).await?)
        }
        Verb::List { domain } => {
            let list = async |page| client.list_groups(&page).await;
            format.list(&all_pages(domain.as_deref(), list).await?)
        }
        Verb::Show { address } => format.show(&client.group(&address).await?),
        Verb::Set { address, name, members_may_send } => {
            let patch = GroupPatch { display_name: name, members_may_send };
            nothing_to_set(&patch)?;
            format.show(&client.update_group(&address, &patch, None).await?)
        }
        Verb::Remove { address } => {
            client.delete_group(&address).await?;
            format.done(&format!("{address} is removed"))
        }
        Verb::Members { address } => {
            let list = async |page| client.list_members(&address, &page).await;
            let members = all_pages(None, list).await?;
            format.list(&members.into_iter().map(Member).collect::<Vec<_>>())
        }
        Verb::AddMember { address, members } => {
            for member in &members {
                client.add_member(&address, member).await?;
            }
            format.done(&format!("{} in {address}", members.join(", ")))
        }
        Verb::RemoveMember { address, members } => {
            for member in &members {
                client.remove_member(&address, member).await?;
            }
            format.done(&format!("{} no longer in {address}", members.join(", ")))
        }
    }
}
