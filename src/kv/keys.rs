//! The subspaces of the store, one place for all of them.
//!
//! Keys are tuple-encoded (`foundationdb-tuple`); the first element is the subspace.

use std::ops::Range;

use foundationdb_tuple::TuplePack;

/// Subspaces: the first element of every key.
pub mod subspace {
    /// Domains, accounts, addresses, credentials, the directory version. Every row: `src/directory/rows.rs`.
    pub const DIRECTORY: u32 = 1;
    /// Mailboxes by id and by name, UIDNEXT, counters. Every row, also of the next three: `src/mailstore/rows.rs`.
    pub const MAILBOXES: u32 = 2;
    /// account/mailbox/uid: small fixed rows for SELECT and FETCH FLAGS.
    pub const INDEX: u32 = 3;
    /// account/message: body reference, headers, MIME structure.
    pub const MESSAGES: u32 = 4;
    /// account/mailbox/versionstamp: what changed.
    pub const CHANGES: u32 = 5;
    /// Bodies, their chunks and references. Every row: `src/blob/rows.rs`.
    pub const BODIES: u32 = 6;
    /// The outgoing queue. Every row: `src/queue/rows.rs`.
    pub const QUEUE: u32 = 7;
    /// Rate buckets, greylist, bans, with expiry. Every row: `src/filter/limits/rows.rs`.
    pub const LIMITS: u32 = 8;
    /// Nodes, leases, incarnation, schema version. Rows: `src/cluster/rows.rs`, `src/kv/schema.rs`, `src/kv/lease/mod.rs`,
    /// `src/cluster/locks.rs`, `src/pop3/lease.rs`.
    pub const CLUSTER: u32 = 9;
    /// Reports: what is collected for others, and what others sent. Every row: `src/reports/rows.rs`.
    pub const REPORTS: u32 = 10;
    /// Signing keys, encrypted. Every row: `src/signing/rows.rs`.
    pub const SIGNING: u32 = 11;
    /// MTA-STS policies of other domains. Every row: `src/cli/service/policies.rs`.
    pub const RELAY: u32 = 12;
    /// Data keys, wrapped. Every row: `src/keyring/rows.rs`.
    pub const KEYRING: u32 = 13;
    /// Jobs of backups, and what a restore notes. Every row: `src/backup/rows.rs`.
    pub const BACKUP: u32 = 14;
    /// TLS certificates; their keys encrypted. Every row: `src/certificates/rows.rs`.
    pub const CERTIFICATES: u32 = 15;
}

/// Packs a tuple into a key.
pub fn key<T: TuplePack>(tuple: &T) -> Vec<u8> {
    foundationdb_tuple::pack(tuple)
}

/// All keys whose tuples begin with `tuple` and have at least one element more.
pub fn range<T: TuplePack>(tuple: &T) -> Range<Vec<u8>> {
    let prefix = foundationdb_tuple::pack(tuple);
    let mut begin = prefix.clone();
    begin.push(0x00);
    let mut end = prefix;
    end.push(0xFF);
    begin..end
}
