//! Which of the values of a record set are ours: a record set may have values of several, and is written as a whole.

use std::collections::BTreeSet;
use std::fmt;

use crate::record::Value;

/// The part of a record set that one desire is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// All of it.
    Whole,
    /// TXT values with this tag, as `v=spf1`: there may be only one of it, so those of others are in the way.
    Tagged(String),
    /// Exactly the values that we wrote (CAA, ACME challenges): those of others are as good.
    Values,
}

impl Family {
    /// Reads what [`fmt::Display`] writes.
    pub fn read(text: &str) -> Self {
        match text {
            "" => Self::Whole,
            "*" => Self::Values,
            tag => Self::Tagged(tag.to_owned()),
        }
    }

    /// The values of `present` that belong to the family. `ours` tells which values we wrote, where nothing else does.
    pub fn select(&self, present: &BTreeSet<Value>, ours: impl Fn(&Value) -> bool) -> BTreeSet<Value> {
        let belongs = |value: &&Value| match (self, value) {
            (Self::Whole, _) => true,
            (Self::Tagged(tag), Value::Txt(txt)) => txt.has_tag(tag),
            (Self::Tagged(_), _) => false,
            (Self::Values, value) => ours(value),
        };
        present.iter().filter(belongs).cloned().collect()
    }

    /// Whether `present` shows what is wanted: all of it, and nothing else that belongs to the family.
    pub fn shows(&self, wanted: &BTreeSet<Value>, present: &BTreeSet<Value>) -> bool {
        wanted.is_subset(present) && self.select(present, |value| wanted.contains(value)) == *wanted
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Tagged(tag) => f.write_str(tag),
            Self::Values => f.write_str("*"),
        }
    }
}
