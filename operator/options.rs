//! What the operator is told when it starts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What `ekitei-operator run` is told. What is said twice holds as it was said last, so that a chart's own arguments can be followed by others.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct Options {
    /// The namespace of the operator: MailRegions, their pods, and the lease of the leader are in it.
    #[arg(long, env = "EKITEI_OPERATOR_NAMESPACE", default_value = "ekitei")]
    pub namespace: String,
    /// The admin API of the mail service.
    #[arg(long, env = "EKITEI_OPERATOR_SERVICE_URL", default_value = "http://ekitei-admin:8080")]
    pub service_url: String,
    /// A file with the token for it; it is read again whenever it is used.
    #[arg(long, env = "EKITEI_OPERATOR_SERVICE_TOKEN_FILE")]
    pub service_token_file: Option<PathBuf>,
    /// The ConfigMap with the templates of what is made for a region.
    #[arg(long, env = "EKITEI_OPERATOR_REGION_TEMPLATE", default_value = "ekitei-region-template")]
    pub region_template: String,
    /// What names of objects that are made for a region begin with.
    #[arg(long, env = "EKITEI_OPERATOR_NAME_PREFIX", default_value = "ekitei-mx")]
    pub name_prefix: String,
    /// Where health, readiness and metrics are served.
    #[arg(long, env = "EKITEI_OPERATOR_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// The lease that processes of the operator elect their leader by.
    #[arg(long, env = "EKITEI_OPERATOR_LEADER_ELECTION_LEASE", default_value = "ekitei-operator")]
    pub leader_election_lease: String,
    /// How long the lease is good for without renewal, in seconds.
    #[arg(long, env = "EKITEI_OPERATOR_LEADER_ELECTION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=3600))]
    pub leader_election_seconds: u16,
    /// This process among those of the operator: by default the name of its pod, and chance.
    #[arg(long, env = "EKITEI_OPERATOR_IDENTITY")]
    pub identity: Option<String>,
    /// The installation that records in DNS belong to. Operators of several clusters over the same store and zones have the same one.
    #[arg(long, env = "EKITEI_OPERATOR_OWNER", default_value = "ekitei")]
    pub owner: String,
    /// After which time every object is looked at again though nothing changed, such as `10m`.
    #[arg(long, env = "EKITEI_OPERATOR_RESYNC", default_value = "10m", value_parser = duration)]
    pub resync: Duration,
    /// How many objects of a kind are worked on at a time.
    #[arg(long, env = "EKITEI_OPERATOR_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Resolvers, as `address:port`, in place of the system's.
    #[arg(long, env = "EKITEI_OPERATOR_RESOLVERS", value_delimiter = ',')]
    pub resolvers: Vec<SocketAddr>,
    /// A file with DNSKEY records to trust in place of the root's, to say which zones are secure (DANE needs it). The resolvers have to hand on DNSSEC records.
    #[arg(long, env = "EKITEI_OPERATOR_DNSSEC_TRUST_ANCHORS")]
    pub dnssec_trust_anchors: Option<PathBuf>,
    /// The default authority for certificates: the URL of its ACME directory.
    #[arg(long, env = "EKITEI_OPERATOR_ACME_DIRECTORY")]
    pub acme_directory: Option<String>,
    /// Whom the default authority writes to.
    #[arg(long, env = "EKITEI_OPERATOR_ACME_CONTACTS", value_delimiter = ',')]
    pub acme_contacts: Vec<String>,
    /// That the terms of service of the default authority are agreed to.
    #[arg(long, env = "EKITEI_OPERATOR_ACME_TERMS_OF_SERVICE_AGREED")]
    pub acme_terms_of_service_agreed: bool,
    /// The key identifier of the account at the default authority that its ACME account belongs to (RFC 8555 §7.3.4), where the authority wants one.
    #[arg(long, env = "EKITEI_OPERATOR_ACME_EXTERNAL_ACCOUNT", requires = "acme_external_account_key_file")]
    pub acme_external_account: Option<String>,
    /// A file with the HMAC key of that account, in base64url as the authority gives it.
    #[arg(long, env = "EKITEI_OPERATOR_ACME_EXTERNAL_ACCOUNT_KEY_FILE", requires = "acme_external_account")]
    pub acme_external_account_key_file: Option<PathBuf>,
    /// Certificates in PEM of those who may sign the authority's own, for private authorities.
    #[arg(long, env = "EKITEI_OPERATOR_ACME_CA_FILE")]
    pub acme_ca_file: Option<PathBuf>,
    /// The namespaces whose Secrets may be read, besides the operator's own; all of them if none is named.
    #[arg(long, env = "EKITEI_OPERATOR_SECRET_NAMESPACES", value_delimiter = ',')]
    pub secret_namespaces: Vec<String>,
    /// Which log lines are written: a level, and levels of parts as `ekitei_operator=debug`.
    #[arg(long, env = "EKITEI_OPERATOR_LOG", default_value = "info")]
    pub log: String,
    /// How they are written.
    #[arg(long, env = "EKITEI_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Options {
    /// The namespaces whose Secrets are watched, each once; `None` stands for all of them. A watch of all would be refused for ever where only some may be read, and
    /// a watch that is refused holds up all others of its controller.
    pub fn watched_secrets(&self) -> Vec<Option<&str>> {
        if self.secret_namespaces.is_empty() {
            return vec![None];
        }
        let named = self.secret_namespaces.iter().map(String::as_str);
        let each: BTreeSet<&str> = named.chain([self.namespace.as_str()]).collect();
        each.into_iter().map(Some).collect()
    }

    /// Which log lines are written. The validator shows each answer that it cannot believe, octet by octet, for every zone that is not secure, in each round; what that
    /// comes to is in the condition `DANEReady`, and who wants all of it names it.
    pub fn log_filter(&self) -> String {
        if self.log.contains("hickory") {
            self.log.clone()
        } else {
            format!("{},hickory_net::dnssec=off", self.log)
        }
    }

    /// This process among those of the operator.
    pub fn identity(&self) -> String {
        self.identity.clone().unwrap_or_else(|| {
            let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
            format!("{}-{:08x}", pod.as_deref().unwrap_or("ekitei-operator"), rand::random::<u32>())
        })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: ekitei_operator_api::Duration = text.parse().map_err(|error| format!("{error}"))?;
    match duration.get() {
        wanted if wanted < Duration::from_secs(1) => Err("at least 1s is needed".to_owned()),
        wanted => Ok(wanted),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let options = Command::try_parse_from(["operator"]).unwrap().options;
        assert_eq!(options.resync, Duration::from_secs(600));
        assert_eq!(options.listen, "[::]:8080".parse().unwrap());
        assert_ne!(options.identity(), options.identity(), "two processes of one pod name are told apart");
    }

    #[test]
    fn what_is_said_last_holds() {
        let said = ["operator", "--resync=10m", "--concurrency=4", "--concurrency=8", "--resync=1h"];
        let options = Command::try_parse_from(said).unwrap().options;
        assert_eq!((options.resync, options.concurrency), (Duration::from_secs(3600), 8));
    }

    #[test]
    fn answers_that_cannot_be_believed_are_not_logged_unless_they_are_asked_for() {
        let filter =
            |log: &str| Command::try_parse_from(["operator", "--log", log]).unwrap().options.log_filter();
        assert_eq!(filter("info"), "info,hickory_net::dnssec=off");
        assert_eq!(filter("info,hickory_net=debug"), "info,hickory_net=debug");
    }

    #[test]
    fn secrets_are_watched_where_they_may_be_read() {
        let watched = |arguments: &[&str]| {
            let all = ["operator", "--namespace=mail"].iter().chain(arguments);
            let options = Command::try_parse_from(all).unwrap().options;
            options.watched_secrets().into_iter().map(|one| one.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(watched(&[]), [None]);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(watched(&["--secret-namespaces=one,mail,one"]), [some("mail"), some("one")]);
        assert_eq!(watched(&["--secret-namespaces=one,two"]), [some("mail"), some("one"), some("two")]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            ["--resync", "0s"],
            ["--resync", "5d"],
            ["--leader-election-seconds", "1"],
            ["--concurrency", "0"],
            ["--acme-external-account", "key-1"],
        ] {
            assert!(
                Command::try_parse_from(["operator"].into_iter().chain(arguments)).is_err(),
                "{arguments:?}"
            );
        }
    }
}
