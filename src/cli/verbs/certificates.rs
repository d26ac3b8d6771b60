//! `ekitei certificate`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ekitei_api::{Certificate, Client, NewCertificate};
use serde::Serialize;

use super::all_pages;
use crate::cli::exit::{Context, Outcome};
use crate::cli::output::{Columns, Format, time};

/// Digits of a fingerprint in the list.
const FINGERPRINT: usize = 16;

/// What to do with stored certificates.
#[derive(Subcommand)]
pub enum Verb {
    /// List the stored certificates.
    List,
    /// Show a stored certificate, without its key.
    Show {
        /// Its name.
        name: String,
    },
    /// Store a certificate with its key, in place of the one of that name. All processes use it for the next handshakes; connections go on.
    Set {
        /// A name for it, such as its first host: letters, digits and -._:
        name: String,
        /// The file with the chain in PEM, the certificate of the hosts first.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// The file with the private key in PEM.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Remove a stored certificate.
    Remove {
        /// Its name.
        name: String,
    },
}

impl Columns for Certificate {
    const HEAD: &'static [&'static str] =
        &["NAME", "HOSTS", "NOT BEFORE", "NOT AFTER", "SHA-256", "SPKI SHA-256"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.names.join(" "),
            time(self.not_before),
            time(self.not_after),
            self.sha256.clone(),
            self.spki_sha256.clone(),
        ]
    }
}

/// A line of the list: what tells certificates apart, narrow enough for a terminal.
#[derive(Serialize)]
#[serde(transparent)]
struct Brief(Certificate);

impl Columns for Brief {
    const HEAD: &'static [&'static str] = &["NAME", "HOSTS", "NOT AFTER", "SHA-256"];

    fn cells(&self) -> Vec<String> {
        let Self(shown) = self;
        let begins = shown.sha256.get(..FINGERPRINT).unwrap_or(&shown.sha256);
        vec![shown.name.clone(), shown.names.join(" "), time(shown.not_after), begins.to_owned()]
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::List => {
            let list = async |page| client.list_certificates(&page).await;
            let found = all_pages(None, list).await?;
            format.list(&found.into_iter().map(Brief).collect::<Vec<_>>())
        }
        Verb::Show { name } => format.show(&client.certificate(&name).await?),
        Verb::Set { name, certificate, key } => {
            let new = NewCertificate { certificate: read(&certificate)?, key: read(&key)? };
            format.show(&client.put_certificate(&name, &new, None).await?)
        }
        Verb::Remove { name } => {
            client.delete_certificate(&name).await?;
            format.done(&format!("the certificate {name} is removed"))
        }
    }
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).context(path.display())
}
