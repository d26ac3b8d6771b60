//! Traces: a collector hears of a delivery, and one that is away costs nothing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::mail::message;
use crate::support::{ALICE, Server, wait_until};

/// A collector that keeps the octets of the requests, in which names and texts stand as they are.
struct Collector {
    port: u16,
    got: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let keep = Arc::clone(&keep);
                std::thread::spawn(move || serve(stream.unwrap(), &keep));
            }
        });
        Self { port, got }
    }

    fn has(&self, wanted: &str) -> bool {
        self.got.lock().unwrap().iter().any(|request| request.contains(wanted))
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, keep: &Mutex<Vec<String>>) {
    let mut octets: Vec<u8> = Vec::new();
    let mut block = [0; 16 * 1024];
    loop {
        let whole = octets.windows(4).position(|four| four == b"\r\n\r\n").and_then(|end| {
            let head = String::from_utf8_lossy(&octets[..end]).to_lowercase();
            let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
            (octets.len() >= end + 4 + length).then_some(end + 4 + length)
        });
        if let Some(length) = whole {
            let request: Vec<u8> = octets.drain(..length).collect();
            keep.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            continue;
        }
        match stream.read(&mut block) {
            Ok(0) | Err(_) => return,
            Ok(read) => octets.extend_from_slice(&block[..read]),
        }
    }
}

#[test]
fn a_collector_hears_of_deliveries_commands_and_requests_to_the_end() {
    let collector = Collector::start();
    let mut server = Server::builder()
        .set("traces", "endpoint", &format!("http://127.0.0.1:{}", collector.port))
        .set("traces", "headers", "[{name: X-Key, value: of-the-tests}]")
        .set("traces", "attributes", "[deployment.environment.name=tests]")
        .set("log", "level", "warn")
        .start();
    server.deliver(&[ALICE], &message("traced", "x"));
    assert_eq!(server.inbox(ALICE).len(), 1);
    server.command(&format!("account show {ALICE}")).run().success();
    let wanted = [
        "smtp.session",
        "smtp.transaction",
        "mail.delivery",
        "IMAP SELECT",
        "GET /api/v1/accounts/{account}",
    ];
    for name in wanted {
        let what = format!("{name}, whatever the level of the log");
        wait_until(&what, Duration::from_secs(20), || collector.has(name));
    }
    assert!(collector.has("deployment.environment.name") && collector.has("x-key: of-the-tests"));
    assert!(!collector.has(ALICE), "no address of a user is in them");
    // What waits when the service is told to stop is sent all the same.
    server.command("domain list").run().success();
    server.terminate();
    assert_eq!(server.wait(Duration::from_secs(30)), Some(0));
    assert!(collector.has("GET /api/v1/domains"));
}

#[test]
fn mail_flows_while_the_collector_is_away() {
    let mut server = Server::builder()
        .set("traces", "endpoint", &format!("http://127.0.0.1:{}", crate::support::server::free_port()))
        .set("traces", "timeout", "1s")
        .start();
    for number in 0..20 {
        server.deliver(&[ALICE], &message(&number.to_string(), "x"));
    }
    assert_eq!(server.inbox(ALICE).len(), 20);
    wait_until("one word about it", Duration::from_secs(20), || {
        server.log().contains("traces cannot be sent")
    });
    server.terminate();
    assert_eq!(server.wait(Duration::from_secs(30)), Some(0));
}
