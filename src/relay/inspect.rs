//! Looking at a host and at a domain as a sender would, without sending: for the page of deliverability.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Config, RelayTimeouts};
use ekitei_dns::{Resolver, Tlsa};
use ekitei_net::Stream;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::proto::capabilities::Capabilities;
use crate::proto::reply::{Reply, ReplyLimits};
use crate::tls::sts::policy::Policy;
use crate::tls::sts::{Fetch as _, FetchError, Https};
use crate::tls::{authorities, dane, verify};
use crate::wire::Wire;

/// Where policies are served.
const HTTPS: u16 = 443;
/// No step of a look takes longer, whatever mail may wait for: a person waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at hosts and domains.
pub struct Inspector {
    dns: Resolver,
    config: Arc<Config>,
    authorities: Arc<RootCertStore>,
    https: u16,
}

/// The certificates that a host showed, its own first; at least one.
#[derive(Clone, Debug)]
pub struct Chain {
    certificates: Vec<CertificateDer<'static>>,
}

impl Inspector {
    /// An inspector with the authorities and timeouts of the relay.
    pub fn new(config: Arc<Config>, dns: Resolver) -> Self {
        let authorities = authorities::load(config.relay.ca_file.as_deref());
        Self { dns, config, authorities, https: HTTPS }
    }

    /// The same, which finds policies on another port than that of HTTPS.
    #[must_use]
    pub fn with_https_port(self, https: u16) -> Self {
        Self { https, ..self }
    }

    /// The MTA-STS policy that a domain publishes, and its text.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn policy(&self, domain: &str) -> Result<(Policy, String), FetchError> {
        let relay = &self.config.relay;
        let (limit, ignored) = (relay.timeouts.policy.get().min(PATIENCE), relay.ignore_addresses.clone());
        let https = Https::new(Arc::clone(&self.authorities), self.dns.clone(), ignored, limit, self.https);
        let text = https.fetch(domain).await?;
        Ok((Policy::parse(&text)?, text))
    }

    /// The certificates that a host shows after STARTTLS; `None` if it does not offer that.
    ///
    /// # Errors
    /// It cannot be reached from here, or is no SMTP server: why, in words.
    pub async fn certificates(&self, host: &str, address: SocketAddr) -> Result<Option<Chain>, String> {
        let limits = &self.config.relay.timeouts;
        let connecting = timeout(limits.connect.get().min(PATIENCE), TcpStream::connect(address)).await;
        let stream =
            connecting.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        let reply_limits = ReplyLimits { octets: 16 * 1024, lines: 128 };
        let mut wire = Wire::new(Stream::from(stream), reply_limits);
        self.expect(&mut wire, 220, limits).await?;
        let name = if self.config.relay.ehlo_name.is_empty() {
            &self.config.hostname
        } else {
            &self.config.relay.ehlo_name
        };
        let hello = self.ask(&mut wire, format!("EHLO {name}\r\n"), 250, limits).await?;
        if !Capabilities::parse(&hello).starttls {
            return Ok(None);
        }
        self.ask(&mut wire, "STARTTLS\r\n".to_owned(), 220, limits).await?;
        let stream = wire.into_stream().ok_or("the server sent more behind the answer to STARTTLS")?;
        let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(address.ip()));
        let config = Arc::new(verify::Verifier::enforcing(verify::Check::Nothing).config());
        let shaking =
            timeout(limits.tls.get().min(PATIENCE), TlsConnector::from(config).connect(name, stream)).await;
        let stream = shaking
            .map_err(|_| "the TLS handshake took too long".to_owned())?
            .map_err(|error| format!("the TLS handshake failed: {error}"))?;
        let certificates: Vec<_> = stream
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|one| one.clone().into_owned())
            .collect();
        if certificates.is_empty() {
            Err("the server showed no certificate".to_owned())
        } else {
            Ok(Some(Chain { certificates }))
        }
    }

    /// Whether an authority that is trusted here vouches for the chain, for this name and now.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn verify(&self, chain: &Chain, host: &str) -> Result<(), String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let check = verify::Check::Authorities(Arc::clone(&self.authorities));
        let (own, others) = chain.split();
        verify::Verifier::enforcing(check)
            .check(own, others, &name, UnixTime::now())
            .map_err(|error| error.to_string())
    }

    async fn ask(
        &self,
        wire: &mut Wire,
        command: String,
        code: u16,
        limits: &RelayTimeouts,
    ) -> Result<Reply, String> {
        wire.command(command, PATIENCE).await.map_err(|error| error.to_string())?;
        self.expect(wire, code, limits).await
    }

    async fn expect(&self, wire: &mut Wire, code: u16, limits: &RelayTimeouts) -> Result<Reply, String> {
        let reply =
            wire.reply(limits.command.get().min(PATIENCE)).await.map_err(|error| error.to_string())?;
        if reply.code() == code {
            Ok(reply)
        } else {
            Err(format!("the server says {} {}", reply.code(), reply.summary(200)))
        }
    }
}

impl Chain {
    /// Whether it is the one that TLSA records publish (RFC 7672); `names` are what a certificate below a trust anchor may be for.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn matches(&self, records: &[Tlsa], names: &[&str]) -> Result<(), String> {
        let names = names.iter().filter_map(|name| ServerName::try_from((*name).to_owned()).ok()).collect();
        let published = dane::Dane::new(records, names)
            .ok_or("none of the records is one that senders use for mail (3 1 1, 2 1 1)")?;
        let algorithms = verify::provider().signature_verification_algorithms;
        let (own, others) = self.split();
        published.verify(own, others, UnixTime::now(), &algorithms).map_err(|error| error.to_string())
    }

    /// The data of a TLSA record `3 1 1` for its own key: what to publish.
    pub fn association(&self) -> Option<String> {
        dane::own_key(self.split().0)
    }

    /// Its own certificate, in DER.
    pub fn own(&self) -> &[u8] {
        self.split().0
    }

    fn split(&self) -> (&CertificateDer<'static>, &[CertificateDer<'static>]) {
        self.certificates.split_first().expect("a chain has a certificate")
    }
}
