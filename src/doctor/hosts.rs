//! MX records and the hosts in them: addresses, TLS, TLSA.

use ekitei_dns::{Answer, Error, Security};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::addresses;
use crate::finding::Finding;
use crate::scene::{MxHost, Scene};

/// The MX records of the domain (RFC 5321 §5.1).
pub(crate) fn exchangers(scene: &Scene) -> Finding {
    let domain = &scene.subject.domain;
    let own = std::slice::from_ref(&scene.config.hostname);
    let own = if scene.subject.mx_hosts.is_empty() { own } else { &scene.subject.mx_hosts };
    let ours = || own.iter().map(|host| format!("{domain}. IN MX 10 {host}."));
    let answer = match &scene.mx {
        Ok(answer) => answer,
        Err(Error::NoSuchName) => {
            return Finding::wrong("MX", "there is no such domain in DNS").publish(ours());
        }
        Err(Error::NoRecords) => {
            return Finding::wrong("MX", "there is none, so no mail arrives").publish(ours());
        }
        Err(error) => return Finding::failed("MX", error),
    };
    let listed: Vec<String> =
        answer.value.iter().map(|mx| format!("{} {}", mx.preference, mx.exchange)).collect();
    let listed = listed.join(", ");
    if answer.value.iter().any(|mx| mx.exchange.is_empty()) {
        return Finding::wrong("MX", "a null MX (RFC 7505) says that the domain takes no mail")
            .publish(ours());
    }
    if !answer.value.iter().any(|mx| scene.is_ours(&mx.exchange)) {
        let detail = format!(
            "{listed}: none of them is this service (hostname, relay.ownHosts, the domain's MX hosts), so mail goes elsewhere"
        );
        return Finding::wrong("MX", detail).publish(ours());
    }
    let absent: Vec<&str> = scene
        .subject
        .mx_hosts
        .iter()
        .map(String::as_str)
        .filter(|host| !answer.value.iter().any(|mx| mx.exchange == *host))
        .collect();
    if !absent.is_empty() {
        let missing = absent.iter().map(|host| format!("{domain}. IN MX 10 {host}."));
        let detail = format!("{listed}: {} is missing, which the domain names as its own", absent.join(", "));
        return Finding::advice("MX", detail).publish(missing);
    }
    let signed = if answer.security == Security::Secure { ", signed with DNSSEC" } else { "" };
    Finding::right("MX", format!("{listed}{signed}"))
}

/// Each MX host.
pub(crate) async fn hosts(scene: &Scene) -> Vec<Finding> {
    scene.hosts.iter().flat_map(|host| [address(scene, host), tls(scene, host), tlsa(scene, host)]).collect()
}

/// A and AAAA.
fn address(scene: &Scene, host: &MxHost) -> Finding {
    let name = format!("addresses of {}", host.name);
    let answer = match &host.addresses {
        Ok(answer) => &answer.value,
        Err(error) if error.is_absent() => {
            let publish = format!("{}. IN A <its public IPv4 address>", host.name);
            return Finding::wrong(name, format!("{error}: no mail reaches it")).publish([publish]);
        }
        Err(error) => return Finding::failed(name, error),
    };
    let found = addresses::list(&answer.addresses);
    if answer.canonical != host.name {
        let direct = answer
            .addresses
            .iter()
            .map(|address| format!("{}. IN {} {address}", host.name, addresses::record_type(*address)));
        let detail = format!("an alias of {}; an MX host must not be one (RFC 2181 §10.3)", answer.canonical);
        return Finding::wrong(name, detail).publish(direct);
    }
    if !answer.addresses.iter().any(|address| scene.is_reachable(*address)) {
        return Finding::wrong(name, format!("{found}: the Internet cannot reach that"))
            .publish([format!("{}. IN A <its public IPv4 address>", host.name)]);
    }
    Finding::right(name, found)
}

/// STARTTLS and the certificate.
fn tls(scene: &Scene, host: &MxHost) -> Finding {
    let name = format!("TLS of {}", host.name);
    let chain = match &host.chain {
        Err(reason) => return Finding::unknown(name, format!("it cannot be asked from here: {reason}")),
        Ok(None) => {
            return Finding::wrong(
                name,
                "it does not offer STARTTLS: mail comes in clear, or from those who demand TLS not at all",
            );
        }
        Ok(Some(chain)) => chain,
    };
    match scene.inspector.verify(chain, &host.name) {
        Ok(()) => {
            Finding::right(name, format!("its certificate is valid for its name, {}", until(chain.own())))
        }
        Err(reason) => Finding::advice(
            name,
            format!(
                "its certificate is not valid for its name: {reason}. Most senders do not mind; those that follow MTA-STS do"
            ),
        ),
    }
}

/// TLSA records against the certificate that the host shows (RFC 7672).
fn tlsa(scene: &Scene, host: &MxHost) -> Finding {
    let name = format!("TLSA of {}", host.name);
    let line = |data: String| format!("_25._tcp.{}. IN TLSA {data}", host.name);
    let chain = host.chain.as_ref().ok().and_then(Option::as_ref);
    let wanted = chain.and_then(|chain| chain.association()).map(line);
    let signed = matches!(&host.addresses, Ok(Answer { security: Security::Secure, .. }));
    let records = match &host.tlsa {
        Ok(answer) if answer.security == Security::Insecure => {
            return Finding::advice(
                name,
                "there are records, but DNSSEC does not vouch for them (or dns.dnssec is off here): senders ignore them",
            );
        }
        Ok(answer) => &answer.value,
        Err(error) if error.is_absent() && !signed => {
            return Finding::right(name, "none, which is right in a zone without DNSSEC");
        }
        Err(error) if error.is_absent() => {
            return Finding::advice(
                name,
                "none, though the zone is signed: with one, senders would know the right host",
            )
            .publish(wanted);
        }
        Err(error) => return Finding::failed(name, error),
    };
    let Some(chain) = chain else {
        return Finding::unknown(
            name,
            format!("{} records, but the certificate cannot be seen from here", records.len()),
        );
    };
    match chain.matches(records, &[&host.name, &scene.subject.domain]) {
        Ok(()) => Finding::right(name, "it matches the certificate that the host shows"),
        Err(reason) => Finding::wrong(name, format!("it does not match the certificate that the host shows ({reason}): senders with DANE send nothing"))
            .publish(wanted),
    }
}

/// How long a certificate is valid, for people.
fn until(der: &[u8]) -> String {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => format!("until {}", certificate.validity().not_after),
        Err(_) => "until a day that cannot be read".to_owned(),
    }
}
