//! A server that mail can be handed to, and how.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ekitei_config::Secret;

use crate::mx::{self, Route};
use crate::tls::HostTls;

/// One server, and what is known of it before it is connected to.
pub(crate) struct Target<'a> {
    /// Its name and addresses.
    pub(crate) host: &'a mx::Host,
    /// Which TLS it must have.
    pub(crate) tls: HostTls,
    /// We chose it, not the destination.
    pub(crate) is_smart_host: bool,
    /// TLS begins with the connection (RFC 8314 §3), not with STARTTLS.
    pub(crate) implicit_tls: bool,
    /// Who we are there; MX hosts are not logged in to.
    pub(crate) login: Option<Login>,
}

/// A user of a smart host.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret,
}

/// What connections have in common that can stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostKey {
    name: String,
    port: u16,
    tls: String,
    implicit_tls: bool,
    username: Option<String>,
}

impl<'a> Target<'a> {
    /// A host of a route.
    pub(crate) fn new(route: &'a Route, host: &'a mx::Host, tls: HostTls) -> Self {
        let smart_host = route.smart_host.as_ref();
        Self {
            host,
            tls,
            is_smart_host: smart_host.is_some(),
            implicit_tls: smart_host.is_some_and(|smart_host| smart_host.implicit_tls),
            login: smart_host.and_then(Login::of),
        }
    }

    /// Whose connections can be used for it: those to the same server, under the same policy, as the same user.
    pub(crate) fn key(&self) -> HostKey {
        HostKey {
            name: self.host.name.clone(),
            port: self.host.addresses.first().map_or(0, SocketAddr::port),
            tls: self.tls.identity().to_owned(),
            implicit_tls: self.implicit_tls,
            username: self.login.as_ref().map(|login| login.username.clone()),
        }
    }

    /// Whether it is this machine, where nobody listens on the way.
    pub(crate) fn is_local(&self) -> bool {
        self.host.addresses.iter().all(|address| address.ip().is_loopback())
    }
}

impl Login {
    fn of(smart_host: &ekitei_config::SmartHost) -> Option<Self> {
        let username = smart_host.username.clone();
        let password = smart_host.password.clone().unwrap_or_else(|| Secret::new(""));
        (!username.is_empty()).then_some(Self { username, password })
    }

    /// A number used once, for SCRAM (RFC 5802 §5.1).
    pub(crate) fn nonce() -> String {
        STANDARD_NO_PAD.encode(rand::random::<[u8; 18]>())
    }
}
