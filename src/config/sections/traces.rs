//! Traces for a collector.

use std::path::PathBuf;

use super::section;
use crate::{Duration, Secret};

section! {
    /// Traces: how long the steps of single deliveries, attempts and commands take. They are sent to a collector by OTLP over HTTP (protobuf).
    pub struct Traces {
        /// The collector, such as `http://collector:4318`; `/v1/traces` is added to a URL without a path. Empty for no traces.
        endpoint: String = String::new(),
        /// Fields of each request to the collector, such as a token.
        headers: Vec<TraceHeader> = Vec::new(),
        /// The authorities that the collector's certificate may be from, as PEM, instead of those of the system.
        ca_file: Option<PathBuf> = None,
        /// One trace of so many is sent; `1` for all. A request to the admin API with a `traceparent` that is sampled always is.
        #[schemars(range(min = 1))]
        sample_one_in: u32 = 1,
        /// `service.name`.
        service_name: String = "ekitei".to_owned(),
        /// More about this process, as in `deployment.environment.name=production`; `host.name`, `service.version` and `cloud.region` are known.
        attributes: Vec<String> = Vec::new(),
        /// The longest time of one request to the collector.
        timeout: Duration = Duration::seconds(10),
        /// The most spans that wait for the collector; more are dropped, and nothing else waits for it.
        #[schemars(range(min = 512, max = 1_000_000))]
        max_waiting: u32 = 4096,
    }
}

section! {
    /// A field of requests to the collector.
    pub struct TraceHeader {
        /// Its name.
        name: String = String::new(),
        /// Its value.
        value: Option<Secret> = None,
    }
}
