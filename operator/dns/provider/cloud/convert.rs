//! Values as the `dns-update` library has them.

use dns_update::{
    CAARecord, DnsRecord, DnsRecordType, KeyValue, MXRecord, SRVRecord, TLSARecord, TlsaCertUsage,
    TlsaMatching, TlsaSelector,
};

use crate::name::Name;
use crate::record::{RecordType, Tag, Value};

/// The type, if the library has it.
pub(super) fn record_type(record_type: RecordType) -> Option<DnsRecordType> {
    Some(match record_type {
        RecordType::A => DnsRecordType::A,
        RecordType::Aaaa => DnsRecordType::AAAA,
        RecordType::Caa => DnsRecordType::CAA,
        RecordType::Cname => DnsRecordType::CNAME,
        RecordType::Mx => DnsRecordType::MX,
        RecordType::Ns => DnsRecordType::NS,
        RecordType::Srv => DnsRecordType::SRV,
        RecordType::Tlsa => DnsRecordType::TLSA,
        RecordType::Txt => DnsRecordType::TXT,
        RecordType::Ptr => return None,
    })
}

/// A value of ours as one of the library's.
pub(super) fn record(value: &Value) -> Result<DnsRecord, String> {
    let none = || format!("{value} cannot be written by this provider");
    Ok(match value {
        Value::A(address) => DnsRecord::A(*address),
        Value::Aaaa(address) => DnsRecord::AAAA(*address),
        Value::Caa { flags, tag, value } => DnsRecord::CAA(
            caa(*flags, &tag.canonical(), std::str::from_utf8(value).map_err(|_| none())?)
                .ok_or_else(none)?,
        ),
        Value::Cname(name) => DnsRecord::CNAME(name.to_string()),
        Value::Ns(name) => DnsRecord::NS(name.to_string()),
        Value::Ptr(_) => return Err(none()),
        Value::Mx { preference, exchange } => {
            DnsRecord::MX(MXRecord { exchange: exchange.to_string(), priority: *preference })
        }
        Value::Srv { priority, weight, port, target } => DnsRecord::SRV(SRVRecord {
            target: target.to_string(),
            priority: *priority,
            weight: *weight,
            port: *port,
        }),
        Value::Tlsa { usage, selector, matching, data } => {
            DnsRecord::TLSA(tlsa(*usage, *selector, *matching, data).ok_or_else(none)?)
        }
        Value::Txt(txt) => DnsRecord::TXT(String::from_utf8(txt.joined()).map_err(|_| none())?),
    })
}

/// A value of the library as one of ours.
pub(super) fn value(record: DnsRecord) -> Result<Value, String> {
    let name = |text: &str| {
        let bare = if text.is_empty() { "." } else { text };
        bare.parse::<Name>().map_err(|error| error.to_string())
    };
    Ok(match record {
        DnsRecord::A(address) => Value::A(address),
        DnsRecord::AAAA(address) => Value::Aaaa(address),
        DnsRecord::CNAME(target) => Value::Cname(name(&target)?),
        DnsRecord::NS(target) => Value::Ns(name(&target)?),
        DnsRecord::MX(mx) => Value::Mx { preference: mx.priority, exchange: name(&mx.exchange)? },
        DnsRecord::TXT(text) => Value::txt(text),
        DnsRecord::SRV(srv) => Value::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: name(&srv.target)?,
        },
        DnsRecord::TLSA(tlsa) => Value::Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data,
        },
        DnsRecord::CAA(caa) => {
            let (flags, tag, value) = caa.decompose();
            // Nobody may issue: both spellings say so (RFC 8659 §4.2).
            let value = if value.is_empty() && tag != "iodef" { ";".to_owned() } else { value };
            Value::Caa { flags, tag: Tag::new(tag), value: value.into_bytes() }
        }
    })
}

fn caa(flags: u8, tag: &str, value: &str) -> Option<CAARecord> {
    let issuer_critical = match flags {
        0 => false,
        128 => true,
        _ => return None,
    };
    let mut parts = value.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty()).map(str::to_owned);
    let options = parts
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| KeyValue { key: key.trim().to_owned(), value: value.trim().to_owned() })
        .collect();
    match tag {
        "issue" => Some(CAARecord::Issue { issuer_critical, name, options }),
        "issuewild" => Some(CAARecord::IssueWild { issuer_critical, name, options }),
        "iodef" => Some(CAARecord::Iodef { issuer_critical, url: value.to_owned() }),
        _ => None,
    }
}

fn tlsa(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Option<TLSARecord> {
    let cert_usage = match usage {
        0 => TlsaCertUsage::PkixTa,
        1 => TlsaCertUsage::PkixEe,
        2 => TlsaCertUsage::DaneTa,
        3 => TlsaCertUsage::DaneEe,
        _ => return None,
    };
    let selector = match selector {
        0 => TlsaSelector::Full,
        1 => TlsaSelector::Spki,
        _ => return None,
    };
    let matching = match matching {
        0 => TlsaMatching::Raw,
        1 => TlsaMatching::Sha256,
        2 => TlsaMatching::Sha512,
        _ => return None,
    };
    Some(TLSARecord { cert_usage, selector, matching, cert_data: data.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_library() {
        for (record_type, text) in [
            (RecordType::A, "192.0.2.1"),
            (RecordType::Aaaa, "2001:db8::1"),
            (RecordType::Caa, "128 issue \"ca.test; validationmethods=dns-01\""),
            (RecordType::Caa, "0 issuewild \";\""),
            (RecordType::Caa, "0 iodef \"mailto:a@b.test\""),
            (RecordType::Cname, "a.test."),
            (RecordType::Mx, "10 mx.test."),
            (RecordType::Mx, "0 ."),
            (RecordType::Srv, "0 0 0 ."),
            (RecordType::Tlsa, "3 1 1 00ff"),
            (RecordType::Txt, "\"a b\" \"c\""),
        ] {
            let ours = Value::parse(record_type, text).unwrap();
            assert_eq!(value(record(&ours).unwrap()), Ok(ours));
        }
        for text in ["0 issuemail \"ca.test\"", "1 issue \"ca.test\""] {
            assert!(record(&Value::parse(RecordType::Caa, text).unwrap()).is_err(), "{text}");
        }
    }
}
