//! Policies of destinations whose DNS is signed or not, against servers on the loopback.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use ekitei_config::{Config, SmartHost};
use ekitei_dns::testing::{Behaviour, TestDns};
use futures_util::future::{BoxFuture, ready};
use rcgen::{CertificateParams, CertifiedKey, KeyPair, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::sts::{FetchError, InProcess};
use super::*;
use crate::mx::Router;

/// Notes what it hears: policy type, MX host, and the result type of a failure.
#[derive(Default)]
struct Heard(Mutex<Vec<TlsSession>>);

impl TlsReporter for Heard {
    fn session(&self, session: TlsSession) {
        self.0.lock().unwrap().push(session);
    }
}

impl Heard {
    fn take(&self) -> Vec<(&'static str, &'static str)> {
        let sessions = std::mem::take(&mut *self.0.lock().unwrap());
        let result = |session: &TlsSession| match session.result {
            TlsResult::Success => "success",
            TlsResult::Failure { result_type, .. } => result_type,
        };
        sessions.iter().map(|session| (session.policy_type, result(session))).collect()
    }
}

/// One policy for every domain, or none.
struct Given(Option<String>);

impl Fetch for Given {
    fn fetch<'a>(&'a self, _domain: &'a str) -> BoxFuture<'a, Result<String, FetchError>> {
        Box::pin(ready(self.0.clone().ok_or_else(|| FetchError::Fetch("the server is down".to_owned()))))
    }
}

/// What a test needs.
struct Scene {
    policies: TlsPolicies,
    router: Router,
    heard: Arc<Heard>,
}

fn scene(dns: &TestDns, sts: Option<&str>, trusted: Option<&CertifiedKey<KeyPair>>) -> Scene {
    scene_with(dns, sts, trusted, |_| {})
}

fn scene_with(
    dns: &TestDns,
    sts: Option<&str>,
    trusted: Option<&CertifiedKey<KeyPair>>,
    change: impl FnOnce(&mut Config),
) -> Scene {
    let mut config = Config { hostname: "mx.us.example".to_owned(), ..Default::default() };
    change(&mut config);
    let live = Live::new(config);
    let mut roots = RootCertStore::empty();
    if let Some(trusted) = trusted {
        roots.add(trusted.cert.der().clone()).unwrap();
    }
    let heard = Arc::new(Heard::default());
    let fetch = Arc::new(Given(sts.map(ToOwned::to_owned)));
    let policies = TlsPolicies::assemble(
        live.clone(),
        dns.resolver(),
        heard.clone(),
        Arc::new(roots),
        fetch,
        Arc::new(InProcess),
    );
    Scene { policies, router: Router::new(live, dns.resolver()), heard }
}

impl Scene {
    /// The policy of the first host of a domain.
    async fn policy(&self, domain: &str, require_tls: bool) -> Result<HostTls, Status> {
        self.policy_for(domain, if require_tls { Wish::Required } else { Wish::AsPublished }).await
    }

    async fn policy_for(&self, domain: &str, wish: Wish) -> Result<HostTls, Status> {
        let route = self.router.route(domain, None).await.unwrap();
        let destination = self.policies.destination(&route, wish).await;
        self.policies.host(&destination, &route.hosts[0]).await.map_err(|failure| failure.status)
    }
}

fn certificate(names: &[&str]) -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = CertificateParams::new(names).unwrap().self_signed(&signing_key).unwrap();
    CertifiedKey { cert, signing_key }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// TLSA 3 1 1 of a certificate.
fn tlsa(certificate: &CertifiedKey<KeyPair>) -> String {
    let key = certificate.signing_key.subject_public_key_info();
    format!("3 1 1 {}", hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key).as_ref()))
}

/// Shakes hands with a server that has this certificate.
async fn handshake(tls: &HostTls, certificate: &CertifiedKey<KeyPair>) -> Result<bool, Status> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let config = ServerConfig::builder_with_provider(verify::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.cert.der().clone()],
            PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = acceptor.accept(stream).await;
    });
    let attempt = tls.attempt(address.ip(), None);
    let stream = TcpStream::connect(address).await.unwrap();
    let outcome = TlsConnector::from(attempt.config()).connect(attempt.server_name(), stream).await;
    server.await.unwrap();
    match outcome {
        Ok(_) => {
            attempt.established();
            Ok(true)
        }
        Err(error) => attempt.failed(&error).map(|()| false).map_err(|failure| failure.status),
    }
}

const HOST: &str = "
example.org MX 10 mx.example.org
mx.example.org A 192.0.2.1
";

fn zone(more: &str) -> String {
    format!("{HOST}{more}\n")
}

const STS_RECORD: &str = "_mta-sts.example.org TXT \"v=STSv1; id=1;\"";

fn sts(mode: &str, mx: &str) -> String {
    format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 600\n")
}

#[tokio::test]
async fn without_a_policy_any_tls_is_better_than_none() {
    let dns = TestDns::start(HOST);
    let scene = scene(&dns, None, None);
    let tls = scene.policy("example.org", false).await.unwrap();
    assert!(tls.wanted() && !tls.mandatory());
    assert_eq!(handshake(&tls, &certificate(&["whoever.example"])).await, Ok(true));
    assert_eq!(tls.attempt(Ipv4Addr::LOCALHOST.into(), None).not_offered(None), Ok(()));
    assert_eq!(
        scene.heard.take(),
        [("no-policy-found", "success"), ("no-policy-found", "starttls-not-supported")]
    );
}

#[tokio::test]
async fn dane_holds_the_host_to_its_published_key() {
    let (right, wrong) = (certificate(&["whatever.example"]), certificate(&["mx.example.org"]));
    let dns = TestDns::signed(&zone(&format!("_25._tcp.mx.example.org TLSA {}", tlsa(&right))));
    let scene = scene(&dns, None, Some(&wrong));
    let tls = scene.policy("example.org", false).await.unwrap();
    assert!(tls.mandatory());
    assert_eq!(handshake(&tls, &right).await, Ok(true), "names and authorities do not matter");
    assert_eq!(handshake(&tls, &wrong).await, Err(Status(4, 7, 5)), "nor do they help");
    let clear = tls.attempt(Ipv4Addr::LOCALHOST.into(), None).not_offered(None);
    assert_eq!(clear.unwrap_err().status, Status(4, 7, 4), "stripping STARTTLS helps nobody");
    let heard = scene.heard.take();
    assert_eq!(
        heard,
        [("tlsa", "success"), ("tlsa", "certificate-not-trusted"), ("tlsa", "starttls-not-supported")]
    );
}

#[tokio::test]
async fn dane_needs_dnssec_all_the_way() {
    let key = certificate(&["mx.example.org"]);
    let record = format!("_25._tcp.mx.example.org TLSA {}", tlsa(&key));
    for unsigned in
        [TestDns::start(&zone(&record)), TestDns::signed(&zone(&format!("{record}\nexample.org NS ns.test")))]
    {
        let scene = scene(&unsigned, None, None);
        assert!(!scene.policy("example.org", false).await.unwrap().mandatory());
    }
    let dns = TestDns::signed(&format!(
        "{}\nother.example NS ns.test\nother.example MX 1 mx.example.org",
        zone(&record)
    ));
    let of_insecure_domain = scene(&dns, None, None).policy("other.example", false).await.unwrap();
    assert!(!of_insecure_domain.mandatory(), "an MX record that may be forged proves nothing");
}

#[tokio::test]
async fn records_that_cannot_be_had_make_mail_wait() {
    let dns = TestDns::signed(HOST);
    for behaviour in [Behaviour::ServFail, Behaviour::BadSignature, Behaviour::NoSignature, Behaviour::Silent]
    {
        dns.behave("_25._tcp.mx.example.org", behaviour);
        let scene = scene(&dns, None, None);
        assert_eq!(scene.policy("example.org", false).await.err(), Some(Status(4, 7, 5)), "{behaviour:?}");
        assert_eq!(scene.heard.take()[0].0, "tlsa");
    }
}

#[tokio::test]
async fn records_that_cannot_be_used_still_demand_encryption() {
    let key = certificate(&["whoever.example"]);
    let dns =
        TestDns::signed(&zone(&format!("_25._tcp.mx.example.org TLSA {}", tlsa(&key).replacen('3', "1", 1))));
    let scene = scene(&dns, None, None);
    let tls = scene.policy("example.org", false).await.unwrap();
    assert!(tls.mandatory());
    assert_eq!(handshake(&tls, &key).await, Ok(true));
    assert_eq!(scene.heard.take(), [("tlsa", "tlsa-invalid")]);
}

#[tokio::test]
async fn records_that_cannot_be_used_do_not_soften_what_mta_sts_enforces() {
    let (right, other) = (certificate(&["mx.example.org"]), certificate(&["mx.example.org"]));
    let useless = tlsa(&right).replacen('3', "1", 1);
    let dns = TestDns::signed(&zone(&format!("{STS_RECORD}\n_25._tcp.mx.example.org TLSA {useless}")));
    let enforcing = scene(&dns, Some(&sts("enforce", "*.example.org")), Some(&right));
    let tls = enforcing.policy("example.org", false).await.unwrap();
    assert_eq!(handshake(&tls, &right).await, Ok(true));
    assert_eq!(handshake(&tls, &other).await, Err(Status(4, 7, 5)));
    let testing = scene(&dns, Some(&sts("testing", "*.example.org")), Some(&right));
    let tls = testing.policy("example.org", false).await.unwrap();
    assert!(tls.mandatory(), "which asks for less than the records");
    assert_eq!(handshake(&tls, &other).await, Ok(true));
}

#[tokio::test]
async fn the_name_after_cname_has_the_records_first() {
    let (at_alias, at_target) = (certificate(&["a"]), certificate(&["b"]));
    let zone = format!(
        "example.org MX 10 alias.example.org\nalias.example.org CNAME mx.example.org\nmx.example.org A 192.0.2.1\n\
         _25._tcp.alias.example.org TLSA {}\n",
        tlsa(&at_alias)
    );
    let dns = TestDns::signed(&zone);
    let only_alias = scene(&dns, None, None).policy("example.org", false).await.unwrap();
    assert_eq!(handshake(&only_alias, &at_alias).await, Ok(true));
    dns.set(&format!("{zone}_25._tcp.mx.example.org TLSA {}", tlsa(&at_target)));
    let both = scene(&dns, None, None).policy("example.org", false).await.unwrap();
    assert_eq!(handshake(&both, &at_target).await, Ok(true));
    assert!(handshake(&both, &at_alias).await.is_err());
}

#[tokio::test]
async fn an_alias_that_leads_out_of_what_is_signed_has_records_of_its_own() {
    let (at_alias, other) = (certificate(&["a"]), certificate(&["b"]));
    let zone = format!(
        "example.org MX 10 alias.example.org\nalias.example.org CNAME mx.unsigned.example\n\
         unsigned.example NS ns.test\nmx.unsigned.example A 192.0.2.1\n\
         _25._tcp.mx.unsigned.example TLSA {}\n_25._tcp.alias.example.org TLSA {}\n",
        tlsa(&other),
        tlsa(&at_alias)
    );
    let dns = TestDns::signed(&zone);
    let tls = scene(&dns, None, None).policy("example.org", false).await.unwrap();
    assert!(tls.mandatory());
    assert_eq!(handshake(&tls, &at_alias).await, Ok(true));
    assert!(handshake(&tls, &other).await.is_err(), "nobody vouches for those");
}

#[tokio::test]
async fn records_that_nobody_vouches_for_do_not_hide_those_of_the_alias() {
    let (at_alias, forged) = (certificate(&["a"]), certificate(&["b"]));
    let zone = format!(
        "example.org MX 10 alias.example.org\nalias.example.org CNAME mx.example.org\nmx.example.org A 192.0.2.1\n\
         _25._tcp.mx.example.org CNAME keys.unsigned.example\nunsigned.example NS ns.test\n\
         keys.unsigned.example TLSA {}\n_25._tcp.alias.example.org TLSA {}\n",
        tlsa(&forged),
        tlsa(&at_alias)
    );
    let dns = TestDns::signed(&zone);
    let tls = scene(&dns, None, None).policy("example.org", false).await.unwrap();
    assert_eq!(handshake(&tls, &at_alias).await, Ok(true));
    assert!(handshake(&tls, &forged).await.is_err());
}

#[tokio::test]
async fn mta_sts_demands_a_valid_certificate_of_a_named_host() {
    let (good, other) = (certificate(&["mx.example.org"]), certificate(&["other.example.org"]));
    let dns = TestDns::start(&zone(STS_RECORD));
    let enforcing = scene(&dns, Some(&sts("enforce", "*.example.org")), Some(&good));
    let tls = enforcing.policy("example.org", false).await.unwrap();
    assert!(tls.mandatory());
    assert_eq!(handshake(&tls, &good).await, Ok(true));
    assert_eq!(handshake(&tls, &certificate(&["mx.example.org"])).await, Err(Status(4, 7, 5)));
    assert_eq!(enforcing.heard.take(), [("sts", "success"), ("sts", "certificate-not-trusted")]);
    let misnamed = scene(&dns, Some(&sts("enforce", "*.example.org")), Some(&other));
    let tls = misnamed.policy("example.org", false).await.unwrap();
    assert_eq!(handshake(&tls, &other).await, Err(Status(4, 7, 5)));
    assert_eq!(misnamed.heard.take(), [("sts", "certificate-host-mismatch")]);
    let foreign = scene(&dns, Some(&sts("enforce", "mx.elsewhere.example")), Some(&good));
    assert_eq!(foreign.policy("example.org", false).await.err(), Some(Status(4, 7, 5)));
    assert_eq!(foreign.heard.take(), [("sts", "validation-failure")]);
}

#[tokio::test]
async fn testing_reports_and_delivers() {
    let dns = TestDns::start(&zone(STS_RECORD));
    let testing = scene(&dns, Some(&sts("testing", "*.example.org")), None);
    let tls = testing.policy("example.org", false).await.unwrap();
    assert!(!tls.mandatory());
    assert_eq!(handshake(&tls, &certificate(&["mx.example.org"])).await, Ok(true));
    assert_eq!(tls.attempt(Ipv4Addr::LOCALHOST.into(), None).not_offered(None), Ok(()));
    assert_eq!(testing.heard.take(), [("sts", "certificate-not-trusted"), ("sts", "starttls-not-supported")]);
    let foreign = scene(&dns, Some(&sts("testing", "mx.elsewhere.example")), None);
    assert!(!foreign.policy("example.org", false).await.unwrap().mandatory());
    let down = scene(&dns, None, None);
    assert!(!down.policy("example.org", false).await.unwrap().mandatory());
    assert_eq!(down.heard.take(), [("sts", "sts-policy-fetch-error")]);
}

#[tokio::test]
async fn dane_overrides_mta_sts() {
    let (published, trusted) = (certificate(&["whatever.example"]), certificate(&["mx.example.org"]));
    let dns =
        TestDns::signed(&zone(&format!("{STS_RECORD}\n_25._tcp.mx.example.org TLSA {}", tlsa(&published))));
    let scene = scene(&dns, Some(&sts("enforce", "mx.elsewhere.example")), Some(&trusted));
    let tls = scene.policy("example.org", false).await.unwrap();
    assert_eq!(handshake(&tls, &published).await, Ok(true));
    assert!(
        handshake(&tls, &trusted).await.is_err(),
        "a certificate that MTA-STS trusts does not mend a failing DANE"
    );
}

#[tokio::test]
async fn requiretls_needs_a_host_that_is_surely_the_right_one() {
    let good = certificate(&["mx.example.org"]);
    let unsigned = TestDns::start(HOST);
    assert_eq!(
        scene(&unsigned, None, Some(&good)).policy("example.org", true).await.err(),
        Some(Status(5, 7, 10))
    );
    let signed = TestDns::signed(HOST);
    let tls = scene(&signed, None, Some(&good)).policy("example.org", true).await.unwrap();
    assert!(tls.mandatory() && tls.requires_requiretls());
    assert_eq!(handshake(&tls, &good).await, Ok(true));
    assert_eq!(handshake(&tls, &certificate(&["mx.example.org"])).await, Err(Status(5, 7, 10)));
    let clear = tls.attempt(Ipv4Addr::LOCALHOST.into(), None).not_offered(None);
    assert_eq!(clear.unwrap_err().status, Status(5, 7, 10));
    let later = crate::proto::reply::Reply::new(454, "4.7.0 no certificate now");
    let refused = tls.attempt(Ipv4Addr::LOCALHOST.into(), None).not_offered(Some(&later));
    assert_eq!(refused.unwrap_err().status, Status(4, 7, 4), "the server may have it soon");
    let by_sts = TestDns::start(&zone(STS_RECORD));
    let testing = scene(&by_sts, Some(&sts("testing", "mx.example.org")), Some(&good));
    assert!(testing.policy("example.org", true).await.unwrap().mandatory());
}

#[tokio::test]
async fn a_configured_rule_goes_before_what_is_published() {
    let key = certificate(&["smart.us.example"]);
    let dns = TestDns::signed(&format!(
        "{}\nsmart.us.example A 192.0.2.5",
        zone(&format!("_25._tcp.mx.example.org TLSA {}", tlsa(&key)))
    ));
    for (rule, wanted, mandatory) in [
        (TlsRule::None, false, false),
        (TlsRule::Opportunistic, true, false),
        (TlsRule::Require, true, true),
        (TlsRule::Verify, true, true),
    ] {
        let scene = scene_with(&dns, None, Some(&key), |config| {
            let route = ekitei_config::RelayRoute { tls: Some(rule), ..Default::default() };
            config.relay.routes = vec![route];
        });
        let tls = scene.policy("example.org", false).await.unwrap();
        assert_eq!((tls.wanted(), tls.mandatory()), (wanted, mandatory), "{rule:?}");
        assert_eq!(scene.policy("example.org", true).await.is_ok(), rule != TlsRule::None);
        assert_eq!(scene.heard.take(), []);
    }
    let with_login = scene_with(&dns, None, Some(&key), |config| {
        config.relay.smart_host = Some(SmartHost {
            host: "smart.us.example".to_owned(),
            username: "us".to_owned(),
            ..Default::default()
        });
    });
    let tls = with_login.policy("example.org", false).await.unwrap();
    assert_eq!(handshake(&tls, &key).await, Ok(true));
    assert_eq!(handshake(&tls, &certificate(&["smart.us.example"])).await, Err(Status(4, 7, 5)));
}

#[tokio::test]
async fn connections_are_shared_only_under_one_policy() {
    let key = certificate(&["mx.example.org"]);
    let dns = TestDns::signed(HOST);
    let before = scene(&dns, None, None).policy("example.org", false).await.unwrap();
    dns.set(&zone(&format!("_25._tcp.mx.example.org TLSA {}", tlsa(&key))));
    let after = scene(&dns, None, None).policy("example.org", false).await.unwrap();
    assert_ne!(before.identity(), after.identity());
}

#[tokio::test]
async fn two_domains_share_a_connection_if_its_certificate_is_as_good_for_both() {
    let own_key = tlsa(&certificate(&["mx.example.org"]));
    for (record, is_shared) in [(own_key.clone(), true), (own_key.replacen('3', "2", 1), false)] {
        let more = format!("other.example MX 10 mx.example.org\n_25._tcp.mx.example.org TLSA {record}");
        let dns = TestDns::signed(&zone(&more));
        let scene = scene(&dns, None, None);
        let one = scene.policy("example.org", false).await.unwrap();
        let other = scene.policy("other.example", false).await.unwrap();
        // Below a trust anchor, a certificate for example.org would do for that domain, and for no other.
        assert_eq!(one.identity() == other.identity(), is_shared, "{record}");
    }
}

/// What is said of a handshake that failed so.
fn said(tls: &HostTls, error: rustls::CertificateError) -> String {
    let error = std::io::Error::other(rustls::Error::InvalidCertificate(error));
    tls.attempt(Ipv4Addr::LOCALHOST.into(), None).failed(&error).unwrap_err().text
}

#[tokio::test]
async fn a_failure_says_who_demands_tls() {
    use rustls::CertificateError::UnknownIssuer;
    let dns = TestDns::signed(&zone(&format!(
        "{STS_RECORD}\n_25._tcp.mx.example.org TLSA {}",
        tlsa(&certificate(&["mx.example.org"]))
    )));
    let by_dane = scene(&dns, None, None).policy("example.org", false).await.unwrap();
    assert_eq!(
        said(&by_dane, UnknownIssuer),
        "TLS is demanded by DANE (the TLSA records of mx.example.org): no TLSA record matches the certificate: the TLS handshake \
         failed: invalid peer certificate: UnknownIssuer"
    );
    let enforcing = |config: &mut Config| config.relay.dane = false;
    let scene = scene_with(&dns, Some(&sts("enforce", "mx.example.org")), None, enforcing);
    let by_sts = scene.policy("example.org", false).await.unwrap();
    assert!(
        said(&by_sts, UnknownIssuer)
            .starts_with("TLS is demanded by the MTA-STS policy of example.org: the TLS")
    );
    let by_both = scene.policy("example.org", true).await.unwrap();
    assert!(said(&by_both, UnknownIssuer).contains("and by REQUIRETLS of the message: "));
    let dns = TestDns::signed(HOST);
    let by_message = scene_with(&dns, None, None, |_| {}).policy("example.org", true).await.unwrap();
    assert!(said(&by_message, UnknownIssuer).starts_with("TLS is demanded by REQUIRETLS of the message: "));
    let rule = ekitei_config::RelayRoute { tls: Some(TlsRule::Require), ..Default::default() };
    let ruled = scene_with(&dns, None, None, |config| config.relay.routes = vec![rule]);
    let by_rule = ruled.policy("example.org", false).await.unwrap();
    let refused = by_rule.attempt(Ipv4Addr::LOCALHOST.into(), None).not_offered(None).unwrap_err();
    assert_eq!(
        refused.text,
        "TLS is demanded by the configuration (tls in relay.routes or relay.smartHost): the server does not offer STARTTLS"
    );
}

#[tokio::test]
async fn a_certificate_with_thousands_of_names_makes_no_long_failure() {
    let dns = TestDns::start(&zone(STS_RECORD));
    let scene = scene(&dns, Some(&sts("enforce", "mx.example.org")), None);
    let tls = scene.policy("example.org", false).await.unwrap();
    let error = rustls::CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("mx.example.org").unwrap(),
        presented: (0..10_000).map(|n| format!("DnsName(\"mx{n}.example\\n\")")).collect(),
    };
    let text = said(&tls, error);
    assert!(text.len() <= 1000 && !text.contains(char::is_control), "{}", text.len());
}

#[tokio::test]
async fn who_waives_tls_is_not_held_to_what_the_destination_publishes() {
    let key = certificate(&["mx.example.org"]);
    let dns = TestDns::signed(&zone(&format!("{STS_RECORD}\n_25._tcp.mx.example.org TLSA {}", tlsa(&key))));
    let waived = scene(&dns, Some(&sts("enforce", "mx.elsewhere.example")), None);
    let tls = waived.policy_for("example.org", Wish::Waived).await.unwrap();
    assert!(tls.wanted() && !tls.mandatory());
    assert_eq!(handshake(&tls, &certificate(&["whoever.example"])).await, Ok(true));
    assert_eq!(tls.attempt(Ipv4Addr::LOCALHOST.into(), None).not_offered(None), Ok(()));
    assert_eq!(waived.heard.take(), [], "a report about this would only bring forth the next");
    let rule = ekitei_config::RelayRoute { tls: Some(TlsRule::Require), ..Default::default() };
    let ruled = scene_with(&dns, None, None, |config| config.relay.routes = vec![rule]);
    assert!(ruled.policy_for("example.org", Wish::Waived).await.unwrap().mandatory(), "our own rule holds");
}
