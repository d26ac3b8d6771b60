//! Who wants reports, and whether they may be sent there.

use ekitei_directory::{Domain, EmailAddress};

use crate::error::{Error, Result};
use crate::reports::Reports;

/// Addresses that one record may name.
const DESTINATIONS: usize = 10;

/// Where a TLS report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsDestination {
    Mail(EmailAddress),
    Https(String),
}

impl TlsDestination {
    /// The addresses and the URLs among them.
    pub(super) fn divided(destinations: Vec<Self>) -> (Vec<EmailAddress>, Vec<String>) {
        let (mut addresses, mut urls) = (Vec::new(), Vec::new());
        for destination in destinations {
            match destination {
                Self::Mail(address) => addresses.push(address),
                Self::Https(url) => urls.push(url),
            }
        }
        (addresses, urls)
    }
}

impl Reports {
    /// The addresses of `rua` that take reports about `domain`, each with the largest report that it takes (0 for any). An address of another organisation counts only
    /// if that agreed (RFC 9990 §4): otherwise reports could be used to flood a victim.
    pub(super) async fn wanting_dmarc(
        &self,
        domain: &str,
        rua: &[(String, u64)],
    ) -> Result<Vec<(EmailAddress, u64)>> {
        let mut wanting: Vec<(EmailAddress, u64)> = Vec::new();
        for (uri, limit) in rua.iter().take(DESTINATIONS) {
            let Some(address) = mail_address(uri) else { continue };
            let is_new = wanting.iter().all(|(known, _)| *known != address);
            if is_new && self.may_report_to(domain, address.domain()).await? {
                wanting.push((address, *limit));
            }
        }
        Ok(wanting)
    }

    /// Whether mail about `domain` may be sent to `host`.
    async fn may_report_to(&self, domain: &str, host: &Domain) -> Result<bool> {
        let host = host.as_ascii();
        let is_below = |name: &str, above: &str| {
            name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if is_below(host, domain) {
            return Ok(true);
        }
        // The same organisation, one of whose subdomains has a policy of its own: the domain above has one too, and is no public suffix.
        if is_below(domain, host) {
            let records = self.text(&format!("_dmarc.{host}")).await?;
            if records.iter().any(|record| is_dmarc(record) && !is_public_suffix(record)) {
                return Ok(true);
            }
        }
        let records = self.text(&format!("{domain}._report._dmarc.{host}")).await?;
        Ok(records.iter().any(|record| is_dmarc(record)))
    }

    /// Where TLS reports about `domain` go (RFC 8460 §3).
    pub(super) async fn wanting_tls(&self, domain: &str) -> Result<Vec<TlsDestination>> {
        let records = self.text(&format!("_smtp._tls.{domain}")).await?;
        let mut records = records.iter().filter(|record| record.trim_start().starts_with("v=TLSRPTv1"));
        // Several records are as good as none.
        Ok(match (records.next(), records.next()) {
            (Some(record), None) => tls_destinations(record),
            _ => Vec::new(),
        })
    }

    /// TXT records; none if there is no such name.
    async fn text(&self, name: &str) -> Result<Vec<String>> {
        match self.inner.dns.txt(name).await {
            Ok(answer) => Ok(answer.value),
            Err(error) if error.is_temporary() => Err(Error::Dns(error)),
            Err(_) => Ok(Vec::new()),
        }
    }
}

fn is_dmarc(record: &str) -> bool {
    let mut tags =
        record.split(';').map(|tag| tag.split_once('=').map(|(name, value)| (name.trim(), value.trim())));
    matches!(tags.next(), Some(Some(("v", "DMARC1"))))
}

fn is_public_suffix(record: &str) -> bool {
    let mut tags = record.split(';').filter_map(|tag| tag.split_once('='));
    tags.any(|(name, value)| name.trim() == "psd" && value.trim().eq_ignore_ascii_case("y"))
}

/// `mailto:user@host`, or the address alone, as parsers leave it.
fn mail_address(uri: &str) -> Option<EmailAddress> {
    let uri = uri.trim();
    let address = match uri.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mailto") => rest,
        Some(_) => return None,
        None => uri,
    };
    let address = address.split(['?', '!']).next()?;
    EmailAddress::parse(&percent_decoded(address)?).ok().filter(|address| !address.domain().is_literal())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digit = |octet: u8| char::from(octet).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

fn tls_destinations(record: &str) -> Vec<TlsDestination> {
    let tags = record.split(';').filter_map(|tag| tag.split_once('='));
    let uris = tags.filter(|(name, _)| name.trim() == "rua").flat_map(|(_, value)| value.split(','));
    let mut found = Vec::new();
    for uri in uris.take(DESTINATIONS) {
        let uri = uri.trim();
        let is_https = uri.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let destination = if is_https {
            Some(TlsDestination::Https(uri.to_owned()))
        } else if uri.contains(':') {
            mail_address(uri).map(TlsDestination::Mail)
        } else {
            None
        };
        found.extend(destination.filter(|destination| !found.contains(destination)));
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_as_they_are_written() {
        let address = |text: &str| EmailAddress::parse(text).unwrap();
        assert_eq!(mail_address("mailto:a@b.test!10m"), Some(address("a@b.test")));
        assert_eq!(mail_address("MAILTO:a%2Bx@b.test?subject=x"), Some(address("a+x@b.test")));
        assert_eq!(mail_address("a@b.test"), Some(address("a@b.test")));
        for bad in ["https://b.test/", "mailto:", "mailto:a@[192.0.2.1]", "mailto:a%zz@b.test", "mailto:a%"] {
            assert_eq!(mail_address(bad), None, "{bad}");
        }
        assert_eq!(
            tls_destinations(
                "v=TLSRPTv1; rua=mailto:t@b.test, https://b.test/tls ,http://b.test/,mailto:t@b.test;"
            ),
            [
                TlsDestination::Mail(address("t@b.test")),
                TlsDestination::Https("https://b.test/tls".to_owned())
            ]
        );
        assert!(tls_destinations("v=TLSRPTv1;").is_empty());
    }

    #[test]
    fn only_records_of_dmarc_agree_to_reports() {
        assert!(is_dmarc("v=DMARC1"));
        assert!(is_dmarc("v = DMARC1 ; rua=mailto:x@y.test"));
        assert!(!is_dmarc("v=spf1 -all") && !is_dmarc("p=none; v=DMARC1"));
        assert!(is_public_suffix("v=DMARC1; p=reject; psd=y"));
    }
}
