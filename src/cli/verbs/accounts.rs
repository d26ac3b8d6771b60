//! `ekitei account`

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ekitei_api::{Account, AccountPatch, Client, Forwarding, NewAccount};

use super::{OrNone, all_pages, none_or_size, nothing_to_set, usage};
use crate::cli::exit::{Context, Failure, Outcome};
use crate::cli::output::{Columns, Format, or_dash, size, time, yes_no};

/// What to do with accounts. `ACCOUNT` is an address or a number.
#[derive(Subcommand)]
pub enum Verb {
    /// Create an account.
    Add {
        /// Its address, which is also its login name.
        address: String,
        /// The user's name.
        #[arg(long, default_value = "")]
        name: String,
        /// Its quota [default: the domain's].
        #[arg(long, value_name = "SIZE|none", value_parser = none_or_size)]
        quota: Option<OrNone<u64>>,
        /// Create it disabled.
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        forwarding: ForwardingOptions,
        #[command(flatten)]
        password: PasswordOptions,
    },
    /// List the accounts.
    List {
        /// Only those of this domain.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Show an account.
    Show {
        /// Which.
        account: String,
    },
    /// Change an account.
    Set {
        /// Which.
        account: String,
        /// The user's name.
        #[arg(long)]
        name: Option<String>,
        /// Its quota; `none` for the domain's.
        #[arg(long, value_name = "SIZE|none", value_parser = none_or_size)]
        quota: Option<OrNone<u64>>,
        /// Take mail and logins again.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Take no mail and no logins; its mail is kept.
        #[arg(long)]
        disable: bool,
        #[command(flatten)]
        forwarding: ForwardingOptions,
        /// Forward to nobody any more.
        #[arg(long, conflicts_with = "forward_to")]
        no_forward: bool,
        #[command(flatten)]
        password: PasswordOptions,
    },
    /// Show what accounts hold.
    Usage(usage::AccountUsageOptions),
    /// Count the mail of accounts again, and say where counters differ.
    Recount(usage::RecountOptions),
    /// Remove an account with all its mail.
    Remove {
        /// Which.
        account: String,
    },
}

/// Where mail goes.
#[derive(Args)]
pub struct ForwardingOptions {
    /// Where its mail goes instead of its own mailboxes; may be given several times, and replaces what there was.
    #[arg(long, value_name = "ADDRESS")]
    forward_to: Vec<String>,
    /// Keep a copy of what is forwarded in its own mailboxes.
    #[arg(long, requires = "forward_to")]
    keep_copy: bool,
}

impl ForwardingOptions {
    fn given(self) -> Option<Forwarding> {
        let Self { forward_to, keep_copy } = self;
        (!forward_to.is_empty())
            .then(|| Forwarding { addresses: forward_to.into_iter().collect(), keep_copy })
    }
}

/// Where a password comes from.
#[derive(Args)]
#[group(multiple = false)]
pub struct PasswordOptions {
    /// The password. Others on this machine can see it while the command runs; --password-file is safer.
    #[arg(long)]
    password: Option<String>,
    /// A file with the password on its first line; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A hash of another system: {SHA512-CRYPT}, {SHA256-CRYPT}, {BLF-CRYPT}, {SSHA}, {SSHA512}, {ARGON2ID}.
    #[arg(long, value_name = "HASH")]
    password_hash: Option<String>,
    /// No password: only app passwords open the account.
    #[arg(long)]
    no_password: bool,
}

/// A password as it was given.
enum Given {
    Nothing,
    Plain(String),
    Hash(String),
    None,
}

impl PasswordOptions {
    fn read(self) -> Outcome<Given> {
        Ok(match self {
            Self { password: Some(password), .. } => Given::Plain(password),
            Self { password_file: Some(file), .. } => Given::Plain(first_line(&file)?),
            Self { password_hash: Some(hash), .. } => Given::Hash(hash),
            Self { no_password: true, .. } => Given::None,
            _ => Given::Nothing,
        })
    }
}

fn first_line(file: &Path) -> Outcome<String> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(file).context(file.display())?;
    }
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Failure::usage(format!("the first line of {} is empty", file.display()))),
    }
}

impl Columns for Account {
    const HEAD: &'static [&'static str] =
        &["ID", "ADDRESS", "NAME", "ENABLED", "PASSWORD", "QUOTA", "FORWARDS TO", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.address.clone(),
            self.display_name.clone(),
            yes_no(self.enabled),
            yes_no(self.has_password),
            size(self.quota),
            or_dash(self.forwarding.as_ref().map(forwards_to).as_ref()),
            time(self.created),
        ]
    }
}

fn forwards_to(forwarding: &Forwarding) -> String {
    let addresses = forwarding.addresses.iter().cloned().collect::<Vec<_>>().join(", ");
    if forwarding.keep_copy { format!("{addresses} (keeps a copy)") } else { addresses }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Add { address, name, quota, disabled, forwarding, password } => {
            let (password, password_hash) = match password.read()? {
                Given::Plain(password) => (Some(password), None),
                Given::Hash(hash) => (None, Some(hash)),
                Given::None => (None, None),
                Given::Nothing => {
                    return Err(Failure::usage(
                        "give --password-file, --password, --password-hash or --no-password",
                    ));
                }
            };
            let quota = quota.and_then(|given| given.0);
            let new = NewAccount {
                address,
                display_name: name,
                password,
                password_hash,
                quota,
                enabled: !disabled,
                forwarding: forwarding.given(),
            };
            format.show(&client.create_account(&new).await?)
        }
        Verb::List { domain } => {
            let list = async |page| client.list_accounts(&page).await;
            format.list(&all_pages(domain.as_deref(), list).await?)
        }
        Verb::Show { account } => format.show(&client.account(&account).await?),
        Verb::Set { account, name, quota, enable, disable, forwarding, no_forward, password } => {
            let mut patch = AccountPatch {
                display_name: name,
                enabled: (enable || disable).then_some(enable),
                quota: quota.map(|given| given.0),
                forwarding: if no_forward { Some(None) } else { forwarding.given().map(Some) },
                ..AccountPatch::default()
            };
            match password.read()? {
                Given::Plain(password) => patch.password = Some(Some(password)),
                Given::Hash(hash) => patch.password_hash = Some(hash),
                Given::None => patch.password = Some(None),
                Given::Nothing => {}
            }
            nothing_to_set(&patch)?;
            format.show(&client.update_account(&account, &patch, None).await?)
        }
        Verb::Usage(options) => usage::accounts(client, format, options).await,
        Verb::Recount(options) => usage::recount(client, format, options).await,
        Verb::Remove { account } => {
            client.delete_account(&account).await?;
            format.done(&format!("{account} is removed, with its mail"))
        }
    }
}
