//! The resolver: questions in the terms of a mail service, answers bounded and with what DNSSEC says of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ekitei_config::Dns;
use ekitei_telemetry::Registry;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::MessageAuthenticator;

use crate::metrics::Metrics;
use crate::validation::{Anchors, Validating};
use crate::{Answer, Caa, Error, Host, Mx, Result, Security, Tlsa, failure, name};

/// Nothing is kept longer than this, whatever its TTL says (RFC 8767 §4 advises a cap of days; a mail service wants changes sooner).
const LONGEST_TTL: Duration = Duration::from_secs(86_400);
/// Absence is not kept longer than this (RFC 2308 §5).
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(3_600);
/// How long absence is kept by the resolver that validates.
const PROVEN_ABSENCE: Duration = Duration::from_secs(60);
/// More links of a CNAME chain than anyone needs.
const CHAIN: usize = 16;

/// The resolver: cheap to clone, shared by all parts of a process.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    /// Does not validate; it is also what `mail-auth` asks.
    plain: MessageAuthenticator,
    validating: Option<Validating>,
    max_records: usize,
    /// For one question with everything that it takes: other servers, other attempts, TCP, the chain of DNSSEC.
    deadline: Duration,
    /// Nothing is counted before there is a registry.
    metrics: Arc<OnceLock<Metrics>>,
}

/// The records of an answer that belong to the question.
struct Found {
    canonical: Name,
    records: Vec<Record>,
    security: Security,
    /// Of the records of the question's own name: the answer, or a CNAME.
    name_security: Security,
}

impl Resolver {
    /// A resolver as configured. Needs a tokio runtime when it is asked, not before.
    ///
    /// # Errors
    /// The trust anchors cannot be read, or are none.
    pub fn new(settings: &Dns) -> io::Result<Self> {
        let (servers, mut options) = servers(settings);
        options.timeout = settings.timeout.get();
        options.attempts = usize::try_from(settings.attempts).unwrap_or(usize::MAX);
        // Two resolvers share what the operator allows.
        options.cache_size = u64::from(settings.cache_entries) / 2;
        options.positive_max_ttl = Some(LONGEST_TTL);
        options.negative_max_ttl = Some(LONGEST_NEGATIVE_TTL);
        options.edns0 = true;
        options.try_tcp_on_error = true;
        options.use_hosts_file = ResolveHosts::Never;
        options.validate = false;
        let build = |options: ResolverOpts, anchors: Option<&Anchors>| {
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.clone());
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                .with_options(options);
            if let Some(anchors) = anchors {
                builder = builder.with_trust_anchor(Arc::clone(&anchors.keys));
            }
            builder.build().map_err(io::Error::other)
        };
        let plain = MessageAuthenticator(build(options.clone(), None)?);
        // A resolver that validates does not know how long absence lasts.
        options.negative_min_ttl = Some(PROVEN_ABSENCE);
        let validating = if settings.dnssec {
            let anchors = Anchors::load(settings.trust_anchors.as_deref())?;
            Some(Validating::new(build(options, Some(&anchors))?, anchors))
        } else {
            None
        };
        let deadline =
            settings.timeout.get().saturating_mul(settings.attempts.saturating_add(1)).saturating_mul(2);
        let max_records = usize::try_from(settings.max_records).unwrap_or(usize::MAX);
        Ok(Self {
            inner: Arc::new(Inner { plain, validating, max_records, deadline, metrics: Arc::default() }),
        })
    }

    /// The same resolver, whose lookups are counted from now on; those of `mail-auth` are not.
    #[must_use]
    pub fn with_metrics(self, registry: &Registry) -> Self {
        self.inner.metrics.get_or_init(|| Metrics::new(registry));
        self
    }

    /// The same servers for `mail-auth`, with a cache of their own: give it no caches in its parameters.
    ///
    /// It does not validate. What `mail-auth` decides rests on no DNSSEC; of a validated zone it would take the absence of a record that cannot be
    /// proven for a failure of the server; and absence, which is what most of its questions find, is kept in the cache only without validation.
    pub fn authenticator(&self) -> &MessageAuthenticator {
        &self.inner.plain
    }

    /// The same resolver without validation, which asks less and keeps absence in its cache for as long as it lasts: for answers that no trust
    /// rests on, such as those of DNS lists.
    #[must_use]
    pub fn without_validation(&self) -> Self {
        let Inner { plain, validating: _, max_records, deadline, metrics } = &*self.inner;
        let (max_records, deadline) = (*max_records, *deadline);
        let (plain, metrics) = (plain.clone(), Arc::clone(metrics));
        Self { inner: Arc::new(Inner { plain, validating: None, max_records, deadline, metrics }) }
    }

    /// Whether answers can be validated at all: DNSSEC is on, and the servers hand on its records.
    pub async fn validates(&self) -> bool {
        match &self.inner.validating {
            Some(validating) => validating.is_capable().await,
            None => false,
        }
    }

    /// Whether a zone is signed from a trust anchor down; not if nobody validates.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn is_secure(&self, zone: &str) -> Result<bool> {
        Ok(self.find(zone, RecordType::SOA).await?.security == Security::Secure)
    }

    /// The mail exchangers of a domain in the order of the answer; of more than `dns.maxRecords` the most preferred.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mx(&self, domain: &str) -> Result<Answer<Vec<Mx>>> {
        let found = self.find(domain, RecordType::MX).await?;
        let mut value: Vec<Mx> = found
            .records
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: name::text(&mx.exchange) }),
                _ => None,
            })
            .collect();
        if value.len() > self.inner.max_records {
            value.sort_by_key(|mx| mx.preference);
            value.truncate(self.inner.max_records);
        }
        Ok(Answer { value, security: found.security })
    }

    /// The addresses of a host: AAAA, then A. What one family lacks the other may have; one that fails counts only if the other has none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>> {
        let host = self.host(host).await?;
        Ok(Answer { value: host.value.addresses, security: host.security })
    }

    /// The addresses of a host, as [`addresses`](Self::addresses), and what its name leads to.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn host(&self, host: &str) -> Result<Answer<Host>> {
        let (six, four) = tokio::join!(self.find(host, RecordType::AAAA), self.find(host, RecordType::A));
        let (mut answer, more) = match (six, four) {
            (Ok(six), four) => (six, four.ok()),
            (Err(_), Ok(four)) => (four, None),
            // Of two failures the one that leaves hope counts; else that of A, which more servers get right.
            (Err(six), Err(four)) => {
                return Err(if six.is_temporary() && !four.is_temporary() { six } else { four });
            }
        };
        if let Some(more) = more {
            answer.records.extend(more.records);
            answer.security = weaker(answer.security, more.security);
            answer.name_security = weaker(answer.name_security, more.name_security);
        }
        let addresses: Vec<IpAddr> = answer
            .records
            .iter()
            .filter_map(|record| match &record.data {
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                RData::A(address) => Some(IpAddr::V4(address.0)),
                _ => None,
            })
            .collect();
        let (canonical, name_security) = (name::text(&answer.canonical), answer.name_security);
        let value = Host { canonical, addresses, name_security };
        Ok(Answer { value, security: answer.security })
    }

    /// The IPv4 addresses of a name.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ipv4(&self, name: &str) -> Result<Answer<Vec<Ipv4Addr>>> {
        self.records(name, RecordType::A, |data| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        })
        .await
    }

    /// TXT records, each joined from its strings; octets that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>> {
        self.records(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        })
        .await
    }

    /// TLSA records.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tlsa(&self, name: &str) -> Result<Answer<Vec<Tlsa>>> {
        self.records(name, RecordType::TLSA, |data| match data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        })
        .await
    }

    /// The CAA records of exactly this name; climbing the tree (RFC 8659 §3) is up to the caller.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn caa(&self, name: &str) -> Result<Answer<Vec<Caa>>> {
        self.records(name, RecordType::CAA, |data| match data {
            RData::CAA(caa) => Some(Caa {
                critical: caa.issuer_critical,
                tag: caa.tag.clone(),
                value: String::from_utf8_lossy(&caa.value).into_owned(),
            }),
            _ => None,
        })
        .await
    }

    /// The names of an address.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ptr(&self, address: IpAddr) -> Result<Answer<Vec<String>>> {
        self.records(&name::text(&Name::from(address)), RecordType::PTR, |data| match data {
            RData::PTR(ptr) => Some(name::text(&ptr.0)),
            _ => None,
        })
        .await
    }

    /// A question whose answer is a list; no more than `dns.maxRecords` of it.
    async fn records<T>(
        &self,
        name: &str,
        record_type: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<Vec<T>>> {
        let found = self.find(name, record_type).await?;
        let value = found
            .records
            .iter()
            .filter_map(|record| read(&record.data))
            .take(self.inner.max_records)
            .collect();
        Ok(Answer { value, security: found.security })
    }

    /// Asks, and counts.
    async fn find(&self, text: &str, record_type: RecordType) -> Result<Found> {
        let lookup = self.inner.metrics.get().map(|metrics| metrics.begin(record_type));
        let found = self.look(text, record_type).await;
        if let Some(lookup) = lookup {
            lookup.ended(found.as_ref().map(|found| found.security));
        }
        found
    }

    /// Asks, and takes from the answer what belongs to the question.
    async fn look(&self, text: &str, record_type: RecordType) -> Result<Found> {
        let question = name::absolute(text)?;
        let answer = tokio::time::timeout(self.inner.deadline, self.ask(&question, record_type)).await;
        let (resolver, lookup) = answer.map_err(|_| Error::Temporary("no answer in time".to_owned()))?;
        let lookup = lookup.map_err(|error| failure::classify(&error))?;
        if lookup.answers().len() > self.inner.max_records {
            // The cache counts answers, not octets: few of this size would fill the memory.
            resolver.clear_lookup_cache(question.clone(), record_type);
        }
        belonging(&question, record_type, &lookup).ok_or(Error::NoRecords)
    }

    async fn ask(
        &self,
        question: &Name,
        record_type: RecordType,
    ) -> (&TokioResolver, Result<Lookup, hickory_resolver::net::NetError>) {
        let validating = match &self.inner.validating {
            Some(validating) => validating.resolver(question).await,
            None => None,
        };
        let resolver = validating.unwrap_or(&self.inner.plain.0);
        (resolver, resolver.lookup(question.clone(), record_type).await)
    }
}

/// The servers to ask, and the options that come with those of the system.
fn servers(settings: &Dns) -> (Vec<NameServerConfig>, ResolverOpts) {
    if !settings.servers.is_empty() {
        return (settings.servers.iter().copied().map(server).collect(), ResolverOpts::default());
    }
    match read_system_conf() {
        Ok((config, options)) if !config.name_servers().is_empty() => {
            (config.name_servers().to_vec(), options)
        }
        outcome => {
            let reason =
                outcome.err().map_or_else(|| "it names no server".to_owned(), |error| error.to_string());
            // As resolv.conf(5) has it.
            tracing::warn!(%reason, "the system's resolver configuration is of no use: asking 127.0.0.1");
            (vec![server(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)))], ResolverOpts::default())
        }
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// Follows CNAME from the question through the answer, and takes the records at the end; whatever else a server put there is ignored.
/// The answer is as secure as the weakest record on the way.
fn belonging(question: &Name, record_type: RecordType, lookup: &Lookup) -> Option<Found> {
    let answers = lookup.answers();
    let mut owner = question;
    let mut security = Security::Secure;
    let mut name_security = None;
    for _ in 0..CHAIN {
        let records: Vec<Record> = answers
            .iter()
            .filter(|record| record.record_type() == record_type && record.name == *owner)
            .cloned()
            .collect();
        if !records.is_empty() {
            let security = records.iter().map(of).fold(security, weaker);
            let name_security = name_security.unwrap_or(security);
            return Some(Found { canonical: owner.clone(), records, security, name_security });
        }
        let (alias, target) = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((record, &target.0)),
            _ => None,
        })?;
        security = weaker(security, of(alias));
        name_security.get_or_insert(security);
        owner = target;
    }
    None
}

fn of(record: &Record) -> Security {
    if record.proof.is_secure() { Security::Secure } else { Security::Insecure }
}

fn weaker(one: Security, other: Security) -> Security {
    if one == Security::Secure { other } else { one }
}
