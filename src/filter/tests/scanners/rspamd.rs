//! rspamd: what it is told, what it says, and what it may cost.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ekitei_filter::{Disposition, Scanned};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::{MAIL, envelope, in_time, mail, nobody, peer, refusal, scanners, serve};

/// A request: its head in lower case, and its body.
type Request = (String, Vec<u8>);

/// Reads one request; `None` at the end of the connection.
pub async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// What a server was asked, with the number of the connection.
type Seen = Arc<Mutex<Vec<(usize, Request)>>>;

/// A server that keeps connections, answers all requests alike, and remembers them.
pub async fn http(status: &'static str, body: &'static str) -> (SocketAddr, Seen) {
    http_script(&[(status, body)]).await
}

/// The same, with an answer (status and body) for each request; the last one for all that follow.
pub async fn http_script(
    answers: impl IntoIterator<Item = &(&'static str, &'static str)>,
) -> (SocketAddr, Seen) {
    let answers: Arc<[(&str, &str)]> = answers.into_iter().copied().collect();
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let server = serve(move |stream| {
        let (log, answers) = (Arc::clone(&log), Arc::clone(&answers));
        let number = connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            let mut stream = BufReader::new(stream);
            while let Some(request) = read_request(&mut stream).await {
                let asked = {
                    let mut log = log.lock().unwrap();
                    log.push((number, request));
                    log.len()
                };
                let (status, body) = answers[asked.min(answers.len()) - 1];
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (server, seen)
}

async fn scan(options: &str, server: SocketAddr) -> Scanned {
    let scanners = scanners(&format!("rspamd: {{servers: ['{server}'], {options}}}"));
    in_time(scanners.scan(&peer(), &envelope(), &mail())).await
}

async fn answered(options: &str, json: &'static str) -> Scanned {
    let (server, _) = http("200 OK", json).await;
    scan(options, server).await
}

fn text(scanned: &Scanned) -> String {
    String::from_utf8(scanned.message.as_ref().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn rspamd_is_told_what_the_server_knows_of_client_and_envelope() {
    let (server, seen) = http("200 OK", r#"{"action":"no action"}"#).await;
    let scanned = scan("settingsId: strict, password: q1, spamHeader: ''", server).await;
    assert_eq!(scanned, Scanned { disposition: Disposition::Accept, message: None });
    let (_, (head, body)) = seen.lock().unwrap().remove(0);
    assert_eq!(body, MAIL);
    for line in [
        "post /checkv2 http/1.1",
        "from: carol@elsewhere.test",
        "rcpt: alice@example.test",
        "rcpt: bob@example.test",
        "ip: 192.0.2.7",
        "helo: helo.elsewhere.test",
        "hostname: mail.elsewhere.test",
        "user: carol",
        "queue-id: t1",
        "tls-version: tlsv1.3",
        "tls-cipher: tls13_aes_256_gcm_sha384",
        "settings-id: strict",
        "password: q1",
        "mta-name: mx.example.test",
    ] {
        assert!(head.lines().any(|sent| sent == line), "{line} is not in\n{head}");
    }
    assert!(!head.contains("deliver-to"), "there are two recipients");
}

#[tokio::test]
async fn nothing_in_an_envelope_makes_a_field_of_its_own() {
    let (server, seen) = http("200 OK", r#"{"action":"no action"}"#).await;
    let scanners = scanners(&format!("rspamd: {{servers: ['{server}']}}"));
    let mut envelope = envelope();
    envelope.sender = "\"a\r\nPass: all\"@elsewhere.test".to_owned();
    envelope.recipients = vec!["駅@example.test".to_owned()];
    in_time(scanners.scan(&peer(), &envelope, &mail())).await;
    let (_, (head, _)) = seen.lock().unwrap().remove(0);
    assert!(!head.contains("pass:"), "{head}");
    assert!(head.contains("rcpt: 駅@example.test"), "{head}");
}

#[tokio::test]
async fn actions_become_dispositions() {
    let of = |json| answered("", json);
    assert_eq!(of(r#"{"action":"no action"}"#).await.disposition, Disposition::Accept);
    assert_eq!(of(r#"{"action":"greylist"}"#).await.disposition, Disposition::Accept);
    assert_eq!(of(r#"{"action":"add header"}"#).await.disposition, Disposition::Junk);
    assert_eq!(of(r#"{"action":"rewrite subject","subject":"x"}"#).await.disposition, Disposition::Junk);
    assert_eq!(of(r#"{"action":"quarantine"}"#).await.disposition, Disposition::Junk);
    assert_eq!(of(r#"{"action":"discard"}"#).await.disposition, Disposition::Discard);
    assert_eq!(of(r#"{"action":"whatever"}"#).await.disposition, Disposition::Accept);
    let refused =
        of(r#"{"action":"reject","messages":{"smtp_message":"Gtube\r\n250 ok"}}"#).await.disposition;
    assert_eq!((refusal(&refused).code, refusal(&refused).text.as_str()), (550, "Gtube250 ok"));
    let later = of(r#"{"action":"soft reject"}"#).await.disposition;
    assert_eq!((refusal(&later).code, refusal(&later).enhanced.as_str()), (451, "4.7.1"));
    let junk = answered("onReject: junk", r#"{"action":"reject"}"#).await;
    assert_eq!(junk.disposition, Disposition::Junk);
    let grey = answered("onGreylist: tempfail", r#"{"action":"greylist"}"#).await.disposition;
    assert_eq!(refusal(&grey).code, 451);
}

#[tokio::test]
async fn fields_are_added_and_removed_as_the_milter_block_says() {
    let scanned = answered(
        "",
        r#"{"action":"add header","milter":{"remove_headers":{"X-Folded":0},
        "add_headers":{"A-Last-But-One":{"value":"l","order":-2},
        "X-Spamd-Result":{"value":"default: True\n\t[1.0]","order":2},"X-Tail":"end"}}}"#,
    )
    .await;
    assert_eq!(
        text(&scanned),
        "X-Spam: Yes\r\nSubject: One\r\nX-Spamd-Result: default: True\r\n\t[1.0]\r\n\
         A-Last-But-One: l\r\nFrom: carol@elsewhere.test\r\nX-Tail: end\r\n\r\nHello\r\n"
    );
}

#[tokio::test]
async fn a_subject_is_rewritten_and_a_forged_mark_removed() {
    let scanned = answered("", r#"{"action":"rewrite subject","subject":"*** SPAM *** One"}"#).await;
    let text = text(&scanned);
    assert!(text.starts_with("Subject: *** SPAM *** One\r\nX-Folded"), "{text}");
    assert!(!text.contains("X-Spam"), "{text}");
}

#[tokio::test]
async fn a_signature_is_put_in_only_where_it_is_wanted() {
    let json = r#"{"action":"no action","dkim-signature":"v=1; a=rsa-sha256"}"#;
    assert!(!text(&answered("", json).await).contains("DKIM-Signature"));
    let signed = answered("dkimSignature: true", json).await;
    assert!(text(&signed).starts_with("DKIM-Signature: v=1; a=rsa-sha256\r\n"));
}

#[tokio::test]
async fn connections_are_kept() {
    let (server, seen) = http("200 OK", r#"{"action":"no action"}"#).await;
    let scanners = scanners(&format!("rspamd: {{servers: ['{server}']}}"));
    for _ in 0..3 {
        in_time(scanners.scan(&peer(), &envelope(), &mail())).await;
    }
    let numbers: Vec<usize> = seen.lock().unwrap().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 0, 0]);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_costs_no_answer() {
    let server = serve(|stream| async move {
        let mut stream = BufReader::new(stream);
        read_request(&mut stream).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{\"action\":\"add header\"}";
        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        // Closed without a word, while the client thinks that it may be used again.
    })
    .await;
    let scanners = scanners(&format!("rspamd: {{servers: ['{server}'], onFailure: tempfail}}"));
    for _ in 0..5 {
        let scanned = in_time(scanners.scan(&peer(), &envelope(), &mail())).await;
        assert_eq!(scanned.disposition, Disposition::Junk);
    }
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_down_or_cannot() {
    let (cannot, _) = http("503 Busy", "{}").await;
    let (knows, _) = http("200 OK", r#"{"action":"discard"}"#).await;
    let servers = format!("rspamd: {{servers: ['{}', '{cannot}', '{knows}']}}", nobody().await);
    let scanned = in_time(scanners(&servers).scan(&peer(), &envelope(), &mail())).await;
    assert_eq!(scanned.disposition, Disposition::Discard);
}

/// A server that answers with a head and then for ever the same octets; it counts those that were taken.
async fn flood(head: &'static str, octets: &'static [u8]) -> (SocketAddr, Arc<Mutex<u64>>) {
    let taken = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&taken);
    let server = serve(move |stream| {
        let counter = Arc::clone(&counter);
        async move {
            let mut stream = BufReader::new(stream);
            read_request(&mut stream).await.unwrap();
            stream.get_mut().write_all(head.as_bytes()).await.unwrap();
            while stream.get_mut().write_all(octets).await.is_ok() {
                *counter.lock().unwrap() += octets.len() as u64;
            }
        }
    })
    .await;
    (server, taken)
}

#[tokio::test]
async fn an_answer_of_a_hundred_megabytes_is_cut() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n{\"action\":\"reject\",\"x\":\"";
    let (server, taken) = flood(head, &[b'x'; 65_536]).await;
    assert_eq!(scan("", server).await.disposition, Disposition::Accept, "rspamd failed: the message goes on");
    assert_eq!(refusal(&scan("onFailure: tempfail", server).await.disposition).code, 451);
    let taken = *taken.lock().unwrap();
    assert!(taken < 40 << 20, "{taken} octets, most of them in the sockets' buffers");
}

#[tokio::test]
async fn a_rspamd_that_fails_in_any_way_is_a_failure_as_configured_and_in_time() {
    let silent = serve(|mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let servers = [
        nobody().await,
        serve(|stream| async move { drop(stream) }).await,
        silent,
        flood("", b"x").await.0,
        flood("HTTP/1.1 200 OK\r\n", b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.0,
        flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10\r\n0123456789abcdef\r\n").await.0,
        http("200 OK", "<html>").await.0,
        http("200 OK", "{}").await.0,
        http("500 Internal Server Error", r#"{"action":"no action"}"#).await.0,
    ];
    for server in servers {
        assert_eq!(scan("timeout: 400ms", server).await.disposition, Disposition::Accept);
        let tempfail = scan("timeout: 400ms, onFailure: tempfail", server).await.disposition;
        assert_eq!(refusal(&tempfail).code, 451, "{server}");
    }
}

#[tokio::test]
async fn what_is_too_large_or_submitted_is_not_scanned_where_so_configured() {
    let (server, seen) = http("200 OK", r#"{"action":"reject"}"#).await;
    let scanners =
        scanners(&format!("rspamd: {{servers: ['{server}'], maxMessageSize: 1KiB, submissions: false}}"));
    let large = Bytes::from(vec![b'x'; 2000]);
    assert_eq!(scanners.scan(&peer(), &envelope(), &large).await.disposition, Disposition::Accept);
    let mut user = peer();
    user.client.authenticated = true;
    assert_eq!(scanners.scan(&user, &envelope(), &mail()).await.disposition, Disposition::Accept);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_stricter_of_clamd_and_rspamd_decides() {
    let (rspamd, _) = http("200 OK", r#"{"action":"add header"}"#).await;
    let clamd = serve(|mut stream| async move {
        stream.write_all(b"stream: Bad FOUND\0").await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let scanners = scanners(&format!("clamd: {{servers: ['{clamd}']}}, rspamd: {{servers: ['{rspamd}']}}"));
    let scanned = in_time(scanners.scan(&peer(), &envelope(), &mail())).await;
    assert_eq!(refusal(&scanned.disposition).code, 550);
}
