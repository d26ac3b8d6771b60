//! Metrics and logs.
//!
//! Each part of the service declares its metrics once, as a struct of families made from one [`Registry`];
//! [`Registry::render`] is what `/metrics` answers. [`init_logs`] starts structured logs, whose level can change
//! while the service runs.

mod logs;
mod metrics;
mod reference;

pub use logs::{LogControl, LogError, LogFormat, init_logs};
pub use metrics::{
    BYTES, Counter, CounterFamily, Declared, EXPOSITION_CONTENT_TYPE, Gauge, GaugeFamily, GaugeGuard,
    Histogram, HistogramFamily, Labels, Registry, SECONDS, Timer,
};
pub use reference::{metrics_markdown, replace_section};
