//! MailDomains: from nothing to a domain that receives and sends mail, and what may go wrong on the way and afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ekitei_api::{DkimStage, NewDomain, PageQuery};
use ekitei_kubernetes_tests::{Cluster, Knot, Lease, Operator, Pebble, Service, installed, wait_until};
use serde_json::{Value, json};

use crate::scene::condition;

/// How long a domain may take to become ready, on a slow machine.
const READY: Duration = Duration::from_secs(120);
/// The zone of the domains, which is signed.
const ZONE: &str = "example.org";
/// The variable that says how much faster an operator's clock runs, and its value where caches are waited for: half a minute is three seconds then.
const CLOCK: (&str, &str) = ("EKITEI_OPERATOR_CLOCK_RATE", "10");

/// Prints the conditions of an object, one a line.
const CONDITIONS: &str = r#"jsonpath={range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\t"}{.message}{"\n"}{end}"#;

/// Everything that runs. What ends first is first.
struct World {
    operator: Option<Operator>,
    service: Service,
    pebble: Pebble,
    knot: Knot,
    cluster: Lease,
    namespace: String,
    /// When the clocks of operators begin to run faster, in seconds since 1970: so that one that is started again does not go back in time.
    epoch: String,
}

impl World {
    /// Starts all but the operator, with a region that takes mail and a provider; `None`, and the test reported as skipped, where there are no programs for it.
    async fn new() -> Option<Self> {
        if !installed(&["knotd", "kdig", "knsupdate", "pebble", "curl"]) {
            return None;
        }
        let cluster = Cluster::lease().await?;
        let namespace = cluster.namespace("mail").await;
        let knot = Knot::start(&[(ZONE, true), ("example.net", false)]);
        let pebble = Pebble::start(knot.address());
        let service = Service::start(knot.address());
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
        let world = Self { operator: None, service, pebble, knot, cluster, namespace, epoch };
        provide(&world.cluster, &world.knot, &world.namespace, true).await;
        Some(world)
    }

    /// Starts an operator, in place of the one that there is.
    fn operate(&mut self, environment: &[(&str, &str)]) {
        self.operator = None;
        self.operator = Some(self.operator_in(&self.cluster, &self.namespace, environment));
    }

    fn operator_in(&self, cluster: &Cluster, namespace: &str, environment: &[(&str, &str)]) -> Operator {
        let arguments = [
            "--resync=3s".to_owned(),
            "--leader-election-seconds=3".to_owned(),
            // One that is started again has the lease at once, and need not wait until it runs out.
            "--identity=of-the-test".to_owned(),
            format!("--resolvers={}", self.knot.address()),
            format!("--acme-directory={}", self.pebble.directory()),
            format!("--acme-ca-file={}", self.pebble.ca().display()),
            "--acme-terms-of-service-agreed".to_owned(),
            "--log=info,ekitei_operator=debug".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let environment = [environment, &[("EKITEI_OPERATOR_CLOCK_EPOCH", self.epoch.as_str())]].concat();
        Operator::start(cluster, namespace, &self.service, &arguments, &environment)
    }

    fn operator(&mut self) -> &mut Operator {
        self.operator.as_mut().unwrap()
    }

    /// Makes the object of a domain, named as it.
    #[track_caller]
    fn domain(&self, name: &str, more: &Value) {
        self.cluster.apply(&domain(&self.namespace, name, more).to_string()).unwrap();
    }

    fn object(&self, what: &str) -> Value {
        object(&self.cluster, &self.namespace, what)
    }

    #[track_caller]
    fn wait(&self, name: &str, type_: &str, status: &str) -> Value {
        wait_for(&self.cluster, &self.namespace, name, type_, status)
    }

    #[track_caller]
    fn wait_reason(&self, name: &str, type_: &str, reason: &str) -> String {
        let mut last = Value::Null;
        let deadline = Instant::now() + READY;
        loop {
            last = condition(&self.object(&format!("md/{name}")), type_).unwrap_or(last);
            if last["reason"] == reason {
                return last["message"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "waited in vain for {type_}/{reason} of {name}; it is {last}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let all: Vec<&str> = ["-n", &self.namespace].into_iter().chain(arguments.iter().copied()).collect();
        self.cluster.kubectl(&all).unwrap()
    }

    /// The events of a domain with a reason: what they say.
    fn events(&self, reason: &str) -> Vec<String> {
        let field = format!("reason={reason}");
        let text = self.kubectl(&["get", "events.events.k8s.io", "--field-selector", &field, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        let notes =
            list["items"].as_array().unwrap().iter().map(|event| event["note"].as_str().unwrap().to_owned());
        notes.collect()
    }

    fn metric(&self, name: &str) -> Option<f64> {
        self.operator.as_ref().unwrap().metric(name)
    }

    /// All records of the status, as Knot serves them now, without those whose values are new for each domain; with the domain's name left out.
    fn served(&self, domain: &str) -> BTreeSet<String> {
        let status = self.object(&format!("md/{domain}"));
        let records = status["status"]["records"].as_array().unwrap().clone();
        let line = |record: &Value| {
            let (name, type_) = (record["name"].as_str().unwrap(), record["type"].as_str().unwrap());
            let values = self.knot.ask(name, type_).unwrap();
            let values = if name.contains("_domainkey") {
                format!("{} value", values.len())
            } else {
                values.join(" ")
            };
            let name =
                if name.contains("_domainkey") { "key".to_owned() } else { name.replace(domain, "DOMAIN") };
            format!("{name} {type_} {}", values.replace(domain, "DOMAIN"))
        };
        records.iter().map(line).collect()
    }

    /// The selectors of the domain's keys at a stage, in the service.
    async fn keys(&self, domain: &str, stage: DkimStage) -> Vec<String> {
        let keys = self.service.api().list_dkim_keys(&PageQuery::default()).await.unwrap().items;
        keys.into_iter()
            .filter(|key| key.domain == domain && key.stage == stage)
            .map(|key| key.selector)
            .collect()
    }
}

/// The objects that domains need: a provider with its key, and a region whose pods someone else keeps.
async fn provide(cluster: &Cluster, knot: &Knot, namespace: &str, has_region: bool) {
    cluster.secret(namespace, "tsig", &[("secret", &knot.tsig.secret)]).await;
    let server = knot.address().to_string();
    let provider = json!({
        "apiVersion": "ekitei.dev/v1alpha1", "kind": "DNSProvider", "metadata": {"name": "knot", "namespace": namespace},
        "spec": {
            "verification": {"servers": [server]},
            "rfc2136": {"server": server, "tsig": {"name": knot.tsig.name, "secretRef": {"name": "tsig", "key": "secret"}}},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "mail", "namespace": namespace},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 25}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": [],
        "metadata": {"name": "mail-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": "mail"}},
        "endpoints": [{"addresses": ["10.0.0.5"], "conditions": {"ready": true}}],
    });
    let mut region = json!({
        "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailRegion", "metadata": {"name": "tokyo", "namespace": namespace},
        "spec": {
            "host": "mx.example.net", "addresses": ["192.0.2.9"], "placement": {"existingService": {"name": "mail"}},
            "dns": {"provider": {"name": "knot"}, "ttl": 30}, "certificate": {"issuer": "None"},
        },
    });
    if !has_region {
        region["spec"].as_object_mut().unwrap().remove("dns");
    }
    for object in [provider, service, slice, region] {
        cluster.apply(&object.to_string()).unwrap();
    }
}

fn domain(namespace: &str, name: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "ekitei.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "domain": name, "homeRegion": "tokyo", "regions": [{"name": "tokyo"}],
            "dns": {"provider": {"name": "knot"}, "ttl": 30},
        },
    });
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn object(cluster: &Cluster, namespace: &str, what: &str) -> Value {
    let found = cluster.kubectl(&["-n", namespace, "get", what, "-o", "json"]);
    found.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

#[track_caller]
fn wait_for(cluster: &Cluster, namespace: &str, name: &str, type_: &str, status: &str) -> Value {
    let mut last = Value::Null;
    let deadline = Instant::now() + READY;
    loop {
        let domain = object(cluster, namespace, &format!("md/{name}"));
        last = condition(&domain, type_).unwrap_or(last);
        let current = domain["status"]["observedGeneration"] == domain["metadata"]["generation"];
        if last["status"] == status && current {
            return domain;
        }
        let conditions = &domain["status"]["conditions"];
        assert!(Instant::now() < deadline, "waited in vain for {type_}={status} of {name}: {conditions:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Domains of which only the records matter.
fn without_certificate() -> Value {
    json!({"certificate": {"issuer": "None"}})
}

#[tokio::test]
async fn a_domain_comes_from_nothing_to_ready_and_goes_again() {
    let Some(mut world) = World::new().await else { return };
    world.operate(&[]);
    let wanted = json!({
        "aliases": [{"localPart": "sales", "targets": ["alice@example.com"]}],
        "clients": {"host": "mail.example.org"},
        "accounts": {"quota": "1Gi"},
    });
    world.domain(ZONE, &wanted);
    let ready = world.wait(ZONE, "Ready", "True");
    println!("{}", world.kubectl(&["get", "md,mr,dp"]));
    println!("{}", world.kubectl(&["get", "md", ZONE, "-o", CONDITIONS]));
    println!("{}", world.kubectl(&["describe", "md", ZONE]));
    let status = &ready["status"];
    let all = status["records"].as_array().unwrap().len();
    assert_eq!(status["recordsVerified"], format!("{all}/{all}"));
    assert_eq!(status["signed"], true);
    let ask = |name: &str, type_: &str| world.knot.ask(name, type_).unwrap();
    assert_eq!(ask(ZONE, "MX"), ["10 mx.example.net."]);
    assert!(ask(ZONE, "TXT").contains(&"\"v=spf1 ip4:192.0.2.9 ~all\"".to_owned()));
    assert_eq!(ask("mail.example.org", "A"), ["192.0.2.9"]);
    assert_eq!(ask("_imaps._tcp.example.org", "SRV"), ["0 1 993 mail.example.org."]);
    for (name, tag) in [("_dmarc", "v=DMARC1"), ("_smtp._tls", "v=TLSRPTv1"), ("_mta-sts", "v=STSv1")] {
        let found = ask(&format!("{name}.{ZONE}"), "TXT");
        assert!(found.len() == 1 && found[0].contains(tag), "{name}: {found:?}");
    }
    in_the_service(&world).await;
    gone(&world).await;
}

/// The domain as the service has it.
async fn in_the_service(world: &World) {
    let api = world.service.api();
    let domain = api.domain(ZONE).await.unwrap();
    assert_eq!(domain.quota, Some(1 << 30));
    assert_eq!(domain.client_host.as_deref(), Some("mail.example.org"));
    assert_eq!(domain.mx_hosts, Some(vec!["mx.example.net".to_owned()]));
    let alias = api.alias("sales@example.org").await.unwrap();
    assert!(alias.targets.contains("alice@example.com"));
    let signing = world.keys(ZONE, DkimStage::Signing).await;
    assert_eq!(signing.len(), 2, "RSA and Ed25519: {signing:?}");
    for selector in &signing {
        let found = world.knot.ask(&format!("{selector}._domainkey.{ZONE}"), "TXT").unwrap();
        assert!(found[0].contains("v=DKIM1"), "{found:?}");
    }
    let certificate = api.certificate(&format!("domain.{ZONE}")).await.unwrap();
    for name in ["mta-sts", "autoconfig", "autodiscover", "mail"] {
        assert!(certificate.names.contains(&format!("{name}.{ZONE}")), "{:?}", certificate.names);
    }
    // The zone is signed, so programs find the key of it beside the host that they connect to.
    let record = format!("3 1 1 {}", certificate.spki_sha256);
    wait_until("the TLSA records", READY, || {
        [465, 587, 993, 143].iter().all(|port| {
            let found = world.knot.ask(&format!("_{port}._tcp.mail.{ZONE}"), "TLSA").unwrap_or_default();
            found.iter().map(|one| spaceless(one)).collect::<Vec<_>>() == [spaceless(&record)]
        })
    });
    world.wait(ZONE, "Ready", "True");
}

/// Hexadecimal digits in one case and one piece.
fn spaceless(record: &str) -> String {
    record.split_whitespace().collect::<String>().to_ascii_lowercase()
}

/// A domain that is deleted leaves no record, and its mail.
async fn gone(world: &World) {
    world.kubectl(&["delete", "md", ZONE, "--timeout=60s"]);
    for (name, type_) in [
        (ZONE, "MX"),
        ("_dmarc.example.org", "TXT"),
        ("mail.example.org", "A"),
        ("_993._tcp.mail.example.org", "TLSA"),
        ("_ekitei-owner.example.org", "TXT"),
    ] {
        assert_eq!(world.knot.ask(name, type_).unwrap(), Vec::<String>::new(), "{name} {type_}");
    }
    let api = world.service.api();
    assert!(api.domain(ZONE).await.is_ok(), "mail is retained unless the policy says otherwise");
    assert!(api.certificate(&format!("domain.{ZONE}")).await.is_err());
    assert_eq!(
        world.keys(ZONE, DkimStage::Signing).await,
        Vec::<String>::new(),
        "nothing is signed without records"
    );
}

#[tokio::test]
async fn what_somebody_else_changes_is_corrected_and_what_is_theirs_is_left_alone() {
    let Some(mut world) = World::new().await else { return };
    world.knot.update(
        ZONE,
        "update add example.org. 60 TXT \"theirs\"\nupdate add example.org. 60 CAA 0 issue \"ca.example\"",
    );
    world.operate(&[]);
    let mut wanted = without_certificate();
    wanted["caa"] = json!({"issuers": ["ours.example"]});
    world.domain(ZONE, &wanted);
    world.wait(ZONE, "Ready", "True");
    assert!(world.knot.ask(ZONE, "TXT").unwrap().contains(&"\"theirs\"".to_owned()));
    assert_eq!(authorities(&world), ["ca.example", "ours.example"]);
    world.knot.update(ZONE, "update delete example.org. MX\nupdate add example.org. 60 MX 5 evil.example.");
    wait_until("the MX record to be ours again", READY, || {
        world.knot.ask(ZONE, "MX").unwrap() == ["10 mx.example.net."]
    });
    world.wait(ZONE, "Ready", "True");
    assert!(world.metric("ekitei_operator_drift_corrected_total{kind=\"MailDomain\"}").unwrap() >= 1.0);
    wait_until("an event", READY, || {
        world.events("DriftCorrected").iter().any(|note| note.contains("example.org MX"))
    });
    world.kubectl(&["delete", "md", ZONE, "--timeout=60s"]);
    assert_eq!(world.knot.ask(ZONE, "TXT").unwrap(), ["\"theirs\""]);
    assert_eq!(authorities(&world), ["ca.example"]);
}

/// The authorities that may issue certificates for the domain.
fn authorities(world: &World) -> Vec<String> {
    let values = world.knot.ask(ZONE, "CAA").unwrap();
    values.iter().map(|value| value.split('"').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_provider_that_is_away_or_refuses_us_is_told_and_waited_for() {
    let Some(mut world) = World::new().await else { return };
    world.operate(&[]);
    world.cluster.secret(&world.namespace, "tsig", &[("secret", &Knot::start(&[]).tsig.secret)]).await;
    world.domain(ZONE, &without_certificate());
    world.wait_reason(ZONE, "DNSPublished", "CredentialsRefused");
    assert_eq!(world.knot.ask(ZONE, "MX").unwrap(), Vec::<String>::new());
    world.cluster.secret(&world.namespace, "tsig", &[("secret", &world.knot.tsig.secret)]).await;
    world.wait(ZONE, "Ready", "True");
    world.knot.stop();
    world.wait(ZONE, "Ready", "False");
    // What does not need the provider goes on.
    world.domain(ZONE, &json!({"certificate": {"issuer": "None"}, "postmaster": "alice@example.com"}));
    let api = world.service.api();
    let deadline = Instant::now() + READY;
    while api.domain(ZONE).await.unwrap().postmaster.is_none() {
        assert!(Instant::now() < deadline, "the service was not told");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(world.keys(ZONE, DkimStage::Signing).await.len(), 2, "keys that sign go on signing");
    waits_for_the_provider(&world);
}

/// While the provider is away, a deleted domain waits for it; until a person gives its records up.
fn waits_for_the_provider(world: &World) {
    world.kubectl(&["delete", "md", ZONE, "--wait=false"]);
    wait_until("an event", READY, || !world.events("DeletionWaits").is_empty());
    assert!(!world.object(&format!("md/{ZONE}")).is_null());
    world.kubectl(&["annotate", "md", ZONE, "ekitei.dev/abandon=true"]);
    wait_until("the domain to be gone", READY, || world.object(&format!("md/{ZONE}")).is_null());
}

/// Every point at which the operator can be made to fail for a domain.
const POINTS: [&str; 15] = [
    "accepted",
    "service.create",
    "service.created",
    "service.aliases",
    "dkim.create",
    "dkim.created",
    "served",
    "records.intent",
    "records.applied",
    "records.stored",
    "dkim.activate",
    "dkim.acted",
    "published",
    "certified",
    "status",
];

#[tokio::test]
async fn an_operator_that_dies_at_any_step_goes_on_where_it_was() {
    let Some(mut world) = World::new().await else { return };
    let mut wanted = without_certificate();
    wanted["aliases"] = json!([{"localPart": "sales", "targets": ["alice@example.com"]}]);
    world.operate(&[CLOCK]);
    world.domain("whole.example.org", &wanted);
    world.wait("whole.example.org", "Ready", "True");
    let reference = world.served("whole.example.org");
    let named_after = |point: &str| format!("{}.example.org", point.replace('.', "-"));
    for point in POINTS {
        let at = format!("{point}:1");
        world.kubectl(&["annotate", "md", "--all", "ekitei.dev/paused=true"]);
        world.operate(&[CLOCK, ("EKITEI_OPERATOR_FAIL_AT", &at), ("EKITEI_OPERATOR_FAIL_BY", "exit")]);
        let name = named_after(point);
        world.domain(&name, &wanted);
        wait_until(&format!("the operator to die at {point}"), READY, || !world.operator().runs());
        let ready = condition(&world.object(&format!("md/{name}")), "Ready");
        assert!(ready.is_none_or(|ready| ready["status"] != "True"), "it dies before all is done: {point}");
    }
    world.operate(&[CLOCK]);
    world.kubectl(&["annotate", "md", "--all", "ekitei.dev/paused-"]);
    for point in POINTS {
        let name = named_after(point);
        let domain = world.wait(&name, "Ready", "True");
        assert_eq!(world.served(&name), reference, "after a death at {point}");
        let keys = world.keys(&name, DkimStage::Signing).await;
        assert_eq!(keys.len(), 2, "after a death at {point}: {keys:?}");
        assert_eq!(domain["status"]["aliases"], json!([format!("sales@{name}")]));
    }
}

#[tokio::test]
async fn a_step_that_fails_is_tried_again() {
    let Some(mut world) = World::new().await else { return };
    world.operate(&[CLOCK, ("EKITEI_OPERATOR_FAIL_AT", "records.stored:3")]);
    world.domain(ZONE, &without_certificate());
    wait_until("three failures", READY, || {
        let line = "ekitei_operator_reconcile_failures_total{kind=\"MailDomain\",reason=\"FailPoint\"}";
        world.metric(line) == Some(3.0)
    });
    world.wait(ZONE, "Ready", "True");
    assert!(world.events("FailPoint").len() == 1, "the same is said once");
}

#[tokio::test]
async fn operators_of_two_clusters_share_a_zone() {
    let Some(mut world) = World::new().await else { return };
    let other = Cluster::another().await;
    let namespace = other.namespace("mail").await;
    // Its records are written where the region is.
    provide(&other, &world.knot, &namespace, false).await;
    world.operate(&[]);
    let second = world.operator_in(&other, &namespace, &[]);
    let wanted = without_certificate();
    world.domain(ZONE, &wanted);
    other.apply(&domain(&namespace, ZONE, &wanted).to_string()).unwrap();
    world.wait(ZONE, "Ready", "True");
    wait_for(&other, &namespace, ZONE, "Ready", "True");
    assert_eq!(world.keys(ZONE, DkimStage::Signing).await.len(), 2, "they agree on the keys");
    let serial = || world.knot.ask(ZONE, "SOA").unwrap();
    let before = serial();
    world.operator.as_ref().unwrap().wait_for_looks("MailDomain");
    second.wait_for_looks("MailDomain");
    assert_eq!(serial(), before, "neither writes what the other has written");
}

#[tokio::test]
async fn a_domain_belongs_to_the_oldest_object_until_that_is_gone() {
    let Some(mut world) = World::new().await else { return };
    world.operate(&[]);
    world.domain(ZONE, &without_certificate());
    world.wait(ZONE, "Ready", "True");
    let mut rival = domain(&world.namespace, ZONE, &without_certificate());
    rival["metadata"]["name"] = json!("rival");
    rival["spec"]["deletionPolicy"] = json!({"dns": "Delete", "mail": "Delete"});
    std::thread::sleep(Duration::from_millis(1100));
    world.cluster.apply(&rival.to_string()).unwrap();
    let message = world.wait_reason("rival", "Accepted", "DomainConflict");
    assert!(message.contains(&format!("{}/{ZONE}", world.namespace)), "{message}");
    world.kubectl(&["delete", "md", ZONE, "--timeout=60s"]);
    world.wait("rival", "Ready", "True");
    world
        .service
        .api()
        .create_domain(&NewDomain { name: ZONE.to_owned(), ..NewDomain::default() })
        .await
        .unwrap_err();
    world.kubectl(&["delete", "md", "rival", "--timeout=60s"]);
    assert!(world.service.api().domain(ZONE).await.is_err(), "its policy is to delete the mail");
}

#[tokio::test]
async fn a_domain_of_the_service_is_a_tenants_only_if_an_administrator_says_so() {
    let Some(mut world) = World::new().await else { return };
    let tenant = world.cluster.namespace("tenant").await;
    let made = NewDomain { name: ZONE.to_owned(), ..NewDomain::default() };
    world.service.api().create_domain(&made).await.unwrap();
    world.operate(&[]);
    let mut wanted = without_certificate();
    wanted["deletionPolicy"] = json!({"dns": "Delete", "mail": "Delete"});
    let wanted = domain(&tenant, ZONE, &wanted).to_string();
    world.cluster.apply(&wanted).unwrap();
    let refused = wait_for(&world.cluster, &tenant, ZONE, "Accepted", "False");
    assert_eq!(condition(&refused, "Accepted").unwrap()["reason"], "DomainInUse");
    // One that may have it does not wait for the tenant's, which is older.
    world.domain(ZONE, &without_certificate());
    world.wait(ZONE, "Accepted", "True");
    world.kubectl(&["delete", "md", ZONE, "--timeout=60s"]);
    world.cluster.kubectl(&["-n", &tenant, "delete", "md", ZONE, "--timeout=60s"]).unwrap();
    world.service.api().domain(ZONE).await.expect("it is not the tenant's to delete");

    world.cluster.apply(&wanted).unwrap();
    wait_for(&world.cluster, &tenant, ZONE, "Accepted", "False");
    world.cluster.kubectl(&["label", "namespace", &tenant, "ekitei.dev/adopt=true"]).unwrap();
    wait_for(&world.cluster, &tenant, ZONE, "Accepted", "True");
    world.cluster.kubectl(&["label", "namespace", &tenant, "ekitei.dev/adopt-"]).unwrap();
    world.operator().wait_for_looks("MailDomain");
    let kept = wait_for(&world.cluster, &tenant, ZONE, "Accepted", "True");
    assert_eq!(kept["status"]["claimedIn"], "operator", "what it was given it keeps");

    // What nobody has is anybody's.
    world.cluster.apply(&domain(&tenant, "example.net", &without_certificate()).to_string()).unwrap();
    wait_for(&world.cluster, &tenant, "example.net", "Accepted", "True");
}

#[tokio::test]
async fn keys_are_replaced_in_time_and_records_stay_as_long_as_mail_is_under_way() {
    let Some(mut world) = World::new().await else { return };
    // A day passes in six seconds.
    world.operate(&[("EKITEI_OPERATOR_CLOCK_RATE", "14400")]);
    let mut wanted = without_certificate();
    wanted["dkim"] = json!({"algorithms": ["ed25519"], "rotation": "72h", "keepRetired": "48h"});
    world.domain(ZONE, &wanted);
    world.wait(ZONE, "Ready", "True");
    let first = world.keys(ZONE, DkimStage::Signing).await;
    let deadline = Instant::now() + READY;
    let mut retired_with_record = false;
    loop {
        let signing = world.keys(ZONE, DkimStage::Signing).await;
        assert_eq!(signing.len(), 1, "one key signs at every time: {signing:?}");
        let record =
            |selector: &str| world.knot.ask(&format!("{selector}._domainkey.{ZONE}"), "TXT").unwrap();
        // The key may be replaced between the two questions, but its record stays.
        assert!(!record(&signing[0]).is_empty(), "{} signs without a record", signing[0]);
        retired_with_record |= signing != first && !record(&first[0]).is_empty();
        if signing != first && record(&first[0]).is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the first key is not gone: {:#}",
            world.object("md/example.org")["status"]["dkimKeys"]
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(retired_with_record, "the record of the first key went with the key");
    assert!(!world.keys(ZONE, DkimStage::Retired).await.contains(&first[0]), "the key is gone, too");
}
