//! Spans for traces: what a collector sees of single deliveries, attempts and commands.
//!
//! They are made with [`trace_span!`](crate::trace_span), have a target of their own, and no part in logs. While no traces are sent they are disabled where
//! they are made, which costs a look at one atomic number. Fields are counts, names of protocols and domains; never addresses of users or clients.

use std::sync::OnceLock;

use tracing::Span;

/// The target of spans for traces.
pub const TRACES: &str = "ekitei::trace";

/// Makes a span for traces: `trace_span!("name", field = value)`, a child of the current one; with `parent: None` before the name, the first of a trace.
#[macro_export]
macro_rules! trace_span {
    (parent: None, $name:literal $($fields:tt)*) => {
        $crate::tracing::info_span!(target: $crate::TRACES, parent: None, $name $($fields)*)
    };
    ($name:literal $($fields:tt)*) => {
        $crate::tracing::info_span!(target: $crate::TRACES, $name $($fields)*)
    };
}

/// A count as a field of a span, where signed numbers are numbers and others are text.
pub fn trace_count(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Makes a span part of the trace that a caller names (<https://www.w3.org/TR/trace-context/>).
type Continue = fn(&Span, &str);

static CONTINUE: OnceLock<Continue> = OnceLock::new();

/// Says how [`continue_trace`] does it; the first to say so counts.
pub fn continue_traces_with(how: Continue) {
    let _ = CONTINUE.set(how);
}

/// Makes a new span part of the trace that a `traceparent` field names; what is no such field changes nothing.
pub fn continue_trace(span: &Span, traceparent: &str) {
    if let Some(how) = CONTINUE.get().filter(|_| !span.is_disabled()) {
        how(span, traceparent);
    }
}
