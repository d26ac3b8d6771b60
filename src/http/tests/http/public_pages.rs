//! Pages that anyone may read: each as the program asks for it that reads it.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use ekitei_api::{DomainPatch, MtaSts, MtaStsMode};
use ekitei_config::{ListenerConfig, Protocol};

use crate::support::Service;

async fn service() -> Service {
    let service = Service::with(|config| {
        config.hostname = "mx.example.test".into();
        let listener = |protocol, port: u16| ListenerConfig::new(protocol, ([127, 0, 0, 1], port).into());
        config.listeners = vec![listener(Protocol::Imaps, 993), listener(Protocol::Submission, 587)];
    })
    .await;
    service.add_domain("example.test").await;
    service
}

async fn get(service: &Service, host: &str, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
    service.ask(request).await
}

#[tokio::test]
async fn a_sender_finds_the_mta_sts_policy_of_a_domain_of_ours_only() {
    let service = service().await;
    let path = "/.well-known/mta-sts.txt";
    let (status, policy) = get(&service, "mta-sts.example.test", path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(policy, "version: STSv1\r\nmode: testing\r\nmx: mx.example.test\r\nmax_age: 604800\r\n");
    assert_eq!(get(&service, "MTA-STS.Example.TEST:443", path).await.0, StatusCode::OK);
    for other in ["mta-sts.elsewhere.test", "example.test", "mta-sts", "", "mta-stsexample.test"] {
        assert_eq!(get(&service, other, path).await.0, StatusCode::NOT_FOUND, "{other}");
    }
}

#[tokio::test]
async fn thunderbird_finds_its_settings() {
    let service = service().await;
    for (host, path) in [
        ("autoconfig.example.test", "/mail/config-v1.1.xml"),
        ("autoconfig.example.test", "/mail/config-v1.1.xml?emailaddress=a%40example.test"),
        ("example.test", "/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=a%40example.test"),
    ] {
        let (status, text) = get(&service, host, path).await;
        assert_eq!(status, StatusCode::OK, "{host}{path}");
        assert!(text.contains("<emailProvider id=\"example.test\">"), "{text}");
        assert!(text.contains("<hostname>mx.example.test</hostname>\n      <port>993</port>"), "{text}");
        assert!(text.contains("<port>587</port>\n      <socketType>STARTTLS</socketType>"), "{text}");
    }
    let other = get(&service, "x", "/mail/config-v1.1.xml?emailaddress=a%40elsewhere.test").await;
    assert_eq!(other.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_domain_with_hosts_of_its_own_has_pages_of_its_own() {
    let service = service().await;
    service.add_domain("customer.test").await;
    let policy =
        MtaSts { mode: MtaStsMode::Enforce, mx: vec!["*.mx.customer.test".to_owned()], max_age: 86_400 };
    let patch = DomainPatch {
        mta_sts: Some(Some(policy)),
        client_host: Some(Some("mail.customer.test".to_owned())),
        ..DomainPatch::default()
    };
    service.client().update_domain("customer.test", &patch, None).await.unwrap();
    let (_, served) = get(&service, "mta-sts.customer.test", "/.well-known/mta-sts.txt").await;
    assert_eq!(served, "version: STSv1\r\nmode: enforce\r\nmx: *.mx.customer.test\r\nmax_age: 86400\r\n");
    let (_, served) = get(&service, "mta-sts.example.test", "/.well-known/mta-sts.txt").await;
    assert!(
        served.contains("mode: testing\r\nmx: mx.example.test\r\n"),
        "others have the service's: {served}"
    );
    let (_, text) = get(&service, "autoconfig.customer.test", "/mail/config-v1.1.xml").await;
    assert!(text.contains("<hostname>mail.customer.test</hostname>"), "{text}");
    let body = "<Autodiscover><Request><EMailAddress>a@customer.test</EMailAddress></Request></Autodiscover>";
    let request = Request::post("/Autodiscover/Autodiscover.xml").body(Body::from(body)).unwrap();
    let (_, text) = service.ask(request).await;
    assert!(text.contains("<Server>mail.customer.test</Server>"), "{text}");
}

#[tokio::test]
async fn outlook_finds_its_settings() {
    let service = service().await;
    let ask = async |address: &str| {
        let body =
            format!("<Autodiscover><Request><EMailAddress>{address}</EMailAddress></Request></Autodiscover>");
        let request = Request::post("/Autodiscover/Autodiscover.xml").body(Body::from(body)).unwrap();
        service.ask(request).await
    };
    let (status, text) = ask("a@example.test").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("<Type>IMAP</Type>\n        <Server>mx.example.test</Server>"), "{text}");
    assert!(text.contains("<LoginName>a@example.test</LoginName>"), "{text}");
    assert_eq!(ask("a@elsewhere.test").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask("nobody").await.0, StatusCode::BAD_REQUEST);
}
