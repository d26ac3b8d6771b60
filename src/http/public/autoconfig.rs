//! The settings of Thunderbird and those that read the same (<https://wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat>).

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use quick_xml::escape::escape;
use serde::Deserialize;

use super::services::{Service, provider, services};
use super::{address_of_ours, domain_below, host, ours};
use crate::problem::Result;
use crate::state::AppState;

/// What programs add to the path.
#[derive(Deserialize)]
pub(super) struct Asked {
    /// Who sets up an account.
    #[serde(rename = "emailaddress")]
    address: Option<String>,
}

pub(super) async fn show(
    State(state): State<AppState>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<impl IntoResponse> {
    let domain = match asked.address {
        Some(address) => address_of_ours(&state, &address).await?.1,
        None => {
            let host = host(&headers, &uri);
            match domain_below(&state, "autoconfig", host.clone()).await {
                Ok(domain) => domain,
                // At https://example.com/.well-known/autoconfig/ the name is the domain itself.
                Err(_) => ours(&state, host).await?,
            }
        }
    };
    let config = state.parts.live.load();
    let services = services(&config, domain.client_host.as_ref());
    let domain = domain.name.as_ascii();
    let document = document(domain, &provider(&config, domain), &services);
    Ok(([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], document))
}

fn document(domain: &str, name: &str, services: &[Service]) -> String {
    let (domain, name) = (escape(domain), escape(name));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{domain}\">\n    \
         <domain>{domain}</domain>\n    <displayName>{name}</displayName>\n    <displayShortName>{name}</displayShortName>\n"
    );
    for service in services {
        let element = if service.kind() == "smtp" { "outgoingServer" } else { "incomingServer" };
        let socket = if service.implicit_tls() { "SSL" } else { "STARTTLS" };
        text.push_str(&format!(
            "    <{element} type=\"{}\">\n      <hostname>{}</hostname>\n      <port>{}</port>\n      <socketType>{socket}</socketType>\n      \
             <username>%EMAILADDRESS%</username>\n      <authentication>password-cleartext</authentication>\n    </{element}>\n",
            service.kind(),
            escape(service.host.as_str()),
            service.port,
        ));
    }
    text.push_str("  </emailProvider>\n</clientConfig>\n");
    text
}
