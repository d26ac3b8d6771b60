//! Dates and date-times of the protocol, and their relation to Unix time.

use std::fmt;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_SECONDS: i64 = 86_400;

/// A calendar day as in SEARCH (`1-Feb-1994`), without a zone (RFC 9051 §9, `date`). Years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day, if there is one: `month` and `day` count from 1.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let good = year <= 9999 && (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
        good.then_some(Date { year, month, day })
    }

    /// The day on which `unix` seconds falls in a zone `offset_minutes` east of UTC; years outside 0 to
    /// 9999 become the nearest day that can be written.
    pub fn from_unix(unix: i64, offset_minutes: i16) -> Date {
        civil(unix.saturating_add(i64::from(offset_minutes) * 60).div_euclid(DAY_SECONDS))
    }

    /// Unix time in seconds of this day's start in UTC.
    pub fn unix_midnight(self) -> i64 {
        days_since_epoch(self) * DAY_SECONDS
    }

    /// The year, 0 to 9999.
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, 1 to 31.
    pub fn day(self) -> u8 {
        self.day
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:04}", self.day, MONTHS[usize::from(self.month) - 1], self.year)
    }
}

/// A date, time and zone such as INTERNALDATE (RFC 9051 §9, `date-time`): the moment, and the zone it is
/// written in. Its text is without the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Unix time in seconds.
    pub unix: i64,
    /// Minutes east of UTC, between -5999 and 5999.
    pub offset_minutes: i16,
}

impl DateTime {
    /// A moment written in UTC.
    pub fn utc(unix: i64) -> DateTime {
        DateTime { unix, offset_minutes: 0 }
    }

    /// Reads `dd-Mon-yyyy hh:mm:ss +zzzz`, where the day may have a space for its first digit. A leap
    /// second counts as the second after it.
    pub fn parse(text: &[u8]) -> Option<DateTime> {
        let &[d1, d2, b'-', m1, m2, m3, b'-', ref rest @ ..] = text else { return None };
        let &[y1, y2, y3, y4, b' ', h1, h2, b':', n1, n2, b':', s1, s2, b' ', sign, z1, z2, z3, z4] = rest
        else {
            return None;
        };
        let day = if d1 == b' ' { digits(&[d2])? } else { digits(&[d1, d2])? };
        let date = Date::new(digits(&[y1, y2, y3, y4])?, month(&[m1, m2, m3])?, u8::try_from(day).ok()?)?;
        let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[n1, n2])?, digits(&[s1, s2])?);
        let (zone_hours, zone_minutes) = (digits(&[z1, z2])?, digits(&[z3, z4])?);
        if hour > 23 || minute > 59 || second > 60 || zone_minutes > 59 {
            return None;
        }
        let magnitude = i16::try_from(zone_hours * 60 + zone_minutes).ok()?;
        let offset_minutes = match sign {
            b'+' => magnitude,
            b'-' => -magnitude,
            _ => return None,
        };
        let of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        Some(DateTime {
            unix: date.unix_midnight() + of_day - i64::from(offset_minutes) * 60,
            offset_minutes,
        })
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset_minutes.clamp(-5999, 5999);
        let local = self.unix.saturating_add(i64::from(offset) * 60);
        let date = civil(local.div_euclid(DAY_SECONDS));
        let second = local.rem_euclid(DAY_SECONDS);
        write!(
            f,
            "{:02}-{}-{:04} {:02}:{:02}:{:02} {}{:02}{:02}",
            date.day,
            MONTHS[usize::from(date.month) - 1],
            date.year,
            second / 3600,
            second / 60 % 60,
            second % 60,
            if offset < 0 { '-' } else { '+' },
            offset.abs() / 60,
            offset.abs() % 60,
        )
    }
}

impl Date {
    /// Reads `d-Mon-yyyy` or `dd-Mon-yyyy`, without quotes.
    pub fn parse(text: &[u8]) -> Option<Date> {
        let mut parts = text.split(|&b| b == b'-');
        let (day, name, year) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !(1..=2).contains(&day.len()) || year.len() != 4 {
            return None;
        }
        Date::new(digits(year)?, month(name)?, u8::try_from(digits(day)?).ok()?)
    }
}

fn digits(text: &[u8]) -> Option<u16> {
    text.iter().try_fold(0u16, |value, &b| {
        let digit = b.is_ascii_digit().then(|| u16::from(b - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn month(name: &[u8]) -> Option<u8> {
    let index = MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name))?;
    u8::try_from(index + 1).ok()
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, with years that begin in March so that the
/// leap day is the last of its year.
fn days_since_epoch(date: Date) -> i64 {
    let month = i64::from(date.month);
    let year = i64::from(date.year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(date.day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_since_epoch`], clamped to years 0 to 9999.
fn civil(days: i64) -> Date {
    const FIRST: i64 = -719_528;
    const LAST: i64 = 2_932_896;
    let shifted = days.clamp(FIRST, LAST) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    // In range by the clamp above.
    Date { year: year as u16, month: month as u8, day: day as u8 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_examples_are_read_and_written() {
        // RFC 9051 §7.5.2 and §6.4.4.
        let text = "17-Jul-1996 02:44:25 -0700";
        let moment = DateTime::parse(text.as_bytes());
        assert_eq!(moment, Some(DateTime { unix: 837_596_665, offset_minutes: -420 }));
        assert_eq!(moment.map(|m| m.to_string()).as_deref(), Some(text));
        assert_eq!(Date::parse(b"1-Feb-1994"), Date::new(1994, 2, 1));
        assert_eq!(Date::parse(b"1-Feb-1994").map(|d| d.unix_midnight()), Some(760_060_800));
        assert_eq!(DateTime::parse(b" 7-feb-1994 21:52:25 +0000").map(|m| m.unix), Some(760_657_945));
    }

    #[test]
    fn impossible_days_and_times_are_refused() {
        for text in [
            "30-Feb-2024",
            "29-Feb-2023",
            "0-Jan-2020",
            "1-Foo-2020",
            "1-Jan-20",
            "1-Jan-2020-",
            "001-Jan-2020",
        ] {
            assert_eq!(Date::parse(text.as_bytes()), None, "{text}");
        }
        for text in [
            "17-Jul-1996 24:44:25 -0700",
            "17-Jul-1996 02:60:25 -0700",
            "17-Jul-1996 02:44:61 -0700",
            "17-Jul-1996 02:44:25 -0760",
            "17-Jul-1996 02:44:25 0700",
            "7-Jul-1996 02:44:25 -0700",
            "",
        ] {
            assert_eq!(DateTime::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn moments_out_of_range_are_written_as_the_nearest_day() {
        assert!(DateTime::utc(i64::MAX).to_string().starts_with("31-Dec-9999 "));
        assert!(DateTime::utc(i64::MIN).to_string().starts_with("01-Jan-0000 "));
    }

    proptest! {
        #[test]
        fn date_times_round_trip(unix in -60_000_000_000i64..250_000_000_000, offset_minutes in -1439i16..1440) {
            let moment = DateTime { unix, offset_minutes };
            prop_assert_eq!(DateTime::parse(moment.to_string().as_bytes()), Some(moment));
        }

        #[test]
        fn dates_round_trip_and_follow_each_other(days in -700_000i64..2_900_000) {
            let date = Date::from_unix(days * DAY_SECONDS, 0);
            prop_assert_eq!(date.unix_midnight(), days * DAY_SECONDS);
            prop_assert_eq!(Date::parse(date.to_string().as_bytes()), Some(date));
            prop_assert!(Date::from_unix((days + 1) * DAY_SECONDS, 0) > date);
        }
    }
}
