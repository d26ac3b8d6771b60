//! Listening sockets and the certificates they use.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::section;
use crate::{Cidr, Duration};

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SMTP from other hosts (RFC 5321, port 25), STARTTLS offered.
    Smtp,
    /// Message submission with STARTTLS (RFC 6409, port 587).
    Submission,
    /// Message submission over TLS (RFC 8314, port 465).
    Submissions,
    /// LMTP from a front end (RFC 2033), on a trusted network.
    Lmtp,
    /// IMAP with STARTTLS (RFC 9051, port 143).
    Imap,
    /// IMAP over TLS (RFC 8314, port 993).
    Imaps,
    /// POP3 with STLS (RFC 1939, port 110).
    Pop3,
    /// POP3 over TLS (RFC 8314, port 995).
    Pop3s,
    /// The admin API, health, metrics and the public pages.
    Http,
    /// The public pages over TLS: MTA-STS policy, settings of mail programs.
    Https,
}

impl Protocol {
    /// Every protocol, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Smtp,
        Self::Submission,
        Self::Submissions,
        Self::Lmtp,
        Self::Imap,
        Self::Imaps,
        Self::Pop3,
        Self::Pop3s,
        Self::Http,
        Self::Https,
    ];

    /// The name used in the file and in the labels of metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Whether a connection begins with a TLS handshake.
    pub const fn implicit_tls(self) -> bool {
        matches!(self, Self::Submissions | Self::Imaps | Self::Pop3s | Self::Https)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One listening socket. `protocol` and `address` are required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerConfig {
    /// The name in logs and metrics; the protocol's name if left empty. Unique.
    #[serde(default)]
    pub name: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where it listens: `0.0.0.0:25`, `[::]:25`, `127.0.0.1:2525`.
    #[schemars(schema_with = "socket_address_schema")]
    pub address: SocketAddr,
    /// Set when a load balancer in front sends the PROXY protocol.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The most connections at once on this listener; more are refused in the words of the protocol.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
}

fn default_max_connections() -> u32 {
    10_000
}

fn socket_address_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "socket-address" })
}

impl ListenerConfig {
    /// A listener with defaults for everything else.
    pub fn new(protocol: Protocol, address: SocketAddr) -> Self {
        Self {
            name: protocol.name().to_owned(),
            protocol,
            address,
            proxy_protocol: None,
            max_connections: default_max_connections(),
        }
    }

    /// The name in logs and metrics.
    pub fn label(&self) -> Cow<'_, str> {
        if self.name.is_empty() { Cow::Borrowed(self.protocol.name()) } else { Cow::Borrowed(&self.name) }
    }
}

section! {
    /// The PROXY protocol, versions 1 and 2, on one listener. Every connection must then begin with a header;
    /// the header changes only which address is logged and limited, and never grants anything.
    pub struct ProxyProtocol {
        /// The load balancers. A connection from anywhere else is closed.
        trusted_networks: Vec<Cidr> = Vec::new(),
    }
}

section! {
    /// Limits that count over all listeners.
    pub struct Limits {
        /// The most connections at once over all listeners. Those to listeners with `protocol: http` count too, but are not
        /// refused for it, so that probes and the administrator get through.
        max_connections: u32 = 20_000,
        /// How long a client may take for a TLS handshake.
        tls_handshake_timeout: Duration = Duration::seconds(30),
        /// How long a load balancer may take to send the PROXY header.
        proxy_header_timeout: Duration = Duration::seconds(5),
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), for older clients.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// One certificate with its key. Both keys are required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateConfig {
    /// The file with the certificate chain in PEM, leaf first. Its DNS names decide for which SNI it is used.
    pub certificate: PathBuf,
    /// The file with the private key in PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

section! {
    /// TLS for all listeners. Without a certificate, here or stored (`ekitei certificate`), STARTTLS and STLS are not offered.
    pub struct TlsConfig {
        /// The certificates, chosen by SNI; the first is for clients that name no known host. A stored certificate goes before one here for the hosts that it is
        /// for.
        certificates: Vec<CertificateConfig> = Vec::new(),
        /// The name of the stored certificate for clients that name no known host, where there is none in `certificates`. If it is absent, or there is
        /// none of that name: one for `hostname`, or else the one that was stored first.
        default_certificate: Option<String> = None,
        /// The most certificates that are stored.
        max_stored_certificates: u32 = 10_000,
        /// The oldest version of TLS that is spoken.
        min_version: TlsVersion = TlsVersion::Tls12,
        /// How often certificate files are looked at for changes; `0` leaves it to SIGHUP.
        watch_interval: Duration = Duration::seconds(10),
    }
}
