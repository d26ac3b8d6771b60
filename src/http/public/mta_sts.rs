//! The MTA-STS policy (RFC 8461).

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use ekitei_config::Config;
use ekitei_directory::{DomainInfo, MtaStsMode};
use sha2::{Digest, Sha256};

use super::{domain_below, host};
use crate::problem::Result;
use crate::state::AppState;

/// The media type that senders insist on (§3.2).
const TEXT: &str = "text/plain; charset=utf-8";

/// The policy of a domain as senders fetch it (§3.2): its own, else that of the configuration.
///
/// MX hosts are those that the policy names, else the domain's own, else those of the configuration.
pub(crate) fn policy(config: &Config, domain: &DomainInfo) -> String {
    let of_all = &config.web.mta_sts;
    let (mode, named, max_age) = match &domain.mta_sts {
        Some(own) => (mode(own.mode), own.mx.clone(), own.max_age),
        None => (of_all.mode.name(), Vec::new(), of_all.max_age.get().as_secs()),
    };
    let of_domain = domain.mx_hosts.iter().flatten().map(|host| host.as_ascii().to_owned()).collect();
    let choices = [named, of_domain, of_all.mx.clone(), vec![config.hostname.clone()]];
    let mut text = format!("version: STSv1\r\nmode: {mode}\r\n");
    for mx in choices.into_iter().find(|hosts| !hosts.is_empty()).unwrap_or_default() {
        text.push_str(&format!("mx: {mx}\r\n"));
    }
    text.push_str(&format!("max_age: {max_age}\r\n"));
    text
}

/// The word in the policy.
fn mode(mode: MtaStsMode) -> &'static str {
    match mode {
        MtaStsMode::None => "none",
        MtaStsMode::Testing => "testing",
        MtaStsMode::Enforce => "enforce",
    }
}

/// The `id` of the TXT record `_mta-sts.<domain>`, which changes with the policy (§3.1).
pub(crate) fn id(policy: &str) -> String {
    Sha256::digest(policy).iter().take(10).map(|octet| format!("{octet:02x}")).collect()
}

pub(super) async fn show(
    State(state): State<AppState>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<impl IntoResponse> {
    let domain = domain_below(&state, "mta-sts", host(&headers, &uri)).await?;
    let policy = policy(&state.parts.live.load(), &domain);
    let tag = format!("\"{}\"", id(&policy));
    Ok(([(header::CONTENT_TYPE, TEXT.to_owned()), (header::ETAG, tag)], policy))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_directory::{Domain, MtaSts, Revision, Timestamp};

    use super::*;

    fn domain() -> DomainInfo {
        DomainInfo {
            name: Domain::parse("example.test").unwrap(),
            enabled: true,
            catch_all: None,
            postmaster: None,
            quota: None,
            total_quota: None,
            mta_sts: None,
            client_host: None,
            mx_hosts: None,
            created: Timestamp::from_unix(0),
            revision: "0".parse::<Revision>().unwrap(),
        }
    }

    #[test]
    fn a_policy_names_its_hosts_and_its_id_changes_with_it() {
        let mut config = Config { hostname: "mx.example.test".into(), ..Config::default() };
        let first = policy(&config, &domain());
        assert_eq!(first, "version: STSv1\r\nmode: testing\r\nmx: mx.example.test\r\nmax_age: 604800\r\n");
        config.web.mta_sts.mx = vec!["a.example.test".into(), "*.b.example.test".into()];
        let second = policy(&config, &domain());
        assert!(second.contains("mx: a.example.test\r\nmx: *.b.example.test\r\n"));
        assert_ne!(id(&first), id(&second));
        assert!(id(&first).len() <= 32 && id(&first).bytes().all(|c| c.is_ascii_alphanumeric()));
    }

    #[test]
    fn the_policy_of_a_domain_goes_before_that_of_the_configuration() {
        let mut config = Config { hostname: "mx.example.test".into(), ..Config::default() };
        config.web.mta_sts.mx = vec!["mx.service.test".into()];
        let hosts = vec![Domain::parse("eu.mx.test").unwrap(), Domain::parse("us.mx.test").unwrap()];
        let with_hosts = DomainInfo { mx_hosts: Some(hosts), ..domain() };
        let of_all =
            "version: STSv1\r\nmode: testing\r\nmx: eu.mx.test\r\nmx: us.mx.test\r\nmax_age: 604800\r\n";
        assert_eq!(policy(&config, &with_hosts), of_all, "a mode for all, for its own hosts");
        let own = |mx: &[&str]| MtaSts {
            mode: MtaStsMode::Enforce,
            mx: mx.iter().map(|&host| host.to_owned()).collect(),
            max_age: 86_400,
        };
        let full = DomainInfo { mta_sts: Some(own(&["*.mx.test"])), ..with_hosts.clone() };
        let named = "version: STSv1\r\nmode: enforce\r\nmx: *.mx.test\r\nmax_age: 86400\r\n";
        assert_eq!(policy(&config, &full), named);
        let unnamed = DomainInfo { mta_sts: Some(own(&[])), ..with_hosts };
        assert!(policy(&config, &unnamed).contains("mode: enforce\r\nmx: eu.mx.test\r\nmx: us.mx.test\r\n"));
        let bare = DomainInfo { mta_sts: Some(own(&[])), ..domain() };
        assert!(policy(&config, &bare).contains("mx: mx.service.test\r\n"));
    }
}
