//! ACME against Pebble, the test server of Let's Encrypt, which validates for real: it asks a name server of these tests.
//!
//! Pebble is made by `make kubernetes-tools`; where it is missing these tests name themselves as skipped. What Pebble
//! does not do (limits of rates, failures of the server) is done by a server of a few lines in `fake.rs`.

#![allow(clippy::unwrap_used, missing_docs)]

mod accounts;
mod fake;
mod names;
mod orders;
mod pebble;
mod refusals;
mod renewals;

use ekitei_operator_certificates::HostName;

/// Host names of texts.
fn hosts(names: &[&str]) -> Vec<HostName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}
