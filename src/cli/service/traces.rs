//! Traces for a collector, as `traces` of the configuration has them.

use ekitei_config::Config;
use ekitei_otlp::{Options, Secret, Traces};
use ekitei_telemetry::TraceLayer;

/// Begins to send traces, if a collector is configured.
///
/// # Errors
/// What is wrong with the configuration.
pub fn start(config: &Config) -> Result<Option<(Traces, TraceLayer)>, ekitei_otlp::Error> {
    let traces = &config.traces;
    if traces.endpoint.is_empty() {
        return Ok(None);
    }
    let header = |header: &ekitei_config::TraceHeader| {
        let value = header.value.as_ref().map(|value| value.expose().to_owned());
        (header.name.clone(), Secret(value.unwrap_or_default()))
    };
    let options = Options {
        endpoint: traces.endpoint.clone(),
        headers: traces.headers.iter().map(header).collect(),
        ca_file: traces.ca_file.clone(),
        sample_one_in: traces.sample_one_in,
        attributes: attributes(config),
        timeout: traces.timeout.get(),
        max_waiting: usize::try_from(traces.max_waiting).unwrap_or(usize::MAX),
    };
    ekitei_otlp::start(options).map(Some)
}

/// What is known of this process, in the names of OpenTelemetry.
fn attributes(config: &Config) -> Vec<(String, String)> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let known = [
        ("service.name", config.traces.service_name.as_str()),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", machine.trim()),
        ("server.address", config.hostname.as_str()),
        ("cloud.region", config.cluster.region.as_str()),
    ];
    let given = config.traces.attributes.iter().filter_map(|attribute| attribute.split_once('='));
    known
        .into_iter()
        .chain(given.map(|(key, value)| (key.trim(), value.trim())))
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
