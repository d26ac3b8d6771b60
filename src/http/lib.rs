//! Admin API, health and metrics.
