//! The three states of a member in a merge patch (RFC 7396): absent, `null`, and a value.

use serde::{Deserialize, Deserializer};

/// Reads a member that is there; with `#[serde(default)]` an absent one is `None`, and `null` is `Some(None)`.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
