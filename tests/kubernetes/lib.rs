//! The harness of the Kubernetes tests.
