//! A filter that asks a DNS server on the loopback, and messages that are really signed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ekitei_config::{Config, Live};
use ekitei_directory::Directory;
use ekitei_dns::testing::TestDns;
use ekitei_filter::{
    Client, Disposition, DmarcOutcome, DmarcReporter, Filter, FilterContext, Greylist, Judgement,
    SenderParameters, Session, Verdict,
};
use ekitei_kv::Database;
use ekitei_kv::clock::{ManualClock, SharedClock};
use ekitei_telemetry::Registry;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

/// The client's address, which its name leads back to in [`ZONE`].
pub const CLIENT: &str = "192.0.2.1";
/// Names that most tests need.
pub const ZONE: &str = "1.2.0.192.in-addr.arpa PTR mail.sender.test\n\
                        mail.sender.test A 192.0.2.1\n\
                        mail.sender.test TXT \"v=spf1 a -all\"\n\
                        sender.test TXT \"v=spf1 ip4:192.0.2.1 -all\"\n\
                        stranger.test TXT \"v=spf1 -all\"\n";

/// Keeps what is reported.
#[derive(Default)]
pub struct Reports(pub Mutex<Vec<DmarcOutcome>>);

impl DmarcReporter for Reports {
    fn report(&self, outcome: DmarcOutcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

pub struct World {
    pub dns: TestDns,
    pub filter: Filter,
    pub reports: Arc<Reports>,
    pub registry: Registry,
}

impl World {
    /// [`ZONE`] and `zone`.
    pub fn new(zone: &str) -> Self {
        Self::with(zone, |_| {})
    }

    pub fn with(zone: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_clock(zone, ManualClock::new(Duration::from_secs(1_767_323_045)), change)
    }

    pub fn with_clock(zone: &str, clock: SharedClock, change: impl FnOnce(&mut Config)) -> Self {
        let dns = TestDns::start(&format!("{ZONE}{zone}"));
        let database = Database::in_memory();
        let mut config = Config { hostname: "mx.here.test".to_owned(), ..Config::default() };
        change(&mut config);
        let (live, registry, reports) = (Live::new(config), Registry::new(), Arc::new(Reports::default()));
        let directory =
            Directory::new(database.clone(), ekitei_directory::Settings::default(), clock.clone());
        let greylist = Greylist::new(live.clone(), database.clone(), clock.clone(), &registry);
        let filter = Filter::new(FilterContext {
            live,
            dns: dns.resolver(),
            database,
            directory,
            clock,
            greylist,
            registry: registry.clone(),
        });
        let filter = filter.with_reporter(reports.clone());
        Self { dns, filter, reports, registry }
    }

    pub fn session(&self) -> Session {
        self.session_from(CLIENT)
    }

    pub fn session_from(&self, client: &str) -> Session {
        let client =
            Client { address: client.parse().unwrap(), trusted: false, authenticated: false, tls: false };
        self.filter.session(client, 40_000)
    }

    /// What becomes of a message from `mail.sender.test` to `bob@here.test`.
    pub async fn judge(&self, reverse_path: &str, message: impl Into<Bytes>) -> Judgement {
        let mut session = self.session();
        begin(&mut session, "mail.sender.test", reverse_path, &["bob@here.test"]).await;
        session.message(message.into()).await
    }
}

/// EHLO, MAIL and RCPT, which nothing is said against.
pub async fn begin(session: &mut Session, hello: &str, reverse_path: &str, recipients: &[&str]) {
    assert_eq!(session.hello(hello).await, Verdict::Continue);
    assert_eq!(session.sender(reverse_path, SenderParameters::default()).await, Verdict::Continue);
    for recipient in recipients {
        assert_eq!(session.recipient(recipient, true, &[]).await, Verdict::Continue);
    }
}

pub fn message(from: &str) -> Vec<u8> {
    format!("From: {from}\r\nTo: bob@here.test\r\nSubject: hello\r\n\r\nHello.\r\n").into_bytes()
}

/// A key, and its record in the zone.
pub struct Key {
    pkcs8: Vec<u8>,
    domain: String,
}

impl Key {
    pub fn new(domain: &str) -> Self {
        Self { pkcs8: Ed25519Key::generate_pkcs8().unwrap(), domain: domain.to_owned() }
    }

    pub fn secret(&self) -> Ed25519Key {
        Ed25519Key::from_pkcs8_maybe_unchecked_der(&self.pkcs8).unwrap()
    }

    pub fn record(&self) -> String {
        use base64::Engine as _;
        let public = base64::engine::general_purpose::STANDARD.encode(self.secret().public_key());
        format!("s1._domainkey.{} TXT \"v=DKIM1; k=ed25519; p={public}\"\n", self.domain)
    }

    /// The message with a signature in front.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_fields(message, &["From", "To", "Subject"])
    }

    pub fn sign_fields(&self, message: &[u8], fields: &[&str]) -> Vec<u8> {
        let signer = DkimSigner::from_key(self.secret())
            .domain(self.domain.as_str())
            .selector("s1")
            .headers(fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>());
        let mut signed = signer.sign(message).unwrap().to_header().into_bytes();
        signed.extend_from_slice(message);
        signed
    }
}

/// The enhanced status code of a refusal; else what becomes of the message.
pub fn outcome(judgement: &Judgement) -> &str {
    match &judgement.disposition {
        Disposition::Accept => "accept",
        Disposition::Junk => "junk",
        Disposition::Discard => "discard",
        Disposition::Refuse(refusal) => &refusal.enhanced,
    }
}

/// The results of one method, in order.
pub fn results<'a>(judgement: &'a Judgement, method: &str) -> Vec<&'a str> {
    judgement
        .results
        .split(';')
        .filter_map(|part| part.trim().strip_prefix(method)?.strip_prefix('=')?.split_whitespace().next())
        .collect()
}
