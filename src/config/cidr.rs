//! Networks in CIDR notation (RFC 4632, RFC 4291 §2.3).

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A network such as `10.0.0.0/8` or `fd00::/8`; a bare address is a network of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// What a network may look like, for error messages.
pub const CIDR_FORM: &str = "a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.1, without host bits";

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{CIDR_FORM}")]
pub struct CidrError;

impl Cidr {
    /// The network of this prefix length that `address` lies in; the length of its family at most. An IPv4-mapped address counts as IPv4.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let address = address.to_canonical();
        let prefix = prefix.min(if address.is_ipv4() { 32 } else { 128 });
        Self { network: masked(address, prefix), prefix }
    }

    /// Its first address.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// How many bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in the network. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(address.to_canonical(), self.prefix) == self.network
            }
            _ => false,
        }
    }

    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Whether it is all of IPv4 or all of IPv6.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// `address` with all bits after the first `prefix` cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| CidrError)?)),
            None => (text.trim(), None),
        };
        let network: IpAddr = address.parse().map_err(|_| CidrError)?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        if prefix > longest || masked(network, prefix) != network {
            return Err(CidrError);
        }
        // Clients are known by their IPv4 address, also on a socket for both: a network of mapped ones would never match. (Without
        // host bits, ::ffff makes a prefix of at least 96.)
        match network.to_canonical() {
            v4 @ IpAddr::V4(_) if network.is_ipv6() => Ok(Self { network: v4, prefix: prefix - 96 }),
            _ => Ok(Self { network, prefix }),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "cidr" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn membership_follows_the_prefix() {
        let inside = |net: &str, addr: &str| net.parse::<Cidr>().unwrap().contains(addr.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.0.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "203.0.113.9"));
        assert!(!inside("0.0.0.0/0", "2001:db8::1"));
        assert!(inside("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(inside("192.0.2.1", "192.0.2.1"));
        assert!(!inside("192.0.2.1", "192.0.2.2"));
        assert!(inside("192.0.2.0/24", "::ffff:192.0.2.7"), "a mapped address is the IPv4 address");
        assert!(inside("::ffff:192.0.2.0/120", "192.0.2.7"), "and a mapped network the IPv4 network");
        assert!("::ffff:0.0.0.0/96".parse::<Cidr>().unwrap().is_everything());
        assert_eq!(Cidr::around("192.0.2.77".parse().unwrap(), 24).to_string(), "192.0.2.0/24");
        assert_eq!(Cidr::around("2001:db8:1:2:3::4".parse().unwrap(), 64).to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn networks_overlap_when_one_lies_in_the_other() {
        let overlap = |a: &str, b: &str| a.parse::<Cidr>().unwrap().overlaps(&b.parse().unwrap());
        assert!(overlap("10.0.0.0/8", "10.1.0.0/16") && overlap("10.1.0.0/16", "10.0.0.0/8"));
        assert!(!overlap("10.0.0.0/16", "10.1.0.0/16"));
        assert!(!overlap("0.0.0.0/0", "::/0"));
    }

    #[test]
    fn only_whole_networks_are_accepted() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "fd00::/129",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "::ffff:0:0/90",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text:?} must be refused");
        }
    }
}
