//! The operator and the chart against a real API server. `make test-kubernetes` runs this, whole.
#![allow(clippy::unwrap_used)]

mod definitions;
