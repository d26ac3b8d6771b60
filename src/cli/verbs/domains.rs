//! `ekitei domain`

use clap::Subcommand;
use ekitei_api::{Client, Domain, DomainPatch, MtaSts, MtaStsMode, NewDomain};
use ekitei_config::Duration;

use super::{OrNone, all_pages, none_or_size, none_or_text, nothing_to_set, usage};
use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, or_dash, size, time, yes_no};

/// What to do with domains.
#[derive(Subcommand)]
pub enum Verb {
    /// Create a domain.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// List the domains.
    List,
    /// Show a domain.
    Show {
        /// Its name.
        name: String,
    },
    /// Change a domain.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        fields: Fields,
        /// Take mail and logins again.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Take no mail and no logins.
        #[arg(long)]
        disable: bool,
    },
    /// Show what the accounts of domains hold together.
    Usage {
        /// Which; all of them if it is left out.
        name: Option<String>,
    },
    /// Count again what the accounts of a domain hold together, by what each of them is said to hold.
    Recount {
        /// Its name.
        name: String,
        /// Set right what differs.
        #[arg(long)]
        repair: bool,
    },
    /// Remove a domain.
    Remove {
        /// Its name.
        name: String,
        /// Also remove its accounts with their mail, its aliases and its groups.
        #[arg(long)]
        force: bool,
    },
}

/// What can be set; `none` takes a value away.
#[derive(clap::Args)]
pub struct Fields {
    /// Where mail for unknown users goes.
    #[arg(long, value_name = "ADDRESS|none", value_parser = none_or_text)]
    catch_all: Option<OrNone<String>>,
    /// Where mail to postmaster@ and abuse@ goes if nobody has that address.
    #[arg(long, value_name = "ADDRESS|none", value_parser = none_or_text)]
    postmaster: Option<OrNone<String>>,
    /// Quota of accounts without one of their own.
    #[arg(long, value_name = "SIZE|none", value_parser = none_or_size)]
    quota: Option<OrNone<u64>>,
    /// What all its accounts may hold together.
    #[arg(long, value_name = "SIZE|none", value_parser = none_or_size)]
    total_quota: Option<OrNone<u64>>,
    #[command(flatten)]
    hosts: Hosts,
}

/// Hosts of its own.
#[derive(clap::Args)]
pub struct Hosts {
    /// What mail programs of its users connect to; `none` for the service's name.
    #[arg(long, value_name = "HOST|none", value_parser = none_or_text)]
    client_host: Option<OrNone<String>>,
    /// A host of its MX records that is this service; may be given several times, and replaces what there was. `none` for the service's name.
    #[arg(long, value_name = "HOST|none")]
    mx_host: Vec<String>,
    /// Its own MTA-STS policy: this mode (`off` is that of a policy that is withdrawn); `none` for the service's policy.
    #[arg(long, value_name = "testing|enforce|off|none", value_parser = none_or_mode)]
    mta_sts: Option<OrNone<MtaStsMode>>,
    /// A host or pattern in that policy, if it is not the MX hosts; may be given several times.
    #[arg(long, value_name = "HOST", requires = "mta_sts")]
    mta_sts_mx: Vec<String>,
    /// How long senders may keep that policy.
    #[arg(long, value_name = "DURATION", default_value = "7d", requires = "mta_sts")]
    mta_sts_max_age: Duration,
}

fn none_or_mode(text: &str) -> Result<OrNone<MtaStsMode>, String> {
    Ok(OrNone(match text {
        "none" => None,
        "off" => Some(MtaStsMode::None),
        "testing" => Some(MtaStsMode::Testing),
        "enforce" => Some(MtaStsMode::Enforce),
        _ => return Err("testing, enforce, off or none".to_owned()),
    }))
}

/// Changes of hosts: `None` leaves one as it is.
struct HostsChange {
    client_host: Option<Option<String>>,
    mx_hosts: Option<Option<Vec<String>>>,
    mta_sts: Option<Option<MtaSts>>,
}

impl Hosts {
    fn change(self) -> HostsChange {
        let Self { client_host, mx_host, mta_sts, mta_sts_mx, mta_sts_max_age } = self;
        let none = matches!(&mx_host[..], [only] if only == "none");
        HostsChange {
            client_host: client_host.map(|given| given.0),
            mx_hosts: (!mx_host.is_empty()).then(|| (!none).then_some(mx_host)),
            mta_sts: mta_sts.map(|given| {
                given.0.map(|mode| MtaSts { mode, mx: mta_sts_mx, max_age: mta_sts_max_age.get().as_secs() })
            }),
        }
    }
}

impl Columns for Domain {
    const HEAD: &'static [&'static str] = &[
        "NAME",
        "ENABLED",
        "CATCH-ALL",
        "POSTMASTER",
        "QUOTA",
        "TOTAL QUOTA",
        "CLIENT HOST",
        "MX HOSTS",
        "MTA-STS",
        "CREATED",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.unicode_name.clone(),
            yes_no(self.enabled),
            or_dash(self.catch_all.as_ref()),
            or_dash(self.postmaster.as_ref()),
            size(self.quota),
            size(self.total_quota),
            or_dash(self.client_host.as_ref()),
            or_dash(self.mx_hosts.as_ref().map(|hosts| hosts.join(", ")).as_ref()),
            or_dash(self.mta_sts.as_ref().map(policy).as_ref()),
            time(self.created),
        ]
    }
}

fn policy(policy: &MtaSts) -> String {
    match &policy.mx[..] {
        [] => policy.mode.name().to_owned(),
        mx => format!("{}: {}", policy.mode.name(), mx.join(", ")),
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Add { name, fields: Fields { catch_all, postmaster, quota, total_quota, hosts } } => {
            let HostsChange { client_host, mx_hosts, mta_sts } = hosts.change();
            let new = NewDomain {
                name,
                catch_all: catch_all.and_then(|given| given.0),
                postmaster: postmaster.and_then(|given| given.0),
                quota: quota.and_then(|given| given.0),
                total_quota: total_quota.and_then(|given| given.0),
                mta_sts: mta_sts.flatten(),
                client_host: client_host.flatten(),
                mx_hosts: mx_hosts.flatten(),
            };
            format.show(&client.create_domain(&new).await?)
        }
        Verb::List => format.list(&all_pages(None, async |page| client.list_domains(&page).await).await?),
        Verb::Show { name } => format.show(&client.domain(&name).await?),
        Verb::Set { name, fields, enable, disable } => {
            let Fields { catch_all, postmaster, quota, total_quota, hosts } = fields;
            let HostsChange { client_host, mx_hosts, mta_sts } = hosts.change();
            let enabled = (enable || disable).then_some(enable);
            let patch = DomainPatch {
                enabled,
                catch_all: catch_all.map(|given| given.0),
                postmaster: postmaster.map(|given| given.0),
                quota: quota.map(|given| given.0),
                total_quota: total_quota.map(|given| given.0),
                mta_sts,
                client_host,
                mx_hosts,
            };
            nothing_to_set(&patch)?;
            format.show(&client.update_domain(&name, &patch, None).await?)
        }
        Verb::Usage { name } => usage::domains(client, format, name).await,
        Verb::Recount { name, repair } => usage::recount_domain(client, format, &name, repair).await,
        Verb::Remove { name, force } => {
            client.delete_domain(&name, force).await?;
            format.done(&format!("{name} is removed"))
        }
    }
}
