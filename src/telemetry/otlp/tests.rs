//! A collector on the loopback interface, and what it gets.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use ekitei_telemetry::{continue_trace, trace_count, trace_span};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// One request: its head, and what it brings.
struct Delivered {
    head: String,
    request: ExportTraceServiceRequest,
}

impl Delivered {
    fn spans(&self) -> Vec<&Sent> {
        let scopes = self.request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).collect()
    }

    fn resource(&self, key: &str) -> Option<String> {
        let resource = self.request.resource_spans[0].resource.as_ref()?;
        let found = resource.attributes.iter().find(|attribute| attribute.key == key)?;
        match found.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.clone()),
            other => panic!("{other:?}"),
        }
    }
}

/// Takes one request after the other, and says 200 to each.
async fn collect(listener: TcpListener, to: mpsc::UnboundedSender<Delivered>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let to = to.clone();
        tokio::spawn(async move {
            let mut octets = Vec::new();
            let (head, length) = loop {
                assert_ne!(stream.read_buf(&mut octets).await.unwrap(), 0, "the whole head comes");
                if let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head = String::from_utf8(octets.drain(..end + 4).collect()).unwrap().to_lowercase();
                    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
                    break (head.clone(), length.parse::<usize>().unwrap());
                }
            };
            while octets.len() < length {
                assert_ne!(stream.read_buf(&mut octets).await.unwrap(), 0, "the whole body comes");
            }
            let request = ExportTraceServiceRequest::decode(&octets[..]).unwrap();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            to.send(Delivered { head, request }).unwrap();
        });
    }
}

fn options(endpoint: String) -> Options {
    Options {
        endpoint,
        headers: vec![("Authorization".to_owned(), Secret("Bearer of the tests".to_owned()))],
        ca_file: None,
        sample_one_in: 1,
        attributes: vec![
            ("service.name".to_owned(), "ekitei".to_owned()),
            ("cloud.region".to_owned(), "eu".to_owned()),
        ],
        timeout: Duration::from_secs(5),
        max_waiting: 1024,
    }
}

async fn collector() -> (String, mpsc::UnboundedReceiver<Delivered>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (to, from) = mpsc::unbounded_channel();
    tokio::spawn(collect(listener, to));
    (endpoint, from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_spans_with_their_parents_and_no_log_lines() {
    let (endpoint, mut delivered) = collector().await;
    let (traces, layer) = start(options(endpoint)).unwrap();
    let subscriber = tracing_subscriber::registry().with(vec![layer]);
    tracing::subscriber::with_default(subscriber, || {
        let session = trace_span!(parent: None, "smtp.session", otel.kind = "server", role = "mx");
        session.in_scope(|| {
            // A span of the log between the two is nobody's parent.
            tracing::info_span!("smtp", peer = "192.0.2.1").in_scope(|| {
                let delivery = trace_span!(
                    "mail.delivery",
                    octets = trace_count(42_usize),
                    code = tracing::field::Empty
                );
                delivery.record("code", trace_count(250_u16));
                delivery.in_scope(|| tracing::info!("alice@example.test has it"));
            });
        });
    });
    traces.finish(Duration::from_secs(10)).await;
    let delivered = delivered.recv().await.unwrap();
    assert!(delivered.head.starts_with("post /v1/traces http/1.1\r\n"), "{}", delivered.head);
    assert!(delivered.head.contains("content-type: application/x-protobuf\r\n"), "{}", delivered.head);
    assert!(delivered.head.contains("authorization: bearer of the tests\r\n"), "{}", delivered.head);
    assert_eq!(delivered.resource("service.name").as_deref(), Some("ekitei"));
    assert_eq!(delivered.resource("cloud.region").as_deref(), Some("eu"));
    let spans = delivered.spans();
    let named = |name: &str| *spans.iter().find(|span| span.name == name).unwrap();
    let (session, delivery) = (named("smtp.session"), named("mail.delivery"));
    assert_eq!(spans.len(), 2, "and none of the log");
    assert_eq!((&delivery.parent_span_id, &delivery.trace_id), (&session.span_id, &session.trace_id));
    let value = |key: &str| {
        let found = delivery.attributes.iter().find(|attribute| attribute.key == key);
        found.and_then(|found| found.value.clone()?.value)
    };
    assert_eq!((value("octets"), value("code")), (Some(Value::IntValue(42)), Some(Value::IntValue(250))));
    assert!(delivery.events.is_empty(), "what the log says stays in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_continued_and_what_names_none_begins_one() {
    let (endpoint, mut delivered) = collector().await;
    // Of what begins here hardly anything is sent; what a caller wants is.
    let (traces, layer) = start(Options { sample_one_in: u32::MAX, ..options(endpoint) }).unwrap();
    let subscriber = tracing_subscriber::registry().with(vec![layer]);
    tracing::subscriber::with_default(subscriber, || {
        for traceparent in ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "nonsense", ""] {
            let span = trace_span!(parent: None, "admin.request", asked = traceparent);
            continue_trace(&span, traceparent);
        }
    });
    traces.finish(Duration::from_secs(10)).await;
    let delivered = delivered.recv().await.unwrap();
    let spans = delivered.spans();
    assert_eq!(spans.len(), 1);
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    assert_eq!(hex(&spans[0].trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&spans[0].parent_span_id), "00f067aa0ba902b7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_keeps_nobody_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (traces, layer) = start(Options { max_waiting: 512, ..options(endpoint) }).unwrap();
    let subscriber = tracing_subscriber::registry().with(vec![layer]);
    let began = Instant::now();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..20_000 {
            drop(trace_span!(parent: None, "imap.command", command = "NOOP"));
        }
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let began = Instant::now();
    traces.finish(Duration::from_millis(200)).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn the_path_is_added_where_there_is_none() {
    for (given, used) in [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://collector/", "https://collector/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    ] {
        assert_eq!(with_path(given), used);
    }
}
