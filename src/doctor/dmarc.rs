//! DMARC (RFC 9989).

use mail_auth::common::parse::TxtRecordParser as _;

use crate::finding::{Finding, txt_line};
use crate::scene::Scene;

/// The most report addresses that are looked at.
const REPORTS: usize = 10;

/// The record of the domain, and whether its reports may go where it sends them.
pub(crate) async fn examine(scene: &Scene) -> Finding {
    let domain = &scene.subject.domain;
    let at = format!("_dmarc.{domain}");
    let wanted =
        |policy: &str| txt_line(&at, &format!("v=DMARC1; p={policy}; rua=mailto:dmarc-reports@{domain}"));
    let texts = match scene.dns.txt(&at).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => Vec::new(),
        Err(error) => return Finding::failed("DMARC", &error),
    };
    let records: Vec<&String> =
        texts.iter().filter(|text| tags(text).next() == Some(("v", "DMARC1"))).collect();
    let record = match records.as_slice() {
        [] => {
            return Finding::wrong("DMARC", "there is no record at the domain; large receivers demand one")
                .publish([wanted("none")]);
        }
        [record] => record.as_str(),
        several => {
            return Finding::wrong(
                "DMARC",
                format!("there are {} records, which is as good as none", several.len()),
            );
        }
    };
    if mail_auth::dmarc::Dmarc::parse(record.as_bytes()).is_err() {
        return Finding::wrong("DMARC", format!("{record}: it is not well-formed")).publish([wanted("none")]);
    }
    if let Some(finding) = reports(scene, record).await {
        return finding;
    }
    let tag = |name: &str| {
        tags(record)
            .find(|(tag, _)| tag.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_ascii_lowercase())
    };
    match tag("p").as_deref() {
        Some("none") | None => Finding::advice(
            "DMARC",
            format!("{record}: it asks for nothing but reports; when they are clean, quarantine or reject"),
        )
        .publish([wanted("quarantine")]),
        Some(_) if tag("rua").is_none() => Finding::advice("DMARC", format!("{record}: nobody gets reports"))
            .publish([txt_line(
                &at,
                &format!("{}; rua=mailto:dmarc-reports@{domain}", record.trim_end_matches([';', ' '])),
            )]),
        Some(_) => Finding::right("DMARC", record),
    }
}

/// Reports to another domain need its consent (RFC 9990 §3).
async fn reports(scene: &Scene, record: &str) -> Option<Finding> {
    let domain = &scene.subject.domain;
    let uris =
        tags(record).filter(|(tag, _)| tag.eq_ignore_ascii_case("rua")).flat_map(|(_, uris)| uris.split(','));
    for uri in uris.take(REPORTS) {
        let Some(address) = uri.trim().strip_prefix("mailto:") else { continue };
        let receiver = address
            .split('!')
            .next()
            .and_then(|address| address.rsplit_once('@'))
            .map(|(_, receiver)| receiver.to_ascii_lowercase())?;
        let related = receiver == *domain
            || receiver.ends_with(&format!(".{domain}"))
            || domain.ends_with(&format!(".{receiver}"));
        if related {
            continue;
        }
        let at = format!("{domain}._report._dmarc.{receiver}");
        match scene.dns.txt(&at).await {
            Ok(answer) if answer.value.iter().any(|text| text.trim_start().starts_with("v=DMARC1")) => {}
            Err(error) if error.is_temporary() => return Some(Finding::failed("DMARC", &error)),
            _ => {
                let detail = format!(
                    "{record}: {receiver} does not say that it takes reports of {domain}, so it gets none"
                );
                return Some(Finding::advice("DMARC", detail).publish([txt_line(&at, "v=DMARC1")]));
            }
        }
    }
    None
}

fn tags(record: &str) -> impl Iterator<Item = (&str, &str)> {
    record.split(';').filter_map(|tag| tag.split_once('=')).map(|(tag, value)| (tag.trim(), value.trim()))
}
