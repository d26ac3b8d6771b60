//! The resolver against a server that is honest, slow, broken, lying, or signed.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mail_auth::spf::verify::SpfParameters;

use super::testing::{Behaviour, TestDns};
use super::*;

const ZONE: &str = r#"
example.org MX 10 MX1.example.org
example.org MX 20 mx2.example.org
mx1.example.org A 192.0.2.1
mx1.example.org AAAA 2001:db8::1
mx2.example.org CNAME mx1.example.org
example.org TXT "v=spf1 " "ip4:192.0.2.0/24 -all"
null.example MX 0 .
_25._tcp.mx1.example.org TLSA 3 1 1 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
1.2.0.192.in-addr.arpa PTR Mx1.Example.org
example.org CAA 0 issue "ca.example"
loop.example CNAME pool.example
pool.example CNAME loop.example
unsigned.example NS ns.test
mail.unsigned.example A 192.0.2.7
half.example CNAME mail.unsigned.example
"#;

#[tokio::test]
async fn answers_are_in_the_terms_of_a_mail_service() {
    let dns = TestDns::start(ZONE);
    let resolver = dns.resolver();
    let mx = resolver.mx("Example.ORG.").await.unwrap();
    assert_eq!(mx.security, Security::Insecure);
    let mut mx = mx.value;
    mx.sort_by_key(|mx| mx.preference);
    assert_eq!(mx[0], Mx { preference: 10, exchange: "mx1.example.org".to_owned() });
    let host = resolver.host("mx2.example.org").await.unwrap().value;
    assert_eq!(host.canonical, "mx1.example.org");
    assert_eq!(host.addresses, ["2001:db8::1".parse::<IpAddr>().unwrap(), "192.0.2.1".parse().unwrap()]);
    assert_eq!(resolver.txt("example.org").await.unwrap().value, ["v=spf1 ip4:192.0.2.0/24 -all"]);
    assert_eq!(
        resolver.mx("null.example").await.unwrap().value,
        [Mx { preference: 0, exchange: String::new() }]
    );
    assert_eq!(resolver.ptr("192.0.2.1".parse().unwrap()).await.unwrap().value, ["mx1.example.org"]);
    let tlsa = resolver.tlsa("_25._tcp.mx1.example.org").await.unwrap().value;
    assert_eq!((tlsa[0].usage, tlsa[0].selector, tlsa[0].matching, tlsa[0].data.len()), (3, 1, 1, 32));
    let caa = resolver.caa("example.org").await.unwrap().value;
    assert_eq!(caa, [Caa { critical: false, tag: "issue".to_owned(), value: "ca.example".to_owned() }]);
}

#[tokio::test]
async fn absence_is_told_from_failure() {
    let dns = TestDns::start(ZONE);
    for (name, behaviour) in [
        ("silent.example", Behaviour::Silent),
        ("broken.example", Behaviour::ServFail),
        ("refused.example", Behaviour::Refused),
        ("garbage.example", Behaviour::Garbage),
    ] {
        dns.behave(name, behaviour);
    }
    let resolver = dns.resolver();
    assert_eq!(resolver.mx("nowhere.example").await, Err(Error::NoSuchName));
    assert_eq!(resolver.mx("mx1.example.org").await, Err(Error::NoRecords));
    assert_eq!(resolver.addresses("example.org").await, Err(Error::NoRecords));
    assert!(matches!(resolver.mx("no name").await, Err(Error::BadName(_))));
    for name in ["silent.example", "broken.example", "refused.example", "garbage.example"] {
        let outcome = resolver.mx(name).await;
        assert!(matches!(outcome, Err(Error::Temporary(_))), "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_family_that_fails_counts_only_if_the_other_has_nothing() {
    let dns = TestDns::start("four.example A 192.0.2.1\nsix.example AAAA 2001:db8::1");
    let resolver = dns.resolver();
    assert_eq!(resolver.addresses("four.example").await.unwrap().value.len(), 1);
    assert_eq!(resolver.addresses("six.example").await.unwrap().value.len(), 1);
    dns.behave("dead.example", Behaviour::ServFail);
    assert!(resolver.addresses("dead.example").await.unwrap_err().is_temporary());
}

#[tokio::test]
async fn an_answer_to_another_question_is_no_answer() {
    let dns = TestDns::start(
        "liar.example MX 10 mx.attacker.example\nloop.example CNAME pool.example\npool.example CNAME loop.example",
    );
    dns.behave("liar.example", Behaviour::OtherName);
    let resolver = dns.resolver();
    assert!(resolver.mx("liar.example").await.is_err());
    assert!(resolver.addresses("loop.example").await.is_err());
}

#[tokio::test]
async fn a_server_that_never_answers_costs_a_bounded_time() {
    let dns = TestDns::start("");
    dns.behave("silent.example", Behaviour::Silent);
    let resolver = dns.resolver();
    let before = Instant::now();
    assert!(matches!(resolver.addresses("silent.example").await, Err(Error::Temporary(_))));
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
}

#[tokio::test]
async fn ten_thousand_exchangers_are_cut_to_the_most_preferred() {
    let mut zone = String::new();
    for n in (0..10_000).rev() {
        writeln!(zone, "many.example MX {n} mx{n}.many.example").unwrap();
    }
    let dns = TestDns::start(&zone);
    let settings = ekitei_config::Dns { cache_entries: 1000, ..dns.settings() };
    let resolver = Resolver::new(&settings).unwrap();
    let mx = resolver.mx("many.example").await.unwrap().value;
    assert_eq!(mx.len(), 100);
    assert!(mx.is_sorted_by_key(|mx| mx.preference));
    // An answer of this size is not kept.
    dns.queries();
    resolver.mx("many.example").await.unwrap();
    assert!(!dns.queries().is_empty());
}

#[tokio::test]
async fn a_huge_text_comes_over_tcp_and_whole() {
    let strings: Vec<String> = (0..200).map(|_| format!("\"{}\"", "x".repeat(200))).collect();
    let dns = TestDns::start(&format!("big.example TXT {}\nsmall.example TXT \"hello\"", strings.join(" ")));
    dns.behave("small.example", Behaviour::Truncated);
    let resolver = dns.resolver();
    assert_eq!(resolver.txt("big.example").await.unwrap().value[0].len(), 40_000);
    assert_eq!(resolver.txt("small.example").await.unwrap().value, ["hello"]);
}

#[tokio::test]
async fn what_is_known_is_not_asked_again() {
    let dns = TestDns::start("example.org 300 TXT \"hello\"");
    let resolver = Resolver::new(&ekitei_config::Dns { cache_entries: 1000, ..dns.settings() }).unwrap();
    resolver.txt("example.org").await.unwrap();
    dns.queries();
    resolver.txt("EXAMPLE.org").await.unwrap();
    assert_eq!(dns.queries(), []);
}

#[tokio::test]
async fn dnssec_vouches_for_what_is_signed_down_the_whole_chain() {
    let dns = TestDns::signed(ZONE);
    let resolver = dns.resolver();
    assert!(resolver.validates().await);
    assert_eq!(resolver.mx("example.org").await.unwrap().security, Security::Secure);
    assert_eq!(resolver.host("mx2.example.org").await.unwrap().security, Security::Secure);
    assert_eq!(resolver.tlsa("_25._tcp.mx1.example.org").await.unwrap().security, Security::Secure);
    assert_eq!(resolver.host("mail.unsigned.example").await.unwrap().security, Security::Insecure);
    let half = resolver.host("half.example").await.unwrap();
    assert_eq!((half.security, half.value.canonical.as_str()), (Security::Insecure, "mail.unsigned.example"));
    assert_eq!(half.value.name_security, Security::Secure, "that it is an alias is sure");
}

#[tokio::test]
async fn absence_is_proven_too() {
    let dns = TestDns::signed(ZONE);
    let resolver = dns.resolver();
    assert_eq!(resolver.mx("nowhere.example").await, Err(Error::NoSuchName));
    assert_eq!(resolver.mx("mx1.example.org").await, Err(Error::NoRecords));
    assert_eq!(resolver.tlsa("_25._tcp.mail.unsigned.example").await, Err(Error::NoSuchName));
    dns.behave("mx1.example.org", Behaviour::NoSignature);
    assert_eq!(resolver.mx("mx1.example.org").await, Err(Error::Bogus));
}

#[tokio::test]
async fn bad_or_missing_signatures_are_bogus_and_never_used() {
    let dns = TestDns::signed("bad.example A 192.0.2.1\nbare.example A 192.0.2.1");
    dns.behave("bad.example", Behaviour::BadSignature);
    dns.behave("bare.example", Behaviour::NoSignature);
    let resolver = dns.resolver();
    assert_eq!(resolver.addresses("bad.example").await, Err(Error::Bogus));
    assert_eq!(resolver.addresses("bare.example").await, Err(Error::Bogus));
    assert!(Error::Bogus.is_temporary());
}

#[tokio::test]
async fn without_validation_answers_are_taken_as_they_come() {
    let dns = TestDns::signed("7.2.0.192.list.example A 127.0.0.2\n7.2.0.192.list.example A 127.0.0.4");
    dns.behave("7.2.0.192.list.example", Behaviour::BadSignature);
    assert_eq!(dns.resolver().ipv4("7.2.0.192.list.example").await, Err(Error::Bogus));
    let plain = dns.resolver().without_validation();
    let mut answer = plain.ipv4("7.2.0.192.list.example").await.unwrap();
    answer.value.sort_unstable();
    assert_eq!(answer.security, Security::Insecure);
    assert_eq!(answer.value, [[127, 0, 0, 2], [127, 0, 0, 4]].map(Ipv4Addr::from));
    assert_eq!(plain.ipv4("8.2.0.192.list.example").await, Err(Error::NoSuchName));
    assert!(!plain.validates().await);
}

#[tokio::test]
async fn servers_that_drop_dnssec_leave_everything_insecure() {
    let dns = TestDns::start(ZONE);
    let resolver = Resolver::new(&ekitei_config::Dns { dnssec: true, ..dns.settings() }).unwrap();
    assert!(!resolver.validates().await);
    assert_eq!(resolver.mx("example.org").await.unwrap().security, Security::Insecure);
}

#[tokio::test]
async fn trust_anchors_that_are_none_are_refused() {
    let settings =
        ekitei_config::Dns { trust_anchors: Some("/nonexistent/anchors".into()), ..Default::default() };
    let error = Resolver::new(&settings).err().unwrap();
    assert!(error.to_string().contains("/nonexistent/anchors"), "{error}");
}

#[tokio::test]
async fn mail_auth_tells_absence_from_failure_with_this_resolver() {
    let dns = TestDns::signed("good.example TXT \"v=spf1 ip4:192.0.2.1 -all\"\nempty.example A 192.0.2.1");
    dns.behave("broken.example", Behaviour::ServFail);
    let resolver = dns.resolver();
    for (domain, wanted) in [
        ("good.example", mail_auth::SpfResult::Pass),
        ("empty.example", mail_auth::SpfResult::None),
        ("nowhere.example", mail_auth::SpfResult::None),
        ("broken.example", mail_auth::SpfResult::TempError),
    ] {
        let sender = format!("user@{domain}");
        let parameters =
            SpfParameters::verify_mail_from("192.0.2.1".parse().unwrap(), domain, "us.example", &sender);
        let output = resolver.authenticator().verify_spf(parameters).await;
        assert_eq!(output.result(), wanted, "{domain}");
    }
}

#[tokio::test]
async fn mail_auth_does_not_ask_twice_for_what_is_absent() {
    let dns = TestDns::start(". 300 SOA ns.test hostmaster.test 1 3600 600 86400 300");
    let resolver = Resolver::new(&ekitei_config::Dns { cache_entries: 1000, ..dns.settings() }).unwrap();
    for _ in 0..2 {
        let parameters = SpfParameters::verify_mail_from(
            "192.0.2.1".parse().unwrap(),
            "nowhere.example",
            "us.example",
            "a@nowhere.example",
        );
        resolver.authenticator().verify_spf(parameters).await;
    }
    assert_eq!(dns.queries().len(), 1);
}

#[tokio::test]
async fn lookups_are_counted_by_what_came_of_them() {
    let dns = TestDns::signed("example.org A 192.0.2.1");
    dns.behave("bad.example", Behaviour::ServFail);
    let registry = ekitei_telemetry::Registry::new();
    let resolver = dns.resolver().with_metrics(&registry);
    resolver.ipv4("example.org").await.unwrap();
    resolver.mx("nowhere.example").await.unwrap_err();
    resolver.txt("bad.example").await.unwrap_err();
    let text = registry.render();
    for (kind, result) in [("A", "secure"), ("MX", "absent"), ("TXT", "failed")] {
        let line = format!("ekitei_dns_lookups_total{{result=\"{result}\",type=\"{kind}\"}} 1");
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

/// Those who ask have less time than the resolver, and a server that says nothing is what one wants to hear of.
#[tokio::test]
async fn a_lookup_that_was_given_up_has_failed() {
    let dns = TestDns::signed("example.org A 192.0.2.1");
    dns.behave("slow.example", Behaviour::Silent);
    let registry = ekitei_telemetry::Registry::new();
    let settings = ekitei_config::Dns { timeout: ekitei_config::Duration::seconds(30), ..dns.settings() };
    let resolver = Resolver::new(&settings).unwrap().with_metrics(&registry);
    for patience in [50, 1100] {
        let patience = Duration::from_millis(patience);
        tokio::time::timeout(patience, resolver.txt("slow.example")).await.unwrap_err();
    }
    let text = registry.render();
    let line = "ekitei_dns_lookups_total{result=\"failed\",type=\"TXT\"} 1";
    assert!(text.contains(line), "{text}");
}
