//! What the code under test logs, in the trace: without it one sees each step of a process, and not what it was for.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::trace::Trace;

/// Notes events in a trace.
pub struct Events {
    trace: Trace,
    spans: AtomicU64,
}

impl Events {
    /// Notes events in `trace`.
    pub fn new(trace: Trace) -> Self {
        Self { trace, spans: AtomicU64::new(0) }
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with("ekitei")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.trace.note("log", format_args!("{}:{}", line.message, line.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event as text.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into memory cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // What a clock of this machine measured is another thing in each run.
            "elapsed" => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
