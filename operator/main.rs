//! `ekitei-operator`: the command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use ekitei_operator::options::Options;

/// The Kubernetes operator of Ekitei.
#[derive(Parser)]
#[command(name = "ekitei-operator", version)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

/// The stack of each thread, in octets. The future of a reconciliation is on it for a moment when it is made, and is large where it is not optimised.
const STACK: usize = 8 << 20;

#[derive(Subcommand)]
enum Verb {
    /// Runs the operator.
    Run(Box<Options>),
    /// Prints the definitions of its objects, for the API server.
    Crds {
        /// Writes each into a file of its own in this directory instead.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Command::parse().verb {
        Verb::Run(options) => run(*options),
        Verb::Crds { out } => crds(out.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ekitei-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK).enable_all().build()?;
    runtime.block_on(ekitei_operator::run::run(options))
}

fn crds(out: Option<&Path>) -> anyhow::Result<()> {
    for crd in ekitei_operator_api::crds() {
        let text = ekitei_operator_api::yaml(&crd)?;
        match out {
            Some(directory) => {
                let name = format!("{}.yaml", crd.spec.names.plural);
                let path = directory.join(name);
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => print!("---\n{text}"),
        }
    }
    Ok(())
}
