//! What a server's answer means, in words that say whom to tell.

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;

use super::{Settings, TsigKey};
use crate::name::Name;
use crate::provider::{ProviderError, Result, Zone};

/// The answer to a question: an error, or something to read.
pub(super) fn check_query(settings: &Settings, name: &Name, answer: &Message) -> Result<()> {
    let Settings { server, key, .. } = settings;
    match answer.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(()),
        ResponseCode::Refused | ResponseCode::NotAuth => Err(ProviderError::NoZone {
            name: name.clone(),
            reason: format!("{server} refuses to answer for it ({})", code(answer)),
        }),
        ResponseCode::ServFail => Err(ProviderError::Unavailable(format!("{server} says {}", code(answer)))),
        _ => Err(ProviderError::Rejected(format!("{server} says {} to key {}", code(answer), key.name()))),
    }
}

/// The answer to an update (RFC 2136 §2.2).
pub(super) fn check_update(settings: &Settings, zone: &Zone, answer: &Message) -> Result<()> {
    let Settings { server, key, .. } = settings;
    let zone = &zone.name;
    match answer.response_code {
        ResponseCode::NoError => Ok(()),
        ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain => {
            Err(ProviderError::Conflict(format!("{server} says {}", code(answer))))
        }
        ResponseCode::NotAuth => Err(ProviderError::NoZone {
            name: zone.clone(),
            reason: format!("{server} is not its primary server (NOTAUTH)"),
        }),
        ResponseCode::NotZone => Err(ProviderError::NoZone {
            name: zone.clone(),
            reason: format!("{server} says that a name is not in it (NOTZONE)"),
        }),
        ResponseCode::Refused => Err(ProviderError::Rejected(format!(
            "{server} does not let key {} make this change in {zone} (REFUSED): look at its update policy",
            key.name()
        ))),
        ResponseCode::ServFail => Err(ProviderError::Unavailable(format!("{server} says SERVFAIL"))),
        ResponseCode::NotImp => Err(ProviderError::Settings(format!(
            "{server} takes no updates (NOTIMP): is it the primary server?"
        ))),
        _ => Err(ProviderError::Rejected(format!("{server} says {}", code(answer)))),
    }
}

/// An answer whose signature is missing or wrong. It is believed to be an error, and nothing else of it is.
pub(super) fn unsigned(server: &str, key: &TsigKey, octets: &[u8], reason: &str, now: u64) -> ProviderError {
    let name = key.name();
    let Ok(answer) = Message::from_vec(octets) else {
        return ProviderError::Unavailable(format!("{server} answers what cannot be read"));
    };
    let tsig = answer.signature().map(|record| &record.data);
    match tsig.and_then(|tsig| tsig.error.map(|error| (error, tsig))) {
        // What the key could read with is known: it may not write this. Some servers say so, and others REFUSED.
        Some((TsigError::BadKey, _)) if answer.op_code == OpCode::Update => ProviderError::Rejected(format!(
            "{server} does not let the key {name} make this change (BADKEY): look at its update policy"
        )),
        Some((TsigError::BadKey, _)) => ProviderError::Unauthorized(format!(
            "{server} does not know the key {name} with {}, or lets it do nothing (BADKEY)",
            key.signer.algorithm()
        )),
        Some((TsigError::BadSig | TsigError::BadTrunc, _)) => {
            ProviderError::Unauthorized(format!("{server} has another secret for the key {name} (BADSIG)"))
        }
        Some((TsigError::BadTime, tsig)) => {
            let theirs = clock(&tsig.other).unwrap_or(tsig.time);
            ProviderError::Unauthorized(format!(
                "the clock of {server} and ours differ by {} seconds (BADTIME)",
                theirs.abs_diff(now)
            ))
        }
        None if answer.op_code == OpCode::Query && answer.response_code == ResponseCode::Refused => {
            let asked = answer.queries.first().map_or_else(Name::root, |query| Name::from_wire(&query.name));
            ProviderError::NoZone {
                name: asked,
                reason: format!("{server} refuses to answer for it (REFUSED)"),
            }
        }
        _ if answer.response_code == ResponseCode::NoError => ProviderError::Unauthorized(format!(
            "the signature of {server} is not that of the key {name}: {reason}"
        )),
        _ => ProviderError::Unauthorized(format!("{server} says {} without a signature", code(&answer))),
    }
}

/// The server's time in an answer of BADTIME (RFC 8945 §5.2.3): 48 bits.
fn clock(other: &[u8]) -> Option<u64> {
    let octets: [u8; 6] = other.try_into().ok()?;
    Some(octets.iter().fold(0, |time, octet| time << 8 | u64::from(*octet)))
}

fn code(answer: &Message) -> String {
    match answer.response_code {
        ResponseCode::YXDomain => "YXDOMAIN".to_owned(),
        ResponseCode::YXRRSet => "YXRRSET: a record is there that was not".to_owned(),
        ResponseCode::NXRRSet => "NXRRSET: a record is not what it was".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hickory_proto::op::MessageType;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::TSIG;
    use hickory_proto::rr::rdata::tsig::TsigAlgorithm;

    use super::*;

    fn settings() -> Settings {
        Settings {
            server: "ns.test:53".to_owned(),
            key: TsigKey::new("key", "hmac-sha256", "AAAA").unwrap(),
            timeout: Duration::from_secs(1),
        }
    }

    fn answer(code: ResponseCode) -> Message {
        let mut answer = Message::new(1, MessageType::Response, OpCode::Update);
        answer.metadata.response_code = code;
        answer
    }

    #[test]
    fn every_answer_says_whom_to_tell() {
        let zone = Zone { name: "a.test".parse().unwrap(), id: None };
        for (code, reason) in [
            (ResponseCode::YXRRSet, "ZoneChanged"),
            (ResponseCode::NXRRSet, "ZoneChanged"),
            (ResponseCode::YXDomain, "ZoneChanged"),
            (ResponseCode::NXDomain, "ZoneChanged"),
            (ResponseCode::NotAuth, "ZoneNotFound"),
            (ResponseCode::NotZone, "ZoneNotFound"),
            (ResponseCode::Refused, "ProviderRejected"),
            (ResponseCode::FormErr, "ProviderRejected"),
            (ResponseCode::ServFail, "ServerUnreachable"),
            (ResponseCode::NotImp, "ProviderSettingsInvalid"),
        ] {
            let error = check_update(&settings(), &zone, &answer(code)).unwrap_err();
            assert_eq!(error.reason(), reason, "{error}");
        }
        assert_eq!(check_update(&settings(), &zone, &answer(ResponseCode::NoError)), Ok(()));
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_with_how_much() {
        let mut late = answer(ResponseCode::NotAuth);
        let theirs = 1_000_100_u64.to_be_bytes();
        let (error, other) = (Some(TsigError::BadTime), theirs[2..].to_vec());
        let tsig = TSIG::new(TsigAlgorithm::HmacSha256, 1_000_000, 300, Vec::new(), 1, error, other);
        let name = hickory_proto::rr::Name::from_ascii("key.").unwrap();
        let mut record = Record::from_rdata(name, 0, tsig);
        record.dns_class = hickory_proto::rr::DNSClass::ANY;
        late.set_signature(Box::new(record));
        let Settings { server, key, .. } = settings();
        let error = unsigned(&server, &key, &late.to_vec().unwrap(), "", 1_000_000);
        assert!(
            matches!(&error, ProviderError::Unauthorized(text) if text.contains("100 seconds")),
            "{error}"
        );

        // Nobody can make us believe that an update was done.
        let forged = answer(ResponseCode::NoError).to_vec().unwrap();
        let error = unsigned(&server, &key, &forged, "there is none", 0);
        assert!(matches!(&error, ProviderError::Unauthorized(_)), "{error}");
    }
}
