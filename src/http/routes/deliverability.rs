//! Whether the records of a domain are what receivers want to see.

use axum::extract::State;
use ekitei_api::{DeliverabilityFinding, DeliverabilityReport, DeliverabilityVerdict, MtaStsPolicy, Problem};
use ekitei_directory::{Domain, MtaStsMode, PageRequest};
use ekitei_doctor::{Finding, Subject, Verdict};
use ekitei_signing::KeyInfo;

use crate::extract::Path;
use crate::problem::Result;
use crate::public::mta_sts;
use crate::state::AppState;

/// Every record of a domain that a receiver of its mail would look at: right, wrong with what to publish, or not to be known from here. Takes seconds.
#[utoipa::path(get, path = "/api/v1/domains/{domain}/deliverability", tag = "domains", params(
    ("domain" = String, Path, description = "Its name."),
), responses(
    (status = 200, description = "What was looked at.", body = DeliverabilityReport),
    (status = 404, description = "It is no domain of this service.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<axum::Json<DeliverabilityReport>> {
    let info = state.parts.directory.domain(&Domain::parse(&name)?).await?;
    let policy = mta_sts::policy(&state.parts.live.load(), &info);
    let domain = info.name;
    let subject = Subject {
        domain: domain.as_ascii().to_owned(),
        keys: keys(&state, &domain).await?,
        policy_id: mta_sts::id(&policy),
        policy,
        withdrawn: info.mta_sts.map(|own| own.mode == MtaStsMode::None),
        client_host: info.client_host.map(|host| host.as_ascii().to_owned()),
        mx_hosts: info.mx_hosts.iter().flatten().map(|host| host.as_ascii().to_owned()).collect(),
    };
    let findings = state.parts.doctor.examine(subject).await;
    let findings = findings.into_iter().map(finding).collect();
    Ok(axum::Json(DeliverabilityReport { domain: domain.as_ascii().to_owned(), findings }))
}

/// The MTA-STS policy that is served for a domain, and the id of the record that announces it.
#[utoipa::path(get, path = "/api/v1/domains/{domain}/mta-sts", tag = "domains", params(
    ("domain" = String, Path, description = "Its name."),
), responses(
    (status = 200, description = "The policy.", body = MtaStsPolicy),
    (status = 404, description = "It is no domain of this service.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn policy(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<axum::Json<MtaStsPolicy>> {
    let info = state.parts.directory.domain(&Domain::parse(&name)?).await?;
    let policy = mta_sts::policy(&state.parts.live.load(), &info);
    Ok(axum::Json(MtaStsPolicy { id: mta_sts::id(&policy), policy }))
}

/// The DKIM keys of the domain; of very many the first.
async fn keys(state: &AppState, domain: &Domain) -> Result<Vec<KeyInfo>> {
    let page = PageRequest { after: None, limit: PageRequest::DEFAULT_LIMIT };
    Ok(state.parts.signing.list(Some(domain), &page).await?.items)
}

fn finding(finding: Finding) -> DeliverabilityFinding {
    let Finding { name, verdict, detail, publish } = finding;
    let verdict = match verdict {
        Verdict::Right => DeliverabilityVerdict::Right,
        Verdict::Advice => DeliverabilityVerdict::Advice,
        Verdict::Wrong => DeliverabilityVerdict::Wrong,
        Verdict::Unknown => DeliverabilityVerdict::Unknown,
    };
    DeliverabilityFinding { name, verdict, detail, publish }
}
