//! Ekitei: a clustered mail service.
//!
//! The parts are crates of their own in the folders beside this file; this one puts them together: the command line, and
//! [`cli::service`], which builds a running service from a configuration.

pub mod cli;
