//! The command line.
//!
//! `serve` and `demo` run a service; all other verbs but `config` and `completions` ask a running one through its admin API.

mod connect;
mod dates;
mod demo;
mod exit;
mod message;
mod output;
pub mod service;
mod verbs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use ekitei_config::Config;
use ekitei_telemetry::{LogControl, TraceLayer, init_logs};

use connect::{DEMO_CONFIG, ServerOptions};
use exit::{EXIT_CODES, Failure, Outcome};
use output::Format;
use service::{Service, settings};
use verbs::{
    accounts, aliases, app_passwords, backup, bans, bodies, certificates, config, deliverability, dkim,
    doctor, domains, groups, keys, locks, mailboxes, nodes, queue, reports, selftest, stores,
};

/// How long the end of the process waits for blocking threads.
const BLOCKED: Duration = Duration::from_secs(2);

/// A mail service, and the commands that administer it.
#[derive(Parser)]
#[command(name = "ekitei", version, about, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    server: ServerOptions,
    /// The form of the output.
    #[arg(long, global = true, value_enum, default_value_t, env = "EKITEI_OUTPUT")]
    output: Format,
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
    /// Check a configuration file, or explain its keys.
    #[command(subcommand)]
    Config(config::Verb),
    /// Domains that the service is responsible for.
    #[command(subcommand)]
    Domain(domains::Verb),
    /// Users with mailboxes.
    #[command(subcommand)]
    Account(accounts::Verb),
    /// Addresses that stand for others.
    #[command(subcommand)]
    Alias(aliases::Verb),
    /// Addresses with members.
    #[command(subcommand)]
    Group(groups::Verb),
    /// Passwords of single programs of a user.
    #[command(subcommand)]
    AppPassword(app_passwords::Verb),
    /// Keys that sign the mail of domains.
    #[command(subcommand)]
    Dkim(dkim::Verb),
    /// TLS certificates that are kept in the store, for all processes.
    #[command(subcommand)]
    Certificate(certificates::Verb),
    /// Locks that programs outside hold, such as operators that share a DNS zone.
    #[command(subcommand)]
    Lock(locks::Verb),
    /// Keys that message bodies are encrypted with.
    #[command(subcommand)]
    Key(keys::Verb),
    /// How message bodies are kept.
    #[command(subcommand)]
    Blob(bodies::Verb),
    /// Backups of everything, and restoring them.
    #[command(subcommand)]
    Backup(backup::Verb),
    /// Clients that are not let in.
    #[command(subcommand)]
    Ban(bans::Verb),
    /// Senders that greylisting knows.
    #[command(subcommand)]
    Greylist(bans::GreylistVerb),
    /// The processes that use the store together.
    #[command(subcommand)]
    Node(nodes::Verb),
    /// What the processes agreed on.
    #[command(subcommand)]
    Cluster(nodes::ClusterVerb),
    /// Mail that waits to be sent.
    #[command(subcommand)]
    Queue(queue::Verb),
    /// What other services report about mail of domains here.
    #[command(subcommand)]
    Report(reports::Verb),
    /// Mailboxes of an account.
    #[command(subcommand)]
    Mailbox(mailboxes::Verb),
    /// Mail in and out of files.
    #[command(subcommand)]
    Message(message::Verb),
    /// Check the service, or without one what it would start from: stores, certificates, ports; or the stores alone; or what receivers see of a domain.
    Doctor {
        /// A domain: looks at every record that a receiver of its mail would look at, and says what to publish. Or `stores`: tries the metadata store and the
        /// object store of the configuration, and says what to change.
        #[arg(value_name = "DOMAIN|stores")]
        domain: Option<String>,
        /// The configuration to look at when the service does not answer.
        #[arg(long, value_name = "FILE", env = "EKITEI_CONFIG", default_value = DEMO_CONFIG)]
        config: PathBuf,
    },
    /// Send mail to the service as others do, and read it: over SMTP, submission and IMAP. Makes an account for it, and removes it.
    Selftest(selftest::Options),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.output == Format::Json;
    // A library that finds no provider of cryptography stops the process; that one is installed already is no harm.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::other(format!("the runtime cannot start: {error}")).report(json),
    };
    let outcome = runtime.block_on(run(cli));
    // What hangs on a blocking thread, such as a call to a dead disk, must not keep the process: nobody was promised anything of it.
    runtime.shutdown_timeout(BLOCKED);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

async fn run(cli: Cli) -> Outcome {
    let (server, output) = (cli.server, cli.output);
    match cli.command {
        Command::Serve { config, accept_loss } => serve(&config, accept_loss).await,
        Command::Demo { data } => demo::run(&data).await,
        Command::Config(verb) => config::run(verb),
        Command::Domain(verb) => domains::run(&server.connect()?, output, verb).await,
        Command::Account(verb) => accounts::run(&server.connect()?, output, verb).await,
        Command::Alias(verb) => aliases::run(&server.connect()?, output, verb).await,
        Command::Group(verb) => groups::run(&server.connect()?, output, verb).await,
        Command::AppPassword(verb) => app_passwords::run(&server.connect()?, output, verb).await,
        Command::Dkim(verb) => dkim::run(&server.connect()?, output, verb).await,
        Command::Certificate(verb) => certificates::run(&server.connect()?, output, verb).await,
        Command::Lock(verb) => locks::run(&server.connect()?, output, verb).await,
        Command::Key(verb) => keys::run(&server.connect()?, output, verb).await,
        Command::Backup(verb) => backup::run(&server, output, verb).await,
        Command::Ban(verb) => bans::run(&server.connect()?, output, verb).await,
        Command::Greylist(verb) => bans::run_greylist(&server.connect()?, output, verb).await,
        Command::Report(verb) => reports::run(&server.connect()?, output, verb).await,
        Command::Blob(verb) => bodies::run(&server.connect()?, output, verb).await,
        Command::Node(verb) => nodes::run(&server.connect()?, output, verb).await,
        Command::Cluster(verb) => nodes::run_cluster(&server.connect()?, output, verb).await,
        Command::Queue(verb) => queue::run(&server.connect()?, output, verb).await,
        Command::Mailbox(verb) => mailboxes::run(&server.connect()?, output, verb).await,
        Command::Message(verb) => message::run(&server.connect()?, output, verb).await,
        Command::Doctor { domain: Some(domain), config } if domain == stores::NAME => {
            stores::run(output, &config).await
        }
        Command::Doctor { domain: Some(domain), .. } => {
            deliverability::run(&server.connect()?, output, &domain).await
        }
        Command::Doctor { domain: None, config } => doctor::run(&server.connect()?, output, &config).await,
        Command::Selftest(options) => selftest::run(|| server.connect(), output, &options).await,
        Command::Completions { shell } => completions(shell),
    }
}

async fn serve(path: &Path, accept_loss: bool) -> Outcome {
    let config = Config::load(path).map_err(Failure::usage)?;
    let (traces, layer) = service::traces::start(&config).map_err(Failure::usage)?.unzip();
    let logs = start_logs(&config, layer)?;
    for problem in config.check() {
        tracing::warn!("{problem}");
    }
    let patience = config.traces.timeout.get();
    let served = async {
        let service = Service::build(config, accept_loss).await?;
        service.run(Some(path), logs).await
    };
    let result = served.await;
    if let Some(traces) = traces {
        traces.finish(patience).await;
    }
    result.map_err(|error| Failure::other(format!("{error:#}")))
}

/// Starts logs as the configuration says; `traces` gets the spans for traces.
fn start_logs(config: &Config, traces: Option<TraceLayer>) -> Outcome<LogControl> {
    init_logs(&settings::log_filter(config), settings::log_format(config), traces).map_err(Failure::usage)
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ekitei", &mut text);
    output::print(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What clap's own check does not see: that the parsers give what the fields take.
    #[test]
    fn every_option_can_be_given() {
        for line in [
            "serve --config x.yaml --accept-loss",
            "demo --data x",
            "config check x.yaml --print",
            "config reference",
            "domain add a.test --catch-all b@a.test --postmaster none --quota 2GiB",
            "domain set a.test --catch-all none --postmaster b@a.test --quota none --enable",
            "domain remove a.test --force",
            "account add a@a.test --name A --quota none --disabled --password-file -",
            "account set a@a.test --name A --quota 5MiB --disable --password-hash {PLAIN}x",
            "account list --domain a.test --output json",
            "alias set a@a.test b@a.test c@a.test",
            "group add g@a.test b@a.test --name G --members-may-send",
            "group set g@a.test --members-may-send false",
            "group remove-member g@a.test b@a.test",
            "app-password add a@a.test phone",
            "dkim create a.test --algorithm ed25519 --selector mail --now --manual",
            "certificate list",
            "certificate show mail.a.test",
            "certificate set mail.a.test --certificate tls.crt --key tls.key",
            "certificate remove mail.a.test",
            "lock list",
            "lock release dns:a.test --holder b",
            "dkim list a.test",
            "report list --domain a.test --kind tls --limit 5",
            "report show 0123",
            "report summary --domain a.test --days 7",
            "dkim rotate a.test --now",
            "dkim remove a.test mail --force",
            "key list a.test",
            "key rotate a.test",
            "key rotate --all",
            "key rewrap",
            "key destroy 7 --force",
            "ban add 192.0.2.0/24 --reason spam --duration 1h",
            "backup create --no-wait",
            "backup list --offline --config x.yaml",
            "backup jobs",
            "backup verify --full",
            "backup restore --all --offline --config x.yaml --queue skip",
            "backup restore 2026 --account a@a.test --mailbox INBOX --into b@a.test --prefix Restored --dry-run",
            "backup restore latest --domain a.test",
            "backup prune --keep-last 3 --keep-daily 7 --dry-run",
            "ban list",
            "ban show 192.0.2.1",
            "ban remove 2001:db8::/32",
            "greylist list --waiting",
            "greylist remove 192.0.2.1",
            "node list --output json",
            "node show 0199f2ab",
            "cluster features",
            "queue list --sender @a.test --recipient b@b.test --destination b.test --state deferred",
            "queue list --error 4.4. --older-than 1h --newer-than 5d --account a@a.test --limit 5 --output json",
            "queue show 0199f2ab84d0c1d2e3f405162738495a --header",
            "queue hold 0199f2ab84d0c1d2e3f405162738495a-0",
            "queue release --state held",
            "queue retry --destination b.test",
            "queue bounce --sender <>",
            "queue delete --all",
            "queue stats --top 3",
            "queue suppressed list",
            "queue suppressed remove b@b.test",
            "mailbox list a@a.test --server http://localhost:1 --token x",
            "message import a@a.test x y --mailbox Old --create",
            "message export a@a.test x --all --format mbox",
            "doctor --config x.yaml --token-file x",
            "doctor example.test",
            "doctor stores --config x.yaml",
            "selftest --smtp a:25 --submissions a:465 --imaps a:993 --insecure",
            "selftest --submission a:587 --imaps a:993 --account a@a.test --password-file x",
            "completions zsh",
        ] {
            let arguments = std::iter::once("ekitei").chain(line.split(' '));
            assert!(Cli::try_parse_from(arguments).is_ok(), "{line}");
        }
    }

    /// Commands in runbooks are read in a hurry, and typed as they are there.
    #[test]
    fn the_commands_of_runbooks_can_be_given() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
        let mut commands = 0;
        for page in std::fs::read_dir(folder).expect("the runbooks") {
            let page = std::fs::read_to_string(page.expect("a runbook").path()).expect("a runbook");
            // Every second piece is between backquotes.
            for code in page.split('`').skip(1).step_by(2).filter(|code| code.starts_with("ekitei ")) {
                let mut line = code.split(" | ").next().unwrap_or(code).to_owned();
                for (name, value) in
                    [("ADDRESS", "a@a.test"), ("NETWORK", "192.0.2.0/24"), ("DOMAIN", "a.test")]
                {
                    line = line.replace(name, value);
                }
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(
                    parsed.is_ok(),
                    "`{code}`: {}",
                    parsed.err().map(|error| error.to_string()).unwrap_or_default()
                );
                commands += 1;
            }
        }
        assert!(commands > 20, "{commands} commands");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "account set a@a.test --enable --disable",
            "account add a@a.test --password x --no-password",
            "account set a@a.test --quota much",
            "message import a@a.test",
            "message import a@a.test x --recursive --mailbox Old",
            "alias add a@a.test",
            "dkim create a.test --selector mail",
            "ban add 192.0.2.0/24 --duration soon",
            "backup restore",
            "backup restore --all --account a@a.test",
            "backup restore --domain a.test --mailbox INBOX",
            "backup prune",
            "queue list --state lost",
            "queue show x --header --raw",
            "queue delete x --all",
            "domain list --output xml",
            "selftest --smtp a:25",
            "selftest --smtp a:25 --imaps a:993 --account a@a.test",
        ] {
            let arguments = std::iter::once("ekitei").chain(line.split(' '));
            assert!(Cli::try_parse_from(arguments).is_err(), "{line}");
        }
    }
}
