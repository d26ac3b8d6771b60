//! Accounts and credentials.

use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Accounts, addresses and credentials.
    pub struct Directory {
        /// The cost of new password hashes, and how many are computed at once.
        password_hashing: PasswordHashing = PasswordHashing::default(),
        /// How long a login that succeeded is remembered, so that a client that connects often costs no hash.
        /// Kept as a keyed digest in memory only. `0` turns it off.
        credential_cache_ttl: Duration = Duration::minutes(5),
        /// The most logins that are remembered.
        #[schemars(range(min = 1))]
        credential_cache_entries: u32 = 10_000,
        /// How long a looked-up address is remembered when the directory has not changed. `0` turns it off.
        lookup_cache_ttl: Duration = Duration::seconds(60),
        /// The most addresses that are remembered.
        #[schemars(range(min = 1))]
        lookup_cache_entries: u32 = 100_000,
        /// What separates a local part from its detail, as in `alice+lists`; empty turns it off.
        plus_addressing_separator: String = "+".to_owned(),
        /// How long the answer to a failed login takes at least, so that guessing is slow.
        failed_login_delay: Duration = Duration::seconds(1),
        /// The domain of login names that have none, such as `alice`; without it they are refused.
        default_domain: Option<String> = None,
        /// Where mail to `postmaster` without a domain goes, and mail to postmaster@ and abuse@ of domains that name
        /// nobody.
        postmaster: Option<String> = None,
        /// The fewest characters of a new password.
        #[schemars(range(min = 1, max = 128))]
        password_min_length: u32 = 8,
        /// The most app passwords of one account.
        max_app_passwords: u32 = 50,
        /// How many aliases, groups and forwarding accounts may lie behind one another.
        #[schemars(range(min = 1, max = 100))]
        max_expansion_depth: u32 = 10,
        /// The most members, over all levels, that one alias or group may expand to.
        #[schemars(range(min = 1))]
        max_expansion: u32 = 10_000,
        /// The most addresses that one account may forward to.
        #[schemars(range(min = 1, max = 200))]
        max_forwarding_addresses: u32 = 20,
    }
}

section! {
    /// Argon2id (RFC 9106).
    pub struct PasswordHashing {
        /// How many hashes are computed at once; `0` is half the processors, at least one.
        concurrency: u32 = 0,
        /// How many logins may wait for a hash before more are refused for the moment.
        max_waiting: u32 = 1000,
        /// Memory of one hash.
        memory: ByteSize = ByteSize::kib(19_456),
        /// Passes over the memory.
        #[schemars(range(min = 1, max = 1000))]
        iterations: u32 = 2,
        /// Lanes of one hash.
        #[schemars(range(min = 1, max = 64))]
        parallelism: u32 = 1,
    }
}
