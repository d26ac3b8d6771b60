//! Listeners, PROXY protocol, TLS with reloadable certificates, limits and shutdown.
