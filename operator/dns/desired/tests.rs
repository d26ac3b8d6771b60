//! What a domain's records are, as lines of a zone file.

use std::net::IpAddr;

use super::*;
use crate::record::{RecordType, Routing, Variant};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn lines(desired: &[Desired]) -> Vec<String> {
    desired.iter().flat_map(|one| one.set.lines()).collect()
}

fn exchanger(host: &str, preference: u16, healthy: bool) -> Exchanger {
    Exchanger { host: name(host), preference, healthy }
}

fn domain() -> MailDomain {
    MailDomain::new(name("a.test"), 300)
}

#[test]
fn a_domain_with_everything() {
    let client = Client {
        host: name("mail.a.test"),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        variant: None,
        services: vec![
            Service { kind: ServiceKind::Imaps, port: 993 },
            Service { kind: ServiceKind::Submissions, port: 465 },
        ],
    };
    let dmarc = Dmarc {
        subdomains: Some(Disposition::Reject),
        aggregate_reports: vec!["dmarc@reports.test".to_owned(), "mailto:d@a.test".to_owned()],
        ..Dmarc::new(Disposition::Quarantine)
    };
    let everything = MailDomain {
        exchangers: vec![exchanger("mx1.a.test", 10, true)],
        client: Some(client),
        web: Some(Web { host: name("web.a.test"), autoconfig: true }),
        spf: Some(Spf { mx: true, networks: vec!["192.0.2.0/24".parse().unwrap()], ..Spf::default() }),
        dkim: vec![DkimKey { name: name("s1._domainkey.a.test"), text: "v=DKIM1; p=QUJD".to_owned() }],
        dmarc: Some(dmarc),
        mta_sts_id: Some("20260101".to_owned()),
        tls_reports: vec!["tls@a.test".to_owned()],
        caa: Some(Caa {
            issue: vec!["ca.test ;validationmethods=dns-01".to_owned()],
            issue_wild: vec![String::new()],
            ..Caa::default()
        }),
        tlsa: vec![Tlsa {
            host: name("mail.a.test"),
            port: 993,
            values: vec![TlsaValue::public_key([1; 32])],
        }],
        signed: true,
        challenges: vec![Challenge { name: name("mail.a.test"), text: "abc".to_owned() }],
        ..domain()
    };
    let hash = "01".repeat(32);
    let tlsa = format!("_993._tcp.mail.a.test. 300 IN TLSA 3 1 1 {hash}");
    assert_eq!(
        lines(&everything.records().unwrap()),
        [
            "a.test. 300 IN MX 10 mx1.a.test.",
            "a.test. 300 IN TXT \"v=spf1 ip4:192.0.2.0/24 mx -all\"",
            "s1._domainkey.a.test. 300 IN TXT \"v=DKIM1; p=QUJD\"",
            "_dmarc.a.test. 300 IN TXT \"v=DMARC1; p=quarantine; sp=reject; rua=mailto:dmarc@reports.test,mailto:d@a.test\"",
            "a.test._report._dmarc.reports.test. 300 IN TXT \"v=DMARC1;\"",
            "_smtp._tls.a.test. 300 IN TXT \"v=TLSRPTv1; rua=mailto:tls@a.test\"",
            "_mta-sts.a.test. 300 IN TXT \"v=STSv1; id=20260101;\"",
            "mta-sts.a.test. 300 IN CNAME web.a.test.",
            "autoconfig.a.test. 300 IN CNAME web.a.test.",
            "autodiscover.a.test. 300 IN CNAME web.a.test.",
            "_autodiscover._tcp.a.test. 300 IN SRV 0 1 443 web.a.test.",
            "mail.a.test. 300 IN A 192.0.2.1",
            "mail.a.test. 300 IN AAAA 2001:db8::1",
            "_submissions._tcp.a.test. 300 IN SRV 0 1 465 mail.a.test.",
            "_submission._tcp.a.test. 300 IN SRV 0 0 0 .",
            "_imaps._tcp.a.test. 300 IN SRV 0 1 993 mail.a.test.",
            "_imap._tcp.a.test. 300 IN SRV 0 0 0 .",
            "_pop3s._tcp.a.test. 300 IN SRV 0 0 0 .",
            "_pop3._tcp.a.test. 300 IN SRV 0 0 0 .",
            "a.test. 300 IN CAA 0 issue \"ca.test; validationmethods=dns-01\"",
            "a.test. 300 IN CAA 0 issuewild \";\"",
            &tlsa,
            "_acme-challenge.mail.a.test. 60 IN TXT \"abc\"",
        ]
    );
    let unsigned = MailDomain { signed: false, ..everything };
    assert!(!lines(&unsigned.records().unwrap()).contains(&tlsa));
}

#[test]
fn hosts_that_work_come_first() {
    let preferences = |exchangers: Vec<Exchanger>| {
        let records = MailDomain { exchangers, ..domain() }.records().unwrap();
        lines(&records).into_iter().map(|line| line.replace("a.test. 300 IN MX ", "")).collect::<Vec<_>>()
    };
    let (one, two, three) = (
        exchanger("one.test", 10, false),
        exchanger("two.test", 20, true),
        exchanger("three.test", 20, false),
    );
    assert_eq!(
        preferences(vec![one.clone(), two, three]),
        ["20 two.test.", "31 one.test.", "41 three.test."]
    );
    assert_eq!(preferences(vec![one]), ["10 one.test."]);
}

#[test]
fn a_client_host_of_several_regions_has_a_set_for_each() {
    let variant = Variant { id: "tokyo".to_owned(), routing: Routing::Latency("ap-northeast-1".to_owned()) };
    let client = Client {
        host: name("mail.a.test"),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        variant: Some(variant.clone()),
        services: Vec::new(),
    };
    let records = MailDomain { client: Some(client), ..domain() }.records().unwrap();
    let routed: Vec<_> = records.iter().filter(|one| one.set.variant.is_some()).collect();
    assert_eq!(routed.len(), 1);
    assert_eq!((routed[0].set.record_type, &routed[0].set.variant), (RecordType::A, &Some(variant)));
}

#[test]
fn spf_stays_within_what_receivers_take() {
    let includes = |count| (0..count).map(|index| name(&format!("i{index}.test"))).collect::<Vec<_>>();
    let spf = |count| Spf { includes: includes(count), ..Spf::default() };
    assert!(spf(10).text().is_ok());
    assert!(spf(11).text().unwrap_err().to_string().contains("11 terms"));
    let mixed = Spf { mx: true, mechanisms: vec!["exists:%{i}.test".to_owned()], ..spf(9) };
    assert!(mixed.text().is_err());
    for bad in ["redirect=x.test", "all", "ip4:1.2.3.4 mx", "v=spf1"] {
        let spf = Spf { mechanisms: vec![bad.to_owned()], ..Spf::default() };
        assert!(spf.text().is_err(), "{bad}");
    }
    let many = (0..40).map(|index| format!("2001:db8:{index}::/48").parse().unwrap()).collect();
    assert!(Spf { networks: many, ..Spf::default() }.text().unwrap_err().to_string().contains("octets"));
    assert_eq!(
        Spf { networks: vec!["2001:db8::/32".parse().unwrap()], all: AllOthers::SoftFail, ..Spf::default() }
            .text(),
        Ok("v=spf1 ip6:2001:db8::/32 ~all".to_owned())
    );
}

#[test]
fn what_no_standard_allows_is_refused() {
    let dmarc =
        |rua: &str| Dmarc { aggregate_reports: vec![rua.to_owned()], ..Dmarc::new(Disposition::None) };
    for bad in ["nobody", "ftp://x.test", "mailto:", "a@b c.test"] {
        assert!(dmarc(bad).text().is_err(), "{bad}");
    }
    assert_eq!(dmarc("a,b!c@x.test").text().unwrap(), "v=DMARC1; p=none; rua=mailto:a%2Cb%21c@x.test");
    let options = Dmarc { failure_options: Some("2".to_owned()), ..Dmarc::new(Disposition::None) };
    assert!(options.text().is_err());
    assert!(MailDomain { mta_sts_id: Some("1".to_owned()), ..domain() }.records().is_err(), "no web host");
    let short = TlsaValue { data: vec![1; 31], ..TlsaValue::public_key([1; 32]) };
    let tlsa = Tlsa { host: name("mx.a.test"), port: 25, values: vec![short] };
    assert!(MailDomain { tlsa: vec![tlsa], signed: true, ..domain() }.records().is_err());
}

#[test]
fn reports_elsewhere_need_a_record_there_and_only_there() {
    let dmarc = Dmarc {
        aggregate_reports: vec!["x@sub.a.test".to_owned(), "y@b.test".to_owned(), "z@b.test".to_owned()],
        ..Dmarc::new(Disposition::None)
    };
    assert_eq!(report_destinations(&name("a.test"), &dmarc), [name("b.test")]);
}

#[test]
fn a_host_of_a_region() {
    let addresses: Vec<IpAddr> = vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    let host = MailHost {
        host: name("mx.tokyo.test"),
        ttl: 300,
        addresses: addresses.clone(),
        spf: true,
        tlsa: vec![Tlsa {
            host: name("mx.tokyo.test"),
            port: 25,
            values: vec![TlsaValue::public_key([2; 32])],
        }],
        signed: true,
    };
    assert_eq!(
        lines(&host.records().unwrap()),
        [
            "mx.tokyo.test. 300 IN A 192.0.2.7".to_owned(),
            "mx.tokyo.test. 300 IN AAAA 2001:db8::7".to_owned(),
            "mx.tokyo.test. 300 IN TXT \"v=spf1 a -all\"".to_owned(),
            format!("_25._tcp.mx.tokyo.test. 300 IN TLSA 3 1 1 {}", "02".repeat(32)),
        ]
    );
    let reverse = reverse_names(&host.host, &addresses);
    assert_eq!(reverse[0].line(), "7.2.0.192.in-addr.arpa. IN PTR mx.tokyo.test.");
    assert!(reverse[1].line().ends_with("8.b.d.0.1.0.0.2.ip6.arpa. IN PTR mx.tokyo.test."));
    assert!(reverse[0].instruction().contains("192.0.2.7"));
}
