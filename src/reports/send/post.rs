//! Handing TLS reports over by HTTPS (RFC 8460 §5.4).
//!
//! The address is from the DNS of whoever likes to be told, so it must not lead into the networks of this service.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ekitei_config::Live;
use ekitei_dns::Resolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Url, redirect};

/// How long one report may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a report was not taken.
pub(crate) type Refusal = String;

/// What hands a report over.
pub(crate) trait Post: Send + Sync {
    /// Posts a packed report; any `2xx` is success.
    fn post<'a>(
        &'a self,
        url: &'a str,
        packed: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;
}

/// Over the network, to servers that the authorities vouch for which the relay trusts.
pub(crate) struct Https {
    dns: Resolver,
    live: Live,
    /// Made when it is needed first: most services never post.
    client: OnceLock<Result<reqwest::Client, Refusal>>,
}

impl Https {
    pub(crate) fn new(dns: Resolver, live: Live) -> Self {
        Self { dns, live, client: OnceLock::new() }
    }

    fn client(&self) -> Result<&reqwest::Client, Refusal> {
        let make = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(ekitei_relay::tls::https(&self.live.load().relay))
                .https_only(true)
                .no_proxy()
                .redirect(redirect::Policy::none())
                .timeout(TIMEOUT)
                .dns_resolver(Arc::new(PublicOnly { dns: self.dns.clone(), live: self.live.clone() }))
                .build()
                .map_err(|error| error.to_string())
        };
        self.client.get_or_init(make).as_ref().map_err(Clone::clone)
    }
}

impl Post for Https {
    fn post<'a>(
        &'a self,
        url: &'a str,
        packed: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(async move {
            let url = Url::parse(url).map_err(|error| error.to_string())?;
            if url.domain().is_none() {
                return Err("an address is no name".to_owned());
            }
            let request =
                self.client()?.post(url).header(CONTENT_TYPE, "application/tlsrpt+gzip").body(packed);
            // The answer's body is nobody's concern, and is not read.
            let response = request.send().await.map_err(|error| error.without_url().to_string())?;
            match response.status() {
                status if status.is_success() => Ok(()),
                status => Err(format!("HTTP status {status}")),
            }
        })
    }
}

/// Finds only addresses of the public Internet, and of networks that the configuration names.
struct PublicOnly {
    dns: Resolver,
    live: Live,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let (dns, config) = (self.dns.clone(), self.live.load());
        Box::pin(async move {
            let answer = dns.addresses(name.as_str()).await?;
            let allowed = &config.reports.private_networks;
            let may_be_asked = |address: IpAddr| {
                is_public(address) || allowed.iter().any(|network| network.contains(address))
            };
            let public: Vec<SocketAddr> = answer
                .value
                .into_iter()
                .filter(|address| may_be_asked(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if public.is_empty() {
                return Err("the name has no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public Internet (IANA's registries of special-purpose addresses, as far as they matter).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let reserved = a == 0
                || a >= 240
                || (a == 192 && b == 0 && v4.octets()[2] == 0)
                || (a == 198 && (18..20).contains(&b));
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || shared
                || reserved)
        }
        // 2000::/3 is all that is given out, without documentation, Teredo and 6to4, which lead to other addresses.
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            (0x2000..0x4000).contains(&a) && !(a == 0x2001 && (b == 0xdb8 || b == 0)) && a != 0x2002
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reports_go_to_the_public_internet_only() {
        for public in ["8.8.8.8", "100.128.0.1", "2606:4700::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for inner in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!is_public(inner.parse().unwrap()), "{inner}");
        }
    }
}
