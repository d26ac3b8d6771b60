//! Sending mail to other servers.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section;
use crate::{ByteSize, Cidr, Duration, Secret};

section! {
    /// The sending client: SMTP to other hosts.
    pub struct Relay {
        /// The name in EHLO; empty for `hostname`. It should be what the address of egress resolves to.
        ehlo_name: String = String::new(),
        /// The port of other domains' MX hosts.
        port: u16 = 25,
        /// Addresses to send from; for each family the first one is used. Empty leaves it to the system.
        source_addresses: Vec<IpAddr> = Vec::new(),
        /// The smart host that all mail is handed to, unless a rule says otherwise. Without one mail goes to the MX hosts of its domain.
        smart_host: Option<SmartHost> = None,
        /// Whether mail goes to the MX hosts of its domain where no rule and no smart host takes it. If not, it waits in the queue.
        direct: bool = true,
        /// Rules for some destinations or senders; the first that matches is followed, and `smartHost` only if none does.
        routes: Vec<RelayRoute> = Vec::new(),
        /// Names and addresses that are this service itself beside `hostname`, `relay.ehloName` and `relay.sourceAddresses`: mail is not sent to an MX
        /// host that is one of them, nor to a host of the same or lower preference (RFC 5321 §5.1).
        own_hosts: Vec<String> = Vec::new(),
        /// Addresses that no domain of the Internet can rightly have its mail sent to. They are ignored where MX and addresses come from DNS; smart
        /// hosts and hosts of routes may have them. To relay to MX hosts in a test network, make it empty.
        ignore_addresses: Vec<Cidr> = ignored(),
        /// MX hosts that are tried for one message; of more, the most preferred.
        max_hosts: u32 = 8,
        /// Addresses that are tried of one host.
        max_addresses: u32 = 4,
        /// DANE (RFC 7672): hosts whose DNSSEC-signed zone has TLSA records must prove who they are. Needs `dns.dnssec`.
        dane: bool = true,
        /// MTA-STS (RFC 8461): hosts of a domain that publishes a policy must have certificates that are valid for their names.
        mta_sts: bool = true,
        /// The certificates of the authorities that are trusted where a certificate must be valid (MTA-STS, `verify`), as a PEM file; without it
        /// those of the system, and where it has none, those of Mozilla.
        ca_file: Option<PathBuf> = None,
        /// Connections that are opened for one message, to all addresses of all hosts, before it waits for its next attempt.
        max_attempts: u32 = 6,
        /// How long after an attempt to connect to one address of a host the next one begins, when the first has not failed yet (RFC 8305 §5).
        connection_attempt_delay: Duration = Duration::millis(250),
        /// Recipients in one transaction; a server's own limit (RFC 9422) may be lower.
        max_recipients: u32 = 100,
        /// Messages that are sent on one connection.
        messages_per_connection: u32 = 100,
        /// Connections that are kept open for the next message, to all servers together; 0 keeps none.
        max_idle_connections: u32 = 200,
        /// How long a connection is kept open for the next message.
        idle_timeout: Duration = Duration::seconds(30),
        /// The longest reply that is read; what is longer is an error of the server.
        max_reply_length: ByteSize = ByteSize::kib(16),
        /// Lines of the longest reply that is read.
        max_reply_lines: u32 = 128,
        /// How long the client waits for other servers.
        timeouts: RelayTimeouts = RelayTimeouts::default(),
    }
}

section! {
    /// A server that takes mail for everyone, and sends it on.
    pub struct SmartHost {
        /// Its name or address, or either with a port (`[::1]:2525`), which then counts instead of `port`. Empty for no smart host.
        host: String = String::new(),
        /// Its port.
        port: u16 = 587,
        /// Begin with TLS, as on port 465, instead of STARTTLS.
        implicit_tls: bool = false,
        /// Which TLS it must have; without it `verify` if there is a login, else `opportunistic`.
        tls: Option<TlsRule> = None,
        /// The user to log in as; empty for no login.
        username: String = String::new(),
        /// The user's password.
        password: Option<Secret> = None,
    }
}

section! {
    /// Where some mail goes, and over which TLS. A list that is empty matches everything.
    pub struct RelayRoute {
        /// Domains of recipients: `example.org`, `*.example.org` (every name below it), `*`.
        destinations: Vec<String> = Vec::new(),
        /// Domains of senders, in the same form. Notifications, which have no sender, match only `*` or an empty list.
        senders: Vec<String> = Vec::new(),
        /// The name or address of the host that takes it; empty for the MX hosts of the destination.
        host: String = String::new(),
        /// The port of that host.
        port: u16 = 25,
        /// Begin with TLS, as on port 465, instead of STARTTLS.
        implicit_tls: bool = false,
        /// Which TLS must be had, whatever the destination publishes; without it: with a host as for `smartHost`, otherwise what the destination publishes.
        tls: Option<TlsRule> = None,
        /// The user to log in as; empty for no login.
        username: String = String::new(),
        /// The user's password.
        password: Option<Secret> = None,
    }
}

/// Which TLS must be had with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsRule {
    /// No TLS, though it be offered.
    None,
    /// TLS if it is offered, with any certificate; otherwise in clear.
    Opportunistic,
    /// TLS with any certificate; without it the mail waits.
    Require,
    /// TLS with a certificate that is valid for the name of the host; without it the mail waits.
    Verify,
}

/// This host, this network, nobody, or everybody: not one host of the Internet (RFC 6890).
fn ignored() -> Vec<Cidr> {
    let networks =
        ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"];
    networks.iter().map(|network| network.parse().expect("it is a network")).collect()
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
        /// For an MTA-STS policy to be fetched (RFC 8461 §3.3).
        policy: Duration = Duration::seconds(20),
        /// For the reply to a command.
        command: Duration = Duration::minutes(5),
        /// For all of MAIL, RCPT and DATA together: a server that is slow with every reply is given up.
        envelope: Duration = Duration::minutes(15),
        /// For the reply to DATA.
        data_init: Duration = Duration::minutes(2),
        /// For a block of the message, 64 KiB, to be taken.
        data_block: Duration = Duration::minutes(3),
        /// For the whole message to be taken, without the reply to its end.
        message: Duration = Duration::hours(2),
        /// For the reply to the end of the message.
        data_end: Duration = Duration::minutes(10),
    }
}
