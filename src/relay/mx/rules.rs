//! Configured routes: which one a destination and a sender match.

use ekitei_config::{Config, RelayRoute, SmartHost, TlsRule};

/// The route that a destination and a sender match, and the smart host that follows: the route's, or, without a route, that for all mail.
pub(super) fn followed<'a>(
    config: &'a Config,
    destination: &str,
    sender: Option<&str>,
) -> (Option<&'a RelayRoute>, Option<SmartHost>) {
    let rule = matching(&config.relay.routes, destination, sender);
    let smart_host = match rule {
        Some(rule) => smart_host(rule),
        None => config.relay.smart_host.clone().filter(|host| !host.host.is_empty()),
    };
    (rule, smart_host)
}

/// The first route that matches.
fn matching<'a>(routes: &'a [RelayRoute], destination: &str, sender: Option<&str>) -> Option<&'a RelayRoute> {
    let sender = sender.map(|sender| ekitei_dns::normalize(sender).unwrap_or_default());
    routes
        .iter()
        .find(|route| any(&route.destinations, Some(destination)) && any(&route.senders, sender.as_deref()))
}

/// The smart host of a route, if it has one.
fn smart_host(route: &RelayRoute) -> Option<SmartHost> {
    (!route.host.is_empty()).then(|| SmartHost {
        host: route.host.clone(),
        port: route.port,
        implicit_tls: route.implicit_tls,
        tls: route.tls,
        username: route.username.clone(),
        password: route.password.clone(),
    })
}

/// The smart host with the port that its name brings along, if there is one.
pub(super) fn with_port(mut smart_host: SmartHost) -> SmartHost {
    if let Some((name, port)) = smart_host.host.rsplit_once(':')
        && (!name.contains(':') || name.ends_with(']'))
        && let Ok(port) = port.parse()
    {
        (smart_host.port, smart_host.host) = (port, name.to_owned());
    }
    smart_host
}

/// The TLS of a smart host for which none is configured: a password is shown only to whom it belongs.
pub(super) fn tls_with(smart_host: &SmartHost) -> TlsRule {
    if smart_host.username.is_empty() { TlsRule::Opportunistic } else { TlsRule::Verify }
}

/// Whether one of the patterns matches; none at all is as good as `*`.
fn any(patterns: &[String], domain: Option<&str>) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, domain))
}

/// `*` matches all, `*.domain` what is below the domain, anything else itself.
fn matches(pattern: &str, domain: Option<&str>) -> bool {
    if pattern == "*" {
        return true;
    }
    let Some(domain) = domain else { return false };
    match pattern.strip_prefix("*.") {
        Some(parent) => ekitei_dns::normalize(parent).is_ok_and(|parent| {
            domain.strip_suffix(parent.as_str()).is_some_and(|below| below.ends_with('.'))
        }),
        None => pattern == domain || ekitei_dns::normalize(pattern).is_ok_and(|pattern| pattern == domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smart_host_may_bring_its_port_along() {
        for (host, expected) in [
            ("relay.test", ("relay.test", 587)),
            ("relay.test:26", ("relay.test", 26)),
            ("127.0.0.1:2626", ("127.0.0.1", 2626)),
            ("[::1]:2626", ("[::1]", 2626)),
            ("::1", ("::1", 587)),
            ("2001:db8::25", ("2001:db8::25", 587)),
        ] {
            let found = with_port(SmartHost { host: host.to_owned(), ..SmartHost::default() });
            assert_eq!((found.host.as_str(), found.port), expected);
        }
    }

    fn route(destinations: &[&str], senders: &[&str], host: &str) -> RelayRoute {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        RelayRoute {
            destinations: list(destinations),
            senders: list(senders),
            host: host.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn the_first_route_that_matches_is_followed() {
        let routes = [
            route(&["*.partner.example"], &[], "one"),
            route(&["partner.example", "Bücher.example"], &[], "two"),
            route(&[], &["shop.example"], "three"),
            route(&["*"], &["*"], "four"),
        ];
        for (destination, sender, wanted) in [
            ("mail.partner.example", Some("shop.example"), "one"),
            ("partner.example", Some("shop.example"), "two"),
            ("notpartner.example", Some("us.example"), "four"),
            ("xn--bcher-kva.example", None, "two"),
            ("else.example", Some("SHOP.example."), "three"),
            ("else.example", None, "four"),
            ("[192.0.2.1]", None, "four"),
        ] {
            let found = matching(&routes, destination, sender).map(|route| route.host.as_str());
            assert_eq!(found, Some(wanted), "{destination} from {sender:?}");
        }
        assert!(matching(&routes[..3], "else.example", None).is_none());
    }
}
