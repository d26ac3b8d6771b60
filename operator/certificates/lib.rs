//! Certificates of mail domains.
