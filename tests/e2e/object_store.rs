//! Bodies in a real bucket (SeaweedFS): mail comes back as it was sent, the store may be away, and `ekitei doctor stores` says what is wrong.

use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::support::mail::{below_trace, message};
use crate::support::server::{Builder, is_embedded};
use crate::support::{ALICE, BOB, Finished, STRANGER, Server, seaweed, wait_until};

/// A service whose bodies are in a bucket of its own at `address`; more than 16 KiB is an object at once.
fn over_bucket(address: &str, bucket: &str) -> Builder {
    let keys = format!("{{accessKeyId: {}, secretAccessKey: {}}}", seaweed::ACCESS_KEY, seaweed::SECRET_KEY);
    without_keys(address, bucket).set("blobs", "credentials", &keys)
}

/// The same, with credentials from wherever they are found.
fn without_keys(address: &str, bucket: &str) -> Builder {
    Server::builder()
        .set("blobs", "kind", "s3")
        .set("blobs", "endpoint", &format!("'http://{address}'"))
        .set("blobs", "bucket", bucket)
        .set("blobs", "pathStyle", "true")
        .set("blobs", "inlineLimit", "16KiB")
        // A new bucket on a busy machine takes its time.
        .set("blobs", "timeouts", "{attempt: 20s, total: 45s}")
        .set("blobs", "awayAfter", "2s")
        .set("blobs", "probeInterval", "200ms")
}

/// A way to a server that can be cut, with all that is on it.
struct Cable {
    address: String,
    connected: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Cable {
    fn lay(server: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (connected, state) = watch::channel(true);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = server.to_owned();
        runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, server.clone(), state.clone()));
            }
        });
        Self { address, connected, _runtime: runtime }
    }

    fn connect(&self, connected: bool) {
        self.connected.send_replace(connected);
    }
}

/// Carries one connection until somebody closes it or the cable is cut.
async fn carry(mut client: TcpStream, server: String, mut connected: watch::Receiver<bool>) {
    let talk = async {
        let mut server = TcpStream::connect(server).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        _ = connected.wait_for(|connected| !connected) => {}
        _ = talk => {}
    }
}

/// A message that does not compress, with this many octets of text.
fn large(subject: &str, octets: usize) -> Vec<u8> {
    let random: Vec<u8> = (0..octets * 3 / 4).map(|_| rand::random::<u8>()).collect();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, random);
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    message(subject, &lines.join("\n"))
}

fn metric(server: &Server, name: &str) -> f64 {
    let answer = server.http("GET", "/metrics", "").unwrap();
    let values = answer.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn large_mail_goes_to_the_bucket_and_comes_back() {
    // Where the whole suite runs on a cluster it runs on a bucket already.
    if !is_embedded() {
        return;
    }
    let Some(address) = seaweed::shared() else { return };
    let server = over_bucket(&address, "mail").start();
    let (small, big) = (message("small", "hello"), large("large", 1_000_000));
    server.deliver(&[ALICE, BOB], &small);
    assert_eq!(metric(&server, "ekitei_blob_object_writes_total"), 0.0);
    server.deliver(&[ALICE, BOB], &big);
    assert_eq!(metric(&server, "ekitei_blob_object_writes_total"), 1.0, "one object for all who get it");
    for user in [ALICE, BOB] {
        let inbox = server.inbox(user);
        assert!(below_trace(&inbox[0], &small).is_some());
        assert!(below_trace(&inbox[1], &big).is_some(), "{user}: another message");
    }
    assert_eq!(metric(&server, "ekitei_blob_object_store_away"), 0.0);
}

#[test]
fn mail_is_accepted_while_the_bucket_is_away_and_large_mail_is_read_when_it_is_back() {
    if !is_embedded() {
        return;
    }
    let Some(address) = seaweed::shared() else { return };
    let cable = Cable::lay(&address);
    let impatient = "{attempt: 2s, total: 10s}";
    let server = over_bucket(&cable.address, "away").set("blobs", "timeouts", impatient).start();
    let before = large("before", 300_000);
    server.deliver(&[ALICE], &before);

    cable.connect(false);
    wait_until("the service to notice", Duration::from_secs(60), || {
        // The body is not in memory any more, or reading it would need no store.
        let _ = server.smtp().deliver(STRANGER, &[BOB], &large("lost or not", 3_000_000));
        metric(&server, "ekitei_blob_object_store_away") > 0.0
    });
    let begun = Instant::now();
    let small = message("meanwhile", "hello");
    server.deliver(&[ALICE], &small);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "small mail waits for the bucket: {:?}",
        begun.elapsed()
    );

    cable.connect(true);
    wait_until("the bucket to be back", Duration::from_secs(30), || {
        metric(&server, "ekitei_blob_object_store_away") == 0.0
    });
    let after = large("after", 300_000);
    server.deliver(&[ALICE], &after);
    let inbox = server.inbox(ALICE);
    assert_eq!(inbox.len(), 3);
    for (stored, sent) in inbox.iter().zip([&before, &small, &after]) {
        assert!(below_trace(stored, sent).is_some());
    }
}

#[test]
fn the_doctor_tries_both_stores_and_says_what_to_change() {
    if !is_embedded() {
        return;
    }
    let Some(address) = seaweed::shared() else { return };
    let check = |builder: Builder| {
        let server = builder.start();
        server.command("doctor stores --config ekitei.yaml").run()
    };
    let finished = sound(check(over_bucket(&address, "doctor")));
    for found in ["store: free space", "objects: write", "objects: read", "objects: list", "objects: delete"]
    {
        assert!(finished.stdout.contains(found), "no {found} in\n{}", finished.stdout);
    }
    let failed = |builder: Builder, advice: &str| {
        let finished = check(builder);
        assert_ne!(finished.code, Some(0), "{}", finished.stdout);
        assert!(
            finished.stdout.contains("FAILURE") && finished.stdout.contains(advice),
            "{}",
            finished.stdout
        );
        assert!(!finished.output().contains("not-the-secret"));
    };
    let keys = |id: &str| format!("{{accessKeyId: {id}, secretAccessKey: not-the-secret}}");
    let wrong_secret = keys(seaweed::ACCESS_KEY);
    failed(
        over_bucket(&address, "doctor").set("blobs", "credentials", &wrong_secret),
        "blobs.credentials.secretAccessKey",
    );
    failed(over_bucket(&address, "doctor").set("blobs", "credentials", &keys("nobody")), "accessKeyId");
    failed(over_bucket("127.0.0.1:9", "doctor"), "blobs.endpoint");
    failed(over_bucket(&address, "doctor").set("blobs", "sse", "AES256"), "blobs.sse: none");
}

#[test]
fn credentials_come_from_the_environment_if_none_are_configured() {
    if !is_embedded() {
        return;
    }
    let Some(address) = seaweed::shared() else { return };
    let server = without_keys(&address, "environment").start();
    // No machine of a cloud is asked from here.
    let doctor =
        || server.command("doctor stores --config ekitei.yaml").env("AWS_EC2_METADATA_DISABLED", "true");
    let none = doctor().run();
    assert!(none.stdout.contains("give the pod or the machine a role"), "{}", none.stdout);
    let keys = doctor().env("AWS_ACCESS_KEY_ID", seaweed::ACCESS_KEY);
    sound(keys.env("AWS_SECRET_ACCESS_KEY", seaweed::SECRET_KEY).run());
}

/// What the doctor said, who found nothing wrong but that the disk of this machine is full.
fn sound(finished: Finished) -> Finished {
    let wrong = |line: &&str| line.starts_with("FAILURE") && !line.contains("store: free space");
    assert_eq!(finished.stdout.lines().find(wrong), None, "{}", finished.stdout);
    if finished.stdout.contains("FAILURE") { finished } else { finished.success() }
}
