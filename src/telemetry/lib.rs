//! Metrics, logs, and spans for traces.
//!
//! Each part of the service declares its metrics once, as a struct of families made from one [`Registry`];
//! [`Registry::render`] is what `/metrics` answers. [`init_logs`] starts structured logs, whose level can change
//! while the service runs. [`trace_span!`] makes the spans that the crate `ekitei-otlp` sends to a collector, if one is configured.

mod logs;
mod metrics;
mod reference;
mod traces;

pub use logs::{LogControl, LogError, LogFormat, TraceLayer, init_logs};
pub use metrics::{
    BYTES, Counter, CounterFamily, Declared, EXPOSITION_CONTENT_TYPE, Gauge, GaugeFamily, GaugeGuard,
    Histogram, HistogramFamily, Labels, Registry, SECONDS, Timer,
};
pub use reference::{metrics_markdown, replace_section};
pub use traces::{TRACES, continue_trace, continue_traces_with, trace_count};

#[doc(hidden)]
pub use tracing;
