//! The messages that mail-auth is distributed with, through the whole pipeline.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ekitei_dns::testing::Behaviour;

use crate::support::{World, begin, message, results};

/// Where cargo keeps the sources of mail-auth.
fn resources(folder: &str) -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments =
        ["metadata", "--format-version", "1", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let output = std::process::Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "mail-auth").unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap()).with_file_name("resources").join(folder)
}

/// The records and the message of each file, by its name.
fn vectors(folder: &str) -> Vec<(String, String, Vec<u8>)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(resources(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let text = String::from_utf8(std::fs::read(&file).unwrap()).unwrap();
        let (records, message) = text.split_once("\n\n").unwrap();
        let zone = records.lines().filter_map(|line| line.split_once(' ')).map(|(name, text)| {
            let strings: Vec<String> = text
                .as_bytes()
                .chunks(200)
                .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
                .collect();
            format!("{name} TXT {}\n", strings.join(" "))
        });
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (name, zone.collect(), message.replace('\n', "\r\n").into_bytes())
    };
    files.into_iter().map(read).collect()
}

#[tokio::test]
async fn its_signatures_are_good() {
    let vectors = vectors("dkim");
    assert!(vectors.len() >= 6);
    for (name, zone, message) in vectors {
        let judgement = World::new(&zone).judge("", message).await;
        // The one of 005 expired in 2022.
        let expected = if name == "005.txt" { "fail" } else { "pass" };
        assert!(results(&judgement, "dkim").contains(&expected), "{name}: {}", judgement.results);
    }
}

#[tokio::test]
async fn its_chains_are_whole() {
    let vectors = vectors("arc");
    assert!(vectors.len() >= 2);
    for (name, zone, message) in vectors {
        let judgement = World::new(&zone).judge("", message.clone()).await;
        assert_eq!(results(&judgement, "arc"), ["pass"], "{name}: {}", judgement.results);
        let changed = [message, b"Buy!\r\n".to_vec()].concat();
        let judgement = World::new(&zone).judge("", changed).await;
        assert_eq!(results(&judgement, "arc"), ["neutral"], "{name}: {}", judgement.results);
    }
}

/// One expectation of a file for SPF.
#[derive(Default)]
struct Case {
    helo: String,
    sender: String,
    client: String,
    expected: String,
}

/// Records by name and type, as the files of mail-auth write them.
#[derive(Default)]
struct Zone(BTreeMap<(String, &'static str), Vec<String>>);

impl Zone {
    /// Takes a line of the file, if it is a record.
    fn take(&mut self, line: &str) -> bool {
        let Some((kind, rest)) = line.split_once(':') else { return false };
        let Some((name, data)) = rest.trim().split_once(' ') else { return false };
        let (name, values) = (name.trim().to_owned(), data.split(',').map(|value| value.trim().to_owned()));
        match kind {
            "spf" | "exp" => drop(self.0.insert((name, "TXT"), vec![format!("\"{}\"", data.trim())])),
            "a" => drop(self.0.insert((name, "A"), values.collect())),
            "aaaa" => drop(self.0.insert((name, "AAAA"), values.collect())),
            "ptr" => drop(self.0.insert((reverse(name.parse().unwrap()), "PTR"), values.collect())),
            "mx" => {
                let hosts: Vec<String> =
                    values.clone().enumerate().map(|(at, _)| format!("mx{at}.{name}")).collect();
                for (host, address) in hosts.iter().zip(values) {
                    let kind = if address.contains(':') { "AAAA" } else { "A" };
                    self.0.insert((host.clone(), kind), vec![address]);
                }
                let records = hosts.iter().enumerate().map(|(at, host)| format!("{} {host}", at + 1));
                self.0.insert((name, "MX"), records.collect());
            }
            _ => return false,
        }
        true
    }

    fn text(&self) -> String {
        let fits = |name: &str| name.len() <= 253 && name.split('.').all(|label| label.len() <= 63);
        let lines = self.0.iter().filter(|((name, _), _)| fits(name)).flat_map(|((name, kind), values)| {
            values.iter().map(move |value| format!("{name} {kind} {value}\n"))
        });
        lines.collect()
    }
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// Where mail-auth is more lenient than RFC 7208: file, domain, client, and what the RFC has.
const STRICTER: &[(&str, &str, &str, &str)] = &[
    // An unknown mechanism spoils the record wherever it stands (§4.6).
    ("all.yml", "test.org", "10.0.0.1", "permerror"),
    // More than two lookups that find nothing (§4.6.4).
    ("basic.yml", "ok.test.org", "172.168.0.1", "permerror"),
    // More than ten hosts of an MX (§4.6.4).
    ("basic.yml", "mx.test.org", "10.0.0.8", "permerror"),
    // `exists` asks for A only (§5.7).
    ("exists.yml", "ip6.test.org", "167.1.2.3", "fail"),
    ("macro.yml", "mx.example.org", "2001:db8::cb01", "fail"),
    // `ip6` is for clients of IPv6 (§5.6).
    ("ip.yml", "test.org", "10.1.2.3", "fail"),
];

/// What is found for a case: HELO counts if it fails, else MAIL (RFC 7208 §2.4).
async fn spf(world: &World, zone: &Zone, case: &Case) -> String {
    world.dns.set(&zone.text());
    let mut session = world.session_from(&case.client);
    begin(&mut session, &case.helo, &case.sender, &["bob@here.test"]).await;
    let judgement = session.message(message("a@nowhere.test").into()).await;
    let of = |property: &str| {
        let part = judgement.results.split(';').find(|part| part.contains(property));
        part.and_then(|part| part.trim().strip_prefix("spf=")?.split_whitespace().next().map(str::to_owned))
    };
    match (of(" smtp.helo="), of(" smtp.mailfrom=")) {
        (Some(helo), Some(mail)) if helo != "fail" => mail,
        (Some(helo), _) => helo,
        (None, mail) => mail.unwrap_or_else(|| "none".to_owned()),
    }
}

#[tokio::test]
async fn its_records_of_spf_mean_the_same_here() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(resources("spf")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut failed) = (0, Vec::new());
    for file in files {
        let world = World::new("");
        for name in ["_dns_error.org", "_dns_error.test.org"] {
            world.dns.behave(name, Behaviour::ServFail);
        }
        let (mut zone, mut case) =
            (Zone::default(), Case { client: "127.0.0.1".to_owned(), ..Case::default() });
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let line = line.trim().trim_start_matches('-').trim();
            if zone.take(line) {
                continue;
            }
            match line.split_once(':') {
                Some(("domain", value)) => value.trim().clone_into(&mut case.helo),
                Some(("sender", value)) => value.trim().clone_into(&mut case.sender),
                Some(("ip", value)) => value.trim().clone_into(&mut case.client),
                Some(("expect", value)) => {
                    let expected = value.split_whitespace().next().unwrap().to_ascii_lowercase();
                    case.expected = expected;
                    let found = spf(&world, &zone, &case).await;
                    count += 1;
                    let name = file.file_name().unwrap().to_string_lossy().into_owned();
                    let ours = (name.as_str(), case.helo.as_str(), case.client.as_str(), found.as_str());
                    if found != case.expected && !STRICTER.contains(&ours) {
                        failed.push(format!(
                            "{name} {} {} {}: {found}, not {}",
                            case.helo, case.sender, case.client, case.expected
                        ));
                    }
                }
                _ => {}
            }
        }
    }
    assert!(count > 160, "{count}");
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
}
