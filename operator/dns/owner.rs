//! Who wrote a record: markers beside the records, as external-dns has them in its registry.
//!
//! The marker of the records of a name is a TXT record set at `_ekitei-owner.<name>`, of a variant at `_ekitei-owner-<id>.<name>`. It has a line for
//! each type and family that somebody owns there:
//!
//! ```text
//! heritage=ekitei,operator=prod,object=domain/example.org,record=TXT/v=spf1
//! heritage=ekitei,operator=prod,object=domain/example.org,record=CAA/*,values=1f0c9a2b+77d0e3c4
//! ```
//!
//! `values` has a part of the SHA-256 of each value that is ours, where only that tells them from others' (family [`Family::Values`]).

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use crate::family::Family;
use crate::name::{Name, NotAName};
use crate::record::{Key, RecordType, Tag, Value};

/// The label of markers.
const LABEL: &str = "_ekitei-owner";
/// What every line begins with.
const HERITAGE: &str = "heritage=ekitei";
/// Octets of a value's hash that are kept.
const HASH: usize = 4;
/// The longest part of an owner.
const LONGEST: usize = 100;

/// Who owns records. Operators that share a zone and a lock have the same one; those that do not know of each other have different ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    operator: String,
    object: String,
}

/// An owner that cannot be written into a marker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be part of an owner: letters, digits and any of -_./: are allowed, up to {LONGEST}")]
pub struct BadOwner(String);

impl Owner {
    /// The id of an installation, and what of it the records are for: stable over the life of the records, as `domain/example.org` or a UID.
    ///
    /// # Errors
    /// One of them is empty, too long, or has other characters than markers allow.
    pub fn new(operator: &str, object: &str) -> Result<Self, BadOwner> {
        for part in [operator, object] {
            let fits = (1..=LONGEST).contains(&part.len())
                && part.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_./:".contains(&octet));
            if !fits {
                return Err(BadOwner(part.to_owned()));
            }
        }
        Ok(Self { operator: operator.to_owned(), object: object.to_owned() })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of operator {}", self.object, self.operator)
    }
}

/// A line of a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub owner: Owner,
    /// Of what type.
    pub record_type: RecordType,
    /// Which part of the record set.
    pub family: Family,
    /// Hashes of the values, for [`Family::Values`].
    pub hashes: BTreeSet<String>,
}

impl Claim {
    /// A claim on values of a record set.
    pub fn new(
        owner: &Owner,
        record_type: RecordType,
        family: &Family,
        values: impl IntoIterator<Item = Value>,
    ) -> Self {
        let hashes = match family {
            Family::Values => values.into_iter().map(|value| hash(&value)).collect(),
            Family::Whole | Family::Tagged(_) => BTreeSet::new(),
        };
        Self { owner: owner.clone(), record_type, family: family.clone(), hashes }
    }

    /// Reads a line; none if it is something else's.
    pub fn read(value: &Value) -> Option<Self> {
        let Value::Txt(txt) = value else { return None };
        let text = txt.text();
        let mut parts = text.split(',');
        if parts.next() != Some(HERITAGE) {
            return None;
        }
        let (mut operator, mut object, mut record, mut hashes) = (None, None, None, BTreeSet::new());
        for part in parts {
            match part.split_once('=')? {
                ("operator", value) => operator = Some(value),
                ("object", value) => object = Some(value),
                ("record", value) => record = Some(value),
                ("values", value) => hashes = value.split('+').map(str::to_owned).collect(),
                // A later release may say more.
                _ => {}
            }
        }
        let (record_type, family) = record.map(|record| record.split_once('/').unwrap_or((record, "")))?;
        let owner = Owner::new(operator?, object?).ok()?;
        Some(Self { owner, record_type: record_type.parse().ok()?, family: Family::read(family), hashes })
    }

    /// The line.
    pub fn value(&self) -> Value {
        let Owner { operator, object } = &self.owner;
        let mut text = format!("{HERITAGE},operator={operator},object={object},record={}", self.record_type);
        if self.family != Family::Whole {
            let _ = write!(text, "/{}", self.family);
        }
        if !self.hashes.is_empty() {
            let hashes: Vec<&str> = self.hashes.iter().map(String::as_str).collect();
            let _ = write!(text, ",values={}", hashes.join("+"));
        }
        Value::txt(text)
    }

    /// Whether the claim names this value.
    pub fn names(&self, value: &Value) -> bool {
        self.hashes.contains(&hash(value))
    }
}

/// Where the marker of a record set is.
///
/// # Errors
/// The name is so long that there can be no marker for it.
pub fn marker(key: &Key) -> Result<Key, NotAName> {
    let name = match &key.variant {
        None => key.name.child(LABEL)?,
        Some(id) => key.name.child(&format!("{LABEL}-{id}"))?,
    };
    Ok(Key::new(name, RecordType::Txt))
}

/// Whether a name is that of a marker.
pub fn is_marker(name: &Name) -> bool {
    name.as_str().starts_with(LABEL)
}

fn hash(value: &Value) -> String {
    let digest = Sha256::digest(format!("{} {}", value.record_type(), canonical(value)));
    digest.iter().take(HASH).fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// One spelling for all that are equal.
fn canonical(value: &Value) -> String {
    match value {
        Value::Txt(txt) => Value::txt(txt.joined()).to_string(),
        Value::Caa { flags, tag, value } => {
            Value::Caa { flags: *flags, tag: Tag::new(tag.canonical()), value: value.clone() }.to_string()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_it_was_written() {
        let owner = Owner::new("prod", "domain/example.org").unwrap();
        let values = [Value::txt("one"), Value::txt("two")];
        for family in [Family::Whole, Family::Tagged("v=spf1".to_owned()), Family::Values] {
            let claim = Claim::new(&owner, RecordType::Txt, &family, values.clone());
            assert_eq!(Claim::read(&claim.value()), Some(claim.clone()), "{}", claim.value());
            assert_eq!(claim.names(&values[0]), family == Family::Values);
            assert!(!claim.names(&Value::txt("three")));
        }
    }

    #[test]
    fn what_others_write_is_no_claim() {
        for other in
            ["heritage=external-dns,external-dns/owner=me", "v=spf1 -all", "heritage=ekitei,nonsense"]
        {
            assert_eq!(Claim::read(&Value::txt(other)), None);
        }
        assert!(Owner::new("a,b", "c").is_err() && Owner::new("", "c").is_err());
    }

    #[test]
    fn a_variant_has_a_marker_of_its_own() {
        let mut key = Key::new("mail.example.org".parse().unwrap(), RecordType::A);
        assert_eq!(marker(&key).unwrap().name.as_str(), "_ekitei-owner.mail.example.org");
        key.variant = Some("tokyo".to_owned());
        assert_eq!(marker(&key).unwrap().name.as_str(), "_ekitei-owner-tokyo.mail.example.org");
    }
}
