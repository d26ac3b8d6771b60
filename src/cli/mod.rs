//! The command line.
//!
//! `serve` and `demo` run a service; all other verbs but `config` and `completions` ask a running one through its admin API.

mod demo;
mod exit;
pub mod service;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ekitei_config::Config;
use ekitei_telemetry::{LogControl, init_logs};

use exit::{EXIT_CODES, Failure, Outcome};
use service::{Service, settings};

/// A mail service.
#[derive(Parser)]
#[command(name = "ekitei", version, about, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE", env = "EKITEI_CONFIG", default_value = "ekitei.yaml")]
        config: PathBuf,
        /// Start with a store whose last commits are lost, as it was before them; the damaged files are put aside.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Run a service with two demo accounts, on loopback, and say how to use it.
    Demo {
        /// Where it keeps its configuration, keys, passwords and mail.
        #[arg(long, value_name = "DIR", default_value = "data")]
        data: PathBuf,
    },
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Libraries that find no provider of cryptography installed would stop the process; that one was installed
    // before is no harm.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::other(format!("the runtime cannot start: {error}")).report(false),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(false),
    }
}

async fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Serve { config, accept_loss } => serve(&config, accept_loss).await,
        Command::Demo { data } => demo::run(&data).await,
    }
}

async fn serve(path: &std::path::Path, accept_loss: bool) -> Outcome {
    let config = Config::load(path).map_err(Failure::usage)?;
    let logs = start_logs(&config)?;
    for problem in config.check() {
        tracing::warn!("{problem}");
    }
    let failed = |error: anyhow::Error| Failure::other(format!("{error:#}"));
    let service = Service::build(config, accept_loss).await.map_err(failed)?;
    service.run(Some(path), logs).await.map_err(failed)
}

/// Starts logs as the configuration says.
fn start_logs(config: &Config) -> Outcome<LogControl> {
    init_logs(&settings::log_filter(config), settings::log_format(config)).map_err(Failure::usage)
}
