//! How long caches may still have what was there before.

use std::time::Duration;

use super::Authorities;
use crate::plan::Change;

/// How long after all servers show a change some cache may still give what was there before: what replaced a record set, its old TTL; what is new, the
/// time that its absence is remembered. Where the old TTL is not known, `default` seconds.
///
/// A key is used so long after it is on all servers; and one that was used stays so long after it is not used any more.
pub fn forgotten_after(change: &Change, authorities: &Authorities, default: u32) -> Duration {
    let absence = authorities.negative_ttl;
    let seconds = match &change.before {
        Some(before) => before.ttl.unwrap_or(default).max(absence),
        None => absence,
    };
    Duration::from_secs(u64::from(seconds))
}
