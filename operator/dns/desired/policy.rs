//! What a domain says of itself: DMARC (RFC 9989), TLS reports (RFC 8460), CAA (RFC 8659), and challenges of ACME (RFC 8555 §8.4).

use std::fmt;

use super::{Desired, InvalidInput, Purpose, Records};
use crate::family::Family;
use crate::name::Name;
use crate::record::{RecordSet, Tag, Value};

/// Seconds that a challenge may be kept in caches.
const CHALLENGE_TTL: u32 = 60;

/// What receivers should do with mail that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Disposition {
    None,
    Quarantine,
    Reject,
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        })
    }
}

/// How near the domain of a signature has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// The same organization.
    #[default]
    Relaxed,
    /// The same domain.
    Strict,
}

/// DMARC of a domain: the tags of RFC 9989 §4.7; those that it took from DMARC (`pct`, `rf`, `ri`) are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    /// `p`.
    pub policy: Disposition,
    /// `sp`: for domains below it.
    pub subdomains: Option<Disposition>,
    /// `np`: for domains below it that do not exist.
    pub nonexistent: Option<Disposition>,
    /// `adkim`.
    pub dkim_alignment: Alignment,
    /// `aspf`.
    pub spf_alignment: Alignment,
    /// `rua`: where aggregate reports go, as URIs or addresses.
    pub aggregate_reports: Vec<String>,
    /// `ruf`: where failure reports go, as URIs or addresses.
    pub failure_reports: Vec<String>,
    /// `fo`: when failure reports are wanted: `0`, `1`, `d`, `s`, with colons between.
    pub failure_options: Option<String>,
    /// `t=y`: the policy is not to be applied yet.
    pub testing: bool,
}

impl Dmarc {
    /// A policy, and nothing else.
    pub fn new(policy: Disposition) -> Self {
        Self {
            policy,
            subdomains: None,
            nonexistent: None,
            dkim_alignment: Alignment::Relaxed,
            spf_alignment: Alignment::Relaxed,
            aggregate_reports: Vec::new(),
            failure_reports: Vec::new(),
            failure_options: None,
            testing: false,
        }
    }

    /// The text of `_dmarc`.
    ///
    /// # Errors
    /// A destination or an option is none.
    pub fn text(&self) -> Result<String, InvalidInput> {
        let mut tags = vec!["v=DMARC1".to_owned(), format!("p={}", self.policy)];
        tags.extend(self.subdomains.map(|policy| format!("sp={policy}")));
        tags.extend(self.nonexistent.map(|policy| format!("np={policy}")));
        let strict =
            |alignment: Alignment, tag: &str| (alignment == Alignment::Strict).then(|| format!("{tag}=s"));
        tags.extend(strict(self.dkim_alignment, "adkim"));
        tags.extend(strict(self.spf_alignment, "aspf"));
        for (tag, destinations) in [("rua", &self.aggregate_reports), ("ruf", &self.failure_reports)] {
            let uris = destinations.iter().map(|one| uri(one)).collect::<Result<Vec<_>, _>>()?;
            if !uris.is_empty() {
                tags.push(format!("{tag}={}", uris.join(",")));
            }
        }
        if let Some(options) = &self.failure_options {
            if !options.split(':').all(|option| ["0", "1", "d", "s"].contains(&option)) {
                return Err(InvalidInput::new("dmarc", format!("{options:?} are no failure options")));
            }
            tags.push(format!("fo={options}"));
        }
        if self.testing {
            tags.push("t=y".to_owned());
        }
        Ok(tags.join("; "))
    }
}

/// A destination of reports as a URI in a list: commas, semicolons and exclamation marks escaped (RFC 9989 §4.7, RFC 8460 §3).
fn uri(destination: &str) -> Result<String, InvalidInput> {
    let bad =
        || InvalidInput::new("reports", format!("{destination:?} is no address, mailto: or https: URI"));
    let uri = match destination.split_once(':') {
        Some(("mailto" | "https", _)) => destination.to_owned(),
        None => format!("mailto:{destination}"),
        Some(_) => return Err(bad()),
    };
    let fits = uri.bytes().all(|octet| octet.is_ascii_graphic());
    if !fits || (uri.starts_with("mailto:") && mail_domain(&uri).is_none()) {
        return Err(bad());
    }
    Ok(uri.replace(',', "%2C").replace(';', "%3B").replace('!', "%21"))
}

fn mail_domain(uri: &str) -> Option<Name> {
    let address = uri.strip_prefix("mailto:").unwrap_or(uri).split('?').next()?;
    address.rsplit_once('@')?.1.parse().ok()
}

/// The domains other than this one that DMARC reports about it go to: each has to agree, by a record of its own (RFC 9990 §4).
pub fn report_destinations(domain: &Name, dmarc: &Dmarc) -> Vec<Name> {
    let uris = dmarc.aggregate_reports.iter().chain(&dmarc.failure_reports);
    let mut found: Vec<Name> = uris.filter_map(|uri| mail_domain(uri)).collect();
    found.retain(|other| !other.is_within(domain) && !domain.is_within(other));
    found.sort();
    found.dedup();
    found
}

pub(super) fn dmarc(records: &mut Records, domain: &Name, dmarc: &Dmarc) -> Result<(), InvalidInput> {
    records.text(Purpose::Dmarc, "v=DMARC1", domain.child("_dmarc")?, dmarc.text()?);
    for destination in report_destinations(domain, dmarc) {
        let name = destination.child(&format!("{domain}._report._dmarc"))?;
        records.text(Purpose::DmarcReports, "v=DMARC1", name, "v=DMARC1;".to_owned());
    }
    Ok(())
}

pub(super) fn tls_reports(
    records: &mut Records,
    domain: &Name,
    destinations: &[String],
) -> Result<(), InvalidInput> {
    if destinations.is_empty() {
        return Ok(());
    }
    let uris = destinations.iter().map(|one| uri(one)).collect::<Result<Vec<_>, _>>()?;
    let name = domain.child("_smtp._tls")?;
    records.text(Purpose::TlsReports, "v=TLSRPTv1", name, format!("v=TLSRPTv1; rua={}", uris.join(",")));
    Ok(())
}

/// Who may issue certificates for a domain and the names below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caa {
    /// `issue`: authorities, perhaps with parameters: `letsencrypt.org; validationmethods=dns-01`.
    pub issue: Vec<String>,
    /// `issuewild`: those for wildcards. None with a list says that nobody may: `[""]` or `[";"]`.
    pub issue_wild: Vec<String>,
    /// `iodef`: where refused requests are reported: `mailto:` or `https:`.
    pub report: Vec<String>,
    /// Authorities that do not understand a property must not issue.
    pub critical: bool,
}

impl Caa {
    pub(super) fn values(&self) -> Result<Vec<Value>, InvalidInput> {
        let flags = if self.critical { 128 } else { 0 };
        let property = |tag: &str, text: &str| {
            if !text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()) {
                return Err(InvalidInput::new("caa", format!("{text:?} cannot be in a CAA record")));
            }
            Ok(Value::Caa { flags, tag: Tag::new(tag), value: text.as_bytes().to_vec() })
        };
        let issue = self.issue.iter().map(|text| property("issue", &issuer(text)));
        let wild = self.issue_wild.iter().map(|text| property("issuewild", &issuer(text)));
        let report = self.report.iter().map(|text| property("iodef", &uri(text)?));
        issue.chain(wild).chain(report).collect()
    }
}

/// An authority and its parameters in the spelling that providers give back; `;` for nobody.
fn issuer(text: &str) -> String {
    let parts: Vec<&str> = text.split(';').map(str::trim).collect();
    match parts.as_slice() {
        [""] | ["", ""] => ";".to_owned(),
        parts => parts.join("; "),
    }
}

/// A challenge of ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The name that a certificate is wanted for, without `_acme-challenge` and without `*.`.
    pub name: Name,
    /// The text, which is base64url of a SHA-256.
    pub text: String,
}

impl Challenge {
    /// Its record: one of the values of `_acme-challenge.<name>`.
    ///
    /// # Errors
    /// The name is too long.
    pub fn record(&self) -> Result<Desired, InvalidInput> {
        let bad = || InvalidInput::new("challenge", "it is empty");
        let name = self.name.child("_acme-challenge")?;
        let set = RecordSet::new(name, CHALLENGE_TTL, [Value::txt(&self.text)]).ok_or_else(bad)?;
        Ok(Desired { set, family: Family::Values, purpose: Purpose::Challenge })
    }
}

pub(super) fn challenges(challenges: &[Challenge]) -> Result<Vec<Desired>, InvalidInput> {
    challenges.iter().map(Challenge::record).collect()
}
