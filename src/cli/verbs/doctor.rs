//! `ekitei doctor`: asks the service how it is; if it does not answer, looks at what it would start from.

use std::net::TcpListener;
use std::path::Path;

use ekitei_api::{Check, CheckStatus, Client, ClientError};
use ekitei_config::Config;
use ekitei_net::Tls;

use crate::cli::exit::{Code, Failure, Outcome};
use crate::cli::output::{Columns, Format};
use crate::cli::service;
use crate::cli::verbs::stores;

impl Columns for Check {
    const HEAD: &'static [&'static str] = &["STATUS", "CHECK", "FOUND"];

    fn cells(&self) -> Vec<String> {
        let status = match self.status {
            CheckStatus::Ok => "ok",
            CheckStatus::Skipped => "skipped",
            CheckStatus::Warning => "warning",
            CheckStatus::Failure => "FAILURE",
        };
        vec![status.to_owned(), self.name.clone(), self.detail.clone()]
    }
}

/// Prints what was found; fails if anything does not work.
pub async fn run(client: &Client, format: Format, config: &Path) -> Outcome {
    let (checks, code) = match client.doctor().await {
        Ok(report) => (report.checks, Code::Failure),
        Err(error @ ClientError::Unreachable { .. }) => {
            let mut checks = vec![check("service", CheckStatus::Failure, error)];
            checks.extend(without_service(config).await);
            (checks, Code::Unreachable)
        }
        Err(error) => return Err(error.into()),
    };
    format.list(&checks)?;
    let failed = checks.iter().filter(|check| check.status == CheckStatus::Failure).count();
    if failed > 0 {
        return Err(Failure::new(code, format!("{failed} of {} checks failed", checks.len())));
    }
    Ok(())
}

/// What can be said about a service that is not running.
async fn without_service(path: &Path) -> Vec<Check> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return vec![check("configuration", CheckStatus::Failure, error)],
    };
    let mut checks = vec![check("configuration", CheckStatus::Ok, path.display())];
    checks.extend(config.check().iter().map(|problem| check("configuration", CheckStatus::Warning, problem)));
    checks.extend(stores::checks(&config).await);
    service::close_store();
    checks.push(match Tls::new(&config.tls, config.limits.tls_handshake_timeout.get()) {
        Ok(tls) if tls.is_available() => check("certificates", CheckStatus::Ok, "can be read"),
        Ok(_) => {
            let detail = "none is configured in a file; TLS is offered only if one is stored";
            check("certificates", CheckStatus::Warning, detail)
        }
        Err(error) => check("certificates", CheckStatus::Failure, error),
    });
    for listener in &config.listeners {
        let name = format!("listener {}", listener.label());
        checks.push(match TcpListener::bind(listener.address) {
            Ok(_) => check(&name, CheckStatus::Ok, format!("{} is free", listener.address)),
            Err(error) => check(&name, CheckStatus::Failure, format!("{}: {error}", listener.address)),
        });
    }
    checks
}

fn check(name: &str, status: CheckStatus, detail: impl ToString) -> Check {
    Check { name: name.to_owned(), status, detail: detail.to_string() }
}
