//! What a release may write that an earlier one would not understand.

use std::fmt;
use std::str::FromStr;

/// A form of data, or a habit between processes, that earlier releases do not understand. What is added here is never taken away, since a store may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Bodies in segments: records of bodies of format 2 with a place in a segment.
    SegmentedBodies,
    /// Encrypted bodies: records of bodies of format 2 with a data key.
    EncryptedBodies,
    /// What accounts hold is counted for their domains by every transaction that changes it.
    DomainUsage,
    /// Signing keys that maintenance leaves alone: `manual` in their rows.
    ManualSigningKeys,
    /// Forwarding of accounts, and hosts of domains: fields at the ends of their rows, which earlier releases do not follow, and drop when they write the row.
    ForwardingAndHosts,
}

impl Feature {
    /// All that this release understands.
    pub const ALL: &[Self] = &[
        Self::SegmentedBodies,
        Self::EncryptedBodies,
        Self::DomainUsage,
        Self::ManualSigningKeys,
        Self::ForwardingAndHosts,
    ];

    /// Its name in the store and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SegmentedBodies => "segmented-bodies",
            Self::EncryptedBodies => "encrypted-bodies",
            Self::DomainUsage => "domain-usage",
            Self::ManualSigningKeys => "manual-signing-keys",
            Self::ForwardingAndHosts => "forwarding-and-hosts",
        }
    }

    const fn bit(self) -> u64 {
        1 << self as u64
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Feature {
    type Err = ();

    /// Fails for a feature of another release.
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|feature| feature.name() == name).ok_or(())
    }
}

/// Some features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// All that this release understands.
    pub fn all() -> Self {
        Feature::ALL.iter().copied().collect()
    }

    /// Whether it is one of them.
    pub fn contains(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// They, in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |feature| self.contains(*feature))
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().fold(0, |bits, feature| bits | feature.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_are_one_each() {
        for &feature in Feature::ALL {
            assert_eq!(feature.name().parse(), Ok(feature));
        }
        assert_eq!("of-a-later-release".parse::<Feature>(), Err(()));
        assert_eq!(FeatureSet::all().iter().collect::<Vec<_>>(), Feature::ALL);
    }
}
