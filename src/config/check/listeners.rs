//! The rules of `listeners`.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Checks;
use crate::{Config, Problem, Protocol};

impl Checks {
    pub(super) fn listeners(&mut self, config: &Config) {
        if config.listeners.is_empty() {
            self.problems.push(Problem::warning("listeners", None, "there is none, so nothing is served"));
        }
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut addresses: HashMap<SocketAddr, usize> = HashMap::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let path = format!("listeners[{index}]");
            if let Some(first) = names.insert(listener.label().into_owned(), index) {
                self.error(
                    format!("{path}.name"),
                    listener.label(),
                    format!("is the name of listeners[{first}] too; give one of them another"),
                );
            }
            let fixed = listener.address.port() != 0;
            if fixed && let Some(first) = addresses.insert(listener.address, index) {
                self.error(
                    format!("{path}.address"),
                    listener.address,
                    format!("is the address of listeners[{first}] too"),
                );
            }
            if listener.protocol.implicit_tls() && config.tls.certificates.is_empty() {
                self.warn(
                    format!("{path}.protocol"),
                    listener.protocol,
                    "there is no certificate in tls.certificates: until one is stored (ekitei certificate set), clients are turned away",
                );
            }
            if listener.proxy_protocol.as_ref().is_some_and(|proxy| proxy.trusted_networks.is_empty()) {
                self.error(
                    format!("{path}.proxyProtocol.trustedNetworks"),
                    "[]",
                    "must name the load balancers, or every connection would be closed",
                );
            }
            let public = !listener.address.ip().is_loopback();
            if listener.protocol == Protocol::Lmtp && public {
                self.warn(
                    format!("{path}.address"),
                    listener.address,
                    "LMTP has no authentication: make sure that only the front end reaches it",
                );
            }
            if listener.protocol == Protocol::Http && public {
                self.warn(
                    format!("{path}.address"),
                    listener.address,
                    "the admin API is plain HTTP: put TLS in front of it, or let it listen on 127.0.0.1",
                );
            }
        }
    }
}
