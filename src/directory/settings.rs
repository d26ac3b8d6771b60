//! Limits and habits of the directory.

use std::time::Duration;

use crate::address::{Domain, EmailAddress};

/// How the directory behaves. `Default` is what the configuration has when it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What divides a user from the detail in `user+detail@domain`; `None` turns plus-addressing off.
    pub detail_separator: Option<char>,
    /// How many aliases and groups may lie behind one another.
    pub expansion_depth: usize,
    /// How many accounts and addresses may lie behind one address, over all levels.
    pub expansion_fanout: usize,
    /// How many addresses an account may forward to.
    pub forwarding_addresses: usize,
    /// The domain of login names without one; `None` refuses them.
    pub default_domain: Option<Domain>,
    /// Where mail to `postmaster` without a domain, and to postmaster@ and abuse@ of domains that name nobody, goes.
    pub postmaster: Option<EmailAddress>,
    /// Quota in bytes of accounts whose domain has none either; `None` for no limit.
    pub default_quota: Option<u64>,
    /// Lookups that are kept in memory.
    pub lookup_cache_entries: usize,
    /// How long a lookup is believed if no change is heard of; zero keeps none.
    pub lookup_cache_ttl: Duration,
    /// Verified logins that are kept in memory, as keyed digests.
    pub credential_cache_entries: usize,
    /// How long a verified login is remembered; zero keeps none.
    pub credential_cache_ttl: Duration,
    /// How long the answer to a wrong password takes at least.
    pub failed_login_delay: Duration,
    /// Cost of Argon2id.
    pub argon2: Argon2Cost,
    /// Passwords verified at the same time, at least 1.
    pub verify_concurrency: usize,
    /// Passwords that may wait to be verified; more are refused as [`crate::AuthError::Busy`].
    pub verify_queue: usize,
    /// Fewest characters of a new password.
    pub password_min_length: usize,
    /// App passwords of one account.
    pub app_passwords_per_account: usize,
}

/// Cost of Argon2id (RFC 9106 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    /// The first recommendation of the OWASP password storage cheat sheet.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            detail_separator: Some('+'),
            expansion_depth: 10,
            expansion_fanout: 10_000,
            forwarding_addresses: 20,
            default_domain: None,
            postmaster: None,
            default_quota: None,
            lookup_cache_entries: 100_000,
            lookup_cache_ttl: Duration::from_secs(60),
            credential_cache_entries: 10_000,
            credential_cache_ttl: Duration::from_secs(300),
            failed_login_delay: Duration::from_secs(1),
            argon2: Argon2Cost::default(),
            verify_concurrency: std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().div_ceil(2)),
            verify_queue: 1000,
            password_min_length: 8,
            app_passwords_per_account: 50,
        }
    }
}
