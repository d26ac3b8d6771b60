//! A bucket of a real server keeps what an object store promises.

use std::sync::{Arc, Mutex};

use crate::support::proxy::Proxy;
use crate::support::tls::TlsFront;
use crate::support::{bucket, noise, seaweed, settings};
use ekitei_blob::{ObjectErrorKind, ObjectStore};
use ekitei_s3::aws::{KeySource, Keys};
use ekitei_s3::{S3Store, ServerEncryption, Settings};

#[tokio::test]
async fn an_object_is_written_read_in_pieces_and_deleted_twice() {
    let Some(address) = seaweed::shared() else { return };
    let store = bucket(&address, "objects").await;
    store.put("segments/0001", vec!["hello ".into(), "world".into()]).await.unwrap();
    assert_eq!(store.get("segments/0001", 3..8).await.unwrap(), "lo wo");
    assert_eq!(store.get("segments/0001", 9..99).await.unwrap(), "ld");
    assert_eq!(store.get("segments/0001", 2..u64::MAX).await.unwrap(), "llo world");
    assert_eq!(store.get("segments/0001", 50..60).await.unwrap(), "");
    assert_eq!(store.get("segments/0001", 5..5).await.unwrap(), "");
    let info = store.head("segments/0001").await.unwrap();
    assert_eq!((info.name.as_str(), info.size), ("segments/0001", 11));
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH + info.modified);
    assert!(age.is_ok_and(|age| age.as_secs() < 60));

    store.put("empty", Vec::new()).await.unwrap();
    assert_eq!(store.get("empty", 0..10).await.unwrap(), "");
    for _ in 0..2 {
        store.delete("segments/0001").await.unwrap();
    }
    for missing in [store.get("segments/0001", 0..1).await.err(), store.head("segments/0001").await.err()] {
        assert_eq!(missing.unwrap().kind(), ObjectErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_large_object_is_uploaded_in_parts() {
    let Some(address) = seaweed::shared() else { return };
    let store = bucket(&address, "large").await;
    let body = noise(40 << 20);
    // In pieces that are no parts.
    let pieces =
        (0..body.len()).step_by(300_000).map(|begin| body.slice(begin..body.len().min(begin + 300_000)));
    store.put("large-object", pieces.collect()).await.unwrap();
    assert_eq!(store.head("large-object").await.unwrap().size, 40 << 20);
    assert_eq!(store.get("large-object", 0..u64::MAX).await.unwrap(), body);
    let across = (8 << 20) - 7..(8 << 20) + 9;
    let expected = body.slice(across.start..across.end);
    assert_eq!(store.get("large-object", across.start as u64..across.end as u64).await.unwrap(), expected);
}

#[tokio::test]
async fn objects_are_listed_in_order_and_in_pages() {
    let Some(address) = seaweed::shared() else { return };
    let store = bucket(&address, "listed").await;
    let mut names: Vec<String> = (0..40).map(|n| format!("segments/{n:04}")).collect();
    names.extend(["0000aaaa".to_owned(), "segmentsx".to_owned(), "zzzz".to_owned()]);
    names.sort();
    for name in &names {
        store.put(name, vec![name.clone().into()]).await.unwrap();
    }
    let listed = async |prefix, after, limit| {
        let found = store.list(prefix, after, limit).await.unwrap();
        found.into_iter().map(|info| info.name).collect::<Vec<_>>()
    };
    assert_eq!(listed("", "", 100).await, names);
    assert_eq!(listed("segments/", "segments/0029", 100).await.len(), 10);
    assert_eq!(
        listed("segments/", "segments/0010", 3).await,
        ["segments/0011", "segments/0012", "segments/0013"]
    );
    assert!(listed("none/", "", 100).await.is_empty());
    assert_eq!(store.list("zzzz", "", 1).await.unwrap()[0].size, 4);

    store.delete_many(&names).await.unwrap();
    assert!(listed("", "", 100).await.is_empty());
}

#[tokio::test]
async fn a_mistake_in_the_settings_is_told_from_a_store_that_is_away() {
    let Some(address) = seaweed::shared() else { return };
    bucket(&address, "settings").await;
    let kind = async |settings: Settings| {
        let error = S3Store::open(settings).await.unwrap().list("", "", 1).await.unwrap_err();
        assert!(!error.to_string().contains("a-secret"), "{error}");
        error.kind()
    };
    let right = settings(&address, "settings");
    let keys = |id: &str, secret: &str| {
        let mut wrong = right.clone();
        wrong.access.keys = Some(Keys {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: None,
        });
        wrong
    };
    assert_eq!(kind(keys("nobody", "a-secret")).await, ObjectErrorKind::Denied);
    assert_eq!(kind(keys(seaweed::ACCESS_KEY, "a-secret")).await, ObjectErrorKind::Denied);
    assert_eq!(kind(settings(&address, "no-bucket")).await, ObjectErrorKind::Invalid);
    let mut nowhere = right.clone();
    nowhere.access.endpoint = Some("http://127.0.0.1:1".to_owned());
    assert_eq!(kind(nowhere).await, ObjectErrorKind::Unavailable);
}

#[tokio::test]
async fn keys_that_are_replaced_are_used_by_the_next_request() {
    let Some(address) = seaweed::shared() else { return };
    bucket(&address, "replaced-keys").await;
    let settings = settings(&address, "replaced-keys");
    let right = settings.access.keys.clone().unwrap();
    let wrong = Keys { secret_access_key: "another".to_owned(), ..right.clone() };
    let keys = Arc::new(Mutex::new(wrong));
    let now = Arc::clone(&keys);
    let source = KeySource::new(move || now.lock().unwrap().clone());
    let store = S3Store::open_with(settings, source).await.unwrap();
    assert_eq!(store.list("", "", 1).await.unwrap_err().kind(), ObjectErrorKind::Denied);
    *keys.lock().unwrap() = right;
    assert!(store.list("", "", 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn each_upload_says_how_the_server_is_to_encrypt_it() {
    let Some(address) = seaweed::shared() else { return };
    bucket(&address, "encrypted").await;
    let proxy = Proxy::start(&address).await;
    let encrypted = async |encryption: ServerEncryption| {
        let settings = Settings { encryption, part_size: 5 << 20, ..settings(&proxy.address, "encrypted") };
        S3Store::open(settings).await.unwrap()
    };
    // This server has no keys, and says so in its own way; what counts is what it was told.
    let by_server = encrypted(ServerEncryption::Aes256).await;
    drop(by_server.put("whole-object", vec![noise(1000)]).await);
    assert_eq!(proxy.count("PUT", "x-amz-server-side-encryption: AES256"), 1);
    let by_key = encrypted(ServerEncryption::Kms(Some("the-key".to_owned()))).await;
    drop(by_key.put("other-object", vec![noise(1000)]).await);
    drop(by_key.put("object-of-parts", vec![noise(6 << 20)]).await);
    for method in ["PUT", "POST"] {
        assert_eq!(proxy.count(method, "x-amz-server-side-encryption: aws:kms"), 1, "{method}");
        assert_eq!(
            proxy.count(method, "x-amz-server-side-encryption-aws-kms-key-id: the-key"),
            1,
            "{method}"
        );
    }
    assert_eq!(proxy.count("PUT", "x-amz-checksum"), 0, "a checksum that only Amazon's servers know");
    assert_eq!(proxy.count("PUT", "x-amz-trailer"), 0);
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_if_it_is_configured() {
    let Some(address) = seaweed::shared() else { return };
    bucket(&address, "tls-only").await;
    let front = TlsFront::start(&address).await;
    let over_tls = |authorities: Option<String>| {
        let mut settings = settings(&front.address, "tls-only");
        settings.access.endpoint = Some(format!("https://{}", front.address));
        settings.access.authorities = authorities.map(String::into_bytes);
        settings
    };
    let trusting = S3Store::open(over_tls(Some(front.authority.clone()))).await.unwrap();
    trusting.put("over-tls", vec!["hello".into()]).await.unwrap();
    assert_eq!(trusting.get("over-tls", 0..9).await.unwrap(), "hello");

    let stranger = S3Store::open(over_tls(None)).await.unwrap();
    let error = stranger.get("over-tls", 0..9).await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Unavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
}
