//! What is wrong or doubtful in `relay`.

use super::Checks;
use crate::{ByteSize, Config, Relay, TlsRule};

/// RFC 5321 §4.5.3.1.5: a reply line of this length must be taken.
const MIN_REPLY: ByteSize = ByteSize::bytes(512);

/// A host that mail is handed to: path, host, TLS, user, whether there is a password.
type Gateway<'a> = (String, &'a str, Option<TlsRule>, &'a str, bool);

impl Checks {
    pub(super) fn relay(&mut self, config: &Config) {
        let relay = &config.relay;
        let timeouts = &relay.timeouts;
        for (key, value) in [
            ("connect", timeouts.connect),
            ("greeting", timeouts.greeting),
            ("tls", timeouts.tls),
            ("policy", timeouts.policy),
            ("command", timeouts.command),
            ("envelope", timeouts.envelope),
            ("dataInit", timeouts.data_init),
            ("dataBlock", timeouts.data_block),
            ("message", timeouts.message),
            ("dataEnd", timeouts.data_end),
        ] {
            self.not_zero(&format!("relay.timeouts.{key}"), value);
        }
        for (key, value) in [
            ("maxHosts", relay.max_hosts),
            ("maxAddresses", relay.max_addresses),
            ("maxAttempts", relay.max_attempts),
            ("maxRecipients", relay.max_recipients),
            ("messagesPerConnection", relay.messages_per_connection),
            ("maxReplyLines", relay.max_reply_lines),
        ] {
            if value == 0 {
                self.error(format!("relay.{key}"), value, "must be at least 1, or no mail could be sent");
            }
        }
        self.at_least("relay.maxReplyLength", relay.max_reply_length, MIN_REPLY, "RFC 5321 §4.5.3.1.5");
        self.not_zero("relay.idleTimeout", relay.idle_timeout);
        let is_word = |name: &str| name.bytes().all(|octet| octet.is_ascii_graphic());
        if !is_word(&relay.ehlo_name) {
            self.error(
                "relay.ehloName",
                &relay.ehlo_name,
                "must be a host name, or an address literal such as [192.0.2.1]",
            );
        }
        for (index, route) in relay.routes.iter().enumerate() {
            self.patterns(format!("relay.routes[{index}].destinations"), &route.destinations);
            self.patterns(format!("relay.routes[{index}].senders"), &route.senders);
        }
        for gateway in gateways(relay) {
            self.gateway(gateway);
        }
    }

    fn patterns(&mut self, path: String, patterns: &[String]) {
        for (index, pattern) in patterns.iter().enumerate() {
            let domain = pattern.strip_prefix("*.").unwrap_or(pattern);
            if pattern != "*" && (domain.is_empty() || domain.contains(['*', '@', '/', ' '])) {
                let text = "must be a domain, *.domain for all names below it, or *";
                self.error(format!("{path}[{index}]"), pattern, text);
            }
        }
    }

    fn gateway(&mut self, (path, host, tls, username, has_password): Gateway<'_>) {
        if username.is_empty() == has_password {
            let missing = if has_password { "username" } else { "password" };
            self.error(path.clone(), host, format!("needs a {missing} to log in with"));
        }
        let is_local = host == "localhost" || host.starts_with("127.") || host.contains("::1");
        if !username.is_empty() && tls == Some(TlsRule::None) && !is_local {
            self.error(
                format!("{path}.tls"),
                "none",
                "cannot be with a login: passwords are not sent in the clear",
            );
        }
        if !username.is_empty() && matches!(tls, Some(TlsRule::Opportunistic | TlsRule::Require)) && !is_local
        {
            let text = "does not verify who gets the password; `verify` does";
            self.warn(format!("{path}.tls"), format!("{tls:?}").to_lowercase(), text);
        }
    }
}

fn gateways(relay: &Relay) -> Vec<Gateway<'_>> {
    let smart_host = relay.smart_host.iter().map(|gateway| {
        let path = "relay.smartHost".to_owned();
        (path, gateway.host.as_str(), gateway.tls, gateway.username.as_str(), gateway.password.is_some())
    });
    let routes = relay.routes.iter().enumerate().map(|(index, gateway)| {
        let path = format!("relay.routes[{index}]");
        (path, gateway.host.as_str(), gateway.tls, gateway.username.as_str(), gateway.password.is_some())
    });
    smart_host.chain(routes).collect()
}

#[cfg(test)]
mod tests {
    use crate::{Config, RelayRoute, Secret, SmartHost, TlsRule};

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        let found = super::super::check(&config);
        found.into_iter().map(|problem| problem.path).filter(|path| path.starts_with("relay")).collect()
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(problems(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn limits_leave_something() {
        assert_eq!(problems(|config| config.relay.max_attempts = 0), ["relay.maxAttempts"]);
        assert_eq!(
            problems(|config| config.relay.max_reply_length = crate::ByteSize::bytes(100)),
            ["relay.maxReplyLength"]
        );
        assert_eq!(
            problems(|config| config.relay.timeouts.data_end = crate::Duration::millis(0)),
            ["relay.timeouts.dataEnd"]
        );
        assert_eq!(problems(|config| config.relay.ehlo_name = "a\r\nRSET".into()), ["relay.ehloName"]);
    }

    #[test]
    fn routes_have_patterns_that_can_match() {
        let route = |destinations: &[&str]| RelayRoute {
            destinations: destinations.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..RelayRoute::default()
        };
        let good = route(&["a.example", "*.a.example", "*"]);
        assert_eq!(problems(|config| config.relay.routes = vec![good]), Vec::<String>::new());
        for bad in ["", "*.", "a.*", "user@a.example"] {
            let route = route(&[bad]);
            let found = problems(|config| config.relay.routes = vec![route]);
            assert_eq!(found, ["relay.routes[0].destinations[0]"], "{bad}");
        }
        // A host that comes from a variable may be empty: then there is no smart host.
        assert!(problems(|config| config.relay.smart_host = Some(SmartHost::default())).is_empty());
    }

    #[test]
    fn a_password_goes_only_where_it_is_safe() {
        let smart_host = |host: &str, tls, username: &str| {
            let password = Some(Secret::new("secret"));
            Some(SmartHost {
                host: host.into(),
                tls,
                username: username.into(),
                password,
                ..SmartHost::default()
            })
        };
        assert_eq!(
            problems(|config| config.relay.smart_host = smart_host("a.example", None, "user")),
            Vec::<String>::new()
        );
        assert_eq!(
            problems(|config| config.relay.smart_host = smart_host("a.example", None, "")),
            ["relay.smartHost"]
        );
        let none = Some(TlsRule::None);
        assert_eq!(
            problems(|config| config.relay.smart_host = smart_host("a.example", none, "user")),
            ["relay.smartHost.tls"]
        );
        assert_eq!(
            problems(|config| config.relay.smart_host = smart_host("127.0.0.1", none, "user")),
            Vec::<String>::new()
        );
        let route = RelayRoute { host: "a.example".into(), username: "user".into(), ..RelayRoute::default() };
        assert_eq!(problems(|config| config.relay.routes = vec![route]), ["relay.routes[0]"]);
    }
}
