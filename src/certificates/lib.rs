//! Certificates that are kept in the metadata store.
