//! Sends traces to a collector by OTLP over HTTP, in protobuf (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Spans that end wait in a queue of a bounded length, and a thread of its own sends them in batches. When the queue is full, since the collector is away or slow,
//! spans are dropped; nothing that serves mail ever waits. Only spans of [`ekitei_telemetry::trace_span!`] are sent, and no log lines.

mod carrier;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use ekitei_telemetry::{TRACES, TraceLayer, continue_traces_with};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;

use carrier::Carrier;

/// Spans of one request.
const BATCH: usize = 512;
/// How long spans wait for others to go with them.
const DELAY: Duration = Duration::from_secs(2);
/// Where collectors take traces.
const PATH: &str = "/v1/traces";

/// What is sent, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The collector's URL; [`PATH`] is added if it has no path.
    pub endpoint: String,
    /// Fields of each request.
    pub headers: Vec<(String, Secret)>,
    /// Authorities of the collector's certificate, as PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// One trace of so many is sent; at least 1.
    pub sample_one_in: u32,
    /// What is known of this process: `service.name` and others.
    pub attributes: Vec<(String, String)>,
    /// The longest time of one request.
    pub timeout: Duration,
    /// The most spans that wait.
    pub max_waiting: usize,
}

/// The value of a field, which may be a token: `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why traces cannot be sent: always the configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authorities cannot be read.
    #[error("traces.caFile: {0}")]
    Authorities(String),
    /// The client cannot be made.
    #[error("traces: {0}")]
    Client(String),
}

/// Traces that are being sent.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

/// Begins to send traces; within a Tokio runtime, which does the sending. The layer is for [`ekitei_telemetry::init_logs`].
///
/// # Errors
/// [`Error`]. That the collector is away is none: traces are sent when it is there.
pub fn start(options: Options) -> Result<(Traces, TraceLayer), Error> {
    let carrier = Carrier::new(&options)?;
    let headers: HashMap<String, String> =
        options.headers.into_iter().map(|(name, value)| (name, value.0)).collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(carrier)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(with_path(&options.endpoint))
        .with_timeout(options.timeout)
        .with_headers(headers)
        .build()
        .map_err(|error| Error::Client(error.to_string()))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(options.max_waiting)
        .with_max_export_batch_size(BATCH.min(options.max_waiting))
        .with_scheduled_delay(DELAY)
        .build();
    let share = 1.0 / f64::from(options.sample_one_in.max(1));
    let attributes = options.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(Resource::builder().with_attributes(attributes).build())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("ekitei"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(Targets::new().with_target(TRACES, LevelFilter::INFO))
        .boxed();
    continue_traces_with(adopt);
    Ok((Traces { provider }, layer))
}

impl Traces {
    /// Sends what waits, for at most `limit`, and ends.
    pub async fn finish(self, limit: Duration) {
        let provider = self.provider;
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

fn with_path(endpoint: &str) -> String {
    let bare = endpoint.trim_end_matches('/');
    match bare.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
        true => endpoint.to_owned(),
        false => format!("{bare}{PATH}"),
    }
}

/// A `traceparent` field.
struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Makes a span part of the trace that the field names.
fn adopt(span: &Span, traceparent: &str) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Parent(traceparent));
    if parent.span().span_context().is_valid()
        && let Err(error) = span.set_parent(parent)
    {
        tracing::debug!(%error, "a trace cannot be continued");
    }
}
