//! Message bodies: hot tier, object stores, checksums, references and the collector.
