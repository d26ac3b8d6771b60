//! A master key in KMS, against moto: `pip install "moto[server]"`. Skipped by name where that is not installed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_kms::Client;
use ekitei_keyring::{WrapError, Wrapper};
use ekitei_kms::{KmsKey, Settings};
use ekitei_s3::aws::{Access, Keys};
use zeroize::Zeroizing;

/// How long it may take to start on a slow machine.
const LIMIT: Duration = Duration::from_secs(90);

/// A running moto; it ends with the test.
struct Moto {
    process: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program, if it is installed: on the path, or where `scripts/install-clients` puts it.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("EKITEI_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache).join("ekitei"),
        None => home.join(".cache/ekitei"),
    });
    let folders = std::env::split_paths(&path).chain([cache.join("moto/bin")]);
    folders.map(|folder| folder.join("moto_server")).find(|program| program.is_file())
}

/// Puts the running test into the skip report (`$EKITEI_SKIP_REPORT`) and says so.
fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED kms {}: {reason}\n", thread.name().unwrap_or("unnamed"));
    eprint!("{line}");
    if let Some(report) = std::env::var_os("EKITEI_SKIP_REPORT") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(report).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

impl Moto {
    fn start() -> Option<Self> {
        let Some(program) = program() else {
            skip("not installed: moto_server (pip install 'moto[server]')");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { process, port };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < LIMIT, "moto does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn access(&self) -> Access {
        Access {
            region: Some("eu-central-1".to_owned()),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            keys: Some(Keys {
                access_key_id: "ekitei".to_owned(),
                secret_access_key: "secret".to_owned(),
                session_token: None,
            }),
            authorities: None,
            connect_timeout: Duration::from_secs(2),
        }
    }

    async fn key(&self, key_id: &str) -> KmsKey {
        let settings =
            Settings { access: self.access(), key_id: key_id.to_owned(), timeout: Duration::from_secs(2) };
        KmsKey::open(settings).await.unwrap()
    }

    async fn client(&self) -> Client {
        Client::new(&self.access().connect().await.unwrap().config)
    }
}

async fn create(client: &Client) -> String {
    client.create_key().send().await.unwrap().key_metadata.unwrap().key_id
}

#[tokio::test]
async fn a_data_key_is_wrapped_and_unwrapped_for_its_scope_only() {
    let Some(moto) = Moto::start() else { return };
    let client = moto.client().await;
    let (id, other) = (create(&client).await, create(&client).await);
    client.create_alias().alias_name("alias/mail").target_key_id(&id).send().await.unwrap();
    let key = Zeroizing::new([7; 32]);
    for name in [id.as_str(), "alias/mail"] {
        let master = moto.key(name).await;
        assert_eq!(master.name(), format!("aws-kms:{name}"));
        for scope in ["", "a.test"] {
            let wrapped = master.wrap(&key, scope).await.unwrap();
            assert!(!wrapped.windows(8).any(|part| part == [7; 8]));
            assert_eq!(*master.unwrap(&wrapped, scope).await.unwrap(), *key);
            let moved = master.unwrap(&wrapped, "b.test").await.unwrap_err();
            assert!(matches!(moved, WrapError::Refused(_)), "{moved:?}");
        }
    }
    // The ciphertext says which key made it. Where the configuration names a key, another one is refused: whoever can write rows may have one that we may use.
    let wrapped = moto.key("alias/mail").await.wrap(&key, "a.test").await.unwrap();
    let refused = moto.key(&other).await.unwrap(&wrapped, "a.test").await.unwrap_err();
    assert!(matches!(refused, WrapError::Refused(_)), "{refused:?}");
    // An alias may have been moved since.
    client.update_alias().alias_name("alias/mail").target_key_id(&other).send().await.unwrap();
    assert_eq!(*moto.key("alias/mail").await.unwrap(&wrapped, "a.test").await.unwrap(), *key);
    assert_eq!(*moto.key(&id).await.unwrap(&wrapped, "a.test").await.unwrap(), *key);
}

#[tokio::test]
async fn a_key_that_is_not_there_is_the_operators_fault() {
    let Some(moto) = Moto::start() else { return };
    let absent = moto.key("00000000-0000-0000-0000-000000000000").await;
    let error = absent.wrap(&Zeroizing::new([7; 32]), "a.test").await.unwrap_err();
    assert!(matches!(&error, WrapError::Refused(said) if said.contains("NotFoundException")), "{error:?}");
    let error = absent.unwrap(b"no ciphertext of KMS", "a.test").await.unwrap_err();
    assert!(matches!(error, WrapError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn a_kms_that_is_away_is_temporary_and_known_soon() {
    let Some(mut moto) = Moto::start() else { return };
    let id = create(&moto.client().await).await;
    let master: Arc<dyn Wrapper> = Arc::new(moto.key(&id).await);
    let key = Zeroizing::new([7; 32]);
    let wrapped = master.wrap(&key, "a.test").await.unwrap();
    moto.stop();
    let begin = Instant::now();
    let error = master.unwrap(&wrapped, "a.test").await.unwrap_err();
    assert!(matches!(error, WrapError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());

    // Something listens, and never answers.
    let silent = TcpListener::bind(("127.0.0.1", moto.port)).unwrap();
    let begin = Instant::now();
    let error = master.wrap(&key, "a.test").await.unwrap_err();
    assert!(matches!(error, WrapError::Unavailable(_)), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    drop(silent);
}
