//! Kubernetes quantities of octets.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What is no number of octets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity of octets such as 500M or 5Gi")]
pub struct NotAQuantity(String);

/// What one of each suffix is.
const UNITS: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

/// The octets of a quantity such as `5Gi`.
///
/// # Errors
/// [`NotAQuantity`]: it has another form, a fraction, or is more than fits into 64 bits.
pub fn octets(text: &str) -> Result<u64, NotAQuantity> {
    let wrong = || NotAQuantity(text.to_owned());
    let unit =
        UNITS.iter().find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)));
    let (number, unit) = unit.unwrap_or((text, 1));
    if number.is_empty() || !number.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(wrong());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

/// Octets as the shortest quantity that is exact.
pub fn quantity(octets: u64) -> Quantity {
    let fits = |(_, unit): &&(&str, u64)| octets > 0 && octets.is_multiple_of(*unit);
    let largest = UNITS.iter().filter(fits).max_by_key(|(_, unit)| *unit);
    Quantity(
        largest.map_or_else(|| octets.to_string(), |(suffix, unit)| format!("{}{suffix}", octets / unit)),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes_are_those_of_kubernetes() {
        let known = [
            ("0", 0),
            ("1500", 1500),
            ("5k", 5_000),
            ("5Ki", 5_120),
            ("500M", 500_000_000),
            ("5Gi", 5 * 1024 * 1024 * 1024),
            ("2T", 2_000_000_000_000),
            ("1Ti", 1 << 40),
        ];
        for (text, expected) in known {
            assert_eq!(octets(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "Gi",
            "-1",
            "+1",
            "1.5Gi",
            "1e3",
            "5 Gi",
            "5gi",
            "5GiB",
            "18446744073709551616",
            "99999999Ti",
        ] {
            assert!(octets(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quantity_is_read_as_it_was_meant(amount: u64) {
            prop_assert_eq!(octets(&quantity(amount).0), Ok(amount));
        }

        #[test]
        fn a_whole_number_of_a_unit_has_a_short_form(number in 1_u64..1000, unit in 0_usize..10) {
            let amount = number * UNITS[unit].1;
            prop_assert!(quantity(amount).0.len() <= 6, "{} for {}", quantity(amount).0, amount);
        }
    }
}
