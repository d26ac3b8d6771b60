//! Whose bodies are: what is read together is packed together, so bodies are grouped by their owners.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose mail a body is, for where it is put. Others may refer to it all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// The first account that got it, by its number.
    Account(u64),
    /// No account: it is on its way, and will be gone soon.
    Transit,
}

/// Owners whose bodies one process packs at a time, and which share segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group(u8);

/// Groups of accounts: 2 to the power of this. It is in keys, and cannot be changed.
const BITS: u32 = 3;

impl Group {
    /// The group of all that is on its way.
    pub const TRANSIT: Self = Self(1 << BITS);

    /// The group of an owner.
    pub fn of(owner: Owner) -> Self {
        match owner {
            // Numbers of accounts ascend; multiplied by 2^64 over the golden ratio their highest bits are spread evenly.
            Owner::Account(number) => {
                Self((number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - BITS)).to_le_bytes()[0])
            }
            Owner::Transit => Self::TRANSIT,
        }
    }

    /// All groups.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=Self::TRANSIT.0).map(Self)
    }

    /// The group with this number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        u8::try_from(number).ok().map(Self).filter(|group| *group <= Self::TRANSIT)
    }

    /// Its number, in keys.
    pub(crate) fn number(self) -> u32 {
        self.0.into()
    }

    /// The name of the lease of its work.
    pub fn lease_name(self) -> String {
        self.to_string()
    }

    /// The group whose work the lease with this name is.
    pub fn of_lease(name: &str) -> Option<Self> {
        Self::all().find(|group| group.lease_name() == name)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TRANSIT => f.write_str("transit"),
            Self(number) => write!(f, "accounts-{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_spread_over_all_groups_and_leases_name_them() {
        let mut counts = [0; 1 << BITS];
        (1..=8000).for_each(|number| counts[usize::from(Group::of(Owner::Account(number)).0)] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert!(Group::all().all(|group| Group::of_lease(&group.lease_name()) == Some(group)));
        assert_eq!(Group::all().count(), 9);
    }
}
