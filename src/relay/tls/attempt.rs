//! TLS with one host, and on one connection: what is demanded, and what becomes of it.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::verify::{Check, Verifier};
use super::{failure, report};
use crate::outcome::{Failure, TlsReporter};
use crate::proto::reply::Reply;
use crate::proto::status::Status;

/// How much is demanded.
#[derive(Clone, Debug)]
pub(super) enum Level {
    /// No TLS.
    Off,
    /// TLS with anybody if it is there; otherwise in clear.
    Opportunistic,
    /// The same, but failed checks are reported (MTA-STS `testing`).
    Observed(Check),
    /// TLS with anybody.
    Encrypted,
    /// TLS with the right one.
    Verified(Check),
}

/// Whom to tell, and of what policy.
#[derive(Clone)]
pub(super) struct Reporting {
    pub(super) reporter: Arc<dyn TlsReporter>,
    pub(super) domain: String,
    pub(super) mx_host: String,
    pub(super) policy_type: &'static str,
    pub(super) policy: Vec<String>,
}

/// What applies to one host: cheap to clone.
#[derive(Clone)]
pub struct HostTls {
    inner: Arc<Inner>,
}

struct Inner {
    level: Level,
    /// The name to ask for and, where a certificate is verified by name, to find in it.
    name: String,
    require_tls: bool,
    /// Who demands TLS, for those who read why it failed.
    demand: String,
    reporting: Option<Reporting>,
    identity: String,
}

/// TLS on one connection. Consumed by what came of it.
pub struct TlsAttempt {
    inner: Arc<Inner>,
    remote: IpAddr,
    source: Option<IpAddr>,
    /// Why a certificate was not right that is accepted all the same.
    observed: Arc<Mutex<Option<rustls::Error>>>,
}

/// What went wrong with TLS.
struct Trouble {
    /// In the words of RFC 8460 §4.3.
    result: &'static str,
    /// What our policy makes of it, before the detail.
    reason: &'static str,
    detail: String,
    /// Where TLS is demanded.
    status: Status,
    /// It may be better soon, so that even REQUIRETLS returns nothing yet.
    is_passing: bool,
}

impl HostTls {
    /// `demand` says who wants what `level` demands, in words that follow "by".
    pub(super) fn new(
        level: Level,
        name: &str,
        demand: &str,
        require_tls: bool,
        reporting: Option<Reporting>,
    ) -> Self {
        let policy = reporting.as_ref().map(|reporting| reporting.policy.join("; ")).unwrap_or_default();
        // A certificate below a trust anchor may be for the domain instead of the host: it says nothing to mail for another domain.
        let names = match &level {
            Level::Verified(Check::Dane(dane)) => dane.anchored_names(),
            _ => String::new(),
        };
        let kind = match &level {
            Level::Off => "off",
            Level::Opportunistic => "opportunistic",
            Level::Observed(_) => "observed",
            Level::Encrypted => "encrypted",
            Level::Verified(Check::Dane(_)) => "dane",
            Level::Verified(_) => "verified",
        };
        let identity = format!("{kind} {name} {policy} {names}");
        let demand = match (require_tls, demand) {
            (false, demand) => demand.to_owned(),
            (true, "") => "REQUIRETLS of the message".to_owned(),
            (true, demand) => format!("{demand}, and by REQUIRETLS of the message"),
        };
        let name = name.to_owned();
        Self { inner: Arc::new(Inner { level, name, require_tls, demand, reporting, identity }) }
    }

    /// Whether to use TLS if it is there; `false` when a rule has it off.
    pub fn wanted(&self) -> bool {
        !matches!(self.inner.level, Level::Off)
    }

    /// Whether mail may go only over TLS.
    pub fn mandatory(&self) -> bool {
        matches!(self.inner.level, Level::Encrypted | Level::Verified(_))
    }

    /// Whether the message may go only to a host that offers REQUIRETLS, with that parameter (RFC 8689 §4.2.1).
    pub fn requires_requiretls(&self) -> bool {
        self.inner.require_tls
    }

    /// Two connections to one host may serve each other's messages if this is equal: the policy in force, as text.
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// TLS on a connection to `remote`, made from `source`.
    pub fn attempt(&self, remote: IpAddr, source: Option<IpAddr>) -> TlsAttempt {
        TlsAttempt { inner: Arc::clone(&self.inner), remote, source, observed: Arc::default() }
    }
}

impl TlsAttempt {
    /// The configuration to shake hands with.
    pub fn config(&self) -> Arc<ClientConfig> {
        let verifier = match &self.inner.level {
            Level::Verified(check) => Verifier::enforcing(check.clone()),
            Level::Observed(check) => Verifier::observing(check.clone(), Arc::clone(&self.observed)),
            _ => Verifier::enforcing(Check::Nothing),
        };
        Arc::new(verifier.config())
    }

    /// The name to ask for and, where the policy has it, to verify.
    pub fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.inner.name.clone()).unwrap_or_else(|_| ServerName::from(self.remote))
    }

    /// The handshake succeeded.
    pub fn established(self) {
        let Some(reporting) = &self.inner.reporting else { return };
        match &*self.observed.lock().unwrap_or_else(PoisonError::into_inner) {
            None => reporting.success(self.remote, self.source),
            Some(error) => {
                let result = report::certificate_result(error);
                reporting.failure(Some(self.remote), self.source, result, &error.to_string());
            }
        }
    }

    /// The server does not offer STARTTLS, or refused it with this reply.
    ///
    /// # Errors
    /// Mail must not be sent over this connection. Otherwise it may, in clear.
    pub fn not_offered(self, reply: Option<&Reply>) -> Result<(), Failure> {
        let detail = match reply {
            None => "the server does not offer STARTTLS".to_owned(),
            Some(reply) => format!("the server refuses STARTTLS: {} {}", reply.code(), reply.summary(200)),
        };
        self.outcome(Trouble {
            result: report::STARTTLS_NOT_SUPPORTED,
            reason: "",
            detail,
            status: Status(4, 7, 4),
            is_passing: reply.is_some_and(Reply::is_temporary),
        })
    }

    /// The handshake failed; the connection is of no more use.
    ///
    /// # Errors
    /// Mail must not be sent to this host. Otherwise connect again, and do not use TLS.
    pub fn failed(self, error: &io::Error) -> Result<(), Failure> {
        let tls_error = report::tls_error(error);
        let result = tls_error.map_or(report::VALIDATION_FAILURE, report::certificate_result);
        // What TLS has for this, "unknown issuer", leads astray who has no issuer to look for.
        let unmatched = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let reason = match &self.inner.level {
            Level::Verified(Check::Dane(_)) if tls_error == Some(&unmatched) => {
                "no TLSA record matches the certificate: "
            }
            _ => "",
        };
        self.outcome(Trouble {
            result,
            reason,
            detail: format!("the TLS handshake failed: {error}"),
            status: Status(4, 7, 5),
            // It may be a cut line.
            is_passing: result == report::VALIDATION_FAILURE,
        })
    }

    fn outcome(self, trouble: Trouble) -> Result<(), Failure> {
        let Trouble { result, reason, detail, status, is_passing } = trouble;
        if let Some(reporting) = &self.inner.reporting {
            reporting.failure(Some(self.remote), self.source, result, &detail);
        }
        let text = format!("TLS is demanded by {}: {reason}{detail}", self.inner.demand);
        match &self.inner.level {
            Level::Off | Level::Opportunistic | Level::Observed(_) => Ok(()),
            // RFC 8689 §4.2.1: it is returned, not kept.
            _ if self.inner.require_tls && !is_passing => Err(failure(Status(5, 7, 10), text)),
            _ => Err(failure(status, text)),
        }
    }
}
