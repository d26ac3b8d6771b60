//! What the domain asks of senders: MTA-STS (RFC 8461) and TLS reports (RFC 8460).

use ekitei_config::MtaStsMode;
use ekitei_relay::tls::sts::policy::{Mode, Policy, record_id};

use crate::finding::{Finding, txt_line};
use crate::scene::Scene;

/// The record, the policy, and whether the MX hosts keep to it.
pub(crate) async fn mta_sts(scene: &Scene) -> Vec<Finding> {
    let (domain, subject) = (&scene.subject.domain, &scene.subject);
    let at = format!("_mta-sts.{domain}");
    let wanted = txt_line(&at, &format!("v=STSv1; id={}", subject.policy_id));
    let client_host = match &subject.client_host {
        Some(own) => own,
        None if scene.config.web.client_host.is_empty() => &scene.config.hostname,
        None => &scene.config.web.client_host,
    };
    let alias = format!("mta-sts.{domain}. IN CNAME {client_host}.");
    let texts = match scene.dns.txt(&at).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => Vec::new(),
        Err(error) => return vec![Finding::failed("MTA-STS record", &error)],
    };
    let Some(id) = record_id(&texts) else {
        if !texts.is_empty() {
            let detail = format!("{}: it is not one record of the form v=STSv1; id=...", texts.join(" | "));
            return vec![Finding::wrong("MTA-STS record", detail).publish([wanted])];
        }
        let (withdrawn, by) = match subject.withdrawn {
            Some(withdrawn) => (withdrawn, "the domain's policy"),
            None => (scene.config.web.mta_sts.mode == MtaStsMode::None, "web.mtaSts.mode"),
        };
        if withdrawn {
            return vec![Finding::right("MTA-STS record", format!("none, as {by} has it"))];
        }
        let detail = "there is none, so whoever is on the way can read mail to this domain";
        return vec![Finding::advice("MTA-STS record", detail).publish([wanted, alias])];
    };
    let (policy, text) = match scene.inspector.policy(domain).await {
        Ok(fetched) => fetched,
        Err(error) => {
            return vec![
                Finding::right("MTA-STS record", format!("id {id}")),
                Finding::wrong(
                    "MTA-STS policy",
                    format!("{error}; a listener with protocol https must answer for mta-sts.{domain}"),
                )
                .publish([alias]),
            ];
        }
    };
    let same = same_lines(&text, &subject.policy);
    let record = match same && id != subject.policy_id {
        true => {
            let detail = format!(
                "id {id}, but the policy that is served has the id {}: senders do not notice that it changed",
                subject.policy_id
            );
            Finding::wrong("MTA-STS record", detail).publish([wanted])
        }
        false => Finding::right("MTA-STS record", format!("id {id}")),
    };
    vec![record, hosts(scene, &policy, same)]
}

/// Whether the policy names the MX hosts, and they have the certificates that it promises.
fn hosts(scene: &Scene, policy: &Policy, ours: bool) -> Finding {
    let summary = format!("{}, {}", name(policy.mode), policy.mx.join(", "));
    if policy.mode == Mode::None {
        return Finding::advice("MTA-STS policy", "its mode is none, as if there were none");
    }
    let foreign: Vec<&str> =
        scene.hosts.iter().map(|host| host.name.as_str()).filter(|host| !policy.allows(host)).collect();
    if !foreign.is_empty() {
        let hint = match (ours, scene.subject.withdrawn.is_some()) {
            (true, true) => "; name them in the domain's policy",
            (true, false) => "; name them in web.mtaSts.mx",
            (false, _) => "",
        };
        return Finding::wrong(
            "MTA-STS policy",
            format!("{summary}: it does not name {}, which MX has{hint}", foreign.join(", ")),
        );
    }
    for host in &scene.hosts {
        let bad = match &host.chain {
            Ok(Some(chain)) => scene.inspector.verify(chain, &host.name).err(),
            Ok(None) => Some("it does not offer STARTTLS".to_owned()),
            Err(_) => None,
        };
        if let Some(reason) = bad {
            return Finding::wrong(
                "MTA-STS policy",
                format!("{summary}: {} does not keep to it: {reason}", host.name),
            );
        }
    }
    match (policy.mode, scene.hosts.iter().find(|host| host.chain.is_err())) {
        (_, Some(host)) => Finding::unknown(
            "MTA-STS policy",
            format!(
                "{summary}: it names all MX hosts, but the certificate of {} cannot be seen from here",
                host.name
            ),
        ),
        (Mode::Testing, None) => Finding::advice(
            "MTA-STS policy",
            format!(
                "{summary}: all MX hosts keep to it; when reports are clean, {} may be enforce",
                if scene.subject.withdrawn.is_some() { "its mode" } else { "web.mtaSts.mode" }
            ),
        ),
        _ => Finding::right("MTA-STS policy", format!("{summary}: all MX hosts keep to it")),
    }
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Testing => "testing",
        Mode::None => "none",
    }
}

fn same_lines(one: &str, other: &str) -> bool {
    one.lines().map(str::trim_end).eq(other.lines().map(str::trim_end))
}

/// Where others send their reports (RFC 8460 §3).
pub(crate) async fn tls_reports(scene: &Scene) -> Finding {
    let domain = &scene.subject.domain;
    let at = format!("_smtp._tls.{domain}");
    let wanted = txt_line(&at, &format!("v=TLSRPTv1; rua=mailto:tls-reports@{domain}"));
    let texts = match scene.dns.txt(&at).await {
        Ok(answer) => answer.value,
        Err(error) if error.is_absent() => Vec::new(),
        Err(error) => return Finding::failed("TLS reports", &error),
    };
    let fields = |text: &str| -> Vec<(String, String)> {
        let fields = text.split(';').filter_map(|field| field.split_once('='));
        fields.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
    };
    let records: Vec<&String> = texts
        .iter()
        .filter(|text| fields(text).first().is_some_and(|(key, value)| key == "v" && value == "TLSRPTv1"))
        .collect();
    match records.as_slice() {
        [] => {
            Finding::advice("TLS reports", "there is no record: nobody tells when TLS to this domain fails")
                .publish([wanted])
        }
        [record] => {
            let uris = fields(record)
                .into_iter()
                .find(|(key, _)| key == "rua")
                .map(|(_, uris)| uris)
                .unwrap_or_default();
            let good = !uris.is_empty()
                && uris
                    .split(',')
                    .all(|uri| uri.trim().starts_with("mailto:") || uri.trim().starts_with("https://"));
            match good {
                true => Finding::right("TLS reports", record.as_str()),
                false => Finding::wrong(
                    "TLS reports",
                    format!("{record}: it names no address of mailto: or https:"),
                )
                .publish([wanted]),
            }
        }
        several => Finding::wrong(
            "TLS reports",
            format!("there are {} records, which is as good as none", several.len()),
        )
        .publish([wanted]),
    }
}
