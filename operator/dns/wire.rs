//! Records as they stand in messages.

use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, SRV, TLSA, TXT};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType as WireType};

use crate::name::{Name, NotAName};
use crate::record::{RecordSet, RecordType, Tag, Txt, Value};

impl RecordType {
    /// The type as it stands in a message.
    pub fn to_wire(self) -> WireType {
        match self {
            Self::A => WireType::A,
            Self::Aaaa => WireType::AAAA,
            Self::Caa => WireType::CAA,
            Self::Cname => WireType::CNAME,
            Self::Mx => WireType::MX,
            Self::Ns => WireType::NS,
            Self::Ptr => WireType::PTR,
            Self::Srv => WireType::SRV,
            Self::Tlsa => WireType::TLSA,
            Self::Txt => WireType::TXT,
        }
    }
}

impl Value {
    /// The data as it stands in a message.
    ///
    /// # Errors
    /// A name in it came out of a zone, with octets that cannot be written.
    pub fn to_wire(&self) -> Result<RData, NotAName> {
        Ok(match self {
            Self::A(address) => RData::A(A(*address)),
            Self::Aaaa(address) => RData::AAAA(AAAA(*address)),
            Self::Caa { flags, tag, value } => {
                let mut caa = CAA::new_issue(flags & 128 != 0, None, Vec::new());
                caa.reserved_flags = flags & 127;
                caa.tag = tag.as_str().to_owned();
                caa.value.clone_from(value);
                RData::CAA(caa)
            }
            Self::Cname(name) => RData::CNAME(CNAME(name.to_wire()?)),
            Self::Mx { preference, exchange } => RData::MX(MX::new(*preference, exchange.to_wire()?)),
            Self::Ns(name) => RData::NS(NS(name.to_wire()?)),
            Self::Ptr(name) => RData::PTR(PTR(name.to_wire()?)),
            Self::Srv { priority, weight, port, target } => {
                RData::SRV(SRV::new(*priority, *weight, *port, target.to_wire()?))
            }
            Self::Tlsa { usage, selector, matching, data } => {
                RData::TLSA(TLSA::new((*usage).into(), (*selector).into(), (*matching).into(), data.clone()))
            }
            Self::Txt(txt) => RData::TXT(TXT::from_bytes(txt.strings().iter().map(Vec::as_slice).collect())),
        })
    }

    /// Data out of a message; none if it is of a type that is no business of ours.
    pub fn from_wire(data: &RData) -> Option<Self> {
        Some(match data {
            RData::A(address) => Self::A(address.0),
            RData::AAAA(address) => Self::Aaaa(address.0),
            RData::CAA(caa) => Self::Caa {
                flags: u8::from(caa.issuer_critical) << 7 | caa.reserved_flags & 127,
                tag: Tag::new(&caa.tag),
                value: caa.value.clone(),
            },
            RData::CNAME(name) => Self::Cname(Name::from_wire(&name.0)),
            RData::MX(mx) => Self::Mx { preference: mx.preference, exchange: Name::from_wire(&mx.exchange) },
            RData::NS(name) => Self::Ns(Name::from_wire(&name.0)),
            RData::PTR(name) => Self::Ptr(Name::from_wire(&name.0)),
            RData::SRV(srv) => Self::Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: Name::from_wire(&srv.target),
            },
            RData::TLSA(tlsa) => Self::Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            },
            RData::TXT(txt) => {
                Self::Txt(Txt::from_strings(txt.txt_data.iter().map(|string| string.to_vec()).collect()))
            }
            _ => return None,
        })
    }
}

impl RecordSet {
    /// The records as they stand in a message.
    ///
    /// # Errors
    /// A name in it came out of a zone, with octets that cannot be written.
    pub fn to_wire(&self) -> Result<Vec<Record>, NotAName> {
        let name = self.name.to_wire()?;
        let record = |value: &Value| {
            let mut record = Record::from_rdata(name.clone(), self.ttl.unwrap_or_default(), value.to_wire()?);
            record.dns_class = DNSClass::IN;
            Ok(record)
        };
        self.values.iter().map(record).collect()
    }

    /// The record set of a name and type in the records of an answer; the alias, where the name is one; none if there is neither.
    pub fn from_wire(name: &Name, record_type: RecordType, records: &[Record]) -> Option<Self> {
        let of = |wanted: RecordType| {
            let own = records.iter().filter(|record| {
                record.record_type() == wanted.to_wire() && Name::from_wire(&record.name) == *name
            });
            let ttl = own.clone().map(|record| record.ttl).min()?;
            Self::new(name.clone(), ttl, own.filter_map(|record| Value::from_wire(&record.data)))
        };
        of(record_type).or_else(|| of(RecordType::Cname))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_caa_keeps_its_case_on_its_way_through_a_message() {
        let theirs = Value::parse(RecordType::Caa, "128 IsSue \"ca.test\"").unwrap();
        let read = Value::from_wire(&theirs.to_wire().unwrap()).unwrap();
        assert_eq!(read.to_string(), "128 IsSue \"ca.test\"", "a server compares octets");
        assert_eq!(read, Value::parse(RecordType::Caa, "128 issue \"ca.test\"").unwrap());
    }
}
