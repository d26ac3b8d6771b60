//! SPF (RFC 7208): one record, no more than ten lookups, and our addresses in it.

use std::net::IpAddr;

use ekitei_dns::{Error, Resolver};
use mail_auth::SpfResult;
use mail_auth::spf::verify::SpfParameters;

use crate::finding::{Finding, txt_line};
use crate::scene::Scene;

/// The most terms that need a lookup (RFC 7208 §4.6.4).
const LOOKUPS: usize = 10;
/// Nothing is counted beyond.
const COUNTED: usize = 30;

/// The record of the domain, and that of the name in EHLO, which counts for notifications (RFC 7208 §2.4).
pub(crate) async fn examine(scene: &Scene) -> Vec<Finding> {
    let ehlo = scene.ehlo_name();
    let mut findings = vec![of_domain(scene).await];
    if ehlo != scene.subject.domain && scene.egress.reason().is_none() {
        findings.push(of_greeting(scene, &ehlo).await);
    }
    findings
}

async fn of_domain(scene: &Scene) -> Finding {
    let domain = &scene.subject.domain;
    let record = match record(&scene.dns, domain).await {
        Ok(record) => record,
        Err(Missing::None) => {
            return Finding::wrong("SPF", "there is no record")
                .publish([txt_line(domain, &covering(None, scene.egress.addresses()))]);
        }
        Err(Missing::Several(records)) => {
            let detail = format!(
                "there are {} records, which receivers take for an error; only one may stay: {}",
                records.len(),
                records.join(" | ")
            );
            return Finding::wrong("SPF", detail);
        }
        Err(Missing::Failed(error)) => return Finding::failed("SPF", &error),
    };
    let tally = tally(&scene.dns, domain, &record).await;
    let counted = format!("{record} ({} of {LOOKUPS} lookups)", tally.lookups);
    if let Some(trouble) = tally.trouble {
        return Finding::wrong("SPF", format!("{counted}: {trouble}"));
    }
    if tally.lookups > LOOKUPS {
        let detail = format!(
            "{counted}: receivers take more than {LOOKUPS} for an error; replace include and mx by ip4 and ip6"
        );
        return Finding::wrong("SPF", detail);
    }
    if all(&record) == Some('+') {
        return Finding::wrong("SPF", format!("{counted}: +all lets everybody send in this name"))
            .publish([txt_line(domain, &covering(Some(&record), scene.egress.addresses()))]);
    }
    if let Some(error) = tally.uncertain {
        return Finding::unknown("SPF", format!("{counted}: {error}"));
    }
    coverage(scene, &record, &counted).await
}

/// Whether a record that is well-formed covers our addresses, and what it says of all others; `counted` is the record with what it costs.
async fn coverage(scene: &Scene, record: &str, counted: &str) -> Finding {
    let domain = &scene.subject.domain;
    if let Some(reason) = scene.egress.reason() {
        return Finding::unknown(
            "SPF",
            format!("{counted}: well-formed, but whether it covers us is not known: {reason}"),
        );
    }
    let mut missing = Vec::new();
    for address in scene.egress.addresses() {
        match check(scene, *address, domain).await {
            SpfResult::Pass => {}
            SpfResult::TempError => {
                return Finding::unknown("SPF", format!("{counted}: it cannot be evaluated now"));
            }
            _ => missing.push(*address),
        }
    }
    if !missing.is_empty() {
        let detail = format!(
            "{counted}: it does not cover {}, from which mail comes",
            crate::addresses::list(&missing)
        );
        return Finding::wrong("SPF", detail).publish([txt_line(domain, &covering(Some(record), &missing))]);
    }
    match all(record) {
        Some('-' | '~') => Finding::right("SPF", format!("{counted}: it covers our addresses")),
        _ if record.to_ascii_lowercase().contains("redirect=") => {
            Finding::right("SPF", format!("{counted}: it covers our addresses"))
        }
        _ => Finding::advice(
            "SPF",
            format!("{counted}: it covers our addresses, and says nothing of all others"),
        )
        .publish([txt_line(domain, &covering(Some(record), &[]))]),
    }
}

async fn of_greeting(scene: &Scene, ehlo: &str) -> Finding {
    let name = format!("SPF of {ehlo}");
    match record(&scene.dns, ehlo).await {
        Ok(record) => {
            for address in scene.egress.addresses() {
                if check(scene, *address, ehlo).await == SpfResult::Fail {
                    return Finding::wrong(
                        name,
                        format!("{record}: it does not cover {address}, which notifications come from"),
                    )
                    .publish([txt_line(ehlo, &covering(Some(&record), &[*address]))]);
                }
            }
            Finding::right(name, record)
        }
        Err(Missing::None) => {
            Finding::advice(name, "there is none; notifications have no other domain to be checked by")
                .publish([txt_line(ehlo, "v=spf1 a -all")])
        }
        Err(Missing::Several(_)) => {
            Finding::wrong(name, "there are several records, which receivers take for an error")
        }
        Err(Missing::Failed(error)) => Finding::failed(name, &error),
    }
}

async fn check(scene: &Scene, address: IpAddr, domain: &str) -> SpfResult {
    let (ehlo, sender) = (scene.ehlo_name(), format!("postmaster@{domain}"));
    let parameters = SpfParameters::verify_mail_from(address, &ehlo, &scene.config.hostname, &sender);
    scene.dns.authenticator().verify_spf(parameters).await.result()
}

/// Why a name has not the one record.
enum Missing {
    None,
    Several(Vec<String>),
    Failed(Error),
}

async fn record(dns: &Resolver, name: &str) -> Result<String, Missing> {
    let texts = match dns.txt(name).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => return Err(Missing::None),
        Err(error) => return Err(Missing::Failed(error)),
    };
    let mut records: Vec<String> = texts
        .into_iter()
        .filter(|text| text.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1")))
        .collect();
    match records.len() {
        0 => Err(Missing::None),
        1 => Ok(records.remove(0)),
        _ => Err(Missing::Several(records)),
    }
}

/// What a record costs those who evaluate it.
#[derive(Default)]
struct Tally {
    lookups: usize,
    /// Why it is an error for everybody.
    trouble: Option<String>,
    /// What could not be looked up now.
    uncertain: Option<Error>,
}

/// Counts the terms that need a lookup, through `include` and `redirect`, up to a bound that loops run into.
async fn tally(dns: &Resolver, domain: &str, first: &str) -> Tally {
    let mut tally = Tally::default();
    let mut waiting = vec![(domain.to_owned(), first.to_owned())];
    while let Some((domain, text)) = waiting.pop() {
        for term in text.split_ascii_whitespace().skip(1) {
            let term = term.trim_start_matches(['+', '-', '~', '?']).to_ascii_lowercase();
            let kind = term.split([':', '/', '=']).next().unwrap_or_default();
            if !matches!(kind, "include" | "a" | "mx" | "ptr" | "exists" | "redirect") {
                continue;
            }
            tally.lookups += 1;
            if tally.lookups > COUNTED {
                tally.trouble = Some("it includes itself, or very much".to_owned());
                return tally;
            }
            let target = term.split_once([':', '=']).map(|(_, target)| target.to_owned());
            let Some(target) =
                target.filter(|target| matches!(kind, "include" | "redirect") && !target.contains('%'))
            else {
                continue;
            };
            match record(dns, &target).await {
                Ok(text) => waiting.push((target, text)),
                Err(Missing::None) => {
                    tally.trouble =
                        Some(format!("{kind} of {target} in the record of {domain}, which has none"))
                }
                Err(Missing::Several(_)) => {
                    tally.trouble = Some(format!("{kind} of {target}, which has several records"))
                }
                Err(Missing::Failed(error)) => tally.uncertain = Some(error),
            }
        }
    }
    tally
}

/// The qualifier of `all`.
fn all(record: &str) -> Option<char> {
    record.split_ascii_whitespace().find_map(|term| match term.to_ascii_lowercase().as_str() {
        "all" | "+all" => Some('+'),
        "-all" => Some('-'),
        "~all" => Some('~'),
        "?all" => Some('?'),
        _ => None,
    })
}

/// A record that covers these addresses too, and nobody whom it does not name.
fn covering(record: Option<&str>, addresses: &[IpAddr]) -> String {
    let old = record.map_or_else(|| "v=spf1 mx".to_owned(), ToOwned::to_owned);
    let closing = if all(&old) == Some('~') { "~all" } else { "-all" };
    let is_all = |term: &&str| term.trim_start_matches(['+', '-', '~', '?']).eq_ignore_ascii_case("all");
    let mut terms: Vec<String> =
        old.split_ascii_whitespace().filter(|term| !is_all(term)).map(ToOwned::to_owned).collect();
    for address in addresses {
        terms.push(format!("{}:{address}", if address.is_ipv4() { "ip4" } else { "ip6" }));
    }
    if !terms.iter().any(|term| term.to_ascii_lowercase().starts_with("redirect=")) {
        terms.push(closing.to_owned());
    }
    terms.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_completed_not_replaced() {
        let four = ["192.0.2.1".parse().unwrap()];
        assert_eq!(covering(None, &four), "v=spf1 mx ip4:192.0.2.1 -all");
        assert_eq!(
            covering(Some("v=spf1 include:a.example ~all"), &four),
            "v=spf1 include:a.example ip4:192.0.2.1 ~all"
        );
        assert_eq!(covering(Some("v=spf1 a +all"), &[]), "v=spf1 a -all");
        assert_eq!(
            covering(Some("v=spf1 redirect=a.example"), &four),
            "v=spf1 redirect=a.example ip4:192.0.2.1"
        );
    }
}
