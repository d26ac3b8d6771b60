//! The client against servers that follow a script, in memory and with a clock that waits for nobody.
#![allow(clippy::unwrap_used)]

mod connection;
mod dialogue;
mod extensions;
mod hostile;
mod model;
mod pool;
mod real;
mod support;
mod tls;
