//! Domains whose records are right, missing, wrong, or hostile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ekitei_config::{Config, DnsList, DnsListKind, SmartHost};
use ekitei_directory::{Domain, Timestamp};
use ekitei_dns::testing::{Behaviour, TestDns};
use ekitei_signing::{Activation, Algorithm, KeyRecord, Stage};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx.us.example\r\nmax_age: 604800\r\n";
const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// An MX host and a web server on the loopback, with certificates of an authority that is trusted.
struct Servers {
    smtp: SocketAddr,
    https: SocketAddr,
    /// TLSA 3 1 1 of the MX host's key.
    association: String,
    directory: tempfile::TempDir,
}

async fn servers() -> Servers {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        (certificate.der().clone(), key)
    };
    let (mx, mx_key) = issue("mx.us.example");
    let (web, web_key) = issue("mta-sts.example.org");
    let association = association(&mx_key);
    let smtp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let https = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let found = Servers {
        smtp: smtp.local_addr().unwrap(),
        https: https.local_addr().unwrap(),
        association,
        directory,
    };
    tokio::spawn(serve_smtp(smtp, acceptor(mx, &mx_key)));
    tokio::spawn(serve_policy(https, acceptor(web, &web_key)));
    found
}

fn association(key: &KeyPair) -> String {
    use rcgen::PublicKeyData as _;
    let chain = rustls::crypto::aws_lc_rs::default_provider();
    let hash = chain.cipher_suites.iter().find_map(|suite| suite.tls13()).unwrap().common.hash_provider;
    let sha256 = if hash.output_len() == 32 {
        hash
    } else {
        rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
            .tls13()
            .unwrap()
            .common
            .hash_provider
    };
    let digest = sha256.hash(&key.subject_public_key_info());
    let hex: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("3 1 1 {hex}")
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve_smtp(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 mx.us.example ESMTP\r\n").await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            stream.write_all(b"250-mx.us.example\r\n250 STARTTLS\r\n").await?;
            line.clear();
            stream.read_line(&mut line).await?;
            stream.write_all(b"220 go\r\n").await?;
            let mut stream = acceptor.accept(stream.into_inner()).await?;
            stream.read_u8().await
        });
    }
}

async fn serve_policy(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut stream = acceptor.accept(stream).await?;
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await?;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{POLICY}", POLICY.len());
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        });
    }
}

/// A service that is `mx.us.example`, sends from 127.0.0.1, and finds that as good as a public address.
fn config(servers: &Servers) -> Config {
    let mut config = Config { hostname: "mx.us.example".to_owned(), ..Default::default() };
    config.relay.port = servers.smtp.port();
    config.relay.ignore_addresses = Vec::new();
    config.relay.source_addresses = vec![Ipv4Addr::LOCALHOST.into()];
    config.relay.ca_file = Some(servers.directory.path().join("ca.pem"));
    let list = |zone: &str, kind| DnsList { zone: zone.to_owned(), kind, score: 10, answers: Vec::new() };
    config.filter.dns_lists.lists =
        vec![list("bl.example", DnsListKind::Address), list("dbl.example", DnsListKind::Domain)];
    config
}

fn key(stage: Stage) -> KeyInfo {
    KeyInfo {
        domain: Domain::parse("example.org").unwrap(),
        selector: "s1".to_owned(),
        algorithm: Algorithm::Ed25519,
        stage,
        activation: Activation::Automatic,
        created: Timestamp::from_unix(1),
        activated: None,
        retired: None,
        record: KeyRecord { name: "s1._domainkey.example.org".to_owned(), text: KEY.to_owned() },
    }
}

fn subject() -> Subject {
    Subject {
        domain: "example.org".to_owned(),
        keys: vec![key(Stage::Signing)],
        policy: POLICY.to_owned(),
        policy_id: "abc123".to_owned(),
        withdrawn: None,
        client_host: None,
        mx_hosts: Vec::new(),
    }
}

async fn examine(dns: &TestDns, servers: &Servers, config: Config) -> Vec<Finding> {
    examine_as(dns, servers, config, subject()).await
}

async fn examine_as(dns: &TestDns, servers: &Servers, config: Config, subject: Subject) -> Vec<Finding> {
    let doctor = Doctor::new(Live::new(config), dns.resolver()).with_https_port(servers.https.port());
    doctor.examine(subject).await
}

fn good_zone(servers: &Servers) -> String {
    format!(
        r#"
example.org MX 10 mx.us.example
mx.us.example A 127.0.0.1
mx.us.example TXT "v=spf1 a -all"
1.0.0.127.in-addr.arpa PTR mx.us.example
_25._tcp.mx.us.example TLSA {}
us.example CAA 0 issue "ca.example"
example.org TXT "v=spf1 mx -all"
s1._domainkey.example.org TXT "{KEY}"
_dmarc.example.org TXT "v=DMARC1; p=reject; rua=mailto:dmarc-reports@example.org"
_mta-sts.example.org TXT "v=STSv1; id=abc123"
mta-sts.example.org A 127.0.0.1
_smtp._tls.example.org TXT "v=TLSRPTv1; rua=mailto:tls-reports@example.org"
"#,
        servers.association
    )
}

/// Findings that are neither right, nor the one that no PTR of the loopback can satisfy: the resolver knows that without asking.
fn faults(findings: &[Finding]) -> Vec<&Finding> {
    let innate = ["PTR of 127.0.0.1"];
    findings
        .iter()
        .filter(|finding| finding.verdict != Verdict::Right && !innate.contains(&finding.name.as_str()))
        .collect()
}

fn named<'a>(findings: &'a [Finding], name: &str) -> &'a Finding {
    findings
        .iter()
        .find(|finding| finding.name == name)
        .unwrap_or_else(|| panic!("{name} is not in {findings:#?}"))
}

fn verdict(findings: &[Finding], name: &str) -> Verdict {
    named(findings, name).verdict
}

#[tokio::test]
async fn a_domain_that_has_everything_has_no_fault() {
    let servers = servers().await;
    let dns = TestDns::signed(&good_zone(&servers));
    let findings = examine(&dns, &servers, config(&servers)).await;
    let faults = faults(&findings);
    assert!(faults.is_empty(), "{faults:#?}");
    for name in [
        "MX",
        "TLS of mx.us.example",
        "TLSA of mx.us.example",
        "SPF",
        "DKIM s1 (ed25519, signing)",
        "DMARC",
        "MTA-STS policy",
        "TLS reports",
    ] {
        assert_eq!(verdict(&findings, name), Verdict::Right);
    }
    assert_eq!(verdict(&findings, "127.0.0.1 in bl.example"), Verdict::Right);
}

#[tokio::test]
async fn who_publishes_what_is_said_has_no_fault_left() {
    let servers = servers().await;
    let host = "mx.us.example A 127.0.0.1\nmx.us.example CAA 0 issue \"ca.example\"\nmta-sts.example.org A 127.0.0.1\n";
    let dns = TestDns::signed(host);
    let empty = examine(&dns, &servers, config(&servers)).await;
    for name in ["MX", "SPF", "DKIM s1 (ed25519, signing)", "DMARC"] {
        assert_eq!(verdict(&empty, name), Verdict::Wrong);
    }
    let mut zone = host.to_owned();
    for _ in 0..3 {
        let lines = examine(&dns, &servers, config(&servers))
            .await
            .into_iter()
            .filter(|finding| !finding.name.starts_with("PTR"))
            .flat_map(|finding| finding.publish);
        // A name has one record of these kinds: the new one takes the place of the old. The policy's host is there already.
        for line in lines.filter(|line| !line.contains(" CNAME ")) {
            let owner = line.split(" IN TXT ").next().unwrap_or_default().to_owned();
            if line.contains(" IN TXT ") {
                zone = zone
                    .lines()
                    .filter(|old| !old.starts_with(&format!("{owner} IN TXT ")))
                    .map(|old| format!("{old}\n"))
                    .collect();
            }
            zone.push_str(&format!("{line}\n"));
        }
        dns.set(&zone);
    }
    let findings = examine(&dns, &servers, config(&servers)).await;
    let faults = faults(&findings);
    assert!(faults.is_empty(), "{faults:#?}\n{zone}");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_record_that_is_right() {
    let servers = servers().await;
    let zone = good_zone(&servers)
        .replace("example.org MX 10 mx.us.example", "example.org MX 10 mx.elsewhere.example")
        .replace("\"v=spf1 mx -all\"", "\"v=spf1 ip4:192.0.2.7 ~all\"")
        .replace("p=11q", "p=22q")
        .replace("id=abc123", "id=old")
        .replace("rua=mailto:tls", "rua=tls");
    let zone = format!(
        "{zone}\nmx.elsewhere.example CNAME mx.us.example\n_dmarc.example.org TXT \"v=DMARC1; p=none\"\n\
         1.0.0.127.bl.example A 127.0.0.2\n1.0.0.127.bl.example TXT \"spam seen\"\nexample.org.dbl.example A 127.255.255.254"
    );
    let dns = TestDns::start(&zone);
    let findings = examine(&dns, &servers, config(&servers)).await;
    assert_eq!(named(&findings, "MX").publish, ["example.org. IN MX 10 mx.us.example."]);
    assert!(named(&findings, "addresses of mx.elsewhere.example").detail.contains("alias"));
    assert_eq!(
        named(&findings, "SPF").publish,
        ["example.org. IN TXT \"v=spf1 ip4:192.0.2.7 ip4:127.0.0.1 ~all\""]
    );
    assert_eq!(
        named(&findings, "DKIM s1 (ed25519, signing)").publish,
        [key(Stage::Signing).record.zone_line()]
    );
    assert_eq!(
        named(&findings, "MTA-STS record").publish,
        ["_mta-sts.example.org. IN TXT \"v=STSv1; id=abc123\""]
    );
    for name in [
        "MX",
        "SPF",
        "DMARC",
        "MTA-STS record",
        "MTA-STS policy",
        "TLS reports",
        "DKIM s1 (ed25519, signing)",
    ] {
        assert_eq!(verdict(&findings, name), Verdict::Wrong, "{name}");
    }
    assert_eq!(verdict(&findings, "TLS of mx.elsewhere.example"), Verdict::Advice);
    assert_eq!(named(&findings, "example.org in dbl.example").verdict, Verdict::Unknown);
}

#[tokio::test]
async fn hosts_that_the_domain_names_are_ours() {
    let servers = servers().await;
    let zone = good_zone(&servers)
        .replace("_mta-sts.example.org TXT \"v=STSv1; id=abc123\"\n", "")
        .replace("example.org MX 10 mx.us.example", "example.org MX 10 mx.tokyo.example")
        + "mx.tokyo.example A 127.0.0.1\n";
    let dns = TestDns::start(&zone);
    let with = |mx_hosts: &[&str], withdrawn| Subject {
        mx_hosts: mx_hosts.iter().map(|&host| host.to_owned()).collect(),
        withdrawn,
        client_host: Some("mail.example.org".to_owned()),
        ..subject()
    };
    let ask = async |subject| examine_as(&dns, &servers, config(&servers), subject).await;
    let findings = ask(with(&["mx.tokyo.example"], Some(true))).await;
    assert_eq!(verdict(&findings, "MX"), Verdict::Right);
    assert_eq!(verdict(&findings, "MTA-STS record"), Verdict::Right, "none is wanted");
    let findings = ask(with(&["mx.tokyo.example", "mx.paris.example"], None)).await;
    assert_eq!(named(&findings, "MX").publish, ["example.org. IN MX 10 mx.paris.example."]);
    let published = &named(&findings, "MTA-STS record").publish;
    assert!(
        published.contains(&"mta-sts.example.org. IN CNAME mail.example.org.".to_owned()),
        "{published:?}"
    );
    let findings = ask(with(&["mx.paris.example"], None)).await;
    assert_eq!(verdict(&findings, "MX"), Verdict::Wrong, "none of those in DNS is ours");
}

#[tokio::test]
async fn listed_addresses_and_wrong_tlsa_are_found() {
    let servers = servers().await;
    let other = association(&KeyPair::generate().unwrap());
    let zone = good_zone(&servers).replace(&servers.association, &other);
    let dns = TestDns::signed(&format!(
        "{zone}\n1.0.0.127.bl.example A 127.0.0.2\n1.0.0.127.bl.example TXT \"spam seen\""
    ));
    let findings = examine(&dns, &servers, config(&servers)).await;
    assert_eq!(named(&findings, "127.0.0.1 in bl.example").detail, "listed: spam seen");
    let tlsa = named(&findings, "TLSA of mx.us.example");
    assert_eq!(
        (tlsa.verdict, tlsa.publish.clone()),
        (Verdict::Wrong, vec![format!("_25._tcp.mx.us.example. IN TLSA {}", servers.association)])
    );
}

#[tokio::test]
async fn the_names_of_addresses_must_lead_back() {
    let servers = servers().await;
    let mut config = config(&servers);
    config.relay.source_addresses =
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| address.parse().unwrap()).to_vec();
    let dns = TestDns::start(
        "1.2.0.192.in-addr.arpa PTR mx.us.example\nmx.us.example A 192.0.2.1\n2.2.0.192.in-addr.arpa PTR other.example\nother.example A 192.0.2.9",
    );
    let findings = examine(&dns, &servers, config).await;
    assert_eq!(verdict(&findings, "PTR of 192.0.2.1"), Verdict::Right);
    assert_eq!(verdict(&findings, "PTR of 192.0.2.2"), Verdict::Wrong);
    assert_eq!(
        named(&findings, "PTR of 192.0.2.3").publish,
        ["3.2.0.192.in-addr.arpa. IN PTR mx.us.example."]
    );
    let ehlo = named(&findings, "EHLO name mx.us.example");
    assert_eq!(ehlo.publish, ["mx.us.example. IN A 192.0.2.2", "mx.us.example. IN A 192.0.2.3"]);
}

#[tokio::test]
async fn spf_is_counted_through_includes_and_loops_end() {
    let servers = servers().await;
    let eleven: String = (0..11).map(|n| format!(" include:i{n}.example")).collect();
    let mut zone = format!("mx.us.example A 127.0.0.1\nexample.org TXT \"v=spf1{eleven} -all\"\n");
    for n in 0..11 {
        zone.push_str(&format!("i{n}.example TXT \"v=spf1 ip4:192.0.2.{n} -all\"\n"));
    }
    let dns = TestDns::start(&zone);
    let spf = |findings: Vec<Finding>| named(&findings, "SPF").clone();
    let many = spf(examine(&dns, &servers, config(&servers)).await);
    assert!(many.verdict == Verdict::Wrong && many.detail.contains("11 of 10 lookups"), "{many:?}");
    dns.set(
        "mx.us.example A 127.0.0.1\nexample.org TXT \"v=spf1 include:example.org include:example.org -all\"",
    );
    let looping = spf(examine(&dns, &servers, config(&servers)).await);
    assert!(looping.verdict == Verdict::Wrong && looping.detail.contains("includes itself"), "{looping:?}");
    dns.set("mx.us.example A 127.0.0.1\nexample.org TXT \"v=spf1 include:gone.example -all\"");
    assert_eq!(spf(examine(&dns, &servers, config(&servers)).await).verdict, Verdict::Wrong);
    dns.set("example.org TXT \"v=spf1 mx -all\"\nexample.org TXT \"v=spf1 a -all\"");
    assert_eq!(spf(examine(&dns, &servers, config(&servers)).await).verdict, Verdict::Wrong);
}

#[tokio::test]
async fn what_cannot_be_known_from_here_is_not_called_wrong() {
    let servers = servers().await;
    let mut config = config(&servers);
    config.relay.smart_host = Some(SmartHost { host: "smart.example".to_owned(), ..Default::default() });
    config.relay.port = 1;
    config.filter.dns_lists.lists.clear();
    let dns = TestDns::start(&good_zone(&servers));
    let findings = examine(&dns, &servers, config).await;
    for name in ["addresses of egress", "TLS of mx.us.example", "SPF", "MTA-STS policy", "DNS lists"] {
        assert_eq!(verdict(&findings, name), Verdict::Unknown, "{name}");
    }
    assert!(
        findings.iter().all(|finding| finding.verdict != Verdict::Wrong || finding.name.starts_with("PTR")),
        "{findings:#?}"
    );
}

#[tokio::test]
async fn dns_that_never_answers_is_not_known_and_costs_a_bounded_time() {
    let servers = servers().await;
    let dns = TestDns::start("");
    for name in [
        "example.org",
        "mx.us.example",
        "_dmarc.example.org",
        "_mta-sts.example.org",
        "_smtp._tls.example.org",
        "s1._domainkey.example.org",
    ] {
        dns.behave(name, Behaviour::Silent);
    }
    let begun = Instant::now();
    let findings = examine(&dns, &servers, config(&servers)).await;
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    for name in ["MX", "SPF", "DMARC", "MTA-STS record", "TLS reports", "DKIM s1 (ed25519, signing)"] {
        assert_eq!(verdict(&findings, name), Verdict::Unknown, "{name}");
    }
}

#[tokio::test]
async fn keys_are_asked_for_by_their_stage() {
    let servers = servers().await;
    let dns = TestDns::start("");
    let doctor = Doctor::new(Live::new(config(&servers)), dns.resolver());
    let mut subject = subject();
    subject.keys = vec![key(Stage::Published)];
    let published = doctor.examine(subject.clone()).await;
    assert!(named(&published, "DKIM").detail.contains("publish the record of s1"));
    subject.keys = vec![key(Stage::Retired)];
    let retired = doctor.examine(subject.clone()).await;
    assert_eq!(verdict(&retired, "DKIM s1 (ed25519, retired)"), Verdict::Advice);
    subject.keys.clear();
    assert!(named(&doctor.examine(subject).await, "DKIM").detail.contains("ekitei dkim create"));
}
