//! TLS in the words of RFC 8460 §4.3.

use std::error::Error;
use std::io;
use std::sync::Arc;

use ekitei_telemetry::{CounterFamily, Registry};
use rustls::CertificateError;

use super::sts::FetchError;
use crate::outcome::{TlsReporter, TlsResult, TlsSession};

/// The server does not offer STARTTLS.
pub(crate) const STARTTLS_NOT_SUPPORTED: &str = "starttls-not-supported";
/// Any other failure.
pub(crate) const VALIDATION_FAILURE: &str = "validation-failure";
/// The TLSA records are of no use.
pub(crate) const TLSA_INVALID: &str = "tlsa-invalid";
/// DNSSEC validation failed.
pub(crate) const DNSSEC_INVALID: &str = "dnssec-invalid";

/// Counts sessions on their way to whoever reports them.
pub(crate) struct Counting {
    next: Arc<dyn TlsReporter>,
    sessions: CounterFamily,
}

impl Counting {
    pub(crate) fn new(next: Arc<dyn TlsReporter>, registry: &Registry) -> Self {
        let sessions = registry.counters(
            "relay_tls_sessions_total",
            "TLS with MX hosts by the policy in force (sts, tlsa, no-policy-found) and the result, in the words of RFC 8460.",
            &["policy", "result"],
        );
        Self { next, sessions }
    }
}

impl TlsReporter for Counting {
    fn session(&self, session: TlsSession) {
        let result = match session.result {
            TlsResult::Success => "success",
            TlsResult::Failure { result_type, .. } => result_type,
        };
        self.sessions.with(&[session.policy_type, result]).inc();
        self.next.session(session);
    }
}

/// The result type of a failed handshake or a refused certificate (RFC 8460 §4.3.1).
pub(crate) fn certificate_result(error: &rustls::Error) -> &'static str {
    let rustls::Error::InvalidCertificate(error) = error else { return VALIDATION_FAILURE };
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate-host-mismatch"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "certificate-expired",
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "certificate-not-trusted",
        _ => VALIDATION_FAILURE,
    }
}

/// The result type of a policy that cannot be had (RFC 8460 §4.3.2.2).
pub(crate) fn fetch_result(error: &FetchError) -> &'static str {
    match error {
        FetchError::Fetch(_) => "sts-policy-fetch-error",
        FetchError::Certificate(_) => "sts-webpki-invalid",
        FetchError::Invalid(_) => "sts-policy-invalid",
    }
}

/// The error of TLS in an error of whatever is over it.
pub(crate) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An io::Error shows the source of what it wraps, not that itself.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_the_rfc() {
        use rustls::Error as Tls;
        for (error, name) in [
            (Tls::InvalidCertificate(CertificateError::NotValidForName), "certificate-host-mismatch"),
            (Tls::InvalidCertificate(CertificateError::Expired), "certificate-expired"),
            (Tls::InvalidCertificate(CertificateError::UnknownIssuer), "certificate-not-trusted"),
            (Tls::InvalidCertificate(CertificateError::BadEncoding), "validation-failure"),
            (Tls::DecryptError, "validation-failure"),
        ] {
            assert_eq!(certificate_result(&error), name);
            let wrapped = io::Error::other(error.clone());
            assert_eq!(tls_error(&wrapped), Some(&error));
        }
        assert_eq!(tls_error(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    }
}
