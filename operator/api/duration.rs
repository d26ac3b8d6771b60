//! Lengths of time as Kubernetes writes them: `90s`, `36h`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time: whole numbers with the units `h`, `m` and `s`, in this order, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Duration(std::time::Duration);

/// What is not a [`Duration`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a duration such as 90s, 36h or 1h30m")]
pub struct DurationError(String);

impl Duration {
    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self(std::time::Duration::from_secs(hours * 3600))
    }

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// What the standard library calls it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
        if seconds == 0 {
            return f.write_str("0s");
        }
        parts
            .iter()
            .filter(|(amount, _)| *amount > 0)
            .try_for_each(|(amount, unit)| write!(f, "{amount}{unit}"))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let wrong = || DurationError(text.to_owned());
        let mut rest = text;
        let mut total = 0_u64;
        for (unit, seconds) in [('h', 3600), ('m', 60), ('s', 1)] {
            let Some((digits, behind)) = rest.split_once(unit) else { continue };
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(wrong());
            }
            let amount: u64 = digits.parse().map_err(|_| wrong())?;
            total = amount.checked_mul(seconds).and_then(|more| total.checked_add(more)).ok_or_else(wrong)?;
            rest = behind;
        }
        if text.is_empty() || !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Self(std::time::Duration::from_secs(total)))
    }
}

impl TryFrom<String> for Duration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 24, "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2})
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_it_is_written() {
        for text in ["0s", "90s", "36h", "1h30m", "2h5s", "4320h"] {
            let parsed: Duration = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse::<Duration>().unwrap(), parsed, "{text}");
        }
        assert_eq!("90s".parse::<Duration>().unwrap().to_string(), "1m30s");
        assert_eq!("4320h".parse::<Duration>().unwrap(), Duration::hours(4320));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "1", "h", "5d", "-1h", "1h1h", "1s1h", "1.5h", " 1h", "99999999999999999999h"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError(text.to_owned())), "{text}");
        }
    }
}
