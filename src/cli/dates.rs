//! The calendar, as far as the command line shows and reads dates: all times are UTC.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Seconds since the epoch as `2026-11-22 07:30:00Z`.
pub fn iso(unix: u64) -> String {
    let (year, month, day) = civil_date(unix / 86_400);
    let (hour, minute, second) = time_of_day(unix);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since the epoch as `Sun Nov 22 07:30:00 2026`, the form of C's `asctime`.
pub fn asctime(unix: u64) -> String {
    let days = unix / 86_400;
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = time_of_day(unix);
    let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

/// Reads what [`asctime`] writes; time zones after it, as some programs write them, are not looked at.
pub fn parse_asctime(text: &str) -> Option<u64> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let start = fields.iter().position(|field| WEEKDAYS.contains(field))?;
    let [_, month, day, time, rest @ ..] = &fields[start..] else { return None };
    let year: u64 =
        rest.iter().find_map(|field| field.parse().ok().filter(|year| (1970..10_000).contains(year)))?;
    let month = MONTHS.iter().position(|name| name == month)? as u64 + 1;
    let day: u64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    Some(days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn time_of_day(unix: u64) -> (u64, u64, u64) {
    let seconds = unix % 86_400;
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a day since the epoch, by the proleptic Gregorian calendar (after Howard Hinnant's
/// `civil_from_days`: years begin in March, so that the leap day is the last).
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil_date`], for years from 1970.
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(iso(0), "1970-01-01 00:00:00Z");
        assert_eq!(iso(951_827_696), "2000-02-29 12:34:56Z");
        assert_eq!(iso(1_795_336_031), "2026-11-22 08:27:11Z");
        assert_eq!(iso(4_107_542_399), "2100-02-28 23:59:59Z");
        assert_eq!(iso(4_107_542_400), "2100-03-01 00:00:00Z");
        assert_eq!(asctime(1_795_336_031), "Sun Nov 22 08:27:11 2026");
    }

    #[test]
    fn dates_of_other_programs_are_read() {
        for text in [
            "alice Sun Nov 22 08:27:11 2026",
            "a b  Sun Nov 22 08:27:11 UTC 2026",
            "x Sun Nov 22 08:27:11 2026 +0000",
        ] {
            assert_eq!(parse_asctime(text), Some(1_795_336_031), "{text}");
        }
        for text in ["", "alice", "Sun Nov", "Sun Foo 22 08:27:11 2026", "Sun Nov 40 08:27:11 2026"] {
            assert_eq!(parse_asctime(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(unix in 0..250_000_000_000_u64) {
            prop_assert_eq!(parse_asctime(&asctime(unix)), Some(unix));
        }
    }
}
