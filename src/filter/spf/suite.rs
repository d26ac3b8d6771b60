//! The test suite of openspf.org for RFC 7208 (release 2014.04, as pyspf distributes it), and what its authors did not think of.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize as _;
use serde_yaml::Value;

use super::{Checked, Query, SpfResult, check_host};
use crate::names::{Absence, Names};

const SUITE: &str = include_str!("vectors/rfc7208-tests.yml");

/// Records of one name and type; `None` is a timeout.
type Records = Option<Vec<Vec<u8>>>;

/// Zones in memory.
#[derive(Default)]
struct Zones {
    records: HashMap<(String, &'static str), Records>,
    asked: AtomicU32,
}

impl Zones {
    fn add(&mut self, name: &str, kind: &'static str, data: impl Into<Vec<u8>>) {
        let records = self.records.entry((name.to_ascii_lowercase(), kind)).or_insert(Some(Vec::new()));
        if let Some(records) = records {
            records.push(data.into());
        }
    }

    fn fail(&mut self, name: &str, kind: &'static str) {
        self.records.entry((name.to_ascii_lowercase(), kind)).or_insert(None);
    }

    fn get(&self, name: &str, kind: &'static str) -> Result<Vec<Vec<u8>>, Absence> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut name = name.trim_end_matches('.').to_ascii_lowercase();
        for _ in 0..8 {
            match self.records.get(&(name.clone(), kind)) {
                Some(Some(records)) => return Ok(records.clone()),
                Some(None) => return Err(Absence::Unknown),
                None => {}
            }
            match self.records.get(&(name.clone(), "CNAME")) {
                Some(Some(targets)) => name = text(&targets[0]).trim_end_matches('.').to_ascii_lowercase(),
                _ => return Err(Absence::Certain),
            }
        }
        Err(Absence::Unknown)
    }

    /// One document of the suite.
    fn read(zonedata: &Value) -> Self {
        let mut zones = Self::default();
        for (name, records) in zonedata.as_mapping().unwrap() {
            let name = name.as_str().unwrap();
            let records = records.as_sequence().unwrap();
            let has_txt = records.iter().any(|record| record.get("TXT").is_some());
            for record in records {
                if record.as_str() == Some("TIMEOUT") {
                    ["A", "AAAA", "MX", "PTR", "TXT"].into_iter().for_each(|kind| zones.fail(name, kind));
                    continue;
                }
                let (kind, data) = record.as_mapping().unwrap().iter().next().unwrap();
                match kind.as_str().unwrap() {
                    "TXT" if data.as_str() == Some("NONE") => {}
                    "TXT" => zones.add(name, "TXT", joined(data)),
                    "SPF" if !has_txt => zones.add(name, "TXT", joined(data)),
                    "SPF" => {}
                    "MX" => zones.add(name, "MX", data[1].as_str().unwrap()),
                    "A" => zones.add(name, "A", data.as_str().unwrap()),
                    "AAAA" => zones.add(name, "AAAA", data.as_str().unwrap()),
                    "PTR" => zones.add(name, "PTR", data.as_str().unwrap()),
                    "CNAME" => zones.add(name, "CNAME", data.as_str().unwrap()),
                    other => panic!("{other}"),
                }
            }
        }
        zones
    }
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn joined(data: &Value) -> Vec<u8> {
    match data {
        Value::Sequence(parts) => parts.iter().flat_map(joined).collect(),
        other => other.as_str().unwrap().as_bytes().to_vec(),
    }
}

impl Names for Zones {
    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Absence> {
        self.get(name, "TXT")
    }

    async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, Absence> {
        Ok(self.get(name, "A")?.iter().map(|address| text(address).parse().unwrap()).collect())
    }

    async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, Absence> {
        Ok(self.get(name, "AAAA")?.iter().map(|address| text(address).parse().unwrap()).collect())
    }

    async fn mx(&self, name: &str) -> Result<Vec<String>, Absence> {
        Ok(self.get(name, "MX")?.iter().map(|host| text(host).trim_end_matches('.').to_owned()).collect())
    }

    async fn ptr(&self, address: IpAddr) -> Result<Vec<String>, Absence> {
        let name = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
            }
        };
        Ok(self.get(&name, "PTR")?.iter().map(|host| text(host).trim_end_matches('.').to_owned()).collect())
    }
}

/// Checks as a server does: the domain of MAIL, or HELO for the null reverse-path.
async fn check(zones: &Zones, client: &str, mail_from: &str, helo: &str) -> Checked {
    let sender = if mail_from.is_empty() { format!("postmaster@{helo}") } else { mail_from.to_owned() };
    let query = Query {
        client: client.parse().unwrap(),
        domain: sender.rsplit_once('@').map_or(sender.as_str(), |(_, domain)| domain),
        sender: &sender,
        helo,
        receiver: "receiver.test",
        now: 1_700_000_000,
        max_void_lookups: 2,
    };
    check_host(zones, query).await
}

#[tokio::test]
async fn the_suite_of_rfc_7208() {
    let mut failed = Vec::new();
    let mut count = 0;
    for document in serde_yaml::Deserializer::from_str(SUITE) {
        let document = Value::deserialize(document).unwrap();
        let Some(tests) = document.get("tests") else { continue };
        let zones = Zones::read(&document["zonedata"]);
        for (name, test) in tests.as_mapping().unwrap() {
            let field = |key: &str| test.get(key).and_then(Value::as_str).unwrap_or_default();
            let found = check(&zones, field("host"), field("mailfrom"), field("helo")).await;
            let allowed: Vec<&str> = match &test["result"] {
                Value::Sequence(results) => results.iter().map(|result| result.as_str().unwrap()).collect(),
                result => vec![result.as_str().unwrap()],
            };
            count += 1;
            // `DEFAULT` is for checkers that make explanations of their own.
            let expected = test.get("explanation").and_then(Value::as_str).filter(|text| *text != "DEFAULT");
            // The suite writes nibbles in capitals, RFC 7208 §7.4 does not.
            let same =
                |text: &str| found.explanation.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(text));
            let explained = expected.is_none_or(same);
            if !allowed.contains(&found.result.name()) || !explained {
                failed.push(format!("{}: {found:?}, not {allowed:?} {expected:?}", name.as_str().unwrap()));
            }
        }
    }
    assert!(count > 180, "{count}");
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test]
async fn the_qualifier_of_an_outer_include_counts() {
    let mut zones = Zones::default();
    zones.add("a.test", "TXT", "v=spf1 -include:b.test +all");
    zones.add("b.test", "TXT", "v=spf1 include:c.test -all");
    zones.add("c.test", "TXT", "v=spf1 ip4:192.0.2.1 -all");
    assert_eq!(check(&zones, "192.0.2.1", "x@a.test", "h.test").await.result, SpfResult::Fail);
    assert_eq!(check(&zones, "192.0.2.2", "x@a.test", "h.test").await.result, SpfResult::Pass);
}

#[tokio::test]
async fn records_in_circles_end_after_ten_lookups() {
    let mut zones = Zones::default();
    zones.add("a.test", "TXT", "v=spf1 include:b.test include:b.test include:b.test -all");
    zones.add("b.test", "TXT", "v=spf1 include:a.test redirect=a.test");
    zones.add("c.test", "TXT", "v=spf1 redirect=c.test");
    for domain in ["a.test", "c.test"] {
        let found = check(&zones, "192.0.2.1", &format!("x@{domain}"), "h.test").await;
        assert_eq!(found.result, SpfResult::PermError, "{domain}");
    }
    assert!(zones.asked.load(Ordering::Relaxed) < 40, "{:?}", zones.asked);
}

#[tokio::test]
async fn a_mapped_address_is_one_of_ipv4() {
    let mut zones = Zones::default();
    zones.add("a.test", "TXT", "v=spf1 ip4:192.0.2.0/24 -all");
    assert_eq!(check(&zones, "::ffff:192.0.2.9", "x@a.test", "h.test").await.result, SpfResult::Pass);
}
