//! The admin API over a loopback socket, asked by the client that the command line uses.

use std::collections::BTreeSet;

use ekitei_api::{
    AccountPatch, AliasTargets, CheckStatus, Client, ClientError, DeliverabilityVerdict, DomainPatch,
    Forwarding, GroupPatch, ImportQuery, MtaSts, MtaStsMode, NewAccount, NewAlias, NewDomain, NewGroup,
    PageQuery, ProblemCode,
};
use ekitei_dns::testing::TestDns;
use ekitei_http::openapi;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Service, TOKEN};

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ProblemCode {
    match result {
        Err(ClientError::Problem(problem)) => {
            assert_eq!(problem.status, problem.code.status().0);
            problem.code
        }
        other => panic!("{other:?}"),
    }
}

fn new_account(address: &str) -> NewAccount {
    NewAccount {
        address: address.to_owned(),
        display_name: String::new(),
        password: Some("correct horse".to_owned()),
        password_hash: None,
        quota: None,
        enabled: true,
        forwarding: None,
    }
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

async fn with_alice(client: &Client) {
    client
        .create_domain(&NewDomain { name: "example.test".to_owned(), ..NewDomain::default() })
        .await
        .unwrap();
    client.create_account(&new_account("alice@example.test")).await.unwrap();
}

#[tokio::test]
async fn only_the_bearer_of_the_token_is_let_in() {
    let service = Service::start().await;
    service.client().server().await.unwrap();
    for token in [None, Some(""), Some("the token of this tesT"), Some("the token of this test and more")] {
        let refused = service.client_with(token).server().await;
        assert_eq!(code(refused), ProblemCode::Unauthorized, "{token:?}");
    }
    let answer = service.raw("GET /api/v1/domains HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn forwarding_is_set_as_a_whole_and_null_ends_it() {
    let service = Service::start().await;
    let client = service.client();
    with_alice(&client).await;
    let forwarding =
        Forwarding { addresses: set(&["a@elsewhere.test", "b@elsewhere.test"]), keep_copy: false };
    let bob = NewAccount { forwarding: Some(forwarding.clone()), ..new_account("bob@example.test") };
    assert_eq!(client.create_account(&bob).await.unwrap().forwarding, Some(forwarding));
    let auth = format!("Authorization: Bearer {TOKEN}");
    let patch = async |body: &str| {
        service.raw(&format!("PATCH /api/v1/accounts/bob@example.test HTTP/1.1\r\n{auth}"), body).await
    };
    let answer = patch(r#"{"forwarding":{"addresses":["c@elsewhere.test"]}}"#).await;
    let shown = r#""forwarding":{"addresses":["c@elsewhere.test"],"keep_copy":true}"#;
    assert!(answer.contains(shown), "a copy is kept where nothing else is said: {answer}");
    assert!(patch(r#"{"display_name":"Bob"}"#).await.contains(shown), "what is not named stays");
    for bad in [
        r#"{"forwarding":{"addresses":[]}}"#,
        r#"{"forwarding":{"addresses":["bob@example.test"]}}"#,
        r#"{"forwarding":{"addresses":["nobody"]}}"#,
        r#"{"forwarding":{"keep_copy":true}}"#,
    ] {
        let answer = patch(bad).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad}: {answer}");
    }
    assert!(patch(r#"{"forwarding":null}"#).await.contains(r#""forwarding":null"#));
}

#[tokio::test]
async fn a_domain_has_hosts_and_a_policy_of_its_own() {
    let service = Service::start().await;
    let client = service.client();
    with_alice(&client).await;
    let of_service = client.mta_sts_policy("example.test").await.unwrap();
    let policy = MtaSts { mode: MtaStsMode::Enforce, mx: Vec::new(), max_age: 86_400 };
    let patch = DomainPatch {
        mta_sts: Some(Some(policy.clone())),
        client_host: Some(Some("Mail.Example.test".to_owned())),
        mx_hosts: Some(Some(vec!["mx-eu.example.test".to_owned(), "mx-us.example.test".to_owned()])),
        ..DomainPatch::default()
    };
    let domain = client.update_domain("example.test", &patch, None).await.unwrap();
    assert_eq!((domain.mta_sts, domain.client_host.as_deref()), (Some(policy), Some("mail.example.test")));
    assert_eq!(client.domain("example.test").await.unwrap().mx_hosts.unwrap().len(), 2);
    let own = client.mta_sts_policy("example.test").await.unwrap();
    let expected = "version: STSv1\r\nmode: enforce\r\nmx: mx-eu.example.test\r\nmx: mx-us.example.test\r\nmax_age: 86400\r\n";
    assert_eq!(own.policy, expected);
    assert_ne!(own.id, of_service.id);

    for bad in [
        DomainPatch { client_host: Some(Some("a b".to_owned())), ..DomainPatch::default() },
        DomainPatch { mx_hosts: Some(Some(Vec::new())), ..DomainPatch::default() },
        DomainPatch {
            mta_sts: Some(Some(MtaSts { mode: MtaStsMode::Testing, mx: vec!["*".to_owned()], max_age: 1 })),
            ..DomainPatch::default()
        },
    ] {
        assert_eq!(code(client.update_domain("example.test", &bad, None).await), ProblemCode::Invalid);
    }
    let patch = DomainPatch {
        mta_sts: Some(None),
        client_host: Some(None),
        mx_hosts: Some(None),
        ..DomainPatch::default()
    };
    client.update_domain("example.test", &patch, None).await.unwrap();
    assert_eq!(client.mta_sts_policy("example.test").await.unwrap(), of_service);
    assert_eq!(code(client.mta_sts_policy("elsewhere.test").await), ProblemCode::NotFound);
}

#[tokio::test]
async fn every_described_operation_exists_and_needs_the_token() {
    let service = Service::start().await;
    let description = serde_json::to_value(openapi()).unwrap();
    let mut operations = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            operations += 1;
            let path = path.replace(['{', '}'], "");
            let answer = service.raw(&format!("{} {path} HTTP/1.1", method.to_uppercase()), "").await;
            let expected = if path.starts_with("/api/v1/") { "HTTP/1.1 401 " } else { "HTTP/1.1 200 " };
            assert!(answer.starts_with(expected), "{method} {path}: {answer}");
        }
    }
    assert!(operations >= 30, "{operations} operations are described");
    let served = service.raw("GET /api/openapi.json HTTP/1.1", "").await;
    assert!(served.contains("\"/api/v1/accounts/{account}/messages\""));
}

#[tokio::test]
async fn what_is_no_request_is_a_problem_that_says_why() {
    let service = Service::start().await;
    let auth = format!("Authorization: Bearer {TOKEN}");
    for (head, body, status, says) in [
        ("GET /nowhere HTTP/1.1", "", 404, "no such path"),
        ("DELETE /api/v1/domains HTTP/1.1", "", 405, "method"),
        ("POST /api/v1/domains HTTP/1.1", "{", 400, "EOF"),
        (
            "POST /api/v1/domains HTTP/1.1",
            r#"{"name":"a.test","colour":"red"}"#,
            400,
            "unknown field `colour`",
        ),
        ("POST /api/v1/domains HTTP/1.1", r#"{"name":"not a domain"}"#, 400, "not a domain name"),
        ("GET /api/v1/domains?limit=many HTTP/1.1", "", 400, "limit"),
        ("GET /api/v1/accounts/no-address HTTP/1.1", "", 400, "no @"),
        ("PATCH /api/v1/domains/a.test HTTP/1.1\r\nIf-Match: nonsense", "{}", 400, "If-Match"),
    ] {
        let answer = service.raw(&format!("{head}\r\n{auth}"), body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains("application/problem+json") && answer.contains(says), "{head}: {answer}");
    }
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(2 << 20));
    let answer = service.raw(&format!("POST /api/v1/domains HTTP/1.1\r\n{auth}"), &large).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn objects_are_created_changed_listed_and_removed() {
    let service = Service::start().await;
    let client = service.client();
    with_alice(&client).await;
    assert_eq!(
        code(client.create_account(&new_account("Alice@example.test")).await),
        ProblemCode::AlreadyExists
    );
    assert_eq!(code(client.create_account(&new_account("a@elsewhere.test")).await), ProblemCode::NotFound);

    let alice = client.account("alice@example.test").await.unwrap();
    assert_eq!(client.account(&alice.id.to_string()).await.unwrap(), alice, "by number as well");
    let patch = AccountPatch { quota: Some(Some(1 << 30)), ..AccountPatch::default() };
    let changed = client.update_account("alice@example.test", &patch, Some(&alice.revision)).await.unwrap();
    assert_eq!(changed.quota, Some(1 << 30));
    let stale = client.update_account("alice@example.test", &patch, Some(&alice.revision)).await;
    assert_eq!(code(stale), ProblemCode::Stale);
    let patch = AccountPatch { quota: Some(None), ..AccountPatch::default() };
    assert_eq!(
        client.update_account("alice@example.test", &patch, None).await.unwrap().quota,
        None,
        "null removes"
    );

    let targets = AliasTargets { targets: set(&["alice@example.test"]) };
    let alias = client.put_alias("info@example.test", &targets, None).await.unwrap();
    let again = client.put_alias("info@example.test", &targets, Some(&alias.revision)).await.unwrap();
    assert_eq!(again.targets, set(&["alice@example.test"]));
    let new = NewAlias { address: "info@example.test".to_owned(), targets: set(&["alice@example.test"]) };
    assert_eq!(code(client.create_alias(&new).await), ProblemCode::AlreadyExists);

    let new = NewGroup {
        address: "team@example.test".to_owned(),
        display_name: "Team".to_owned(),
        members_may_send: false,
        members: set(&["alice@example.test"]),
    };
    client.create_group(&new).await.unwrap();
    let patch = GroupPatch { members_may_send: Some(true), ..GroupPatch::default() };
    assert!(client.update_group("team@example.test", &patch, None).await.unwrap().members_may_send);
    client.add_member("team@example.test", "bob@elsewhere.test").await.unwrap();
    client.remove_member("team@example.test", "alice@example.test").await.unwrap();
    let members = client.list_members("team@example.test", &PageQuery::default()).await.unwrap();
    assert_eq!(members.items, ["bob@elsewhere.test"]);

    let made = client.create_app_password("alice@example.test", "mail on the phone/2").await.unwrap();
    assert!(made.password.len() >= 25);
    let listed = client.list_app_passwords("alice@example.test").await.unwrap().items;
    assert_eq!(listed[0].name, "mail on the phone/2");
    client.delete_app_password("alice@example.test", "mail on the phone/2").await.unwrap();

    assert_eq!(code(client.delete_domain("example.test", false).await), ProblemCode::InUse);
    let patch =
        DomainPatch { catch_all: Some(Some("alice@example.test".to_owned())), ..DomainPatch::default() };
    assert!(client.update_domain("example.test", &patch, None).await.unwrap().catch_all.is_some());
    client.delete_domain("example.test", true).await.unwrap();
    assert!(client.list_accounts(&PageQuery::default()).await.unwrap().items.is_empty());
    assert_eq!(code(client.domain("example.test").await), ProblemCode::NotFound);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let service = Service::start().await;
    let client = service.client();
    with_alice(&client).await;
    for n in 0..4 {
        client.create_account(&new_account(&format!("user{n}@example.test"))).await.unwrap();
    }
    let mut query = PageQuery { limit: Some(2), domain: Some("example.test".to_owned()), after: None };
    let mut seen = Vec::new();
    loop {
        let page = client.list_accounts(&query).await.unwrap();
        seen.extend(page.items.into_iter().map(|account| account.address));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn an_imported_message_is_exported_octet_for_octet() {
    let service = Service::start().await;
    let client = service.client();
    with_alice(&client).await;
    let message = b"Subject: \xff\xfe\r\n\r\nbare \n and \r\x00 and an end without a line end".to_vec();
    let query = ImportQuery {
        mailbox: Some("Archive/2020".to_owned()),
        create: true,
        flags: "\\Seen $Forwarded".to_owned(),
        received: Some(1_600_000_000),
    };
    let made = client.import_message("alice@example.test", &query, message.clone()).await.unwrap();
    let exported = client.export_message("alice@example.test", "Archive/2020", made.uid).await.unwrap();
    assert_eq!(exported, message);
    let listed = client
        .list_messages("alice@example.test", "Archive/2020", &PageQuery::default())
        .await
        .unwrap()
        .items;
    assert_eq!((listed[0].received, listed[0].size), (1_600_000_000, message.len() as u64));
    assert_eq!(listed[0].flags, ["\\Seen", "$Forwarded"]);

    let unix = client
        .import_message("alice@example.test", &ImportQuery::default(), b"Subject: x\n\ny\n".to_vec())
        .await;
    let exported = client.export_message("alice@example.test", "INBOX", unix.unwrap().uid).await.unwrap();
    assert_eq!(exported, b"Subject: x\r\n\r\ny\r\n", "a file of Unix gets CRLF");

    let mailboxes = client.list_mailboxes("alice@example.test").await.unwrap().items;
    let archive = mailboxes.iter().find(|mailbox| mailbox.name == "Archive/2020").unwrap();
    assert_eq!((archive.messages, archive.unseen, archive.size), (1, 0, message.len() as u64));
    assert!(mailboxes.iter().any(|mailbox| mailbox.special_use.as_deref() == Some("\\Sent")));
}

#[tokio::test]
async fn imports_that_cannot_be_are_refused() {
    let service = Service::start().await;
    let client = service.client();
    with_alice(&client).await;
    let into = |mailbox: &str, flags: &str| ImportQuery {
        mailbox: Some(mailbox.to_owned()),
        flags: flags.to_owned(),
        ..ImportQuery::default()
    };
    let message = || b"Subject: x\r\n\r\ny\r\n".to_vec();
    let import = async |query: ImportQuery, message| {
        client.import_message("alice@example.test", &query, message).await
    };
    assert_eq!(code(import(into("Nowhere", ""), message()).await), ProblemCode::NotFound);
    assert_eq!(code(import(into("a//b", ""), message()).await), ProblemCode::Invalid);
    assert_eq!(code(import(into("INBOX", "\\Unknown"), message()).await), ProblemCode::Invalid);
    assert_eq!(code(import(into("INBOX", ""), Vec::new()).await), ProblemCode::Invalid);
    assert_eq!(code(import(into("INBOX", ""), vec![b'x'; 65 << 10]).await), ProblemCode::TooLarge);
    // The answer comes while the client is still sending.
    assert_eq!(code(import(into("INBOX", ""), vec![b'x'; 20 << 20]).await), ProblemCode::TooLarge);
    let patch = AccountPatch { quota: Some(Some(10)), ..AccountPatch::default() };
    client.update_account("alice@example.test", &patch, None).await.unwrap();
    assert_eq!(code(import(into("INBOX", ""), message()).await), ProblemCode::OverQuota);
    assert_eq!(code(client.export_message("alice@example.test", "INBOX", 1).await), ProblemCode::NotFound);
}

#[tokio::test]
async fn clients_that_are_gone_do_not_keep_others_from_importing() {
    let service = Service::with(|config| {
        config.admin.request_timeout = ekitei_config::Duration::millis(200);
    })
    .await;
    let client = service.client();
    with_alice(&client).await;
    let mut gone = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        let head = "POST /api/v1/accounts/alice@example.test/messages HTTP/1.1";
        let request =
            format!("{head}\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        gone.push(stream);
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let query = ImportQuery::default();
    let import = client.import_message("alice@example.test", &query, b"Subject: x\r\n\r\n".to_vec());
    let imported = tokio::time::timeout(std::time::Duration::from_secs(10), import).await;
    imported.expect("imports have stopped").unwrap();
    let mut answer = [0; 1024];
    let read = gone[0].read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.contains("\"timeout\""), "{answer}");
}

#[tokio::test]
async fn a_removed_account_leaves_no_mail_to_its_successor() {
    let service = Service::start().await;
    let client = service.client();
    with_alice(&client).await;
    let message = b"Subject: secret\r\n\r\n\r\n".to_vec();
    client.import_message("alice@example.test", &ImportQuery::default(), message).await.unwrap();
    client.delete_account("alice@example.test").await.unwrap();
    assert_eq!(code(client.account("alice@example.test").await), ProblemCode::NotFound);
    client.create_account(&new_account("alice@example.test")).await.unwrap();
    let inbox = client.list_messages("alice@example.test", "INBOX", &PageQuery::default()).await.unwrap();
    assert!(inbox.items.is_empty());
}

#[tokio::test]
async fn probes_and_metrics_need_no_token_and_readiness_ends_with_the_shutdown() {
    let service = Service::start().await;
    assert!(service.raw("GET /healthz/live HTTP/1.1", "").await.starts_with("HTTP/1.1 200 "));
    assert!(service.raw("GET /healthz/ready HTTP/1.1", "").await.starts_with("HTTP/1.1 200 "));
    let metrics = service.raw("GET /metrics HTTP/1.1", "").await;
    assert!(
        metrics.contains("ekitei_http_requests_total{route=\"GET /healthz/ready\",status=\"200\"} 1"),
        "{metrics}"
    );

    assert!(service.raw("BREW /healthz/live HTTP/1.1", "").await.starts_with("HTTP/1.1 405 "));
    let metrics = service.raw("GET /metrics HTTP/1.1", "").await;
    assert!(metrics.contains("route=\"OTHER /healthz/live\""), "clients make no labels: {metrics}");

    // New connections are refused from now on; one that is open is told, or ends.
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(b"GET /healthz/ready HTTP/1.1\r\nHost: test\r\n").await.unwrap();
    tokio::task::yield_now().await;
    service.shutdown.begin();
    stream.write_all(b"\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn the_doctor_looks_at_store_certificates_and_names() {
    let service = Service::start().await;
    let checks = service.client().doctor().await.unwrap().checks;
    let status = |name: &str| checks.iter().find(|check| check.name == name).map(|check| check.status);
    assert_eq!(status("store"), Some(CheckStatus::Ok));
    assert_eq!(status("bodies"), Some(CheckStatus::Ok));
    assert_eq!(status("certificates"), Some(CheckStatus::Failure), "none is configured here");
    assert_eq!(status("DNS localhost"), Some(CheckStatus::Ok));
}

#[tokio::test]
async fn the_doctor_says_what_a_domain_of_ours_must_publish() {
    let dns = TestDns::start("localhost TXT \"v=spf1 -all\"");
    let settings = dns.settings();
    let service = Service::with(|config| config.dns = settings).await;
    let client = service.client();
    client.create_domain(&NewDomain { name: "ours.test".to_owned(), ..NewDomain::default() }).await.unwrap();
    let report = client.deliverability("Ours.Test").await.unwrap();
    assert_eq!(report.domain, "ours.test");
    let mx = report.findings.iter().find(|finding| finding.name == "MX").unwrap();
    assert_eq!(mx.verdict, DeliverabilityVerdict::Wrong);
    assert_eq!(mx.publish, ["ours.test. IN MX 10 localhost."]);
    assert_eq!(code(client.deliverability("other.test").await), ProblemCode::NotFound);
}
