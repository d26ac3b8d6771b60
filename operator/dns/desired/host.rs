//! The records of a host: addresses, SPF of its own name, keys of its certificate; and what its reverse names have to be.

use std::net::IpAddr;

use super::{Desired, InvalidInput, Purpose, Records};
use crate::family::Family;
use crate::name::Name;
use crate::record::Value;

/// A host that takes or sends mail, as a region has one.
#[derive(Clone, Debug)]
pub struct MailHost {
    /// Its name.
    pub host: Name,
    /// Seconds.
    pub ttl: u32,
    /// Where it is reached, and what it sends from.
    pub addresses: Vec<IpAddr>,
    /// Whether to publish SPF of its name, by which notifications are judged (RFC 7208 §2.4): `v=spf1 a -all`.
    pub spf: bool,
    /// Keys of its certificate. Left out unless [`signed`](Self::signed).
    pub tlsa: Vec<Tlsa>,
    /// Whether its zone is signed.
    pub signed: bool,
}

/// The keys of a service (RFC 6698).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// The host whose certificate it is.
    pub host: Name,
    /// The TCP port of the service: 25 for a host that takes mail.
    pub port: u16,
    /// The keys: while one is being replaced, the next one too.
    pub values: Vec<TlsaValue>,
}

/// A key, or what it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsaValue {
    /// 3, DANE-EE, or 2, DANE-TA: SMTP knows no others (RFC 7672 §3.1.3).
    pub usage: u8,
    /// 0 for the certificate, 1 for its public key.
    pub selector: u8,
    /// 0 for all of it, 1 for SHA-256, 2 for SHA-512.
    pub matching: u8,
    /// The octets.
    pub data: Vec<u8>,
}

impl TlsaValue {
    /// `3 1 1`: the SHA-256 of the public key, which lasts over renewals of the certificate.
    pub fn public_key(sha256: [u8; 32]) -> Self {
        Self { usage: 3, selector: 1, matching: 1, data: sha256.to_vec() }
    }
}

impl MailHost {
    /// All its records.
    ///
    /// # Errors
    /// Something in the description is not what its standard allows.
    pub fn records(&self) -> Result<Vec<Desired>, InvalidInput> {
        let mut records = Records::new(self.ttl);
        addresses(&mut records, &self.host, self.addresses.iter());
        if self.spf && !self.addresses.is_empty() {
            records.text(Purpose::Spf, "v=spf1", self.host.clone(), "v=spf1 a -all".to_owned());
        }
        if self.signed {
            self.tlsa.iter().try_for_each(|one| tlsa(&mut records, one))?;
        }
        Ok(records.found)
    }
}

pub(super) fn addresses<'a>(
    records: &mut Records,
    host: &Name,
    addresses: impl Iterator<Item = &'a IpAddr> + Clone,
) {
    let four = addresses.clone().filter_map(|address| match address {
        IpAddr::V4(address) => Some(Value::A(*address)),
        IpAddr::V6(_) => None,
    });
    records.add(Purpose::Address, Family::Whole, host.clone(), four);
    let six = addresses.filter_map(|address| match address {
        IpAddr::V6(address) => Some(Value::Aaaa(*address)),
        IpAddr::V4(_) => None,
    });
    records.add(Purpose::Address, Family::Whole, host.clone(), six);
}

pub(super) fn tlsa(records: &mut Records, tlsa: &Tlsa) -> Result<(), InvalidInput> {
    let name = tlsa.host.child(&format!("_{}._tcp", tlsa.port))?;
    let mut values = Vec::new();
    for value in &tlsa.values {
        let TlsaValue { usage, selector, matching, data } = value.clone();
        let long = match matching {
            1 => data.len() == 32,
            2 => data.len() == 64,
            _ => matching == 0 && !data.is_empty(),
        };
        if usage > 3 || selector > 1 || !long {
            return Err(InvalidInput::new("tlsa", format!("{usage} {selector} {matching} is no known key")));
        }
        values.push(Value::Tlsa { usage, selector, matching, data });
    }
    records.add(Purpose::Tlsa, Family::Whole, name, values);
    Ok(())
}

/// A reverse name that only who has the address can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReverseName {
    /// The address.
    pub address: IpAddr,
    /// Its name below `in-addr.arpa` or `ip6.arpa`.
    pub name: Name,
    /// What it should lead to.
    pub host: Name,
}

impl ReverseName {
    /// The record, as a line of a zone file.
    pub fn line(&self) -> String {
        format!("{} IN PTR {}", self.name.absolute(), self.host.absolute())
    }

    /// What to do, in words.
    pub fn instruction(&self) -> String {
        let Self { address, host, .. } = self;
        format!(
            "whoever gives you {address} has to set its reverse name (reverse DNS, PTR) to {host}; receivers refuse mail from addresses without one. \
             In a zone of your own: {}",
            self.line()
        )
    }
}

/// The reverse names of a host's addresses (RFC 1035 §3.5, RFC 3596 §2.5).
pub fn reverse_names(host: &Name, addresses: &[IpAddr]) -> Vec<ReverseName> {
    let name = |address: IpAddr| Name::from_wire(&hickory_proto::rr::Name::from(address));
    addresses
        .iter()
        .map(|address| ReverseName { address: *address, name: name(*address), host: host.clone() })
        .collect()
}
