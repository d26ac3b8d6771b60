//! FoundationDB's error codes as ours: whose fault, and whether to retry.

use foundationdb::FdbError;

use crate::{Error, limits};

const TRANSACTION_TOO_OLD: i32 = 1007;
const NOT_COMMITTED: i32 = 1020;
const COMMIT_UNKNOWN_RESULT: i32 = 1021;
pub(super) const TRANSACTION_CANCELLED: i32 = 1025;
pub(super) const TRANSACTION_TIMED_OUT: i32 = 1031;
const ACCESSED_UNREADABLE: i32 = 1036;
const CLIENT_ERRORS: std::ops::Range<i32> = 2000..2100;
const TRANSACTION_TOO_LARGE: i32 = 2101;
const KEY_TOO_LARGE: i32 = 2102;
const VALUE_TOO_LARGE: i32 = 2103;

/// The error of anything but a commit: nothing was changed.
pub(super) fn of_read(error: FdbError) -> Error {
    match error.code() {
        TRANSACTION_TIMED_OUT => unavailable(error),
        _ => of_commit(error),
    }
}

/// The error of a commit.
pub(super) fn of_commit(error: FdbError) -> Error {
    match error.code() {
        NOT_COMMITTED => Error::Conflict,
        TRANSACTION_TOO_OLD => Error::TransactionTooOld,
        // A timeout says nothing about what the cluster did.
        COMMIT_UNKNOWN_RESULT | TRANSACTION_TIMED_OUT => Error::CommitUnknown,
        ACCESSED_UNREADABLE => Error::AccessedUnreadable,
        // Sizes are checked before; these can only be a little over what we count.
        TRANSACTION_TOO_LARGE => Error::TransactionTooLarge(limits::TRANSACTION_SIZE + 1),
        KEY_TOO_LARGE => Error::KeyTooLarge(limits::KEY_SIZE + 1),
        VALUE_TOO_LARGE => Error::ValueTooLarge(limits::VALUE_SIZE + 1),
        _ if error.is_maybe_committed() => Error::CommitUnknown,
        _ if error.is_retryable() => Error::Busy(error.message()),
        code if CLIENT_ERRORS.contains(&code) => Error::Misuse(error.message()),
        _ => unavailable(error),
    }
}

fn unavailable(error: FdbError) -> Error {
    Error::Unavailable(format!("FoundationDB: {} ({})", error.message(), error.code()))
}
