//! From an object to what its records should say: a pure function.

use std::net::IpAddr;

use ekitei_operator_api::{
    CaaMode, DmarcAlignment, DmarcPolicy, IssuerKind, MailDomain, MailRegion, MtaStsMode, RegionStatus,
};
use ekitei_operator_dns::desired::{
    Alignment, Caa, Client, Disposition, DkimKey, Dmarc, Exchanger, Purpose, Service, ServiceKind, Tlsa,
    TlsaValue, Web,
};
use ekitei_operator_dns::{Desired, Family, InvalidInput, MailDomain as Description, Name, RecordSet, Value};
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

mod spf;

/// All that the records of a domain say.
pub struct Facts<'a> {
    /// What a person said.
    pub domain: &'a MailDomain,
    /// The regions, as objects.
    pub regions: &'a [MailRegion],
    /// The regions, as they are for this domain.
    pub statuses: &'a [RegionStatus],
    /// DKIM keys: the name and the text of the record of each.
    pub keys: &'a [(String, String)],
    /// Whether the zone is signed.
    pub signed: bool,
    /// Whether the domain has CAA records of others.
    pub has_caa: bool,
    /// The ACME directory of the operator's default authority, if it has one.
    pub default_authority: Option<&'a str>,
    /// Whether cert-manager is installed.
    pub cert_manager: bool,
    /// The SHA-256 of the public keys whose TLSA records the domain's own client host has.
    pub host_keys: &'a [[u8; 32]],
}

/// The host that programs of the domain's users connect to, if the home region is known: the domain's own, or the region's.
pub fn client_host(domain: &MailDomain, regions: &[MailRegion]) -> Option<String> {
    domain.spec.clients.host.clone().or_else(|| region_client_host(home(domain, regions)?))
}

fn region_client_host(region: &MailRegion) -> Option<String> {
    let clients = region.spec.clients.as_ref().map(|clients| clients.host.clone());
    Some(clients.unwrap_or_else(|| region.spec.host.clone()))
}

/// The home region.
pub fn home<'a>(domain: &MailDomain, regions: &'a [MailRegion]) -> Option<&'a MailRegion> {
    regions.iter().find(|region| region.name_any() == domain.spec.home_region)
}

/// The names of a domain's own that its certificate is for.
pub fn certificate_names(domain: &MailDomain) -> Vec<String> {
    let (spec, name) = (&domain.spec, &domain.spec.domain);
    let mut names = Vec::new();
    if publishes_policy(domain) {
        names.push(format!("mta-sts.{name}"));
    }
    if spec.clients.autoconfig {
        names.extend(["autoconfig", "autodiscover"].map(|label| format!("{label}.{name}")));
    }
    names.extend(spec.clients.host.clone());
    names
}

/// The services that programs are told of.
fn services(domain: &MailDomain) -> Vec<Service> {
    let mut services = vec![
        (ServiceKind::Submissions, 465),
        (ServiceKind::Submission, 587),
        (ServiceKind::Imaps, 993),
        (ServiceKind::Imap, 143),
    ];
    if domain.spec.clients.pop3 {
        services.extend([(ServiceKind::Pop3s, 995), (ServiceKind::Pop3, 110)]);
    }
    services.into_iter().map(|(kind, port)| Service { kind, port }).collect()
}

/// The ports that programs connect to.
pub fn client_ports(domain: &MailDomain) -> Vec<u16> {
    services(domain).into_iter().map(|service| service.port).collect()
}

/// Whether senders are told to fetch the domain's MTA-STS policy; also one that takes a former one back.
fn publishes_policy(domain: &MailDomain) -> bool {
    domain.spec.mta_sts.enabled
}

impl Facts<'_> {
    /// The records.
    ///
    /// # Errors
    /// Something in the spec cannot be said in DNS.
    pub fn records(&self) -> Result<Vec<Desired>, InvalidInput> {
        let spec = &self.domain.spec;
        let mut description = Description::new(spec.domain.parse()?, spec.dns.ttl);
        description.exchangers = self.exchangers()?;
        description.spf = self.spf()?;
        let key = |(name, text): &(String, String)| Ok(DkimKey { name: name.parse()?, text: text.clone() });
        description.dkim = self.keys.iter().map(key).collect::<Result<_, InvalidInput>>()?;
        description.dmarc = spec.dmarc.enabled.then(|| self.dmarc());
        description.tls_reports = self.tls_reports();
        description.caa = self.caa();
        description.signed = self.signed;
        let mut aliases = Vec::new();
        if let Some(host) = home(self.domain, self.regions).and_then(region_client_host) {
            let host: Name = host.parse()?;
            description.client = self.client(&host)?;
            description.web = (publishes_policy(self.domain) || spec.clients.autoconfig)
                .then(|| Web { host: host.clone(), autoconfig: spec.clients.autoconfig });
            description.mta_sts_id = publishes_policy(self.domain).then(|| self.policy_id());
            aliases.extend(self.own_host(&host)?);
            description.tlsa = self.tlsa()?;
        }
        let mut records = description.records()?;
        records.extend(aliases);
        Ok(records)
    }

    fn exchangers(&self) -> Result<Vec<Exchanger>, InvalidInput> {
        // The preferences of regions that are not ready are raised already.
        let exchanger = |region: &RegionStatus| {
            let host = region.host.as_deref().unwrap_or_default().parse()?;
            Ok(Exchanger { host, preference: region.preference.unwrap_or_default(), healthy: true })
        };
        self.statuses.iter().map(exchanger).collect()
    }

    fn has(&self, region: &MailRegion) -> bool {
        self.domain.spec.regions.iter().any(|wanted| wanted.name == region.name_any())
    }

    fn dmarc(&self) -> Dmarc {
        let (spec, name) = (&self.domain.spec.dmarc, &self.domain.spec.domain);
        let disposition = |policy| match policy {
            DmarcPolicy::None => Disposition::None,
            DmarcPolicy::Quarantine => Disposition::Quarantine,
            DmarcPolicy::Reject => Disposition::Reject,
        };
        let alignment = |alignment| match alignment {
            DmarcAlignment::Relaxed => Alignment::Relaxed,
            DmarcAlignment::Strict => Alignment::Strict,
        };
        let reports = if spec.aggregate_reports.is_empty() {
            vec![format!("dmarc-reports@{name}")]
        } else {
            spec.aggregate_reports.clone()
        };
        Dmarc {
            subdomains: spec.subdomain_policy.map(disposition),
            nonexistent: spec.nonexistent_subdomain_policy.map(disposition),
            dkim_alignment: alignment(spec.dkim_alignment),
            spf_alignment: alignment(spec.spf_alignment),
            aggregate_reports: reports,
            failure_reports: spec.failure_reports.clone(),
            testing: spec.testing,
            ..Dmarc::new(disposition(spec.policy))
        }
    }

    fn tls_reports(&self) -> Vec<String> {
        let spec = &self.domain.spec.tls_reporting;
        match (spec.enabled, spec.to.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => vec![format!("mailto:tls-reports@{}", self.domain.spec.domain)],
            (true, false) => spec.to.clone(),
        }
    }

    /// Whether authorities are to be named, and nobody says which the certificate is from, though one is wanted.
    pub fn issuer_is_unknown(&self) -> bool {
        self.issuers().is_some_and(|issuers| issuers.is_empty()) && self.issuer() == Issuer::Unknown
    }

    /// The authorities that may issue certificates for the domain, if that is to be said; none where the one of its certificate is not known.
    fn issuers(&self) -> Option<Vec<String>> {
        let spec = &self.domain.spec.caa;
        let wanted = match spec.mode {
            CaaMode::Disabled => false,
            CaaMode::Enforce => true,
            CaaMode::Merge => self.has_caa,
        };
        let known = || match self.issuer() {
            Issuer::Known(name) => vec![name.to_owned()],
            Issuer::Unknown | Issuer::Nobody => Vec::new(),
        };
        wanted.then(|| if spec.issuers.is_empty() { known() } else { spec.issuers.clone() })
    }

    /// Who issues the certificate, by the rule of [`Source::find`](crate::certificate_objects::source::Source::find). Whom cert-manager asks is not known.
    fn issuer(&self) -> Issuer {
        let spec = &self.domain.spec.certificate;
        let directory = spec.acme.as_ref().map(|acme| acme.directory.as_str()).or(self.default_authority);
        let cert_manager = self.cert_manager && spec.cert_manager.is_some();
        match (spec.issuer, directory) {
            (IssuerKind::None, _) => Issuer::Nobody,
            (IssuerKind::Secret | IssuerKind::CertManager, _) => Issuer::Unknown,
            (IssuerKind::Auto, _) if cert_manager => Issuer::Unknown,
            (IssuerKind::Auto | IssuerKind::Acme, Some(directory)) => {
                caa_name(directory).map_or(Issuer::Unknown, Issuer::Known)
            }
            (IssuerKind::Auto, None) if spec.secret_ref.is_none() => Issuer::Nobody,
            (IssuerKind::Auto | IssuerKind::Acme, None) => Issuer::Unknown,
        }
    }

    fn caa(&self) -> Option<Caa> {
        let spec = &self.domain.spec.caa;
        let issuers = self.issuers().filter(|issuers| !issuers.is_empty())?;
        Some(Caa {
            issue: issuers,
            issue_wild: Vec::new(),
            report: spec.iodef.iter().cloned().collect(),
            critical: false,
        })
    }

    /// Where programs find the services. The addresses of a host of the domain's own are in [`Self::own_host`].
    fn client(&self, host: &Name) -> Result<Option<Client>, InvalidInput> {
        let spec = &self.domain.spec.clients;
        if !spec.srv {
            return Ok(None);
        }
        let own = spec.host.as_deref().map(str::parse).transpose()?;
        Ok(Some(Client {
            host: own.unwrap_or_else(|| host.clone()),
            addresses: Vec::new(),
            variant: None,
            services: services(self.domain),
        }))
    }

    /// Keys of the domain's own client host, on all ports that programs connect to.
    fn tlsa(&self) -> Result<Vec<Tlsa>, InvalidInput> {
        let Some(host) = &self.domain.spec.clients.host else { return Ok(Vec::new()) };
        if self.host_keys.is_empty() {
            return Ok(Vec::new());
        }
        let host: Name = host.parse()?;
        let values: Vec<TlsaValue> = self.host_keys.iter().copied().map(TlsaValue::public_key).collect();
        let of_port = |port| Tlsa { host: host.clone(), port, values: values.clone() };
        Ok(client_ports(self.domain).into_iter().map(of_port).collect())
    }

    /// Records of the domain's own client host: the addresses of the region's, or an alias where they are not known here.
    fn own_host(&self, target: &Name) -> Result<Vec<Desired>, InvalidInput> {
        let Some(host) = &self.domain.spec.clients.host else { return Ok(Vec::new()) };
        let host: Name = host.parse()?;
        let Some(region) = home(self.domain, self.regions).filter(|_| host != *target) else {
            return Ok(Vec::new());
        };
        let addresses: Vec<IpAddr> = match (&region.spec.clients, &region.status) {
            (Some(clients), _) => clients.addresses.iter().filter_map(|text| text.parse().ok()).collect(),
            (None, Some(status)) => status.addresses.iter().filter_map(|text| text.parse().ok()).collect(),
            (None, None) => Vec::new(),
        };
        let values =
            |pick: fn(&IpAddr) -> Option<Value>| addresses.iter().filter_map(pick).collect::<Vec<_>>();
        let sets = if addresses.is_empty() {
            vec![vec![Value::Cname(target.clone())]]
        } else {
            let four =
                values(
                    |address| if let IpAddr::V4(address) = address { Some(Value::A(*address)) } else { None },
                );
            let six =
                values(
                    |address| {
                        if let IpAddr::V6(address) = address { Some(Value::Aaaa(*address)) } else { None }
                    },
                );
            vec![four, six]
        };
        let ttl = self.domain.spec.dns.ttl;
        let desired = |values: Vec<Value>| {
            let set = RecordSet::new(host.clone(), ttl, values)?;
            Some(Desired { set, family: Family::Whole, purpose: Purpose::Address })
        };
        Ok(sets.into_iter().filter_map(desired).collect())
    }

    /// The id of the MTA-STS policy: another one whenever the policy says something else (RFC 8461 §3.1).
    fn policy_id(&self) -> String {
        let spec = &self.domain.spec.mta_sts;
        let mode = match spec.mode {
            MtaStsMode::None => "none",
            MtaStsMode::Testing => "testing",
            MtaStsMode::Enforce => "enforce",
        };
        let mut hash = Sha256::new();
        hash.update(format!("{mode} {}", spec.max_age.get().as_secs()));
        for region in self.statuses {
            hash.update(format!(" {}", region.host.as_deref().unwrap_or_default()));
        }
        hash.finalize().iter().take(10).map(|octet| format!("{octet:02x}")).collect()
    }
}

/// Who issues the certificate of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Issuer {
    /// Nobody is asked for one.
    Nobody,
    /// Somebody, whom CAA records cannot name.
    Unknown,
    /// The authority of this CAA name.
    Known(&'static str),
}

/// The CAA name of the authority with an ACME directory, where it is known.
fn caa_name(directory: &str) -> Option<&'static str> {
    let known = [
        ("letsencrypt.org", "letsencrypt.org"),
        ("pki.goog", "pki.goog"),
        ("zerossl.com", "sectigo.com"),
        ("api.buypass.com", "buypass.com"),
        ("ssl.com", "ssl.com"),
    ];
    let host = directory.strip_prefix("https://")?.split(['/', ':']).next()?;
    let is_of =
        |suffix: &str| host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    known.into_iter().find(|(suffix, _)| is_of(suffix)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
