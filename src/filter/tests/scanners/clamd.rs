//! clamd: what it says of a message becomes a disposition, and nothing it does takes longer or more than configured.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ekitei_filter::Disposition;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    MAIL, envelope, in_time, mail, nobody, peer, refusal, scanners, scanners_and_registry, serve,
};

/// Reads INSTREAM to its end, and gives the message.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut command = [0; 10];
    stream.read_exact(&mut command).await?;
    assert_eq!(&command, b"zINSTREAM\0");
    let mut message = Vec::new();
    loop {
        let length = usize::try_from(stream.read_u32().await?).unwrap();
        if length == 0 {
            return Ok(message);
        }
        let start = message.len();
        message.resize(start + length, 0);
        stream.read_exact(&mut message[start..]).await?;
    }
}

/// A clamd that gives this reply to every message.
async fn answering(reply: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| async move {
        read_message(&mut stream).await.unwrap();
        stream.write_all(reply).await.unwrap();
    })
    .await
}

async fn disposition(options: &str, servers: &[SocketAddr]) -> Disposition {
    let servers: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
    let scanners = scanners(&format!("clamd: {{servers: [{}], {options}}}", servers.join(", ")));
    in_time(scanners.scan(&peer(), &envelope(), &mail())).await.disposition
}

#[tokio::test]
async fn the_message_arrives_octet_for_octet_in_chunks() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = serve(move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            let message = read_message(&mut stream).await.unwrap();
            log.lock().unwrap().push(message);
            stream.write_all(b"stream: OK\0").await.unwrap();
        }
    })
    .await;
    let clean = disposition("chunkSize: 7", &[server]).await;
    assert_eq!(clean, Disposition::Accept);
    assert_eq!(*seen.lock().unwrap(), [MAIL]);
}

#[tokio::test]
async fn a_virus_is_refused_by_its_name_or_goes_where_it_is_configured_to_go() {
    let server = answering(b"stream: Eicar-Signature FOUND\0").await;
    let refused = disposition("", &[server]).await;
    let refusal = refusal(&refused);
    assert_eq!((refusal.code, refusal.enhanced.as_str()), (550, "5.7.1"));
    assert!(refusal.text.contains("Eicar-Signature"), "{}", refusal.text);
    assert_eq!(disposition("onVirus: junk", &[server]).await, Disposition::Junk);
    assert_eq!(disposition("onVirus: discard", &[server]).await, Disposition::Discard);
    assert_eq!(disposition("onVirus: tag", &[server]).await, Disposition::Accept);
}

#[tokio::test]
async fn what_clamd_did_not_look_at_is_treated_as_configured() {
    let exceeded = answering(b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0").await;
    // As clamd does: it answers in the middle of the stream, and closes.
    let too_large = serve(|mut stream| async move {
        let mut command = [0; 10];
        stream.read_exact(&mut command).await.unwrap();
        stream.write_all(b"INSTREAM size limit exceeded. ERROR\0").await.unwrap();
    })
    .await;
    for server in [exceeded, too_large] {
        assert_eq!(disposition("", &[server]).await, Disposition::Accept);
        assert_eq!(refusal(&disposition("onLimit: reject", &[server]).await).code, 550);
        assert_eq!(refusal(&disposition("onLimit: tempfail", &[server]).await).code, 451);
    }
    let not_asked = disposition("maxMessageSize: 10, onLimit: reject", &[nobody().await]).await;
    assert_eq!(refusal(&not_asked).code, 550);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_down_or_cannot() {
    let cannot = answering(b"stream: Can't allocate memory ERROR\0").await;
    let knows = answering(b"stream: Bad FOUND\0").await;
    let found = disposition("", &[nobody().await, cannot, knows]).await;
    assert_eq!(refusal(&found).code, 550);
}

#[tokio::test]
async fn a_clamd_that_fails_in_any_way_is_a_failure_as_configured_and_in_time() {
    let endless =
        serve(|mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
    let silent = serve(|mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let deaf = serve(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let servers = [
        nobody().await,
        serve(|stream| async move { drop(stream) }).await,
        endless,
        silent,
        deaf,
        answering(b"").await,
        answering(b"stream: OK").await,
        answering(b"\xff\xfe\0").await,
        answering(b"stream: Can't allocate memory ERROR\0").await,
    ];
    for server in servers {
        let tempfail = disposition("timeout: 300ms", &[server]).await;
        assert_eq!(refusal(&tempfail).code, 451, "by default mail waits until it can be checked");
        assert_eq!(disposition("timeout: 300ms, onFailure: accept", &[server]).await, Disposition::Accept);
    }
}

#[tokio::test]
async fn a_large_message_does_not_hang_on_a_server_that_answers_early_and_reads_no_more() {
    let early = serve(|mut stream| async move {
        stream.write_all(b"stream: Bad FOUND\0").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let scanners = scanners(&format!("clamd: {{servers: ['{early}']}}"));
    let message = Bytes::from(vec![b'x'; 30 << 20]);
    let scanned = in_time(scanners.scan(&peer(), &envelope(), &message)).await;
    assert_eq!(refusal(&scanned.disposition).code, 550);
}

#[tokio::test]
async fn submissions_are_scanned_unless_configured_otherwise() {
    let server = answering(b"stream: Bad FOUND\0").await;
    for (options, refused) in [("", true), ("submissions: false", false)] {
        let scanners = scanners(&format!("clamd: {{servers: ['{server}'], {options}}}"));
        let mut peer = peer();
        peer.client.authenticated = true;
        let scanned = scanners.scan(&peer, &envelope(), &mail()).await;
        assert_eq!(scanned.disposition != Disposition::Accept, refused);
    }
}

#[tokio::test]
async fn clamd_is_asked_over_a_socket_in_the_file_system_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clamd.ctl");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 10];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"stream: OK\0").await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let (scanners, registry) =
        scanners_and_registry(&format!("clamd: {{servers: ['unix:{}']}}", path.display()));
    let scanned = in_time(scanners.scan(&peer(), &envelope(), &mail())).await;
    assert_eq!(scanned.disposition, Disposition::Accept);
    let metrics = registry.render();
    assert!(
        metrics.contains("ekitei_filter_scans_total{scanner=\"clamd\",verdict=\"clean\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("ekitei_filter_scan_seconds_count{scanner=\"clamd\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_one_message_its_time_and_not_the_next() {
    let silent = serve(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let good = answering(b"stream: OK\0").await;
    let scanners =
        scanners(&format!("clamd: {{servers: ['{silent}', '{good}'], timeout: 300ms, onFailure: tempfail}}"));
    let scan = async || in_time(scanners.scan(&peer(), &envelope(), &mail())).await.disposition;
    assert_eq!(refusal(&scan().await).code, 451);
    assert_eq!(
        (scan().await, scan().await),
        (Disposition::Accept, Disposition::Accept),
        "the other one is asked first"
    );
}
