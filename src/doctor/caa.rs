//! CAA (RFC 8659): who may issue certificates for the MX hosts, compared with who did.

use ekitei_dns::{Caa, Error, Resolver};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::finding::Finding;
use crate::scene::Scene;

/// What common authorities are called in certificates, and in CAA records.
const AUTHORITIES: &[(&str, &str)] = &[
    ("Let's Encrypt", "letsencrypt.org"),
    ("Google Trust Services", "pki.goog"),
    ("ZeroSSL", "sectigo.com"),
    ("Sectigo", "sectigo.com"),
    ("DigiCert", "digicert.com"),
    ("GlobalSign", "globalsign.com"),
    ("Amazon", "amazon.com"),
    ("Buypass", "buypass.com"),
    ("Actalis", "actalis.it"),
    ("GoDaddy", "godaddy.com"),
];

/// The records for our MX host, or without one for the domain.
pub(crate) async fn examine(scene: &Scene) -> Finding {
    let ours = scene.hosts.iter().find(|host| scene.is_ours(&host.name)).or_else(|| scene.hosts.first());
    let host = ours.map_or(scene.subject.domain.as_str(), |host| host.name.as_str());
    let name = format!("CAA for {host}");
    let issuer =
        ours.and_then(|host| host.chain.as_ref().ok()?.as_ref().and_then(|chain| issuer(chain.own())));
    let known = issuer
        .as_deref()
        .and_then(|issuer| AUTHORITIES.iter().find(|(organization, _)| issuer.contains(organization)));
    let (at, records) = match relevant(&scene.dns, host).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let finding =
                Finding::advice(name, "there is none, so every authority may issue certificates for it");
            return match known {
                Some((_, domain)) => {
                    finding.publish([format!("{}. IN CAA 0 issue \"{domain}\"", scene.subject.domain)])
                }
                None => finding,
            };
        }
        Err(error) => return Finding::failed(name, &error),
    };
    let allowed: Vec<&str> = records
        .iter()
        .filter(|record| record.tag.eq_ignore_ascii_case("issue"))
        .map(|record| record.value.split(';').next().unwrap_or_default().trim())
        .collect();
    let summary = match allowed.iter().filter(|domain| !domain.is_empty()).count() {
        0 if allowed.is_empty() => format!("at {at}: nothing is said of certificates for names"),
        0 => format!("at {at}: nobody may issue certificates"),
        _ => format!("at {at}: {}", allowed.join(", ")),
    };
    match (known, issuer) {
        (Some((_, domain)), _)
            if !allowed.is_empty() && !allowed.iter().any(|one| one.eq_ignore_ascii_case(domain)) =>
        {
            Finding::wrong(
                name,
                format!("{summary}; the certificate in use is of {domain}, which may not renew it"),
            )
            .publish([format!("{at}. IN CAA 0 issue \"{domain}\"")])
        }
        (Some((_, domain)), _) => {
            Finding::right(name, format!("{summary}; the certificate in use is of {domain}"))
        }
        (None, Some(issuer)) => {
            Finding::right(name, format!("{summary}; the certificate in use is of {issuer}"))
        }
        (None, None) => {
            Finding::unknown(name, format!("{summary}; who issued the certificate cannot be seen from here"))
        }
    }
}

/// The records of the name, or of the nearest one above that has some (RFC 8659 §3).
async fn relevant(dns: &Resolver, host: &str) -> Result<Option<(String, Vec<Caa>)>, Error> {
    let mut name = host;
    loop {
        match dns.caa(name).await {
            Ok(answer) if !answer.value.is_empty() => return Ok(Some((name.to_owned(), answer.value))),
            Ok(_) => {}
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error),
        }
        match name.split_once('.') {
            Some((_, parent)) if parent.contains('.') => name = parent,
            _ => return Ok(None),
        }
    }
}

/// The organization that issued a certificate; without one, whatever the issuer is called.
fn issuer(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let organization = certificate.issuer().iter_organization().next().and_then(|name| name.as_str().ok());
    Some(organization.map_or_else(|| certificate.issuer().to_string(), ToOwned::to_owned))
}
