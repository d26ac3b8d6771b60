//! What the records of a domain are.
#![allow(clippy::unwrap_used)]

use ekitei_operator_api::{ConditionStatus, Conditions as _, Draft};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::domain::regions;
use crate::domain::testing::{domain, region};

fn lines(domain: &MailDomain, all: &[MailRegion], has_caa: bool) -> Vec<String> {
    let keys = [("s1._domainkey.example.org".to_owned(), "v=DKIM1; k=ed25519; p=AAAA".to_owned())];
    let statuses = regions::statuses(domain, all);
    let facts = Facts {
        domain,
        regions: all,
        statuses: &statuses,
        keys: &keys,
        signed: true,
        has_caa,
        default_authority: Some("https://acme-v02.api.letsencrypt.org/directory"),
        cert_manager: true,
        host_keys: &[[1; 32]],
    };
    facts.records().unwrap().iter().flat_map(|record| record.set.lines()).collect()
}

fn has(lines: &[String], part: &str) -> bool {
    lines.iter().any(|line| line.contains(part))
}

#[test]
fn a_domain_of_defaults_has_all_that_receivers_and_programs_look_for() {
    let found = lines(&domain("example.org"), &[region("tokyo")], false);
    for line in [
        "example.org. 3600 IN MX 10 mx-tokyo.example.net.",
        "example.org. 3600 IN TXT \"v=spf1 ip4:192.0.2.1 ~all\"",
        "s1._domainkey.example.org. 3600 IN TXT \"v=DKIM1; k=ed25519; p=AAAA\"",
        "_dmarc.example.org. 3600 IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org\"",
        "_smtp._tls.example.org. 3600 IN TXT \"v=TLSRPTv1; rua=mailto:tls-reports@example.org\"",
        "mta-sts.example.org. 3600 IN CNAME mx-tokyo.example.net.",
        "autoconfig.example.org. 3600 IN CNAME mx-tokyo.example.net.",
        "_imaps._tcp.example.org. 3600 IN SRV 0 1 993 mx-tokyo.example.net.",
        "_pop3s._tcp.example.org. 3600 IN SRV 0 0 0 .",
    ] {
        assert!(found.iter().any(|one| one == line), "{line}\nis not in\n{}", found.join("\n"));
    }
    assert!(has(&found, "_mta-sts.example.org. 3600 IN TXT \"v=STSv1; id="));
    assert!(!has(&found, " CAA "), "it would forbid the authorities of other certificates");
}

#[test]
fn another_policy_has_another_id() {
    let id = |domain: &MailDomain| {
        lines(domain, &[region("tokyo")], false).into_iter().find(|line| line.contains("STSv1")).unwrap()
    };
    let testing = domain("example.org");
    let mut enforced = testing.clone();
    enforced.spec.mta_sts.mode = MtaStsMode::Enforce;
    assert_eq!(id(&testing), id(&testing));
    assert_ne!(id(&testing), id(&enforced));
}

#[test]
fn caa_is_added_to_that_of_others_or_enforced() {
    let mut wanted = domain("example.org");
    wanted.spec.caa.issuers = vec!["ca.example".to_owned()];
    assert!(!has(&lines(&wanted, &[region("tokyo")], false), " CAA "));
    assert!(has(&lines(&wanted, &[region("tokyo")], true), "CAA 0 issue \"ca.example\""));
    wanted.spec.caa.mode = CaaMode::Enforce;
    assert!(has(&lines(&wanted, &[region("tokyo")], false), "CAA 0 issue \"ca.example\""));
}

#[test]
fn the_authority_that_is_asked_is_among_those_of_others() {
    let found = |certificate: serde_json::Value| {
        let mut domain = domain("example.org");
        domain.spec.certificate = serde_json::from_value(certificate).unwrap();
        let found = lines(&domain, &[region("tokyo")], true).into_iter();
        found.filter_map(|line| Some(line.split_once(" CAA ")?.1.to_owned())).collect::<Vec<_>>()
    };
    let default = ["0 issue \"letsencrypt.org\""];
    assert_eq!(found(json!({})), default, "the operator's own, or it could get no certificate");
    assert_eq!(found(json!({"issuer": "Acme"})), default);
    let acme = |directory: &str| json!({"acme": {"directory": directory}});
    assert_eq!(found(acme("https://acme.zerossl.com/v2/DV90")), ["0 issue \"sectigo.com\""]);
    assert_eq!(found(acme("https://acme.notzerossl.com/v2")), [""; 0], "another's name that ends so");
    assert_eq!(found(json!({"certManager": {"name": "a"}})), [""; 0], "nobody says whom it asks");
    assert_eq!(found(json!({"issuer": "None"})), [""; 0]);
}

#[test]
fn an_authority_that_nobody_names_is_told_of_where_one_is_asked() {
    let facts = |certificate: serde_json::Value, default_authority, cert_manager, has_caa| {
        let mut domain = domain("example.org");
        domain.spec.certificate = serde_json::from_value(certificate).unwrap();
        let (regions, statuses, keys, host_keys) = (&[], &[], &[], &[]);
        let signed = true;
        let domain = &domain;
        let facts = Facts {
            domain,
            regions,
            statuses,
            keys,
            signed,
            has_caa,
            default_authority,
            cert_manager,
            host_keys,
        };
        (facts.issuer_is_unknown(), facts.issuer())
    };
    let default = Some("https://acme-v02.api.letsencrypt.org/directory");
    let own = Some("https://ca.example/directory");
    assert_eq!(facts(json!({}), None, true, true), (false, Issuer::Nobody));
    assert_eq!(facts(json!({"issuer": "None"}), default, true, true), (false, Issuer::Nobody));
    assert_eq!(facts(json!({}), own, false, true), (true, Issuer::Unknown));
    assert_eq!(facts(json!({}), own, false, false), (false, Issuer::Unknown), "no CAA records are wanted");
    assert_eq!(facts(json!({"secretRef": {"name": "a"}}), None, false, true), (true, Issuer::Unknown));
    let cert_manager = json!({"certManager": {"name": "a"}});
    assert_eq!(facts(cert_manager.clone(), default, true, true), (true, Issuer::Unknown));
    let known = Issuer::Known("letsencrypt.org");
    assert_eq!(facts(cert_manager.clone(), default, false, true), (false, known), "it is not installed");
    assert_eq!(facts(cert_manager, None, false, true), (false, Issuer::Nobody));
}

#[test]
fn a_host_of_the_domains_own_has_the_addresses_of_the_regions() {
    let mut own = domain("example.org");
    own.spec.clients.host = Some("mail.example.org".to_owned());
    let found = lines(&own, &[region("tokyo")], false);
    assert!(has(&found, "mail.example.org. 3600 IN A 192.0.2.1"));
    assert!(has(&found, "_imaps._tcp.example.org. 3600 IN SRV 0 1 993 mail.example.org."));
    assert!(certificate_names(&own).contains(&"mail.example.org".to_owned()));
    let keys: Vec<&String> = found.iter().filter(|line| line.contains(" TLSA ")).collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    for port in [465, 587, 993, 143] {
        assert!(has(&found, &format!("_{port}._tcp.mail.example.org. 3600 IN TLSA 3 1 1 0101")), "{keys:?}");
    }
    own.spec.clients.host = None;
    assert!(!has(&lines(&own, &[region("tokyo")], false), " TLSA "), "the region's host has its own");
}

#[test]
fn spf_names_hosts_where_addresses_are_too_many_or_unknown() {
    let mut unknown = region("tokyo");
    unknown.status = None;
    assert!(has(&lines(&domain("example.org"), &[unknown], false), "\"v=spf1 mx ~all\""));
    let mut many = region("tokyo");
    many.status.as_mut().unwrap().addresses = (1..60).map(|last| format!("2001:db8::{last:x}")).collect();
    assert!(has(&lines(&domain("example.org"), &[many], false), "\"v=spf1 mx ~all\""));
}

#[test]
fn spf_keeps_where_mail_leaves_from_however_many_addresses_there_are() {
    let addresses = |from: u32, to: u32| -> Vec<String> {
        (from..to).map(|last| format!("2001:db8::{last:x}")).collect()
    };
    let mut many = region("tokyo");
    many.spec.egress_addresses = vec!["198.51.100.7".to_owned()];
    many.status.as_mut().unwrap().addresses = addresses(1, 60);
    let by_mx = "\"v=spf1 ip4:198.51.100.7 mx ~all\"";
    assert!(has(&lines(&domain("example.org"), std::slice::from_ref(&many), false), by_mx));

    many.spec.egress_addresses = addresses(100, 160);
    let mut published = many.clone();
    published.spec.dns = Some(serde_json::from_value(json!({"provider": {"name": "zones"}})).unwrap());
    let status = published.status.as_mut().unwrap();
    let draft = Draft {
        type_: "DNSPublished",
        status: ConditionStatus::True,
        reason: "Published",
        message: String::new(),
    };
    status.conditions.set(draft, None, Timestamp::UNIX_EPOCH);
    let by_region = "\"v=spf1 include:mx-tokyo.example.net ~all\"";
    assert!(has(&lines(&domain("example.org"), &[published.clone()], false), by_region));

    // Of a region that sends from its host only, the addresses of the host are asked for.
    let mut plain = region("us");
    plain.status.as_mut().unwrap().addresses = addresses(200, 260);
    let mut two = domain("example.org");
    two.spec.regions = serde_json::from_value(json!([{"name": "tokyo"}, {"name": "us"}])).unwrap();
    let found = lines(&two, &[published.clone(), plain], false);
    assert!(has(&found, "\"v=spf1 a:mx-us.example.net include:mx-tokyo.example.net ~all\""), "{found:?}");

    // Five regions are ten lookups; with one more domain of others it cannot be said, and what is published stays.
    let names = ["tokyo", "us", "eu", "in", "br"];
    let regions: Vec<MailRegion> = names
        .iter()
        .map(|name| {
            let mut region = region(name);
            (region.spec.egress_addresses, region.spec.dns) =
                (published.spec.egress_addresses.clone(), published.spec.dns.clone());
            region.status = published.status.clone();
            region
        })
        .collect();
    let mut wide = domain("example.org");
    wide.spec.regions = serde_json::from_value(json!(names.map(|name| json!({"name": name})))).unwrap();
    assert!(has(&lines(&wide, &regions, false), "include:mx-br.example.net ~all"));
    wide.spec.spf.include = vec!["spf.example.com".to_owned()];
    let statuses = regions::statuses(&wide, &regions);
    let facts = Facts {
        domain: &wide,
        regions: &regions,
        statuses: &statuses,
        keys: &[],
        signed: true,
        has_caa: false,
        default_authority: None,
        cert_manager: false,
        host_keys: &[],
    };
    assert!(facts.records().unwrap_err().to_string().contains("11 lookups"));

    // Where nobody publishes SPF of the host, asking for it would be an error for receivers: what leaves from elsewhere cannot be left out unseen.
    let statuses = regions::statuses(&domain("example.org"), std::slice::from_ref(&many));
    let one = domain("example.org");
    let facts = Facts { domain: &one, regions: &[many], statuses: &statuses, ..facts };
    assert!(facts.records().unwrap_err().to_string().contains("octets"));
}

#[test]
fn what_is_switched_off_has_no_records() {
    let mut plain = domain("example.org");
    plain.spec.mta_sts.enabled = false;
    plain.spec.clients.autoconfig = false;
    plain.spec.clients.srv = false;
    plain.spec.dmarc.enabled = false;
    plain.spec.tls_reporting.enabled = false;
    plain.spec.spf.enabled = false;
    let found = lines(&plain, &[region("tokyo")], false);
    assert_eq!(found.len(), 2, "MX and DKIM: {found:?}");
    assert_eq!(certificate_names(&plain), Vec::<String>::new());
}
