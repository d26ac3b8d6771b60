//! Routes against a DNS that is honest or not.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use ekitei_config::RelayRoute;
use ekitei_dns::testing::{Behaviour, TestDns};

use super::*;

fn config() -> Config {
    Config { hostname: "mx.us.example".to_owned(), ..Default::default() }
}

fn router(dns: &TestDns, config: Config) -> Router {
    Router::new(Live::new(config), dns.resolver())
}

async fn hosts(dns: &TestDns, config: Config, destination: &str) -> Result<Vec<String>, Status> {
    let route = router(dns, config).route(destination, None).await;
    route
        .map(|route| route.hosts.into_iter().map(|host| host.name).collect())
        .map_err(|failure| failure.status)
}

const ZONE: &str = "
good.example MX 20 b.good.example
good.example MX 10 a.good.example
a.good.example A 192.0.2.1
a.good.example AAAA 2001:db8::1
b.good.example CNAME a.good.example
implicit.example A 192.0.2.2
null.example MX 0 .
empty.example TXT nothing
dead.example MX 10 gone.dead.example
dead.example A 192.0.2.3
";

#[tokio::test]
async fn mail_goes_to_mx_hosts_and_to_the_domain_itself_only_without_them() {
    let dns = TestDns::start(ZONE);
    let route = router(&dns, config()).route("Good.Example", None).await.unwrap();
    assert_eq!(route.destination, "good.example");
    let names: Vec<&str> = route.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["a.good.example", "b.good.example"]);
    assert_eq!(route.hosts[1].canonical, "a.good.example");
    assert_eq!(
        route.hosts[0].addresses,
        ["[2001:db8::1]:25".parse().unwrap(), "192.0.2.1:25".parse::<SocketAddr>().unwrap()]
    );
    assert_eq!(hosts(&dns, config(), "implicit.example").await, Ok(vec!["implicit.example".to_owned()]));
    assert_eq!(
        hosts(&dns, config(), "dead.example").await,
        Err(Status(5, 4, 4)),
        "an address beside MX is not used"
    );
}

#[tokio::test]
async fn what_takes_no_mail_is_refused_for_ever_and_what_cannot_be_known_waits() {
    let dns = TestDns::start(&format!(
        "{ZONE}\nslow.example MX 10 mx.slow.example\nslow.example MX 20 gone.slow.example"
    ));
    dns.behave("broken.example", Behaviour::ServFail);
    dns.behave("mx.slow.example", Behaviour::ServFail);
    for (destination, status) in [
        ("nowhere.example", Status(5, 1, 2)),
        ("null.example", Status(5, 1, 10)),
        ("empty.example", Status(5, 4, 4)),
        ("not a domain", Status(5, 1, 2)),
        ("broken.example", Status(4, 4, 3)),
        ("slow.example", Status(4, 4, 3)),
    ] {
        assert_eq!(hosts(&dns, config(), destination).await, Err(status), "{destination}");
    }
}

#[tokio::test]
async fn mail_never_comes_back_to_us_or_goes_further_away() {
    let zone = "
backup.example MX 10 a.backup.example
backup.example MX 20 MX.us.example
backup.example MX 20 c.backup.example
backup.example MX 30 d.backup.example
a.backup.example A 192.0.2.1
c.backup.example A 192.0.2.3
d.backup.example A 192.0.2.4
mx.us.example A 198.51.100.1
loop.example MX 10 mx.us.example
alias.example MX 10 other.alias.example
other.alias.example A 198.51.100.9
";
    let dns = TestDns::start(zone);
    assert_eq!(hosts(&dns, config(), "backup.example").await, Ok(vec!["a.backup.example".to_owned()]));
    assert_eq!(hosts(&dns, config(), "loop.example").await, Err(Status(5, 4, 6)));
    assert_eq!(hosts(&dns, config(), "mx.us.example").await, Err(Status(5, 4, 6)));
    let mut with_address = config();
    with_address.relay.own_hosts = vec!["198.51.100.9".to_owned()];
    assert_eq!(hosts(&dns, with_address.clone(), "alias.example").await, Err(Status(5, 4, 6)));
    assert_eq!(hosts(&dns, with_address, "[198.51.100.9]").await, Err(Status(5, 4, 6)));
}

/// Knows one host.
struct Known(&'static str);

impl OwnHosts for Known {
    fn is_ours<'a>(&'a self, host: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { host == self.0 })
    }
}

#[tokio::test]
async fn hosts_of_our_domains_are_us() {
    let dns = TestDns::start(
        "
backup.example MX 10 a.backup.example
backup.example MX 20 mx.tokyo.ours.example
backup.example MX 30 d.backup.example
a.backup.example A 192.0.2.1
d.backup.example A 192.0.2.4
mx.tokyo.ours.example A 198.51.100.1
loop.example MX 10 mx.tokyo.ours.example
",
    );
    let router = router(&dns, config()).with_own_hosts(Some(Arc::new(Known("mx.tokyo.ours.example"))));
    let route = router.route("backup.example", None).await.unwrap();
    let names: Vec<&str> = route.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["a.backup.example"]);
    let failure = router.route("loop.example", None).await.unwrap_err();
    assert_eq!(failure.status, Status(5, 4, 6));
}

#[tokio::test]
async fn a_domain_cannot_have_its_mail_sent_to_this_machine() {
    let dns = TestDns::start(
        "evil.example MX 10 mx.evil.example\nmx.evil.example A 127.0.0.1\nmx.evil.example AAAA ::1\nmx.evil.example AAAA ::ffff:127.0.0.1",
    );
    assert_eq!(hosts(&dns, config(), "evil.example").await, Err(Status(5, 4, 4)));
    for literal in ["[127.0.0.1]", "[IPv6:::1]", "[IPv6:::ffff:127.0.0.1]", "[IPv6:fe80::1]", "[0.0.0.0]"] {
        assert_eq!(hosts(&dns, config(), literal).await, Err(Status(5, 1, 2)), "{literal}");
    }
    let mut lenient = config();
    lenient.relay.ignore_addresses = Vec::new();
    assert_eq!(hosts(&dns, lenient, "evil.example").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_literal_is_its_own_host() {
    let dns = TestDns::start("");
    for (literal, address) in [("[192.0.2.9]", "192.0.2.9:25"), ("[IPv6:2001:db8::9]", "[2001:db8::9]:25")] {
        let route = router(&dns, config()).route(literal, None).await.unwrap();
        assert_eq!(route.hosts[0].addresses, [address.parse::<SocketAddr>().unwrap()]);
    }
    for bad in ["[192.0.2]", "[IPv6:192.0.2.1]", "[2001:db8::1]", "[192.0.2.1", "[x-tag:é]", "[]"] {
        assert_eq!(hosts(&dns, config(), bad).await, Err(Status(5, 1, 2)), "{bad}");
    }
}

#[tokio::test]
async fn ten_thousand_hosts_cost_a_few_lookups() {
    let mut zone = String::new();
    for n in 0..10_000 {
        writeln!(zone, "many.example MX {n} m{n}.many.example").unwrap();
    }
    for n in 0..20 {
        writeln!(zone, "m{n}.many.example A 192.0.2.{n}").unwrap();
        for more in 0..200 {
            writeln!(zone, "m{n}.many.example A 198.51.100.{more}").unwrap();
        }
    }
    let dns = TestDns::start(&zone);
    let route = router(&dns, config()).route("many.example", None).await.unwrap();
    assert_eq!(route.hosts.len(), 8);
    assert!(route.hosts.iter().all(|host| host.addresses.len() == 4));
    assert!(dns.queries().len() < 60);
}

#[tokio::test]
async fn routes_and_the_smart_host_go_before_mx() {
    let dns = TestDns::start(&format!("{ZONE}\nsmart.us.example A 192.0.2.50"));
    let mut config = config();
    config.relay.smart_host =
        Some(SmartHost { host: "192.0.2.60".to_owned(), port: 2626, ..Default::default() });
    config.relay.routes = vec![
        RelayRoute {
            destinations: vec!["good.example".to_owned()],
            tls: Some(TlsRule::Require),
            ..Default::default()
        },
        RelayRoute {
            senders: vec!["shop.example".to_owned()],
            host: "smart.us.example".to_owned(),
            port: 587,
            username: "shop".to_owned(),
            ..Default::default()
        },
    ];
    let router = router(&dns, config);
    let by_mx = router.route("good.example", Some("shop.example")).await.unwrap();
    assert!(by_mx.smart_host.is_none() && by_mx.hosts.len() == 2 && by_mx.tls == Some(TlsRule::Require));
    let by_sender = router.route("nowhere.example", Some("shop.example")).await.unwrap();
    assert_eq!(by_sender.hosts[0].addresses, ["192.0.2.50:587".parse::<SocketAddr>().unwrap()]);
    assert_eq!(by_sender.tls, Some(TlsRule::Verify), "a password is for the right host only");
    let by_default = router.route("nowhere.example", None).await.unwrap();
    assert_eq!(by_default.hosts[0].addresses, ["192.0.2.60:2626".parse::<SocketAddr>().unwrap()]);
    assert_eq!(by_default.tls, Some(TlsRule::Opportunistic));
}

#[tokio::test]
async fn a_smart_host_that_is_not_found_makes_mail_wait() {
    let dns = TestDns::start("");
    let mut config = config();
    config.relay.smart_host = Some(SmartHost { host: "smart.us.example".to_owned(), ..Default::default() });
    assert_eq!(hosts(&dns, config, "good.example").await, Err(Status(4, 4, 3)));
}

#[tokio::test]
async fn dnssec_is_told_of_each_step() {
    let dns = TestDns::signed(&format!(
        "{ZONE}\nplain.example NS ns.test\nmx.plain.example A 192.0.2.8\nhalf.example MX 10 mx.plain.example"
    ));
    let router = router(&dns, config());
    let security = |route: Route| (route.hosts[0].mx_security, route.hosts[0].address_security);
    assert_eq!(
        security(router.route("good.example", None).await.unwrap()),
        (Security::Secure, Security::Secure)
    );
    assert_eq!(
        security(router.route("implicit.example", None).await.unwrap()),
        (Security::Secure, Security::Secure)
    );
    assert_eq!(
        security(router.route("half.example", None).await.unwrap()),
        (Security::Secure, Security::Insecure)
    );
    assert_eq!(
        security(router.route("mx.plain.example", None).await.unwrap()),
        (Security::Insecure, Security::Insecure)
    );
}
