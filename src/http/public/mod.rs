//! Pages that anyone may read, since published records or mail programs point to them: the MTA-STS policy, and the settings of mail programs.
//!
//! The domain is taken from the name that was asked for (`mta-sts.example.com`, `autoconfig.example.com`) or from the address of the user; only domains of
//! this service have pages.

mod autoconfig;
mod autodiscover;
pub(crate) mod mta_sts;
mod services;

use axum::Router;
use axum::http::{HeaderMap, Uri, header};
use axum::routing::{get, post};
use ekitei_api::ProblemCode;
use ekitei_directory::{Domain, DomainInfo, EmailAddress, Error};

use crate::problem::{Refused, Result};
use crate::state::AppState;

/// Ways of writing the path of Autodiscover that programs use; its case does not matter to them.
const AUTODISCOVER: [&str; 4] = [
    "/autodiscover/autodiscover.xml",
    "/Autodiscover/Autodiscover.xml",
    "/AutoDiscover/AutoDiscover.xml",
    "/Autodiscover/autodiscover.xml",
];

/// The pages.
pub(crate) fn routes() -> Router<AppState> {
    let router = Router::new()
        .route("/.well-known/mta-sts.txt", get(mta_sts::show))
        .route("/mail/config-v1.1.xml", get(autoconfig::show))
        .route("/.well-known/autoconfig/mail/config-v1.1.xml", get(autoconfig::show));
    AUTODISCOVER.into_iter().fold(router, |router, path| router.route(path, post(autodiscover::show)))
}

/// The host that was asked for, without its port, if it is a domain name.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<Domain> {
    let host = uri.host().or_else(|| headers.get(header::HOST)?.to_str().ok())?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    Domain::parse(name).ok()
}

/// The domain of ours that was asked for under this label.
async fn domain_below(state: &AppState, label: &str, host: Option<Domain>) -> Result<DomainInfo> {
    let name = host.as_ref().and_then(|host| host.as_ascii().strip_prefix(label)?.strip_prefix('.'));
    let domain = name.and_then(|name| Domain::parse(name).ok());
    ours(state, domain).await
}

/// The domain, if it is ours.
async fn ours(state: &AppState, domain: Option<Domain>) -> Result<DomainInfo> {
    let unknown = || Refused::new(ProblemCode::NotFound, "this name has no such page");
    let domain = domain.filter(|domain| !domain.is_literal()).ok_or_else(unknown)?;
    match state.parts.directory.domain(&domain).await {
        Err(Error::NotFound { .. }) => Err(unknown()),
        found => Ok(found?),
    }
}

/// An address in a domain of ours, and that domain. Whether somebody has it is nobody's business here.
async fn address_of_ours(state: &AppState, text: &str) -> Result<(EmailAddress, DomainInfo)> {
    let address = EmailAddress::parse(text.trim()).map_err(Refused::invalid)?;
    let domain = ours(state, Some(address.domain().clone())).await?;
    Ok((address, domain))
}
