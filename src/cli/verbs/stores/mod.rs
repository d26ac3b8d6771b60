//! `ekitei doctor stores`: tries the metadata store and the object store as the service would use them, and says what to change.

mod metadata;
mod objects;

use std::fmt::Display;
use std::path::Path;

use ekitei_api::{Check, CheckStatus};
use ekitei_config::Config;

use crate::cli::exit::{Code, Failure, Outcome};
use crate::cli::output::Format;
use crate::cli::service;

/// What is given in place of a domain, which always has a dot.
pub const NAME: &str = "stores";

/// Prints what was found; fails if anything does not work.
pub async fn run(format: Format, path: &Path) -> Outcome {
    let config = Config::load(path).map_err(Failure::usage)?;
    let checks = checks(&config).await;
    service::close_store();
    format.list(&checks)?;
    let failed = checks.iter().filter(|check| check.status == CheckStatus::Failure).count();
    if failed > 0 {
        return Err(Failure::new(Code::Failure, format!("{failed} of {} checks failed", checks.len())));
    }
    Ok(())
}

/// Everything that is found of both stores.
pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = metadata::checks(&config.store).await;
    checks.extend(objects::checks(&config.blobs).await);
    checks
}

fn check(name: &str, status: CheckStatus, detail: impl Display) -> Check {
    Check { name: name.to_owned(), status, detail: detail.to_string() }
}

/// What went wrong, and what to change.
fn failure(name: &str, error: impl Display, advice: impl Display) -> Check {
    check(name, CheckStatus::Failure, format!("{error}: {advice}"))
}
