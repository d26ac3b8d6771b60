//! Durations and sizes as people write them: `30s`, `1h30m`, `50MiB`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written as whole numbers with units: `500ms`, `30s`, `5m`, `4h`, `5d`, `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// A number of bytes, written `4096`, `64KiB`, `50MiB` or `1GiB` (powers of 1024), or `kB`, `MB`, `GB`
/// (powers of 1000).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is no duration or size; the `Display` says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct UnitError {
    what: &'static str,
}

/// What a duration may look like, for error messages.
pub const DURATION_FORM: &str = "a duration such as 500ms, 30s, 5m, 4h or 5d";
/// What a size may look like, for error messages.
pub const SIZE_FORM: &str = "a size such as 4096, 64KiB, 50MiB or 1GiB";

impl Duration {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    /// So many days of 24 hours.
    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }

    /// As the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// So many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// So many GiB.
    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// In bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In bytes, for sizes of buffers; saturates where `usize` is smaller.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl From<std::time::Duration> for Duration {
    /// Rounds down to milliseconds, which is what can be written.
    fn from(duration: std::time::Duration) -> Self {
        Self::millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Days since the epoch of a day such as `2026-11-22`; `None` for what is no day.
pub fn parse_day(text: &str) -> Option<u64> {
    let is_form = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(n, b)| if n == 4 || n == 7 { b == b'-' } else { b.is_ascii_digit() });
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !is_form || year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468)
}

/// Takes one `<digits><unit>` from the front of `text`.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].trim_start();
    let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((number, &rest[..unit], rest[unit..].trim_start()))
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = UnitError { what: DURATION_FORM };
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self::millis(0));
        }
        let mut total: u64 = 0;
        let mut last_unit = u64::MAX;
        loop {
            let (number, unit, after) = number_and_unit(rest).ok_or(wrong.clone())?;
            let millis = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(wrong),
            };
            if millis >= last_unit {
                return Err(wrong);
            }
            last_unit = millis;
            total = number.checked_mul(millis).and_then(|n| total.checked_add(n)).ok_or(wrong.clone())?;
            rest = after;
            if rest.is_empty() {
                return Ok(Self::millis(total));
            }
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = UnitError { what: SIZE_FORM };
        let (number, unit, rest) = number_and_unit(text.trim()).ok_or(wrong.clone())?;
        let scale: u64 = match unit {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" | "k" | "K" => 1 << 10,
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            "TiB" | "T" => 1 << 40,
            _ => return Err(wrong),
        };
        if !rest.is_empty() {
            return Err(wrong);
        }
        number.checked_mul(scale).map(Self).ok_or(wrong)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if left >= millis {
                write!(f, "{}{unit}", left / millis)?;
                left %= millis;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

macro_rules! as_text {
    ($type:ident, $format:literal, $form:ident) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

as_text!(Duration, "duration", DURATION_FORM);
as_text!(ByteSize, "byte-size", SIZE_FORM);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("5d", 432_000_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap(), Duration::millis(millis), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5h", "30 parsecs", "30m1h", "1s2s", "99999999999999999999s"] {
            assert!(text.parse::<Duration>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in
            [("4096", 4096), ("64KiB", 65_536), ("50MiB", 50 << 20), ("1GiB", 1 << 30), ("10MB", 10_000_000)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().get(), bytes, "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "5 bananas", "99999999999TiB", "1MiB2KiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, days) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-22", 20_779), ("2100-03-01", 47_541)]
        {
            assert_eq!(parse_day(text), Some(days), "{text}");
        }
        for text in [
            "",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "1969-12-31",
            "2026-11-31",
            "2026-11-22 ",
            "+026-11-22",
        ] {
            assert_eq!(parse_day(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for millis in [0, 1, 999, 1_000, 61_001, 90_061_001, 432_000_000] {
            let duration = Duration::millis(millis);
            assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }
        for bytes in [0, 1, 1023, 1024, 1025, 50 << 20, 3 << 40] {
            let size = ByteSize::bytes(bytes);
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
    }
}
