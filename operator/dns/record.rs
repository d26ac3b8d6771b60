//! Record sets, and when two of them are the same.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::name::Name;

mod tag;
mod text;
mod txt;

pub use tag::Tag;
pub use text::BadValue;
pub use txt::Txt;

/// The types that a mail domain needs, and those that stand in their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum RecordType {
    A,
    Aaaa,
    Caa,
    Cname,
    Mx,
    Ns,
    Ptr,
    Srv,
    Tlsa,
    Txt,
}

impl RecordType {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::A,
        Self::Aaaa,
        Self::Caa,
        Self::Cname,
        Self::Mx,
        Self::Ns,
        Self::Ptr,
        Self::Srv,
        Self::Tlsa,
        Self::Txt,
    ];

    /// Its mnemonic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Srv => "SRV",
            Self::Tlsa => "TLSA",
            Self::Txt => "TXT",
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RecordType {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let found = Self::ALL.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| BadValue::new("a record type", text))
    }
}

/// One record's data. Two values are equal if a resolver would take them for the same: names and CAA tags by their letters, TXT by its joined strings.
///
/// [`fmt::Display`] and [`Value::parse`] are the presentation format of zone files (RFC 1035 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Value {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// RFC 8659 §4.1; other bits of the flags than the critical one are kept.
    Caa {
        flags: u8,
        tag: Tag,
        value: Vec<u8>,
    },
    Cname(Name),
    /// RFC 5321 §5.1; the root is the null MX (RFC 7505).
    Mx {
        preference: u16,
        exchange: Name,
    },
    Ns(Name),
    Ptr(Name),
    /// RFC 2782; the root as target says that there is no such service.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: Name,
    },
    /// RFC 6698 §2.1.
    Tlsa {
        usage: u8,
        selector: u8,
        matching: u8,
        data: Vec<u8>,
    },
    Txt(Txt),
}

impl Value {
    /// A TXT value of any length.
    pub fn txt(text: impl AsRef<[u8]>) -> Self {
        Self::Txt(Txt::new(text.as_ref()))
    }

    /// The type of the record.
    pub fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::Aaaa,
            Self::Caa { .. } => RecordType::Caa,
            Self::Cname(_) => RecordType::Cname,
            Self::Mx { .. } => RecordType::Mx,
            Self::Ns(_) => RecordType::Ns,
            Self::Ptr(_) => RecordType::Ptr,
            Self::Srv { .. } => RecordType::Srv,
            Self::Tlsa { .. } => RecordType::Tlsa,
            Self::Txt(_) => RecordType::Txt,
        }
    }
}

/// Which answer a resolver gets of several record sets of one name and type, where the provider can choose (Route 53).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Routing {
    /// The nearest by latency; a region of Amazon's.
    Latency(String),
    /// By the asker's place: ISO codes of continent, country (`*` for the rest) and subdivision.
    Place {
        /// `AS`, `EU`, `NA`, ...; only without a country.
        continent: Option<String>,
        /// `JP`, `US`, ... or `*`.
        country: Option<String>,
        /// A state of the US or an oblast of Ukraine.
        subdivision: Option<String>,
    },
}

/// One of several record sets of a name and type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variant {
    /// The set identifier: unique among the sets of this name and type; the region's name.
    pub id: String,
    /// Who gets this one.
    pub routing: Routing,
}

/// What a record set is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its owner name.
    pub name: Name,
    /// Its type.
    pub record_type: RecordType,
    /// The set identifier, where there are several.
    pub variant: Option<String>,
}

impl Key {
    /// The key of an ordinary record set.
    pub fn new(name: Name, record_type: RecordType) -> Self {
        Self { name, record_type, variant: None }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.record_type)?;
        self.variant.as_ref().map_or(Ok(()), |id| write!(f, " ({id})"))
    }
}

/// All records of one name and type: what DNS can give and take as a whole (RFC 2181 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    /// Its owner name.
    pub name: Name,
    /// Its type, which every value has.
    pub record_type: RecordType,
    /// Seconds; none where it is not known, since the provider does not tell.
    pub ttl: Option<u32>,
    /// The values, in no order.
    pub values: BTreeSet<Value>,
    /// One of several sets of this name and type.
    pub variant: Option<Variant>,
}

impl RecordSet {
    /// A record set of values that are all of the type of the first; those of other types are left out. There is none without values.
    pub fn new(name: Name, ttl: u32, values: impl IntoIterator<Item = Value>) -> Option<Self> {
        let mut values: BTreeSet<Value> = values.into_iter().collect();
        let record_type = values.first()?.record_type();
        values.retain(|value| value.record_type() == record_type);
        Some(Self { name, record_type, ttl: Some(ttl), values, variant: None })
    }

    /// What it is found by.
    pub fn key(&self) -> Key {
        let variant = self.variant.as_ref().map(|variant| variant.id.clone());
        Key { name: self.name.clone(), record_type: self.record_type, variant }
    }

    /// Whether both are the same to a resolver; a TTL that is not known is equal to any.
    pub fn same(&self, other: &Self) -> bool {
        self.key() == other.key()
            && self.variant == other.variant
            && self.values == other.values
            && (self.ttl.is_none() || other.ttl.is_none() || self.ttl == other.ttl)
    }

    /// Lines of a zone file, absolute.
    pub fn lines(&self) -> Vec<String> {
        let ttl = self.ttl.map(|ttl| format!(" {ttl}")).unwrap_or_default();
        let line = |value| format!("{}{ttl} IN {} {value}", self.name.absolute(), self.record_type);
        self.values.iter().map(line).collect()
    }
}
