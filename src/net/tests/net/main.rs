//! Listeners and TLS, over loopback sockets and in memory.

mod common;
mod listener;
mod tls;
