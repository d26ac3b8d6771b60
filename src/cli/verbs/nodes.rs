//! `ekitei node` and `ekitei cluster`

use clap::Subcommand;
use ekitei_api::{Client, ClusterFeature, Node, NodeState};

use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, time, yes_no};

/// How much of an id a table shows.
const SHORT_ID: usize = 12;

/// What to look at.
#[derive(Subcommand)]
pub enum Verb {
    /// List the processes that use the store, and what each does for all of them.
    List,
    /// Show one of them.
    Show {
        /// Its id, or at least four characters of its beginning.
        id: String,
    },
}

/// What to look at.
#[derive(Subcommand)]
pub enum ClusterVerb {
    /// List the forms of data that not every release understands: which are written, and what keeps the others back.
    Features,
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

impl Columns for Node {
    const HEAD: &'static [&'static str] =
        &["ID", "STATE", "HOST", "PID", "VERSION", "REGION", "STARTED", "LEADS"];

    fn cells(&self) -> Vec<String> {
        let state = match (self.state, self.dead_since) {
            (NodeState::Alive, _) if self.answers => "answers".to_owned(),
            (NodeState::Alive, _) => "alive".to_owned(),
            (NodeState::Dead, since) => format!("dead since {}", since.map_or_else(String::new, time)),
        };
        let known = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let leads: Vec<String> = self.leads.iter().map(|work| work_of(&work.group, &work.names)).collect();
        vec![
            short(&self.id).to_owned(),
            state,
            known(&self.host),
            if self.pid == 0 { "-".to_owned() } else { self.pid.to_string() },
            known(&self.version),
            known(&self.region),
            if self.started == 0 { "-".to_owned() } else { time(self.started) },
            known(&leads.join(", ")),
        ]
    }
}

/// `queue 64` for many parts; their names for few that have any.
fn work_of(group: &str, names: &[String]) -> String {
    match names {
        [name] if name == group => group.to_owned(),
        names if names.len() > 8 => format!("{group} {}", names.len()),
        names => format!("{group} ({})", names.join(" ")),
    }
}

impl Columns for ClusterFeature {
    const HEAD: &'static [&'static str] = &["FEATURE", "ACTIVE", "SINCE", "BY", "WAITS FOR"];

    fn cells(&self) -> Vec<String> {
        let waits: Vec<&str> = self.waits_for.iter().map(|id| short(id)).collect();
        vec![
            self.name.clone(),
            yes_no(self.active),
            self.since.map_or_else(|| "-".to_owned(), time),
            self.version.clone().unwrap_or_else(|| "-".to_owned()),
            if waits.is_empty() { "-".to_owned() } else { waits.join(" ") },
        ]
    }
}

/// Shows it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::List => format.list(&client.list_nodes().await?.items),
        Verb::Show { id } => format.show(&client.node(&id).await?),
    }
}

/// Shows it.
pub async fn run_cluster(client: &Client, format: Format, verb: ClusterVerb) -> Outcome {
    match verb {
        ClusterVerb::Features => format.list(&client.list_features().await?.items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_named_where_names_say_something() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(work_of("signing", &names(&["signing"])), "signing");
        assert_eq!(work_of("jobs", &names(&["bodies", "queue"])), "jobs (bodies queue)");
        assert_eq!(work_of("queue", &vec![String::new(); 64]), "queue 64");
    }
}
