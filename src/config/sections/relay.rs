//! Sending mail to other servers.

use std::net::IpAddr;

use super::section;
use crate::{Duration, Secret};

section! {
    /// The sending client: SMTP to other hosts.
    pub struct Relay {
        /// The name in EHLO; empty for `hostname`. It should be what the address of egress resolves to.
        ehlo_name: String = String::new(),
        /// The port of other domains' MX hosts.
        port: u16 = 25,
        /// Addresses to send from; for each family the first one is used. Empty leaves it to the system.
        source_addresses: Vec<IpAddr> = Vec::new(),
        /// The smart host that all mail is handed to, as `host` or `host:port`, unless a rule says otherwise; empty for none: mail goes to the MX hosts
        /// of its domain.
        smart_host: Option<SmartHost> = None,
        /// How long the client waits for other servers.
        timeouts: RelayTimeouts = RelayTimeouts::default(),
    }
}

section! {
    /// A server that takes mail for everyone, and sends it on.
    pub struct SmartHost {
        /// Its name or address.
        host: String = String::new(),
        /// Its port.
        port: u16 = 587,
        /// Begin with TLS, as on port 465, instead of STARTTLS.
        implicit_tls: bool = false,
        /// The user to log in as; empty for no login.
        username: String = String::new(),
        /// The user's password.
        password: Option<Secret> = None,
    }
}

section! {
    /// How long the client waits for another server (RFC 5321 §4.5.3.2).
    pub struct RelayTimeouts {
        /// For a connection to one address.
        connect: Duration = Duration::seconds(30),
        /// For the greeting.
        greeting: Duration = Duration::minutes(5),
        /// For a TLS handshake.
        tls: Duration = Duration::seconds(60),
        /// For the reply to a command.
        command: Duration = Duration::minutes(5),
        /// For the reply to DATA.
        data_init: Duration = Duration::minutes(2),
        /// For a block of the message to be taken.
        data_block: Duration = Duration::minutes(3),
        /// For the reply to the end of the message.
        data_end: Duration = Duration::minutes(10),
    }
}
