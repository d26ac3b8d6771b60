//! SPF (RFC 7208): one text, within the lookups that receivers allow.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::InvalidInput;
use crate::name::Name;

/// Terms that need a lookup (RFC 7208 §4.6.4).
const LOOKUPS: usize = 10;
/// The longest text that fits in an answer with others (RFC 7208 §3.4).
const LONGEST: usize = 450;

/// Who may send in the name of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spf {
    /// Whether its MX hosts may.
    pub mx: bool,
    /// Addresses and networks that may.
    pub networks: Vec<Network>,
    /// Hosts whose addresses may.
    pub hosts: Vec<Name>,
    /// Domains whose own SPF is asked too.
    pub includes: Vec<Name>,
    /// Other mechanisms, as they are written: `exists:%{i}._spf.example.org`.
    pub mechanisms: Vec<String>,
    /// What all others are.
    pub all: AllOthers,
}

/// What receivers are told of mail from anywhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllOthers {
    /// `-all`: it is not from here.
    #[default]
    Fail,
    /// `~all`: it is probably not from here.
    SoftFail,
    /// `?all`: nothing.
    Neutral,
}

/// An address, or all that begin as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The bits of an address of this kind.
    fn width(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { address, prefix: Self::width(address) }
    }
}

impl FromStr for Network {
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, InvalidInput> {
        let bad = || InvalidInput::new("network", format!("{text:?} is no address or network"));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(one, two)| (one, Some(two)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix = prefix.map_or(Ok(Self::width(address)), str::parse).map_err(|_| bad())?;
        if prefix > Self::width(address) { Err(bad()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.address.is_ipv4() { "ip4" } else { "ip6" };
        write!(f, "{kind}:{}", self.address)?;
        if self.prefix < Self::width(self.address) { write!(f, "/{}", self.prefix) } else { Ok(()) }
    }
}

impl Spf {
    /// The text, cheapest mechanisms first.
    ///
    /// # Errors
    /// A mechanism is none, or it all takes more lookups than receivers make (those of the included domains are not counted here), or is too long.
    pub fn text(&self) -> Result<String, InvalidInput> {
        let mut terms: Vec<String> = Vec::new();
        let mut add = |term: String| {
            if !terms.contains(&term) {
                terms.push(term);
            }
        };
        self.networks.iter().for_each(|network| add(network.to_string()));
        self.hosts.iter().for_each(|host| add(format!("a:{host}")));
        if self.mx {
            add("mx".to_owned());
        }
        self.includes.iter().for_each(|domain| add(format!("include:{domain}")));
        self.mechanisms.iter().for_each(|mechanism| add(mechanism.clone()));
        self.mechanisms.iter().try_for_each(|mechanism| check(mechanism))?;
        let lookups = terms.iter().filter(|term| needs_lookup(term)).count();
        if lookups > LOOKUPS {
            return Err(InvalidInput::new(
                "spf",
                format!("{lookups} terms need a lookup, and receivers make {LOOKUPS}: list networks instead"),
            ));
        }
        let all = match self.all {
            AllOthers::Fail => "-all",
            AllOthers::SoftFail => "~all",
            AllOthers::Neutral => "?all",
        };
        let terms = terms.iter().map(String::as_str);
        let text: Vec<&str> = ["v=spf1"].into_iter().chain(terms).chain([all]).collect();
        let text = text.join(" ");
        if text.len() > LONGEST {
            let reason = format!("the text has {} octets, and more than {LONGEST} do not fit", text.len());
            return Err(InvalidInput::new("spf", reason));
        }
        Ok(text)
    }
}

/// A mechanism without its qualifier and its value.
fn mechanism(term: &str) -> &str {
    let bare = term.strip_prefix(['+', '-', '~', '?']).unwrap_or(term);
    bare.split([':', '/']).next().unwrap_or(bare)
}

fn needs_lookup(term: &str) -> bool {
    let name = mechanism(term).to_ascii_lowercase();
    ["include", "a", "mx", "ptr", "exists"].contains(&name.as_str())
}

fn check(term: &str) -> Result<(), InvalidInput> {
    let name = mechanism(term).to_ascii_lowercase();
    let known = ["ip4", "ip6", "include", "a", "mx", "ptr", "exists"].contains(&name.as_str());
    if known && term.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Ok(());
    }
    Err(InvalidInput::new("spf", format!("{term:?} is no mechanism that can stand there")))
}
