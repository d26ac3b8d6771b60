//! What a failed lookup means to a mail service.

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::ResponseCode;

use crate::Error;

/// The error of the resolver in our terms: absence only where a server said so, everything else is a matter of time.
pub(crate) fn classify(error: &NetError) -> Error {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => absent(*response_code),
        NetError::Dns(DnsError::Nsec { proof: Proof::Bogus, .. } | DnsError::DnssecBogus) => Error::Bogus,
        // Absence that nobody can vouch for, as of a zone whose NSEC3 needs too many iterations (RFC 9276 §3.2), is still absence.
        NetError::Dns(DnsError::Nsec { response, .. }) => absent(response.metadata.response_code),
        NetError::Timeout => Error::Temporary("no answer in time".to_owned()),
        other => Error::Temporary(other.to_string()),
    }
}

fn absent(code: ResponseCode) -> Error {
    match code {
        ResponseCode::NXDomain => Error::NoSuchName,
        ResponseCode::NoError => Error::NoRecords,
        other => Error::Temporary(format!("the server answered: {other}")),
    }
}
