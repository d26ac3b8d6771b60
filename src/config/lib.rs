//! YAML to typed configuration; every error names the path, the value and what is allowed.
//!
//! [`Config`] is the whole tree. A key that is left out has its documented default, a key that does not exist
//! is an error with a suggestion, and all problems of a file are reported at once. String values may use
//! `${NAME}` and `${NAME:-default}` from the environment; a [`Secret`] may be `file:/path`.
//!
//! A running service keeps its configuration in a [`Live`], which `SIGHUP` replaces; [`restart_needed`] tells
//! which differences a running service cannot take over.

mod check;
mod cidr;
mod endpoint;
mod error;
mod live;
mod parse;
mod reference;
mod reload;
mod schema;
mod secret;
mod sections;
mod substitute;
mod suggest;
mod units;
mod yaml;

use std::path::Path;

pub use cidr::{Cidr, CidrError};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{ConfigError, Problem, Severity};
pub use live::Live;
pub use reference::reference_markdown;
pub use reload::{Change, changes, restart_needed};
pub use secret::{REDACTED, Secret};
pub use sections::*;
pub use units::{ByteSize, Duration, UnitError, parse_day};

sections::section! {
    /// The configuration of one service.
    pub struct Config {
        /// The name of this host in greetings, Received fields and new Message-IDs. It should be the name that
        /// its address resolves to.
        hostname: String = "localhost".to_owned(),
        /// The metadata store.
        store: Store = Store::default(),
        /// This process as one of a cluster.
        cluster: Cluster = Cluster::default(),
        /// Message bodies.
        blobs: Blobs = Blobs::default(),
        /// Encryption of message bodies at rest.
        encryption: Encryption = Encryption::default(),
        /// Backups.
        backup: Backup = Backup::default(),
        /// Certificates and versions of TLS.
        tls: TlsConfig = TlsConfig::default(),
        /// The listening sockets.
        listeners: Vec<ListenerConfig> = Vec::new(),
        /// Limits over all listeners.
        limits: Limits = Limits::default(),
        /// Receiving mail.
        smtp: Smtp = Smtp::default(),
        /// Checks of incoming mail.
        filter: Filter = Filter::default(),
        /// Mail that waits to be sent.
        queue: Queue = Queue::default(),
        /// Sending mail to other servers.
        relay: Relay = Relay::default(),
        /// Signatures of outgoing mail.
        signing: Signing = Signing::default(),
        /// Reports to and from other domains.
        reports: Reports = Reports::default(),
        /// How names are looked up.
        dns: Dns = Dns::default(),
        /// Reading mail over IMAP.
        imap: Imap = Imap::default(),
        /// Reading mail over POP3.
        pop3: Pop3 = Pop3::default(),
        /// Accounts and credentials.
        directory: Directory = Directory::default(),
        /// Mailboxes and messages.
        mailstore: Mailstore = Mailstore::default(),
        /// Public pages.
        web: Web = Web::default(),
        /// The admin API.
        admin: Admin = Admin::default(),
        /// Logs.
        log: Log = Log::default(),
        /// Traces.
        traces: Traces = Traces::default(),
        /// Stopping the service.
        shutdown: Shutdown = Shutdown::default(),
    }
}

impl Config {
    /// Reads a file, with `${NAME}` from the environment of the process.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, is no YAML, or has problems of [`Severity::Error`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Read { path: path.to_owned(), reason })?;
        Self::parse(&text, &|name| std::env::var(name).ok())
    }

    /// Reads a text; `environment` looks up `${NAME}`. Paths are left as written.
    ///
    /// # Errors
    /// As for [`Config::load`], without reading the file itself; files of `file:` secrets are read.
    pub fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let config = parse::parse(text, environment)?;
        let errors: Vec<Problem> =
            config.check().into_iter().filter(|problem| problem.severity == Severity::Error).collect();
        if errors.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(errors)) }
    }

    /// Who this service is in Authentication-Results (RFC 8601 §2.5).
    pub fn authserv_id(&self) -> &str {
        if self.filter.authserv_id.is_empty() { &self.hostname } else { &self.filter.authserv_id }
    }

    /// What is wrong or doubtful between keys that are each valid alone. Looks at no file and no socket.
    pub fn check(&self) -> Vec<Problem> {
        check::check(self)
    }

    /// The whole tree with its defaults as YAML, secrets redacted.
    pub fn to_yaml(&self) -> String {
        yaml::write(self).expect("a tree of maps, lists and scalars can be written as YAML")
    }
}
