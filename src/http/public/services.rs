//! What mail programs connect to.

use ekitei_config::{Config, Protocol};
use ekitei_directory::Domain;

/// A service as a mail program needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) protocol: Protocol,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Service {
    /// The protocol in the words of both kinds of settings.
    pub(super) fn kind(&self) -> &'static str {
        match self.protocol {
            Protocol::Imap | Protocol::Imaps => "imap",
            Protocol::Pop3 | Protocol::Pop3s => "pop3",
            _ => "smtp",
        }
    }

    /// Whether TLS begins with the connection; otherwise it is STARTTLS.
    pub(super) fn implicit_tls(&self) -> bool {
        self.protocol.implicit_tls()
    }
}

/// The services for users of a domain, those with TLS from the beginning first (RFC 8314 §3.3). Its own host goes before all that the configuration names.
pub(super) fn services(config: &Config, of_domain: Option<&Domain>) -> Vec<Service> {
    let web = &config.web;
    let host = if web.client_host.is_empty() { &config.hostname } else { &web.client_host };
    let service = |protocol, configured: &str, port| Service {
        protocol,
        host: match of_domain {
            Some(of_domain) => of_domain.as_ascii().to_owned(),
            None if configured.is_empty() => host.clone(),
            None => configured.to_owned(),
        },
        port,
    };
    let mut services: Vec<Service> = if web.client_services.is_empty() {
        config.listeners.iter().map(|l| service(l.protocol, "", l.address.port())).collect()
    } else {
        web.client_services.iter().map(|s| service(s.protocol, &s.host, s.port)).collect()
    };
    services.retain(|service| {
        use Protocol::{Imap, Imaps, Pop3, Pop3s, Submission, Submissions};
        matches!(service.protocol, Imap | Imaps | Pop3 | Pop3s | Submission | Submissions)
    });
    services.sort_by_key(|service| (service.kind(), !service.implicit_tls()));
    services
}

/// The name of the service for people.
pub(super) fn provider(config: &Config, domain: &str) -> String {
    if config.web.provider_name.is_empty() { domain.to_owned() } else { config.web.provider_name.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_config::{ClientService, ListenerConfig};

    use super::*;

    #[test]
    fn users_are_sent_to_the_listeners_unless_told_otherwise() {
        let listener = |protocol, port| ListenerConfig::new(protocol, ([0, 0, 0, 0], port).into());
        let mut config = Config {
            hostname: "mail.example.test".into(),
            listeners: vec![
                listener(Protocol::Smtp, 25),
                listener(Protocol::Submission, 587),
                listener(Protocol::Submissions, 465),
                listener(Protocol::Imaps, 993),
            ],
            ..Config::default()
        };
        let found: Vec<(&str, u16)> = services(&config, None).iter().map(|s| (s.kind(), s.port)).collect();
        assert_eq!(found, [("imap", 993), ("smtp", 465), ("smtp", 587)], "none for other hosts' mail");
        config.web.client_services =
            vec![ClientService { protocol: Protocol::Imaps, host: "imap.example.test".into(), port: 10_993 }];
        let found = services(&config, None);
        assert_eq!((found[0].host.as_str(), found[0].port, found.len()), ("imap.example.test", 10_993, 1));
        let own = Domain::parse("mail.customer.test").unwrap();
        let found = services(&config, Some(&own));
        assert_eq!((found[0].host.as_str(), found[0].port), ("mail.customer.test", 10_993));
    }
}
