//! The ends of rows: fields that later releases added.
//!
//! Earlier releases wrote none of them, and pass over what comes after the fields they know. So such fields are optional and stand last, in the order in
//! which they were added; those after the last one that is set are not written at all.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// How many fields of a tail are written: up to the last that is set.
pub(crate) fn fields_to_write(set: &[bool]) -> usize {
    set.iter().rposition(|&set| set).map_or(0, |last| last + 1)
}

/// Reads a field that may be missing at the end of a row; one that is there has to be whole.
pub(crate) fn if_there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    end: D,
) -> Result<Option<T>, D::Error> {
    match end.deserialize_option(Field(PhantomData)) {
        Ok(Ok(field)) => Ok(field),
        Ok(Err(damage)) => Err(D::Error::custom(damage)),
        // The row ends before it.
        Err(_) => Ok(None),
    }
}

/// Tells a field that is not there (an error) from one that is there and does not read (a value).
struct Field<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Field<T> {
    type Value = Result<Option<T>, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an optional field")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Ok(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        Ok(T::deserialize(inner).map(Some).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
    struct Before {
        name: String,
    }

    #[derive(Debug, PartialEq, Eq, serde::Deserialize)]
    struct Now {
        name: String,
        #[serde(deserialize_with = "if_there")]
        first: Option<u64>,
        #[serde(deserialize_with = "if_there")]
        second: Option<String>,
    }

    fn now(first: Option<u64>, second: Option<&str>) -> Now {
        Now { name: "a".to_owned(), first, second: second.map(str::to_owned) }
    }

    #[test]
    fn rows_of_either_release_are_read_by_the_other() {
        let old = postcard::to_allocvec(&Before { name: "a".to_owned() }).unwrap();
        assert_eq!(postcard::from_bytes::<Now>(&old).unwrap(), now(None, None));
        let one = postcard::to_allocvec(&("a", Some(7_u64))).unwrap();
        assert_eq!(postcard::from_bytes::<Now>(&one).unwrap(), now(Some(7), None));
        let both = postcard::to_allocvec(&("a", None::<u64>, Some("b"))).unwrap();
        assert_eq!(postcard::from_bytes::<Now>(&both).unwrap(), now(None, Some("b")));
        assert_eq!(postcard::from_bytes::<Before>(&both).unwrap(), Before { name: "a".to_owned() });
    }

    #[test]
    fn a_field_that_is_cut_off_is_damage_and_not_absent() {
        let both = postcard::to_allocvec(&("a", None::<u64>, Some("bcd"))).unwrap();
        assert!(postcard::from_bytes::<Now>(&both[..both.len() - 1]).is_err());
    }

    #[test]
    fn fields_are_written_up_to_the_last_that_is_set() {
        assert_eq!(
            [[false, false], [true, false], [false, true]].map(|set| fields_to_write(&set)),
            [0, 1, 2]
        );
    }
}
