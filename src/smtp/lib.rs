//! The receiving server: MX, submission and LMTP.
