//! Stored certificates over the admin API.

use ekitei_api::{ClientError, NewCertificate, PageQuery, ProblemCode};

use crate::support::Service;

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ProblemCode {
    match result {
        Err(ClientError::Problem(problem)) => problem.code,
        other => panic!("{other:?}"),
    }
}

fn made(host: &str) -> NewCertificate {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    NewCertificate { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

#[tokio::test]
async fn certificates_are_set_shown_listed_and_removed() {
    let service = Service::start().await;
    let client = service.client();
    let new = made("mail.example.test");
    let set = client.put_certificate("mail", &new, None).await.unwrap();
    assert_eq!((set.name.as_str(), set.names.as_slice()), ("mail", &["mail.example.test".to_owned()][..]));
    assert_eq!((set.sha256.len(), set.spki_sha256.len()), (64, 64));
    assert_eq!(client.put_certificate("mail", &new, None).await.unwrap(), set, "it may be repeated");
    assert_eq!(client.certificate("mail").await.unwrap(), set);
    let other = client.put_certificate("other:1", &made("other.test"), None).await.unwrap();

    let first = PageQuery { limit: Some(1), ..PageQuery::default() };
    let first = client.list_certificates(&first).await.unwrap();
    assert_eq!(first.items, std::slice::from_ref(&set));
    let second = PageQuery { after: first.next, ..PageQuery::default() };
    let second = client.list_certificates(&second).await.unwrap();
    assert_eq!((second.items.as_slice(), second.next), (&[other][..], None));

    let changed = client.put_certificate("mail", &made("new.test"), Some(&set.revision)).await.unwrap();
    assert_ne!(changed.revision, set.revision);
    assert_eq!(code(client.put_certificate("mail", &new, Some(&set.revision)).await), ProblemCode::Stale);
    client.delete_certificate("mail").await.unwrap();
    assert_eq!(code(client.certificate("mail").await), ProblemCode::NotFound);
    assert_eq!(code(client.delete_certificate("mail").await), ProblemCode::NotFound);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_a_key_is_never_told() {
    let service = Service::start().await;
    let client = service.client();
    let (one, other) = (made("a.test"), made("a.test"));
    let mixed = NewCertificate { key: other.key.clone(), ..one.clone() };
    let refused = client.put_certificate("a", &mixed, None).await;
    assert_eq!(refused.as_ref().unwrap_err().to_string().find("PRIVATE KEY"), None);
    assert_eq!(code(refused), ProblemCode::Invalid);
    assert_eq!(code(client.put_certificate("a b", &one, None).await), ProblemCode::Invalid);
    client.put_certificate("a", &one, None).await.unwrap();
    let head = "GET /api/v1/certificates HTTP/1.1\r\nAuthorization: Bearer ".to_owned();
    let listed = service.raw(&(head + crate::support::TOKEN), "").await;
    assert!(listed.contains("spki_sha256") && !listed.contains("PRIVATE KEY"), "{listed}");
    let secret = one.key.lines().nth(1).unwrap();
    assert!(!listed.contains(secret));
}
