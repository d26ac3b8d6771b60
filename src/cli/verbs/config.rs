//! `ekitei config`

use std::path::PathBuf;

use clap::Subcommand;
use ekitei_config::{Config, reference_markdown};

use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::print;
use crate::cli::service::settings;

/// What to do with configurations.
#[derive(Subcommand)]
pub enum Verb {
    /// Say everything that is wrong with a configuration file.
    Check {
        /// The file.
        #[arg(value_name = "FILE", env = "EKITEI_CONFIG", default_value = "ekitei.yaml")]
        file: PathBuf,
        /// The same, as for `serve`.
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// Print the whole configuration as it is understood, with defaults and without secrets.
        #[arg(long)]
        print: bool,
    },
    /// Print every key with its meaning, its default and what is allowed, as Markdown.
    #[command(visible_alias = "docs")]
    Reference,
}

/// Does it.
pub fn run(verb: Verb) -> Outcome {
    match verb {
        Verb::Check { file, config, print: print_it } => {
            let file = config.unwrap_or(file);
            let config = Config::load(&file).map_err(Failure::usage)?;
            settings::directory(&config).map_err(Failure::usage)?;
            for problem in config.check() {
                eprintln!("{problem}");
            }
            if print_it {
                return print(&config.to_yaml());
            }
            print(&format!("{} is valid\n", file.display()))
        }
        Verb::Reference => print(&reference_markdown()),
    }
}
