//! Selectors: the names of keys (RFC 6376 §3.1).

use crate::error::{Error, Result};
use crate::key::Algorithm;

/// Octets of a selector; with `._domainkey.` and the domain it must fit into a name.
const OCTETS: usize = 63;

/// Checks a selector that somebody chose: labels of letters, digits and hyphens, in lower case.
pub(crate) fn check(selector: &str) -> Result<()> {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if selector.len() > OCTETS || !selector.split('.').all(label) {
        return Err(Error::Invalid(format!(
            "{selector:?} is no selector: at most {OCTETS} lower-case letters, digits, hyphens and dots"
        )));
    }
    Ok(())
}

/// The selector of `pattern` at `now` (seconds since the epoch) that is not `taken`.
pub(crate) fn choose(
    pattern: &str,
    algorithm: Algorithm,
    now: u64,
    taken: impl Fn(&str) -> bool,
) -> Result<String> {
    let (year, month, day) = date(now / 86_400);
    let letter = match algorithm {
        Algorithm::Rsa => "r",
        Algorithm::Ed25519 => "e",
    };
    let base = pattern
        .replace("{yyyy}", &format!("{year:04}"))
        .replace("{mm}", &format!("{month:02}"))
        .replace("{dd}", &format!("{day:02}"))
        .replace("{a}", letter);
    let numbered = (2..=1000).map(|number| format!("{base}-{number}"));
    let selector = std::iter::once(base.clone()).chain(numbered).find(|selector| !taken(selector));
    let selector = selector.ok_or_else(|| Error::Invalid(format!("every selector like {base} is taken")))?;
    check(&selector)?;
    Ok(selector)
}

/// The date of a day since 1970-01-01 in the Gregorian calendar (year, month, day).
fn date(day: u64) -> (u64, u64, u64) {
    // The algorithm counts from 0000-03-01, so that leap days end years.
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(19_783), (2024, 3, 1));
        assert_eq!(date(20_818), (2026, 12, 31));
    }

    #[test]
    fn selectors_follow_the_pattern_and_avoid_what_is_taken() {
        let choose = |taken: &[&str]| {
            choose("ek{yyyy}{mm}{a}", Algorithm::Ed25519, 19_783 * 86_400, |name| taken.contains(&name))
        };
        assert_eq!(choose(&[]).unwrap(), "ek202403e");
        assert_eq!(choose(&["ek202403e", "ek202403e-2"]).unwrap(), "ek202403e-3");
    }

    #[test]
    fn what_is_no_name_in_dns_is_no_selector() {
        for good in ["s", "2024-a.b"] {
            check(good).unwrap();
        }
        for bad in ["", "a..b", "-a", "a_b", "A", "a;b", &"a".repeat(64)] {
            assert!(matches!(check(bad), Err(Error::Invalid(_))), "{bad}");
        }
    }
}
