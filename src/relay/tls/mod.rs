//! Which TLS a host must offer: a configured rule, DANE (RFC 7672), MTA-STS (RFC 8461), REQUIRETLS (RFC 8689), or what comes (RFC 7435).
//!
//! The connector asks [`TlsPolicies::destination`] once for a message, [`TlsPolicies::host`] once for each host, and makes a [`TlsAttempt`] for each
//! connection, which says what is to be done when TLS fails, and reports it (RFC 8460).

mod attempt;
pub(crate) mod authorities;
pub(crate) mod dane;
mod report;
pub mod sts;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ekitei_config::{Live, TlsRule};
use ekitei_dns::{Answer, Error, Resolver, Security, Tlsa};
use ekitei_telemetry::Registry;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::mx::{Host, Route};
use crate::outcome::{Failure, FailureKind, TlsReporter, TlsResult, TlsSession};
use crate::proto::status::Status;
pub use attempt::{HostTls, TlsAttempt};
use attempt::{Level, Reporting};
use dane::Dane;
use report::Counting;
use sts::policy::{Mode, Policy};
use sts::{Fetch, Https, PolicyStore, Sts};
use verify::Check;

/// How often policies are looked through for those that are to be fetched anew.
const REFRESH: Duration = Duration::from_secs(3_600);
/// Where policies are served.
const HTTPS: u16 = 443;

/// Knows the TLS policies of destinations. One for the whole process; call [`TlsPolicies::maintain`] in a task of its own.
pub struct TlsPolicies {
    live: Live,
    dns: Resolver,
    reporter: Arc<dyn TlsReporter>,
    authorities: Arc<RootCertStore>,
    sts: Sts,
}

/// What applies to all hosts of a route.
pub struct DestinationTls {
    domain: String,
    rule: Option<TlsRule>,
    sts: Option<Arc<Policy>>,
    wish: Wish,
}

/// What the sender of a message wants of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// What the destination publishes.
    AsPublished,
    /// No less than TLS with a host that is surely the right one, which wants it too (`REQUIRETLS`, RFC 8689 §2).
    Required,
    /// That the message arrives, whatever the destination publishes (`TLS-Required: No`, RFC 8689 §3).
    Waived,
}

impl DestinationTls {
    fn require_tls(&self) -> bool {
        self.wish == Wish::Required
    }

    fn enforces_sts(&self) -> bool {
        self.sts.as_ref().is_some_and(|policy| policy.mode == Mode::Enforce)
    }
}

/// What the TLSA records of a host say.
enum Published {
    /// There are none, or DNSSEC does not vouch for them.
    Nothing,
    /// Records that a certificate can be held against; the base domain they are at.
    Usable(Dane, String),
    /// Only records that cannot be used: the host has TLS, whose certificate is not to be verified (RFC 7672 §2.2).
    Unusable,
}

/// TLS with web servers of others, which have to show a certificate of an authority that is trusted (`relay.caFile`).
pub fn https(settings: &ekitei_config::Relay) -> ClientConfig {
    trusting(authorities::load(settings.ca_file.as_deref()))
}

/// TLS with whom these authorities vouch for.
fn trusting(authorities: Arc<RootCertStore>) -> ClientConfig {
    ClientConfig::builder_with_provider(verify::provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(authorities)
        .with_no_client_auth()
}

impl TlsPolicies {
    /// Policies of the configuration in force, those of MTA-STS remembered in `store`. Authorities are read now.
    pub fn new(
        live: Live,
        dns: Resolver,
        reporter: Arc<dyn TlsReporter>,
        store: Arc<dyn PolicyStore>,
        registry: &Registry,
    ) -> Self {
        let relay = live.load().relay.clone();
        let authorities = authorities::load(relay.ca_file.as_deref());
        let https = Https::new(
            Arc::clone(&authorities),
            dns.clone(),
            relay.ignore_addresses,
            relay.timeouts.policy.get(),
            HTTPS,
        );
        let reporter = Arc::new(Counting::new(reporter, registry));
        Self::assemble(live, dns, reporter, authorities, Arc::new(https), store)
    }

    fn assemble(
        live: Live,
        dns: Resolver,
        reporter: Arc<dyn TlsReporter>,
        authorities: Arc<RootCertStore>,
        fetch: Arc<dyn Fetch>,
        store: Arc<dyn PolicyStore>,
    ) -> Self {
        let sts = Sts::new(dns.clone(), fetch, store, SystemTime::now);
        Self { live, dns, reporter, authorities, sts }
    }

    /// What applies to all hosts of a route for a message whose sender has this wish. Looks MTA-STS up.
    pub async fn destination(&self, route: &Route, wish: Wish) -> DestinationTls {
        let mut destination =
            DestinationTls { domain: route.destination.clone(), rule: route.tls, sts: None, wish };
        let published = route.tls.is_none()
            && route.smart_host.is_none()
            && !route.destination.starts_with('[')
            && wish != Wish::Waived;
        if published && self.live.load().relay.mta_sts {
            let found = self.sts.find(&route.destination).await;
            if let Some(trouble) = &found.trouble {
                let reporting = Reporting {
                    policy_type: "sts",
                    policy: Vec::new(),
                    ..self.reporting(&destination.domain, "")
                };
                reporting.failure(None, None, report::fetch_result(trouble), &trouble.to_string());
            }
            destination.sts = found.policy.filter(|policy| policy.mode != Mode::None);
        }
        destination
    }

    /// What applies to a host. Looks TLSA up.
    ///
    /// # Errors
    /// This host must not be used for this message (class 4: now; class 5: ever). Try the next; if there is none, this is the outcome.
    pub async fn host(&self, destination: &DestinationTls, host: &Host) -> Result<HostTls, Failure> {
        let tls = match destination.rule {
            Some(rule) => self.by_rule(rule, destination, host)?,
            // Nor is it reported, since it may be a report of just this (RFC 8460 §5.3).
            None if destination.wish == Wish::Waived => {
                HostTls::new(Level::Opportunistic, &host.name, "", false, None)
            }
            None => match self.published(destination, host).await? {
                Published::Usable(dane, base) => self.by_dane(destination, host, dane, base),
                // Useless records are no reason to do without what MTA-STS enforces, which is more.
                Published::Unusable if !destination.require_tls() && !destination.enforces_sts() => {
                    self.by_useless_records(destination, host)
                }
                _ => self.by_sts(destination, host)?,
            },
        };
        Ok(tls)
    }

    /// Fetches MTA-STS policies anew before they expire; runs until it is dropped.
    pub async fn maintain(&self) {
        let mut ticks = tokio::time::interval(REFRESH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sts.refresh().await;
        }
    }

    /// A configured rule goes before everything that is published; a message with REQUIRETLS needs no less than `verify`.
    fn by_rule(&self, rule: TlsRule, destination: &DestinationTls, host: &Host) -> Result<HostTls, Failure> {
        let level = match (rule, destination.require_tls()) {
            (TlsRule::None, true) => {
                return Err(unfit(host, "a rule has TLS off for it, and the message requires TLS"));
            }
            (TlsRule::None, false) => Level::Off,
            (TlsRule::Verify, _) | (_, true) => {
                Level::Verified(Check::Authorities(Arc::clone(&self.authorities)))
            }
            (TlsRule::Require, false) => Level::Encrypted,
            (TlsRule::Opportunistic, false) => Level::Opportunistic,
        };
        // Whoever made the rule knows what comes of it; it is no policy of the destination.
        let demand = "the configuration (tls in relay.routes or relay.smartHost)";
        Ok(HostTls::new(level, &host.name, demand, destination.require_tls(), None))
    }

    /// The TLSA records of a host: only where DNSSEC vouches for the way to it (RFC 7672 §2.2.1, §2.2.2), at its name after CNAME first, and
    /// otherwise at the name that its domain gives it (§2.2.3, RFC 7671 §7). Where CNAME leads out of what is signed, that one is left.
    ///
    /// # Errors
    /// They cannot be had, and nobody can say that there are none: mail must wait (RFC 7672 §2.1.2).
    async fn published(&self, destination: &DestinationTls, host: &Host) -> Result<Published, Failure> {
        let is_named = host.mx_security == Security::Secure && host.name_security == Security::Secure;
        if !is_named || !self.live.load().relay.dane {
            return Ok(Published::Nothing);
        }
        let port = host.addresses.first().map_or(25, std::net::SocketAddr::port);
        let canonical = (host.address_security == Security::Secure).then_some(host.canonical.as_str());
        let own = (host.name != host.canonical).then_some(host.name.as_str());
        let bases = canonical.into_iter().chain(own);
        for base in bases {
            match self.dns.tlsa(&format!("_{port}._tcp.{base}")).await {
                Ok(Answer { value, security: Security::Secure }) if !value.is_empty() => {
                    return Ok(self.usable(&value, base, destination, host));
                }
                // As good as none, for whom nobody vouches.
                Ok(_) => {}
                Err(error) if error.is_temporary() => return Err(self.unknown(destination, host, &error)),
                Err(_) => {}
            }
        }
        Ok(Published::Nothing)
    }

    fn usable(&self, records: &[Tlsa], base: &str, destination: &DestinationTls, host: &Host) -> Published {
        // The names that a certificate below a trust anchor may be for (RFC 7672 §3.2.2).
        let mut names = vec![base, &host.name, &host.canonical, &destination.domain];
        names.dedup();
        let names = names.into_iter().filter_map(|name| ServerName::try_from(name.to_owned()).ok()).collect();
        match Dane::new(records, names) {
            Some(dane) => Published::Usable(dane, base.to_owned()),
            None => Published::Unusable,
        }
    }

    fn unknown(&self, destination: &DestinationTls, host: &Host, error: &Error) -> Failure {
        let text = format!("the TLSA records of {} cannot be looked up: {error}", host.name);
        let result = if *error == Error::Bogus { report::DNSSEC_INVALID } else { report::TLSA_INVALID };
        let reporting = Reporting { policy_type: "tlsa", ..self.reporting(&destination.domain, &host.name) };
        reporting.failure(None, None, result, &text);
        failure(Status(4, 7, 5), text)
    }

    fn by_dane(&self, destination: &DestinationTls, host: &Host, dane: Dane, base: String) -> HostTls {
        let policy = dane::texts(&dane);
        let reporting =
            Reporting { policy_type: "tlsa", policy, ..self.reporting(&destination.domain, &host.name) };
        let level = Level::Verified(Check::Dane(Arc::new(dane)));
        let demand = format!("DANE (the TLSA records of {base})");
        HostTls::new(level, &base, &demand, destination.require_tls(), Some(reporting))
    }

    fn by_useless_records(&self, destination: &DestinationTls, host: &Host) -> HostTls {
        let reporting = Reporting { policy_type: "tlsa", ..self.reporting(&destination.domain, &host.name) };
        reporting.failure(None, None, report::TLSA_INVALID, "none of the TLSA records is usable");
        let demand = format!("DANE (the TLSA records of {}, none of which is usable)", host.name);
        HostTls::new(Level::Encrypted, &host.name, &demand, false, None)
    }

    /// MTA-STS, where the domain has it; otherwise TLS if it is there, unless the message requires more.
    fn by_sts(&self, destination: &DestinationTls, host: &Host) -> Result<HostTls, Failure> {
        let verified = || Level::Verified(Check::Authorities(Arc::clone(&self.authorities)));
        let Some(policy) = &destination.sts else {
            let level = match (destination.require_tls(), host.mx_security) {
                (false, _) => Level::Opportunistic,
                // Who the host is must be sure, not only that it is itself (RFC 8689 §4.2.1).
                (true, Security::Secure) => verified(),
                (true, Security::Insecure) => {
                    return Err(unfit(
                        host,
                        "neither DNSSEC nor MTA-STS says that it is a host of its domain, and the message requires TLS",
                    ));
                }
            };
            let reporting = self.reporting(&destination.domain, &host.name);
            return Ok(HostTls::new(level, &host.name, "", destination.require_tls(), Some(reporting)));
        };
        let reporting = Reporting {
            policy_type: "sts",
            policy: policy.lines.clone(),
            ..self.reporting(&destination.domain, &host.name)
        };
        let enforced = policy.mode == Mode::Enforce || destination.require_tls();
        if !policy.allows(&host.name) {
            let text = format!("the MTA-STS policy of {} does not name {}", destination.domain, host.name);
            reporting.failure(None, None, report::VALIDATION_FAILURE, &text);
            return match enforced {
                true => Err(failure(Status(4, 7, 5), text)),
                false => Ok(HostTls::new(Level::Opportunistic, &host.name, "", false, None)),
            };
        }
        let level = if enforced {
            verified()
        } else {
            Level::Observed(Check::Authorities(Arc::clone(&self.authorities)))
        };
        let demand = format!("the MTA-STS policy of {}", destination.domain);
        Ok(HostTls::new(level, &host.name, &demand, destination.require_tls(), Some(reporting)))
    }

    fn reporting(&self, domain: &str, mx_host: &str) -> Reporting {
        Reporting {
            reporter: Arc::clone(&self.reporter),
            domain: domain.to_owned(),
            mx_host: mx_host.to_owned(),
            policy_type: "no-policy-found",
            policy: Vec::new(),
        }
    }
}

impl Reporting {
    fn success(&self, remote: IpAddr, source: Option<IpAddr>) {
        self.session(Some(remote), source, TlsResult::Success);
    }

    fn failure(
        &self,
        remote: Option<IpAddr>,
        source: Option<IpAddr>,
        result_type: &'static str,
        detail: &str,
    ) {
        let detail = detail.chars().take(500).collect();
        self.session(remote, source, TlsResult::Failure { result_type, detail });
    }

    fn session(&self, remote: Option<IpAddr>, source: Option<IpAddr>, result: TlsResult) {
        self.reporter.session(TlsSession {
            domain: self.domain.clone(),
            mx_host: self.mx_host.clone(),
            source,
            remote,
            policy_type: self.policy_type,
            policy: self.policy.clone(),
            result,
        });
    }
}

fn failure(status: Status, text: String) -> Failure {
    Failure::new(FailureKind::Tls, status, text)
}

/// A host that can never take a message with REQUIRETLS (RFC 8689 §5: `5.7.10` encryption needed).
fn unfit(host: &Host, why: &str) -> Failure {
    failure(Status(5, 7, 10), format!("{} cannot take the message: {why}", host.name))
}
