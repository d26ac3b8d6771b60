//! The fields in which a message's reader is told what was found: Authentication-Results, Received-SPF, and what was noted.

use std::net::IpAddr;

use crate::auth::Outcome;
use crate::auth::iprev::Iprev;
use crate::auth::sender::Spf;
use crate::examine::Findings;
use crate::results::{NOTES, Results};
use crate::spf::SpfResult;
use crate::{EvaluatedDisposition, SpfScope};

/// Signatures whose results are written; the rest have been evaluated all the same.
const MAX_WRITTEN: usize = 20;

/// What is known of who brings the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) client: IpAddr,
    pub(crate) helo: &'a str,
    /// Without brackets; empty for the null reverse-path.
    pub(crate) reverse_path: &'a str,
    pub(crate) iprev: Option<&'a Iprev>,
    pub(crate) spf_helo: Option<&'a Spf>,
    pub(crate) spf_mail: Option<&'a Spf>,
}

/// The results of everything that was checked.
pub(crate) fn results(
    authserv_id: &str,
    origin: &Origin<'_>,
    findings: &Findings,
    done: EvaluatedDisposition,
) -> Results {
    let mut results = Results::new(authserv_id);
    let client = origin.client.to_canonical().to_string();
    if let Some(iprev) = origin.iprev {
        let name = iprev.name.as_deref().unwrap_or_default();
        results.add("iprev", iprev.outcome.name(), name, &[("policy.iprev", &client)]);
    }
    if let Some(spf) = origin.spf_mail {
        results.add("spf", spf.result.name(), "", &[("smtp.mailfrom", origin.reverse_path)]);
    }
    if let Some(spf) = origin.spf_helo {
        results.add("spf", spf.result.name(), "", &[("smtp.helo", &spf.domain)]);
    }
    for dkim in findings.dkim.iter().take(MAX_WRITTEN) {
        let properties = [
            ("header.d", dkim.domain.as_str()),
            ("header.i", &dkim.identity),
            ("header.s", &dkim.selector),
            ("header.a", dkim.algorithm),
            ("header.b", &dkim.begins),
        ];
        results.add("dkim", dkim.outcome.name(), &dkim.reason, &properties);
    }
    let (arc, dmarc) = (&findings.arc, &findings.dmarc);
    if arc.outcome != Outcome::None {
        let comment = match &arc.vouched {
            Some(vouched) => format!("i={} vouched for by {}", vouched.instance, vouched.sealer),
            None => arc.reason.clone(),
        };
        results.add("arc", arc.outcome.name(), &comment, &[("smtp.remote-ip", &client)]);
    }
    if dmarc.outcome != Outcome::None || !dmarc.domain.is_empty() {
        let comment = match &dmarc.published {
            Some(policy) => format!("p={} dis={}", policy.p, done.name()),
            None => dmarc.reason.to_owned(),
        };
        results.add("dmarc", dmarc.outcome.name(), &comment, &[("header.from", &dmarc.domain)]);
    }
    results
}

/// Received-SPF (RFC 7208 §9.1).
pub(crate) fn received_spf(receiver: &str, origin: &Origin<'_>, spf: &Spf) -> String {
    let client = origin.client.to_canonical();
    let (identity, sender) = match spf.scope {
        SpfScope::MailFrom => ("mailfrom", origin.reverse_path.to_owned()),
        SpfScope::Helo => ("helo", format!("postmaster@{}", spf.domain)),
    };
    let what = match spf.result {
        SpfResult::Pass => "permits",
        SpfResult::Fail | SpfResult::SoftFail => "does not permit",
        _ => "says nothing of",
    };
    format!(
        "Received-SPF: {} ({receiver}: {} {what} {client})\r\n\treceiver={receiver}; client-ip=\"{client}\";\r\n\t\
         envelope-from={}; helo={};\r\n\tidentity={identity}\r\n",
        spf.result.name(),
        plain(&spf.domain),
        quoted(&sender),
        quoted(origin.helo),
    )
}

/// What was noted, one field.
pub(crate) fn notes(notes: &[String], score: i32) -> String {
    let notes: Vec<String> = notes.iter().map(|note| plain(note)).collect();
    format!("{NOTES}: score={score};\r\n\t{}\r\n", notes.join(";\r\n\t"))
}

/// Text for a comment or a list: nothing that could end it.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() && !"()\\;\"".contains(*c)).take(320).collect()
}

fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(320).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
