//! `ekitei dkim`

use clap::{Subcommand, ValueEnum};
use ekitei_api::{Client, DkimActivation, DkimAlgorithm, DkimKey, DkimKeyPatch, DkimStage, NewDkimKeys};

use super::all_pages;
use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, print, time};

/// What to do with DKIM keys.
#[derive(Subcommand)]
pub enum Verb {
    /// Make keys for a domain, and print the records to publish.
    Create {
        /// The domain.
        domain: String,
        /// One key of this kind, instead of one for each algorithm that is configured.
        #[arg(long, value_enum)]
        algorithm: Option<Algorithm>,
        /// The selector of that key, instead of one by the configured pattern.
        #[arg(long, requires = "algorithm")]
        selector: Option<String>,
        /// Sign with them at once, before their records can be seen.
        #[arg(long)]
        now: bool,
        /// Leave it to `activate`, `retire` and `remove` when they begin to sign, cease, and go.
        #[arg(long)]
        manual: bool,
    },
    /// List the keys.
    List {
        /// Only those of this domain.
        domain: Option<String>,
    },
    /// Print the DNS records of a domain's keys.
    Records {
        /// The domain.
        domain: String,
    },
    /// Make new keys for a domain; when they sign, the old ones retire.
    Rotate {
        /// The domain.
        domain: String,
        /// Sign with them at once, before their records can be seen.
        #[arg(long)]
        now: bool,
    },
    /// Let a published key sign; the one of the same algorithm before it retires.
    Activate {
        /// The domain.
        domain: String,
        /// The key's selector.
        selector: String,
    },
    /// Let a key sign no more; keep its record published until mail that it signed has arrived.
    Retire {
        /// The domain.
        domain: String,
        /// The key's selector.
        selector: String,
    },
    /// Remove a key.
    Remove {
        /// The domain.
        domain: String,
        /// The key's selector.
        selector: String,
        /// Also one that signs, or that mail under way was signed with.
        #[arg(long)]
        force: bool,
    },
}

/// What a key signs with.
#[derive(Clone, Copy, ValueEnum)]
pub enum Algorithm {
    /// RSA with 2048 bits.
    Rsa,
    /// Ed25519.
    Ed25519,
}

impl From<Algorithm> for DkimAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rsa => Self::Rsa,
            Algorithm::Ed25519 => Self::Ed25519,
        }
    }
}

impl Columns for DkimKey {
    const HEAD: &'static [&'static str] =
        &["DOMAIN", "SELECTOR", "ALGORITHM", "STAGE", "ACTIVATION", "CREATED", "ACTIVATED", "RETIRED"];

    fn cells(&self) -> Vec<String> {
        let moment = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), time);
        let algorithm = match self.algorithm {
            DkimAlgorithm::Rsa => "rsa",
            DkimAlgorithm::Ed25519 => "ed25519",
        };
        let stage = match self.stage {
            DkimStage::Published => "published",
            DkimStage::Signing => "signing",
            DkimStage::Retired => "retired",
        };
        let activation = match self.activation {
            DkimActivation::Automatic => "automatic",
            DkimActivation::Manual => "manual",
        };
        vec![
            self.domain.clone(),
            self.selector.clone(),
            algorithm.to_owned(),
            stage.to_owned(),
            activation.to_owned(),
            time(self.created),
            moment(self.activated),
            moment(self.retired),
        ]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Create { domain, algorithm, selector, now, manual } => {
            let activation = if manual { DkimActivation::Manual } else { DkimActivation::Automatic };
            let algorithm = algorithm.map(Into::into);
            let new = NewDkimKeys { domain, algorithm, selector, now, activation };
            records(format, &client.create_dkim_keys(&new).await?.items)
        }
        Verb::Rotate { domain, now } => {
            let new = NewDkimKeys { domain, now, ..NewDkimKeys::default() };
            records(format, &client.create_dkim_keys(&new).await?.items)
        }
        Verb::List { domain } => format.list(&keys(client, domain.as_deref()).await?),
        Verb::Records { domain } => records(format, &keys(client, Some(&domain)).await?),
        Verb::Activate { domain, selector } => {
            let patch = DkimKeyPatch { stage: DkimStage::Signing };
            format.show(&client.update_dkim_key(&domain, &selector, &patch).await?)
        }
        Verb::Retire { domain, selector } => {
            let patch = DkimKeyPatch { stage: DkimStage::Retired };
            format.show(&client.update_dkim_key(&domain, &selector, &patch).await?)
        }
        Verb::Remove { domain, selector, force } => {
            client.delete_dkim_key(&domain, &selector, force).await?;
            format.done(&format!("the key {selector} of {domain} is removed"))
        }
    }
}

async fn keys(client: &Client, domain: Option<&str>) -> Outcome<Vec<DkimKey>> {
    all_pages(domain, async |page| client.list_dkim_keys(&page).await).await
}

/// Prints records as lines of a zone file, or the keys with them as JSON.
fn records(format: Format, keys: &[DkimKey]) -> Outcome {
    match format {
        Format::Json => format.list(keys),
        Format::Table => print(&keys.iter().map(|key| format!("{}\n", key.record_line)).collect::<String>()),
    }
}
